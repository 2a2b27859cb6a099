//! Dates and times from PostgreSQL's binary form into the text that its `row_to_json` has for them: ISO 8601, and the
//! style `postgres` for intervals. Sessions have the time zone UTC.

use std::io::Write;

use stoke_core::calendar;

use super::value::Fault;

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;
/// From 1970-01-01 to 2000-01-01, where PostgreSQL begins to count.
const EPOCH_DAYS: i64 = 10_957;

/// Days since 2000-01-01.
pub(super) fn date(days: i32, out: &mut Vec<u8>) -> Result<(), Fault> {
    if days == i32::MAX || days == i32::MIN {
        return Err(Fault::NoForm("an infinite date"));
    }
    let (year, month, day) = civil(i64::from(days));
    day_text(year, month, day, out);
    era(year, out);
    Ok(())
}

/// Microseconds since 2000-01-01 00:00, with `zone` ("+00:00" or nothing) behind.
pub(super) fn timestamp(micros: i64, zone: &str, out: &mut Vec<u8>) -> Result<(), Fault> {
    if micros == i64::MAX || micros == i64::MIN {
        return Err(Fault::NoForm("an infinite timestamp"));
    }
    let (year, month, day) = civil(micros.div_euclid(MICROS_PER_DAY));
    day_text(year, month, day, out);
    out.push(b'T');
    time(micros.rem_euclid(MICROS_PER_DAY), out);
    out.extend_from_slice(zone.as_bytes());
    era(year, out);
    Ok(())
}

/// How PostgreSQL shows a date, a timestamp or an interval (in its binary form) that is infinite.
pub(super) fn infinite(bytes: &[u8]) -> Option<&'static str> {
    let all = |form: [&[u8]; 3]| bytes == form.concat();
    let (latest, earliest) = (i64::MAX.to_be_bytes(), i64::MIN.to_be_bytes());
    let (most, least) = (i32::MAX.to_be_bytes(), i32::MIN.to_be_bytes());
    let is_one_of = |forms: [[&[u8]; 3]; 3]| forms.into_iter().any(all);
    if is_one_of([
        [&most, &[], &[]],
        [&latest, &[], &[]],
        [&latest, &most, &most],
    ]) {
        return Some("infinity");
    }
    is_one_of([
        [&least, &[], &[]],
        [&earliest, &[], &[]],
        [&earliest, &least, &least],
    ])
    .then_some("-infinity")
}

/// Microseconds since midnight.
pub(super) fn time(micros: i64, out: &mut Vec<u8>) {
    let seconds = micros / MICROS_PER_SECOND;
    padded(seconds / 3600, 2, out);
    out.push(b':');
    padded(seconds / 60 % 60, 2, out);
    out.push(b':');
    seconds_text(seconds % 60, micros % MICROS_PER_SECOND, out);
}

/// Microseconds since midnight, and the zone in seconds west of Greenwich.
pub(super) fn timetz(micros: i64, west: i32, out: &mut Vec<u8>) {
    time(micros, out);
    let offset = west.unsigned_abs();
    let sign = if west <= 0 { '+' } else { '-' };
    let (hours, minutes, seconds) = (offset / 3600, offset / 60 % 60, offset % 60);
    let _ = match (minutes, seconds) {
        (0, 0) => write!(out, "{sign}{hours:02}"),
        (_, 0) => write!(out, "{sign}{hours:02}:{minutes:02}"),
        _ => write!(out, "{sign}{hours:02}:{minutes:02}:{seconds:02}"),
    };
}

/// Months, days and microseconds, which an interval keeps apart, as `1 year 2 mons -3 days +04:05:06`.
pub(super) fn interval(
    months: i32,
    days: i32,
    micros: i64,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    if (months, days, micros) == (i32::MAX, i32::MAX, i64::MAX)
        || (months, days, micros) == (i32::MIN, i32::MIN, i64::MIN)
    {
        return Err(Fault::NoForm("an infinite interval"));
    }
    let start = out.len();
    // Behind a negative part a positive one shows its sign.
    let mut negative = false;
    for (value, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if value == 0 {
            continue;
        }
        let space = if out.len() > start { " " } else { "" };
        let plus = if negative && value > 0 { "+" } else { "" };
        let plural = if value == 1 { "" } else { "s" };
        let _ = write!(out, "{space}{plus}{value} {unit}{plural}");
        negative = value < 0;
    }
    if micros != 0 || out.len() == start {
        let space = if out.len() > start { " " } else { "" };
        let sign = if micros < 0 {
            "-"
        } else if negative {
            "+"
        } else {
            ""
        };
        let seconds = (micros / MICROS_PER_SECOND).abs();
        let _ = write!(
            out,
            "{space}{sign}{:02}:{:02}:",
            seconds / 3600,
            seconds / 60 % 60
        );
        seconds_text(seconds % 60, (micros % MICROS_PER_SECOND).abs(), out);
    }
    Ok(())
}

/// The binary form of a date written `YYYY-MM-DD`; `None` where there is no such day.
pub(super) fn parse_date(text: &str) -> Option<i32> {
    let (rest, day) = text.rsplit_once('-')?;
    let (year, month) = rest.rsplit_once('-')?;
    let number = |digits: &str, length: std::ops::RangeInclusive<usize>| -> Option<i64> {
        let fine = length.contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        fine.then(|| digits.parse().ok()).flatten()
    };
    let (year, month, day) = (
        number(year, 4..=6)?,
        number(month, 2..=2)?,
        number(day, 2..=2)?,
    );
    let days = calendar::day(year, month, day).filter(|_| year >= 1)?;
    i32::try_from(days - EPOCH_DAYS).ok()
}

/// The binary form of what [`timestamp`] writes with this zone; `None` where it would not write that. Years are those of our era.
pub(super) fn parse_timestamp(text: &str, zone: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix(zone)?.split_once('T')?;
    let number = |digits: &str| -> Option<i64> {
        let fine = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        fine.then(|| digits.parse().ok()).flatten()
    };
    let (time, fraction) = match time.split_once('.') {
        Some((time, fraction)) => (time, number(&format!("{fraction:0<6}"))?),
        None => (time, 0),
    };
    let mut seconds = 0;
    if time.len() != "00:00:00".len() {
        return None;
    }
    for part in time.split(':') {
        seconds = number(part).filter(|part| *part < 60)? + seconds * 60;
    }
    let days = i64::from(parse_date(date)?);
    let micros = days * MICROS_PER_DAY + seconds * MICROS_PER_SECOND + fraction;
    let mut written = Vec::new();
    timestamp(micros, zone, &mut written).ok()?;
    (written == text.as_bytes()).then_some(micros)
}

fn day_text(year: i64, month: i64, day: i64, out: &mut Vec<u8>) {
    let shown = if year > 0 { year } else { 1 - year };
    padded(shown, 4, out);
    out.push(b'-');
    padded(month, 2, out);
    out.push(b'-');
    padded(day, 2, out);
}

/// A number that is not negative, with zeros in front where it has fewer digits: what formatting strings do takes as long as
/// all else about a time.
fn padded(number: i64, digits_min: usize, out: &mut Vec<u8>) {
    const DIGITS_MAX: usize = 19;
    let mut digits = [b'0'; DIGITS_MAX];
    let (mut at, mut rest) = (DIGITS_MAX, number);
    while rest > 0 && at > 0 {
        at -= 1;
        digits[at] += u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    out.extend_from_slice(&digits[at.min(DIGITS_MAX - digits_min)..]);
}

/// There is no year 0: the year before 1 is 1 BC.
fn era(year: i64, out: &mut Vec<u8>) {
    if year <= 0 {
        out.extend_from_slice(b" BC");
    }
}

fn seconds_text(seconds: i64, micros: i64, out: &mut Vec<u8>) {
    padded(seconds, 2, out);
    if micros != 0 {
        out.push(b'.');
        padded(micros, 6, out);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

/// Year, month and day, days after 2000-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    calendar::civil(days + EPOCH_DAYS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_date_survives_its_text(days in -730_119_i32..10_000_000) {
            let mut out = Vec::new();
            date(days, &mut out).unwrap();
            prop_assert_eq!(parse_date(&String::from_utf8(out).unwrap()), Some(days));
        }
    }

    proptest! {
        #[test]
        fn a_timestamp_survives_its_text(
            micros in -730_119 * MICROS_PER_DAY..i64::MAX / 2,
            with_zone: bool,
        ) {
            let zone = if with_zone { "+00:00" } else { "" };
            let mut out = Vec::new();
            timestamp(micros, zone, &mut out).unwrap();
            prop_assert_eq!(parse_timestamp(&String::from_utf8(out).unwrap(), zone), Some(micros));
        }

        #[test]
        fn no_text_is_read_as_what_it_is_not(text in "[0-9:T.Z+-]{0,32}") {
            prop_assert_eq!(parse_timestamp(&text, "+00:00").filter(|_| text.len() < 25), None);
        }
    }

    #[test]
    fn what_is_written_another_way_is_no_timestamp() {
        for text in [
            "2024-02-29T24:00:00",
            "2024-02-29T10:60:00",
            "2024-02-29T10:00",
            "2024-02-29T1:00:00",
            "2024-02-29T10:00:00.0",
            "2024-02-29T10:00:00.1234567",
            "2024-02-29T10:00:00+00:00",
            "2024-02-29 10:00:00",
            "2024-02-30T10:00:00",
            "999999999999999-01-01T99999999999999999999:0:0",
            "infinity",
        ] {
            assert_eq!(parse_timestamp(text, ""), None, "{text}");
        }
        assert_eq!(
            parse_timestamp("2000-01-01T00:00:01.5", ""),
            Some(1_500_000)
        );
    }

    #[test]
    fn days_that_do_not_exist_are_no_dates() {
        for text in [
            "2023-02-29",
            "2024-13-01",
            "2024-00-10",
            "24-01-01",
            "2024-1-1",
            "0000-01-01",
            "today",
            "2024-01-01 BC",
        ] {
            assert_eq!(parse_date(text), None, "{text}");
        }
        assert_eq!(parse_date("2000-01-01"), Some(0));
        assert_eq!(parse_date("2024-02-29"), Some(8825));
    }
}
