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

/// Rows a second, or any number of them: `None`.
pub(super) fn rows_or_any(text: &str) -> Result<Rows, String> {
    if text == "any" {
        return Ok(Rows(None));
    }
    let rows = crate::config::parse_rate(text)?;
    if rows < 1.0 {
        return Err("it is less than a row a second; write any where rows are not limited".into());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be from 1 to 1e9"
    )]
    Ok(Rows(Some(rows.round() as u64)))
}

/// Rows a second; `None`: any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows(pub Option<u64>);

/// A share above 0, and at most 1.
pub(super) fn part(text: &str) -> Result<f64, String> {
    let part: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if part > 0.0 && part <= 1.0 {
        Ok(part)
    } else {
        Err("must be above 0 and at most 1".into())
    }
}

/// A second to an hour.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&interval) {
        Ok(interval)
    } else {
        Err("must be from 1s to 1h".into())
    }
}

/// How long is waited: a day at most.
pub(super) fn waiting(text: &str) -> Result<Duration, String> {
    let waiting = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match waiting <= Duration::from_secs(86_400) {
        true => Ok(waiting),
        false => Err("must be from 0s to 24h".into()),
    }
}

/// How much memory something may take: a mebibyte at least.
pub(super) fn size(text: &str) -> Result<u64, String> {
    match crate::config::parse_size(text) {
        Some(bytes @ SIZE_MIN..) => Ok(bytes),
        Some(_) => Err("must be 1MiB at least".into()),
        None => Err("write a size, as 256MiB or 2GiB".into()),
    }
}

/// The least memory that something can be asked to make do with.
const SIZE_MIN: u64 = 1 << 20;

/// For how long something is asked: within the bounds that requests have.
pub(super) fn lasts(text: &str) -> Result<Duration, String> {
    let lasts = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (LASTS_MIN..=LASTS_MAX).contains(&lasts) {
        Ok(lasts)
    } else {
        Err("must be from 1s to 30days".into())
    }
}

/// For how long jobs must be over: within the bounds that requests have.
pub(super) fn older_than(text: &str) -> Result<Duration, String> {
    let older_than = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if older_than <= OLDER_THAN_MAX {
        Ok(older_than)
    } else {
        Err("must be from 0s to 3650days".into())
    }
}

/// The longest time that jobs can be asked to be over.
const OLDER_THAN_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);

/// For how long at least a budget can be set.
const LASTS_MIN: Duration = Duration::from_secs(1);
/// For how long at most.
const LASTS_MAX: Duration = Duration::from_secs(30 * 86_400);

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
    fn memory_is_a_mebibyte_at_least() {
        assert_eq!(size("1MiB"), Ok(SIZE_MIN));
        assert_eq!(size("2GiB"), Ok(2 << 30));
        for wrong in ["1023KiB", "1", "1MB", "much"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn parts_are_above_none_and_intervals_a_second_to_an_hour() {
        assert_eq!((part("1"), part("0.001")), (Ok(1.0), Ok(0.001)));
        for wrong in ["0", "-0.5", "1.01", "NaN", "inf", "90%"] {
            assert!(part(wrong).is_err(), "{wrong}");
        }
        assert_eq!(interval("1h"), Ok(Duration::from_secs(3600)));
        for wrong in ["999ms", "61m", "10"] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rows_are_whole_ones_or_any() {
        assert_eq!(rows_or_any("any"), Ok(Rows(None)));
        assert_eq!(rows_or_any("50000/s"), Ok(Rows(Some(50_000))));
        assert_eq!(rows_or_any("120/min"), Ok(Rows(Some(2))));
        assert!(rows_or_any("0").is_err() && rows_or_any("0.5").is_err());
        assert!(rows_or_any("all").is_err());
    }

    #[test]
    fn what_is_asked_for_a_while_lasts_a_second_to_30_days() {
        assert_eq!(lasts("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(lasts("30days"), Ok(LASTS_MAX));
        for wrong in ["0s", "999ms", "31days", "10", "-1m", "for ever"] {
            assert!(lasts(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn jobs_are_over_for_no_time_to_ten_years() {
        assert_eq!(older_than("0s"), Ok(Duration::ZERO));
        assert_eq!(older_than("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(older_than("3650days"), Ok(OLDER_THAN_MAX));
        for wrong in ["3651days", "7", "-1d", "forever"] {
            assert!(older_than(wrong).is_err(), "{wrong}");
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
