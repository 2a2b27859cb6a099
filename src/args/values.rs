//! Values that several commands take.

use std::time::Duration;

use stoke_worker::catalog::{TTL_MAX, TTL_MIN};

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

/// How long entries live: within the bounds that configurations and requests have.
pub(super) fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (TTL_MIN..=TTL_MAX).contains(&ttl) {
        Ok(ttl)
    } else {
        Err("must be from 1s to 3650days".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_live_a_second_to_ten_years() {
        assert_eq!(ttl("1s"), Ok(TTL_MIN));
        assert_eq!(ttl("3650days"), Ok(TTL_MAX));
        for wrong in ["1ms", "999ms", "3651days", "0s", "soon"] {
            assert!(ttl(wrong).is_err(), "{wrong}");
        }
    }

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
        assert_eq!(rate_or_none("1e9"), Ok(1e9));
        for absurd in [
            "-1",
            "-0.5/s",
            "fast",
            "NaN",
            "inf",
            "-inf",
            "1e10",
            "1e400",
            "1e-9",
            "",
            "200/fortnight",
        ] {
            assert!(rate_or_none(absurd).is_err(), "{absurd}");
        }
    }
}
