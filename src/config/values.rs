//! Texts with units: durations, rates and sizes.

use std::time::Duration;

/// The highest rate that can be asked for, a second.
pub const RATE_MAX: f64 = 1e9;
/// The lowest rate above none, a second: budgets are kept in thousandths.
pub const RATE_MIN: f64 = 0.001;

/// How a rate is written.
const RATE_FORM: &str = "write a number with its unit, as 200/s, 12000/min or 0.5/h";

/// Reads a rate: `200/s`, `12000/min`, `30/h`, or a bare number, which is a second's. The answer is per second: 0, or from
/// [`RATE_MIN`] to [`RATE_MAX`].
///
/// # Errors
/// What is wrong and how to write it, without repeating the text.
pub fn parse_rate(text: &str) -> Result<f64, String> {
    let (number, seconds) = match text.split_once('/') {
        None => (text, 1.0),
        Some((number, unit)) => {
            let seconds = match unit.trim() {
                "s" => 1.0,
                "min" => 60.0,
                "h" => 3600.0,
                _ => return Err(format!("it has an unknown unit; {RATE_FORM}")),
            };
            (number, seconds)
        }
    };
    let number = number.trim();
    // What Rust would take beside plain numbers: "inf", "NaN", "1e400".
    if !number.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(format!("it is no rate; {RATE_FORM}"));
    }
    let number: f64 = number
        .parse()
        .map_err(|_| format!("it is no rate; {RATE_FORM}"))?;
    check_rate(number / seconds)
}

/// Checks a rate per second.
///
/// # Errors
/// Where it is out of range, with the range.
pub(super) fn check_rate(per_second: f64) -> Result<f64, String> {
    let zero = per_second == 0.0;
    if zero || (RATE_MIN..=RATE_MAX).contains(&per_second) {
        return Ok(per_second);
    }
    Err("it is out of range; choose 0, or from 0.001/s to 1000000000/s".to_owned())
}

/// Reads a duration with its units: `500ms`, `5s`, `1h30m`. None where it is none.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text.trim()).ok()
}

/// A duration as it may be written: `1h30m`.
pub(super) fn show_duration(duration: Duration) -> String {
    const DAY: u64 = 86_400;
    let days = duration.as_secs() / DAY;
    // Else it would be counted in years of 365.25 days.
    if days > 1 && duration == Duration::from_secs(days * DAY) {
        return format!("{days}days");
    }
    humantime::format_duration(duration)
        .to_string()
        .replace(' ', "")
}

/// The units of sizes, the largest first.
const SIZES: [(&str, u64); 4] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];

/// Reads a size with its unit: `256MiB`, `2GiB`. None where it is none.
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, unit) = SIZES
        .iter()
        .find_map(|(name, bytes)| Some((text.strip_suffix(name)?, *bytes)))?;
    let number = number.trim_end();
    let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| number.parse::<u64>().ok()?.checked_mul(unit))?
}

/// A size as it may be written.
pub(super) fn show_size(bytes: u64) -> String {
    let whole = SIZES.iter().find(|(_, unit)| bytes.is_multiple_of(*unit));
    match whole {
        Some((name, unit)) if bytes > 0 => format!("{}{name}", bytes / unit),
        _ => format!("{}KiB", bytes.div_ceil(1 << 10)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_units_and_bare_numbers_are_a_seconds() {
        for (text, per_second) in [
            ("200", 200.0),
            ("200/s", 200.0),
            ("0.5/s", 0.5),
            ("12000/min", 200.0),
            (" 36 / h ", 0.01),
            ("0", 0.0),
            ("1e9/s", 1e9),
        ] {
            assert_eq!(parse_rate(text), Ok(per_second), "{text}");
        }
        for text in [
            "", "fast", "inf", "NaN", "-1", "200/", "200/m", "/s", "1/10s", "1/h", "2e9/s", "1e400",
        ] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_shown_as_they_are_written() {
        for text in ["500ms", "5s", "5m", "1h30m", "1day", "3650days"] {
            assert_eq!(show_duration(parse_duration(text).unwrap()), text);
        }
        for text in ["", "5", "soon", "-5s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("256MiB", 256 << 20),
            (" 2 GiB ", 2 << 30),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
            let shown = show_size(bytes);
            assert_eq!(parse_size(&shown), Some(bytes), "{shown}");
        }
        for text in [
            "",
            "256",
            "MiB",
            "256MB",
            "-1MiB",
            "1.5GiB",
            "+1GiB",
            "99999999TiB",
        ] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
