//! Dates and times from MySQL's binary form into ISO 8601. What is zero at the end is not sent: a value's first byte says how many
//! follow.

use std::io::Write;

use super::value::Fault;

/// Behind a `TIMESTAMP`: sessions have the time zone UTC.
pub(super) const ZONE: &str = "+00:00";

/// Year, month and day, of which each may be zero.
pub(super) fn date(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let (year, month, day) = match sent(bytes)? {
        [] => (0, 0, 0),
        [y0, y1, month, day, ..] => (u16::from_le_bytes([*y0, *y1]), *month, *day),
        _ => return Err(Fault::Malformed),
    };
    // Writing to a vector cannot fail.
    let _ = write!(out, "{year:04}-{month:02}-{day:02}");
    Ok(())
}

/// A date and the time of the day, with `zone` ("+00:00" or nothing) behind.
pub(super) fn datetime(bytes: &[u8], zone: &str, out: &mut Vec<u8>) -> Result<(), Fault> {
    date(bytes, out)?;
    let (hour, minute, second, rest) = match sent(bytes)?.get(4..) {
        None | Some([]) => (0, 0, 0, &[][..]),
        Some([hour, minute, second, rest @ ..]) => (*hour, *minute, *second, rest),
        Some(_) => return Err(Fault::Malformed),
    };
    let _ = write!(out, "T{hour:02}:{minute:02}:{second:02}");
    micros(rest, out)?;
    out.extend_from_slice(zone.as_bytes());
    Ok(())
}

/// A span of up to 838 hours, in either direction: sign, days, hours, minutes, seconds.
pub(super) fn time(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let (negative, days, hour, minute, second, rest) = match sent(bytes)? {
        [] => (0, 0, 0, 0, 0, &[][..]),
        [negative, d0, d1, d2, d3, hour, minute, second, rest @ ..] => (
            *negative,
            u32::from_le_bytes([*d0, *d1, *d2, *d3]),
            *hour,
            *minute,
            *second,
            rest,
        ),
        _ => return Err(Fault::Malformed),
    };
    let sign = if negative == 0 { "" } else { "-" };
    let hours = u64::from(days) * 24 + u64::from(hour);
    let _ = write!(out, "{sign}{hours:02}:{minute:02}:{second:02}");
    micros(rest, out)
}

/// What follows the first byte, which counts it.
fn sent(bytes: &[u8]) -> Result<&[u8], Fault> {
    match bytes {
        [length, rest @ ..] if usize::from(*length) == rest.len() => Ok(rest),
        _ => Err(Fault::Malformed),
    }
}

/// Microseconds, without zeros at their end.
fn micros(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let micros = match bytes {
        [] => 0,
        [a, b, c, d] => u32::from_le_bytes([*a, *b, *c, *d]),
        _ => return Err(Fault::Malformed),
    };
    if micros != 0 {
        let _ = write!(out, ".{micros:06}");
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
    Ok(())
}

/// Whether a text is a day, written `YYYY-MM-DD`.
pub(super) fn is_date(text: &str) -> bool {
    let digits = |range: std::ops::Range<usize>| -> Option<u32> {
        let part = text.get(range)?;
        let fine = part.bytes().all(|b| b.is_ascii_digit());
        fine.then(|| part.parse().ok()).flatten()
    };
    let hyphens = text.len() == 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-';
    let (Some(year), Some(month), Some(day)) = (digits(0..4), digits(5..7), digits(8..10)) else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        _ => return false,
    };
    hyphens && (1..=days).contains(&day)
}

/// Whether a text is a date that is a day and a time, as [`datetime`] writes them.
pub(super) fn is_datetime(text: &str) -> bool {
    let text = text.strip_suffix(ZONE).unwrap_or(text);
    let Some((date, time)) = text.split_once('T') else {
        return false;
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let is_number = |digits: &str, length: std::ops::RangeInclusive<usize>| {
        length.contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
    };
    let parts = time.split(':').filter(|part| is_number(part, 2..=2));
    is_date(date)
        && time.len() == "00:00:00".len()
        && parts.count() == 3
        && is_number(fraction, 1..=6)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Write = fn(&[u8], &mut Vec<u8>) -> Result<(), Fault>;

    fn written(write: Write, bytes: &[u8]) -> Result<String, Fault> {
        let mut out = Vec::new();
        write(bytes, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_time_is_what_is_written_as_one() {
        for text in ["2024-02-29T10:00:00", "2024-02-29T10:00:00.123456+00:00"] {
            assert!(is_datetime(text), "{text}");
        }
        for text in [
            "0000-00-00T00:00:00",
            "2024-02-30T10:00:00",
            "2024-02-29T10:00",
            "2024-02-29T10:00:00.",
            "2024-02-29T10:00:00.1234567",
            "2024-02-29T10:00:00+02:00",
            "2024-02-29T1:000:00",
            "' OR 1",
        ] {
            assert!(!is_datetime(text), "{text}");
        }
    }

    #[test]
    fn what_is_not_sent_is_zero() {
        let datetime: Write = |bytes, out| datetime(bytes, "", out);
        let timestamp: Write = |bytes, out| super::datetime(bytes, "+00:00", out);
        for (write, bytes, text) in [
            (date as Write, &[0][..], "0000-00-00"),
            (date, &[4, 0xe8, 7, 2, 29], "2024-02-29"),
            (date, &[4, 0xe8, 7, 0, 10], "2024-00-10"),
            (datetime, &[0], "0000-00-00T00:00:00"),
            (datetime, &[4, 0xe8, 7, 2, 29], "2024-02-29T00:00:00"),
            (
                datetime,
                &[7, 0xe8, 7, 2, 29, 23, 59, 8],
                "2024-02-29T23:59:08",
            ),
            (
                datetime,
                &[11, 0xe8, 7, 2, 29, 23, 59, 8, 0x20, 0xa1, 7, 0],
                "2024-02-29T23:59:08.5",
            ),
            (timestamp, &[4, 0xe8, 7, 2, 29], "2024-02-29T00:00:00+00:00"),
            (
                timestamp,
                &[11, 0xe8, 7, 2, 29, 23, 59, 8, 1, 0, 0, 0],
                "2024-02-29T23:59:08.000001+00:00",
            ),
            (time, &[0], "00:00:00"),
            (time, &[8, 0, 0, 0, 0, 0, 1, 2, 3], "01:02:03"),
            (time, &[8, 1, 34, 0, 0, 0, 22, 59, 59], "-838:59:59"),
            (
                time,
                &[12, 0, 1, 0, 0, 0, 1, 0, 0, 0xa0, 0x86, 1, 0],
                "25:00:00.1",
            ),
        ] {
            assert_eq!(written(write, bytes).unwrap(), text, "{bytes:?}");
        }
        for (write, bytes) in [
            (date as Write, &[][..]),
            (date, &[4, 1]),
            (datetime, &[5, 0xe8, 7, 2, 29, 23]),
            (time, &[3, 0, 0, 0]),
        ] {
            assert_eq!(written(write, bytes), Err(Fault::Malformed), "{bytes:?}");
        }
    }

    #[test]
    fn days_that_do_not_exist_are_no_dates() {
        for text in ["2024-02-29", "2000-02-29", "2024-12-31", "0001-01-01"] {
            assert!(is_date(text), "{text}");
        }
        for text in [
            "2023-02-29",
            "1900-02-29",
            "2024-13-01",
            "2024-00-10",
            "2024-1-1",
            "24-01-01",
            "today",
            "2024-01-001",
            "2024-01-0é",
            "+024-01-01",
        ] {
            assert!(!is_date(text), "{text}");
        }
    }
}
