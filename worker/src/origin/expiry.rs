//! When a row says that its value must be gone.

use std::time::{Duration, SystemTime};

use super::encode::{Row, Scalar};
use super::sheet::Reason;

/// The latest time that is understood: the end of the year 9999, in seconds since 1970. What is later is never.
const LATEST_S: u64 = 253_402_300_799;

/// What a column says; `None`: never.
pub(super) fn expires_at(row: &impl Row, column: usize) -> Result<Option<SystemTime>, Reason> {
    if row.is_null(column)? {
        return Ok(None);
    }
    let mut text = Vec::new();
    row.text(column, &mut text)?;
    let text = std::str::from_utf8(&text).map_err(|_| NOT_A_TIME)?;
    match row.scalar(column)? {
        Scalar::Integer(seconds) => Ok(since_1970(seconds)),
        Scalar::Unsigned(seconds) => Ok(i64::try_from(seconds).ok().and_then(since_1970)),
        Scalar::Text => of_text(text),
        _ => Err(NOT_A_TIME.into()),
    }
}

const NOT_A_TIME: &str = "the column with the expiry holds no time: it takes a date, a time with or without its zone (UTC, then), or seconds since 1970";

/// What is before 1970 is over, as what is shortly after.
fn since_1970(seconds: i64) -> Option<SystemTime> {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    (seconds <= LATEST_S).then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// As the databases' times are written here: ISO 8601, in UTC.
fn of_text(text: &str) -> Result<Option<SystemTime>, Reason> {
    match text {
        "infinity" => return Ok(None),
        "-infinity" => return Ok(since_1970(0)),
        _ => {}
    }
    // Far away, in either direction.
    if text.ends_with(" BC") || text.starts_with("0000-") {
        return Ok(since_1970(0));
    }
    let plain = text.strip_suffix("+00:00").unwrap_or(text);
    let year = plain.split_once('-').map_or("", |(year, _)| year);
    if year.len() > 4 && year.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    let whole = if plain.contains(['T', ' ']) {
        plain.to_owned()
    } else {
        format!("{plain}T00:00:00")
    };
    match humantime::parse_rfc3339_weak(&whole) {
        Ok(time) => Ok(Some(time)),
        Err(humantime::TimestampError::OutOfRange) if year < "1970" => Ok(since_1970(0)),
        Err(_) => Err(NOT_A_TIME.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_the_databases_write_them() {
        let at = |seconds| Ok(since_1970(seconds));
        for (text, expected) in [
            ("2024-02-29", at(1_709_164_800)),
            ("2024-02-29T12:00:00", at(1_709_208_000)),
            ("2024-02-29 12:00:00", at(1_709_208_000)),
            ("2024-02-29T12:00:00+00:00", at(1_709_208_000)),
            ("1969-12-31T23:59:59", at(0)),
            ("0044-03-15T00:00:00 BC", at(0)),
            ("0000-00-00", at(0)),
            ("-infinity", at(0)),
            ("infinity", Ok(None)),
            ("12024-01-01T00:00:00+00:00", Ok(None)),
        ] {
            assert_eq!(of_text(text), expected, "{text}");
        }
        let half = of_text("2024-02-29T12:00:00.5+00:00").unwrap().unwrap();
        let whole = since_1970(1_709_208_000).unwrap();
        assert_eq!(half, whole + Duration::from_millis(500));
        for text in ["", "soon", "12:00:00", "2024-13-01", "2024-02-30T00:00:00"] {
            assert_eq!(of_text(text), Err(NOT_A_TIME.into()), "{text}");
        }
        assert_eq!(since_1970(i64::MAX), None);
        assert_eq!(since_1970(-5), Some(SystemTime::UNIX_EPOCH));
    }
}
