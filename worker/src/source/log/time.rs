//! When an access was, in whole seconds since 1970: what logs have in the place of a time.

use std::cell::Cell;

use stoke_core::calendar;

/// Below this a number is no time, but how long something took: as seconds since 1970 it would be in 1973.
const SECONDS_MIN: f64 = 1e8;
/// Beyond this a number counts milliseconds: as seconds it would be in the year 5138.
const SECONDS_MAX: f64 = 1e11;
/// Beyond this it counts microseconds, and beyond a thousand times that nanoseconds.
const MILLIS_MAX: f64 = 1e14;

/// The day and zone that were read last in the common log format: the next line's are mostly the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Last(Cell<Option<Day>>);

/// A day as it is written (`10/Oct/2000:`) with the zone behind the time (` -0700`), and when it begins.
#[derive(Clone, Copy, Debug)]
struct Day {
    date: [u8; 12],
    zone: [u8; 6],
    begins: i64,
}

impl Last {
    /// As [`common`].
    pub(super) fn or_common(&self, text: &[u8]) -> Option<i64> {
        let text: &[u8; 26] = text.try_into().ok()?;
        let (date, rest) = text.split_first_chunk()?;
        let (time, zone) = rest.split_first_chunk::<8>()?;
        if let Some(last) = self.0.get()
            && (last.date, &last.zone[..]) == (*date, zone)
            && (time[2], time[5]) == (b':', b':')
        {
            return Some(last.begins + clock(time)?);
        }
        let at = common(text)?;
        self.0.set(Some(Day {
            date: *date,
            zone: zone.try_into().ok()?,
            begins: at - clock(time)?,
        }));
        Some(at)
    }
}

/// A time as the common log format has it: `10/Oct/2000:13:55:36 -0700`.
pub(super) fn common(text: &[u8]) -> Option<i64> {
    // One length, so that all below lies in it.
    let text: &[u8; 26] = text.try_into().ok()?;
    let month = match &text[3..6] {
        b"Jan" => 1,
        b"Feb" => 2,
        b"Mar" => 3,
        b"Apr" => 4,
        b"May" => 5,
        b"Jun" => 6,
        b"Jul" => 7,
        b"Aug" => 8,
        b"Sep" => 9,
        b"Oct" => 10,
        b"Nov" => 11,
        b"Dec" => 12,
        _ => return None,
    };
    let marks = [
        (2, b'/'),
        (6, b'/'),
        (11, b':'),
        (14, b':'),
        (17, b':'),
        (20, b' '),
    ];
    if marks.iter().any(|(at, mark)| text[*at] != *mark) {
        return None;
    }
    let day = calendar::day(digits(&text[7..11])?, month, digits(&text[..2])?)?;
    Some(day * 86_400 + clock(&text[12..20])? - zone(&text[21..])?)
}

/// A time as the other formats may have it: as the common one, ISO 8601 (in UTC, where no zone is named), or a number of seconds,
/// milliseconds, microseconds or nanoseconds since 1970; in brackets, as Apache's `%t` puts it, too.
pub(super) fn of_any_format(text: &[u8]) -> Option<i64> {
    let text = text.trim_ascii();
    let inner = text
        .strip_prefix(b"[")
        .and_then(|text| text.strip_suffix(b"]"));
    let text = inner.unwrap_or(text);
    iso(text).or_else(|| common(text)).or_else(|| number(text))
}

/// `2024-02-29T10:00:00.5+01:00`: with `T` or a space, with or without fraction and zone.
fn iso(text: &[u8]) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    if date[4] != b'-' || date[7] != b'-' {
        return None;
    }
    let day = calendar::day(
        digits(&date[..4])?,
        digits(&date[5..7])?,
        digits(&date[8..])?,
    )?;
    let (separator, rest) = rest.split_first()?;
    let (time, rest) = rest.split_at_checked(8)?;
    if !matches!(separator, b'T' | b't' | b' ') || time[2] != b':' || time[5] != b':' {
        return None;
    }
    let fraction = rest.strip_prefix(b".").or_else(|| rest.strip_prefix(b","));
    let rest = fraction.map_or(rest, |digits| {
        let end = digits.iter().position(|byte| !byte.is_ascii_digit());
        &digits[end.unwrap_or(digits.len())..]
    });
    let zone = match rest.trim_ascii_start() {
        b"" | b"Z" | b"z" => 0,
        named => zone(named)?,
    };
    Some(day * 86_400 + clock(time)? - zone)
}

fn number(text: &[u8]) -> Option<i64> {
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let seconds = if !number.is_finite() || number < SECONDS_MIN {
        return None;
    } else if number < SECONDS_MAX {
        number
    } else if number < MILLIS_MAX {
        number / 1e3
    } else if number < MILLIS_MAX * 1e3 {
        number / 1e6
    } else {
        number / 1e9
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates, and whole seconds are wanted"
    )]
    Some(seconds.floor() as i64)
}

/// `13:55:36`, where the colons are; a leap second is the next one.
fn clock(text: &[u8]) -> Option<i64> {
    let (hour, minute, second) = (
        digits(&text[..2])?,
        digits(&text[3..5])?,
        digits(&text[6..8])?,
    );
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

/// Seconds east of Greenwich: `-0700`, `+05:30` or `+01`.
fn zone(text: &[u8]) -> Option<i64> {
    let (sign, rest) = text.split_first()?;
    let (hours, minutes) = match rest {
        [_, _] => (rest, &b"00"[..]),
        [_, _, _, _] => rest.split_at(2),
        [_, _, b':', _, _] => (&rest[..2], &rest[3..]),
        _ => return None,
    };
    let seconds = digits(hours)? * 3600 + digits(minutes)? * 60;
    match sign {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number * 10 + i64::from(byte - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOON: i64 = 1_709_208_000;

    #[test]
    fn times_are_read_as_logs_write_them() {
        for text in [
            "29/Feb/2024:12:00:00 +0000",
            "29/Feb/2024:05:00:00 -0700",
            "2024-02-29T12:00:00Z",
            "2024-02-29 12:00:00",
            "2024-02-29T12:00:00.999999+00:00",
            "2024-02-29T12:00:00,123",
            "2024-02-29T17:30:00+0530",
            "2024-02-29 13:00:00 +01",
            "1709208000",
            "1709208000.75",
            "1709208000123",
            "1709208000123456",
            "1709208000123456789",
            " 1709208000 ",
            "[29/Feb/2024:12:00:00 +0000]",
        ] {
            assert_eq!(of_any_format(text.as_bytes()), Some(NOON), "{text}");
        }
        for text in [
            "",
            "-",
            "now",
            "30/Feb/2024:12:00:00 +0000",
            "29/feb/2024:12:00:00 +0000",
            "29/Feb/2024:25:00:00 +0000",
            "29/Feb/2024 12:00:00 +0000",
            "2024-02-30T12:00:00Z",
            "2024-02-29T12:00",
            "2024-02-29",
            "2024-02-29T12:00:00+1",
            "-5",
            "0.123",
            "NaN",
            "[]",
            "[1709208000",
        ] {
            assert_eq!(of_any_format(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn of_the_same_day_only_the_clock_is_read() {
        let last = Last::default();
        for (text, expected) in [
            ("29/Feb/2024:12:00:00 +0000", Some(NOON)),
            ("29/Feb/2024:12:00:07 +0000", Some(NOON + 7)),
            ("29/Feb/2024:23:59:60 +0000", Some(NOON + 43_200)),
            ("29/Feb/2024:12:00.07 +0000", None),
            ("29/Feb/2024:24:00:00 +0000", None),
            ("29/Feb/2024:12:00:00 +0100", Some(NOON - 3600)),
            ("29/Feb/2024:12:30:00 +0100", Some(NOON - 1800)),
            ("01/Mar/2024:12:00:00 +0100", Some(NOON + 82_800)),
            ("30/Feb/2024:12:00:00 +0100", None),
            ("01/Mar/2024:12:00:01 +0100", Some(NOON + 82_801)),
        ] {
            assert_eq!(last.or_common(text.as_bytes()), expected, "{text}");
            assert_eq!(common(text.as_bytes()), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text: Vec<u8>, shape in "[0-9/:A-Za-z +.TZ-]{10,30}") {
            let _ = (of_any_format(&text), of_any_format(shape.as_bytes()), common(&text));
        }

        #[test]
        fn what_was_read_before_changes_nothing(texts in prop::collection::vec("(29/Feb|0[19]/Mar)/202[45]:[012][0-9][:.]00:[0-6]0 [+-]0[01]00", 1..20)) {
            let last = Last::default();
            for text in texts {
                prop_assert_eq!(last.or_common(text.as_bytes()), common(text.as_bytes()), "{}", text);
            }
        }
    }
}
