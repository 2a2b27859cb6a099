//! Templates of cache keys.

use stoke_core::template::{NotATemplate, TEMPLATE_LENGTH_MAX, Template};

/// A template keeps its text, also through JSON; a key is the text with values in the places of names and single braces
/// for double ones; and what is none is told with a place that is in the text.
///
/// # Panics
/// Where that is not so.
pub fn template(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let template = match Template::parse(text) {
        Ok(template) => template,
        Err(error) => return assert_placed(&error, text),
    };
    assert_eq!(template.as_str(), text);
    assert!(text.len() <= TEMPLATE_LENGTH_MAX);
    let json = serde_json::to_string(&template).expect("a text is JSON");
    let again: Template = serde_json::from_str(&json).expect("what was written can be read");
    assert_eq!(again, template);

    let names: Vec<&str> = template.columns().collect();
    assert!(!names.is_empty());
    let value = |name: &str| format!("<{}>", name.len()).into_bytes();
    let values: Vec<Vec<u8>> = names.iter().map(|name| value(name)).collect();
    let of = |name: &str| {
        let at = names.iter().position(|known| *known == name)?;
        Some(values[at].as_slice())
    };
    let key = template.fill(of).expect("all columns have values");
    assert_eq!(String::from_utf8(key).expect("text"), filled(text));
    template.fill(|_| None).expect_err("a value is missing");
}

/// What a template with this text must give, character by character.
fn filled(text: &str) -> String {
    let mut key = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '{' => {
                let name: String = match chars.next() {
                    Some('{') => {
                        key.push('{');
                        continue;
                    }
                    first => first
                        .into_iter()
                        .chain(chars.by_ref().take_while(|char| *char != '}'))
                        .collect(),
                };
                key.push_str(&format!("<{}>", name.len()));
            }
            '}' => key.extend(chars.next()),
            char => key.push(char),
        }
    }
    key
}

fn assert_placed(error: &NotATemplate, text: &str) {
    match error {
        NotATemplate::Unclosed { at }
        | NotATemplate::Unopened { at }
        | NotATemplate::Empty { at } => {
            assert!(matches!(text.as_bytes()[at - 1], b'{' | b'}'), "{error}");
        }
        NotATemplate::Character { found, at } => {
            assert!(text[at - 1..].starts_with(*found), "{error}");
        }
        NotATemplate::NoColumn => {}
        NotATemplate::TooLong { length } => assert_eq!(*length, text.len()),
    }
}
