use proptest::prelude::*;

use super::*;

/// Every column's value is its own name in upper case, but for `missing`.
fn filled(source: &str) -> String {
    let template = Template::parse(source).unwrap();
    let values: Vec<(String, String)> = template
        .columns()
        .map(|name| (name.to_owned(), name.to_uppercase()))
        .collect();
    let value = |wanted: &str| {
        values
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.as_bytes())
    };
    String::from_utf8(template.fill(value).unwrap()).unwrap()
}

#[test]
fn columns_are_replaced_and_doubled_braces_are_braces() {
    for (source, key) in [
        ("product:{key}:v2", "product:KEY:v2"),
        ("{key}", "KEY"),
        ("{a}{b}{a}", "ABA"),
        ("{{{user}}}:x", "{USER}:x"),
        ("{{user}}:{user}", "{user}:USER"),
        ("{{}}{_x9}", "{}_X9"),
        ("}}{a}{{", "}A{"),
        ("prix €:{a}", "prix €:A"),
    ] {
        assert_eq!(filled(source), key, "{source}");
    }
}

#[test]
fn faults_say_what_is_wrong_and_at_which_byte() {
    use NotATemplate::*;
    for (source, fault) in [
        ("", NoColumn),
        ("all-the-same", NoColumn),
        ("{{user}}", NoColumn),
        ("a:{key", Unclosed { at: 3 }),
        ("a:{", Unclosed { at: 3 }),
        ("{{{", Unclosed { at: 3 }),
        ("a}:{key}", Unopened { at: 2 }),
        ("{key}}", Unopened { at: 6 }),
        ("a:{}", Empty { at: 3 }),
        ("{a b}", Character { found: ' ', at: 3 }),
        ("{9a}", Character { found: '9', at: 2 }),
        ("{a{b}}", Character { found: '{', at: 3 }),
        ("{a:{{b}}}", Character { found: ':', at: 3 }),
        ("€{ä}", Character { found: 'ä', at: 5 }),
    ] {
        assert_eq!(Template::parse(source), Err(fault), "{source}");
    }
}

#[test]
fn faults_tell_what_to_write_instead() {
    for (source, advice) in [
        (
            "a:{key",
            "the { at column 3 is never closed: write {name} for a column, or {{ for the brace itself",
        ),
        (
            "a}",
            "the } at column 2 closes nothing: write }} for the brace itself",
        ),
        (
            "{}",
            "the braces at column 1 are empty: name a column of the key source between them",
        ),
        (
            "x",
            "no column is named, so all keys would be the same: write at least one {name} of the key source",
        ),
    ] {
        assert_eq!(Template::parse(source).unwrap_err().to_string(), advice);
    }
}

#[test]
fn a_template_of_1024_bytes_is_the_longest() {
    let longest = format!("{{a}}{}", "x".repeat(TEMPLATE_LENGTH_MAX - 3));
    assert!(Template::parse(&longest).is_ok());
    let longer = format!("{longest}x");
    assert_eq!(
        Template::parse(&longer),
        Err(NotATemplate::TooLong { length: 1025 })
    );
}

#[test]
fn a_column_without_a_value_is_named() {
    let template = Template::parse("{tenant}:{key}").unwrap();
    let only_tenant = |name: &str| (name == "tenant").then_some(b"t1".as_slice());
    assert_eq!(
        template.fill(only_tenant),
        Err(MissingColumn {
            column: "key".to_owned()
        })
    );
}

#[test]
fn columns_are_told_once_each() {
    let template = Template::parse("{b}:{a}:{b}").unwrap();
    assert_eq!(template.columns().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn values_go_in_byte_for_byte() {
    let template = Template::parse("x:{key}").unwrap();
    assert_eq!(
        template.fill(|_| Some(&[0, 255, b'{', b'}'])).unwrap(),
        b"x:\x00\xff{}"
    );
}

#[test]
fn a_template_is_written_as_its_text() {
    let template = Template::parse("{{{user}}}:x").unwrap();
    let json = serde_json::to_string(&template).unwrap();
    assert_eq!(json, r#""{{{user}}}:x""#);
    assert_eq!(serde_json::from_str::<Template>(&json).unwrap(), template);
    assert!(
        serde_json::from_str::<Template>(r#""x""#)
            .unwrap_err()
            .to_string()
            .contains("no column is named")
    );
}

/// A piece of a template as its author means it.
#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Column(String, Vec<u8>),
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let text = "[a-z:{}€]{0,6}".prop_map(Piece::Text);
    let column = (
        "[A-Za-z_][A-Za-z0-9_]{0,4}",
        prop::collection::vec(any::<u8>(), 0..8),
    )
        .prop_map(|(name, value)| Piece::Column(name, value));
    prop::collection::vec(prop_oneof![text, column], 0..12).prop_filter("some column", |pieces| {
        pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Column(..)))
    })
}

proptest! {
    #[test]
    fn a_filled_template_is_its_pieces_in_a_row(pieces in pieces()) {
        let mut values = std::collections::BTreeMap::new();
        for piece in &pieces {
            if let Piece::Column(name, value) = piece {
                values.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        let mut source = String::new();
        let mut expected = Vec::new();
        for piece in &pieces {
            match piece {
                Piece::Text(text) => {
                    source.push_str(&text.replace('{', "{{").replace('}', "}}"));
                    expected.extend_from_slice(text.as_bytes());
                }
                Piece::Column(name, _) => {
                    source.push_str(&format!("{{{name}}}"));
                    expected.extend_from_slice(&values[name]);
                }
            }
        }
        let template = Template::parse(&source).unwrap();
        prop_assert_eq!(template.fill(|name| values.get(name).map(Vec::as_slice)).unwrap(), expected);
        prop_assert_eq!(template.columns().collect::<Vec<_>>(), values.keys().collect::<Vec<_>>());
        prop_assert_eq!(template.to_string(), source);
    }

    #[test]
    fn no_text_makes_the_parser_panic_and_what_it_takes_it_gives_back(source in "[{}a-c0_:€]{0,24}|.{0,40}") {
        if let Ok(template) = Template::parse(&source) {
            prop_assert_eq!(template.to_string(), source);
        }
    }

    #[test]
    fn faults_point_into_the_text(source in "[{}a-c0_:€]{0,24}") {
        use NotATemplate::*;
        if let Err(Unclosed { at } | Unopened { at } | Empty { at } | Character { at, .. }) = Template::parse(&source) {
            let pointed = source[at - 1..].chars().next();
            prop_assert!(pointed.is_some());
        }
    }
}
