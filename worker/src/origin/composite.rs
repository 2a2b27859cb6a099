//! Keys of several parts, as `(tenant_id, id) IN (:keys)` compares them.
//!
//! Pure. An entry has one argument: for such a loader it is a JSON array of strings, a part each, in the order of the columns
//! left of `IN`. Whole numbers are taken for their digits, for whoever writes arrays by hand.

use std::borrow::Cow;

use super::sheet::Reason;

/// The argument that has these parts.
pub(crate) fn argument<'p>(parts: impl Iterator<Item = &'p str>) -> String {
    let mut text = String::from("[");
    for (i, part) in parts.enumerate() {
        if i > 0 {
            text.push(',');
        }
        // A string is always JSON.
        text.push_str(&serde_json::to_string(part).unwrap_or_default());
    }
    text.push(']');
    text
}

/// The parts of an argument, of which there must be `count`.
pub(super) fn parts(argument: &str, count: usize) -> Result<Vec<String>, Reason> {
    let shown = || crate::source::shown(argument.as_bytes());
    let refused = |what: String| {
        let example = argument_of_example(count);
        format!("the key {} {what}: write it as {example}", shown())
    };
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(argument) else {
        return Err(refused(format!("is no JSON array of {count} strings")));
    };
    if values.len() != count {
        let found = values.len();
        return Err(refused(format!("has {found} parts instead of {count}")));
    }
    let part = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => Ok(text),
        serde_json::Value::Number(number) if number.is_i64() || number.is_u64() => {
            Ok(number.to_string())
        }
        serde_json::Value::Null => Err(refused("has a part that is NULL, which no row has".into())),
        _ => Err(refused(
            "has a part that is neither a string nor a whole number".into(),
        )),
    };
    values.into_iter().map(part).collect()
}

/// The canonical text of an argument, of whose parts each has its parameter; `of_part` gives that of one part. Where there is
/// one parameter, the argument is the key.
pub(super) fn canonical<'t, P>(
    parameters: &[P],
    argument: &'t str,
    of_part: impl for<'p> Fn(&P, &'p str) -> Result<Cow<'p, str>, Reason>,
) -> Result<Cow<'t, str>, Reason> {
    if let [one] = parameters {
        return of_part(one, argument);
    }
    let parts = parts(argument, parameters.len())?;
    let parts = parameters.iter().zip(&parts);
    let parts: Vec<Cow<'_, str>> = parts
        .map(|(parameter, part)| of_part(parameter, part))
        .collect::<Result<_, _>>()?;
    Ok(self::argument(parts.iter().map(|part| &**part)).into())
}

/// The canonical text of the key of several parts in a row's columns, given by their texts; `None` where one is NULL, or no key.
pub(super) fn of_row<P>(
    parameters: &[P],
    texts: impl Iterator<Item = Option<String>>,
    of_part: impl for<'p> Fn(&P, &'p str) -> Result<Cow<'p, str>, Reason>,
) -> Option<String> {
    let part = |(parameter, text): (&P, Option<String>)| {
        let canonical = of_part(parameter, &text?).ok()?.into_owned();
        Some(canonical)
    };
    let parts: Vec<String> = parameters
        .iter()
        .zip(texts)
        .map(part)
        .collect::<Option<_>>()?;
    Some(argument(parts.iter().map(String::as_str)))
}

fn argument_of_example(count: usize) -> String {
    let parts: Vec<String> = (1..=count).map(|n| format!("part {n}")).collect();
    argument(parts.iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_gives_its_parts_again() {
        for parts_in in [
            &["7", "42"][..],
            &["", "a\"b\\c,\n", "é]"],
            &["null", "[1]"],
        ] {
            let text = argument(parts_in.iter().copied());
            assert_eq!(parts(&text, parts_in.len()).unwrap(), parts_in, "{text}");
        }
        assert_eq!(argument(["7", "42"].into_iter()), r#"["7","42"]"#);
        assert_eq!(parts(" [7, \"042\"] ", 2).unwrap(), ["7", "042"]);
    }

    #[test]
    fn what_has_other_parts_says_how_to_write_it() {
        for (text, said) in [
            ("7", "the key \"7\" is no JSON array of 2 strings"),
            ("", "is no JSON array of 2 strings"),
            ("[\"7\"]", "has 1 parts instead of 2"),
            ("[\"7\",\"8\",\"9\"]", "has 3 parts instead of 2"),
            ("[\"7\",null]", "has a part that is NULL, which no row has"),
            ("[\"7\",1.5]", "neither a string nor a whole number"),
            ("[\"7\",[8]]", "neither a string nor a whole number"),
            ("{\"a\":1}", "is no JSON array of 2 strings"),
        ] {
            let reason = parts(text, 2).unwrap_err();
            assert!(reason.contains(said), "{reason}");
            assert!(
                reason.ends_with(r#"write it as ["part 1","part 2"]"#),
                "{reason}"
            );
        }
    }
}
