//! Points and spans of time, for scripts (RFC 3339) and for people.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use stoke_proto::v1;

/// A time as RFC 3339 with milliseconds: 2026-11-23T21:00:00.123Z. `None` where it is none of the calendar's.
pub fn rfc3339(time: Timestamp) -> Option<String> {
    let time = in_calendar(time)?;
    Some(humantime::format_rfc3339_millis(time).to_string())
}

/// The same to the second, for people.
pub fn rfc3339_seconds(time: Timestamp) -> Option<String> {
    let time = in_calendar(time)?;
    Some(humantime::format_rfc3339_seconds(time).to_string())
}

/// The last second that RFC 3339 can write: 9999-12-31T23:59:59Z.
const SECONDS_MAX: i64 = 253_402_300_799;

fn in_calendar(time: Timestamp) -> Option<SystemTime> {
    if !(0..=SECONDS_MAX).contains(&time.seconds) {
        return None;
    }
    SystemTime::try_from(time).ok()
}

/// How long ago something was, to its first unit: 42s, 5m, 3h, 12d.
pub fn age(since: Timestamp, now: SystemTime) -> String {
    let since = in_calendar(since).unwrap_or(now);
    let seconds = now.duration_since(since).unwrap_or_default().as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A span, to the second above a minute: 12.3 s, 5m 3s.
pub fn span(seconds: f64) -> String {
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        whole(seconds)
    }
}

/// A span to the second: 12s, 5m 3s.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "casts from floats saturate"
)]
pub fn whole(seconds: f64) -> String {
    let seconds = Duration::from_secs(seconds.round() as u64);
    humantime::format_duration(seconds).to_string()
}

/// A duration in seconds, to the millisecond.
#[expect(clippy::cast_precision_loss, reason = "seconds for display")]
pub fn seconds(duration: prost_types::Duration) -> f64 {
    let seconds = duration.seconds as f64 + f64::from(duration.nanos) / 1e9;
    (seconds * 1000.0).round() / 1000.0
}

/// How long a job has run, in seconds: from its creation to its end, or until now.
#[expect(clippy::cast_precision_loss, reason = "seconds for display")]
pub fn seconds_of(job: &v1::Job, now: SystemTime) -> f64 {
    let seconds = |time: Timestamp| time.seconds as f64 + f64::from(time.nanos) / 1e9;
    let end = seconds(job.end_time.unwrap_or_else(|| now.into()));
    job.create_time
        .map_or(0.0, |start| (end - seconds(start)).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64, nanos: i32) -> Timestamp {
        Timestamp { seconds, nanos }
    }

    #[test]
    fn times_are_rfc_3339_and_what_is_none_is_left_out() {
        assert_eq!(
            rfc3339(at(1_795_467_600, 123_000_000)).unwrap(),
            "2026-11-23T21:00:00.123Z"
        );
        assert_eq!(rfc3339_seconds(at(0, 0)).unwrap(), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(at(-1, 0)), None);
        assert_eq!(rfc3339(at(i64::MAX, 0)), None);
    }

    #[test]
    fn an_age_has_one_unit() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (seconds, text) in [
            (1_000_000, "0s"),
            (999_941, "59s"),
            (999_940, "1m"),
            (996_400, "1h"),
            (0, "11d"),
            (2_000_000, "0s"),
        ] {
            assert_eq!(age(at(seconds, 0), now), text);
        }
    }

    #[test]
    fn spans_are_as_exact_as_people_want_them() {
        assert_eq!(span(12.34), "12.3 s");
        assert_eq!(span(303.4), "5m 3s");
        assert_eq!(whole(0.2), "0s");
    }
}
