//! Values that several commands take.

/// KEY=VALUE.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE, as team=shop".into()),
    }
}

/// A rate, or none at all.
pub(super) fn rate_or_none(text: &str) -> Result<f64, String> {
    crate::config::parse_rate(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_a_key() {
        assert_eq!(label("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(label("a="), Ok(("a".into(), String::new())));
        assert!(label("a").is_err() && label("=b").is_err());
    }

    #[test]
    fn a_budget_can_be_set_to_nothing() {
        assert_eq!(rate_or_none("0"), Ok(0.0));
        assert_eq!(rate_or_none("0/s"), Ok(0.0));
        assert_eq!(rate_or_none("2.5"), Ok(2.5));
        assert_eq!(rate_or_none("200/s"), Ok(200.0));
        assert!(rate_or_none("-1").is_err() && rate_or_none("fast").is_err());
    }
}
