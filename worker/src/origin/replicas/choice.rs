//! Which replica is asked: of those within the maximum the one that lags least, in whole seconds.
//!
//! Pure. Where several lag alike, it stays with the one that is asked now, so that connections and prepared queries are kept;
//! else it is the first of the list.

use std::time::Duration;

/// What is known of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// It was not asked yet.
    Unknown,
    /// It lags so much.
    Lags(Duration),
    /// It is no replica (any more): it was promoted, or never was one. What it has is not behind anything that is known here.
    Promoted,
    /// It did not say, or failed when it was asked something else.
    Failed(String),
}

impl Reading {
    fn lag(&self) -> Option<Duration> {
        match self {
            Self::Lags(lag) => Some(*lag),
            Self::Promoted => Some(Duration::ZERO),
            Self::Unknown | Self::Failed(_) => None,
        }
    }

    /// Whether it may be asked.
    fn within(&self, lag_max: Duration) -> bool {
        self.lag().is_some_and(|lag| lag <= lag_max)
    }
}

/// The replica to ask, by its place; `None` where none is within `lag_max`.
pub(super) fn choose(
    readings: &[Reading],
    current: Option<usize>,
    lag_max: Duration,
) -> Option<usize> {
    let within = readings.iter().enumerate();
    let within = within.filter(|(_, reading)| reading.within(lag_max));
    let rank = |(place, reading): &(usize, &Reading)| {
        let seconds = reading.lag().unwrap_or_default().as_secs();
        (seconds, Some(*place) != current, *place)
    };
    within.min_by_key(rank).map(|(place, _)| place)
}

/// Why a replica is not asked, for people.
pub(super) fn why_not(reading: &Reading, lag_max: Duration) -> Option<String> {
    match reading {
        Reading::Unknown => Some("was not asked yet".to_owned()),
        Reading::Failed(why) => Some(why.clone()),
        reading if reading.within(lag_max) => None,
        reading => {
            let seconds = reading.lag().unwrap_or_default().as_secs();
            let lag = humantime::format_duration(Duration::from_secs(seconds));
            Some(format!("lags by {lag}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Reading::{Failed, Promoted, Unknown};
    use super::*;

    const MAX: Duration = Duration::from_secs(10);

    fn lags(millis: u64) -> Reading {
        Reading::Lags(Duration::from_millis(millis))
    }

    #[test]
    fn the_one_that_lags_least_is_asked_and_it_stays_where_several_lag_alike() {
        let down = || Failed("down".to_owned());
        for (readings, current, chosen) in [
            (vec![lags(3000), lags(1000)], None, Some(1)),
            (vec![lags(3000), lags(1000)], Some(0), Some(1)),
            (vec![lags(900), lags(100)], Some(0), Some(0)),
            (vec![lags(100), lags(900)], Some(1), Some(1)),
            (vec![lags(100), lags(900)], None, Some(0)),
            (vec![lags(10_000), down()], None, Some(0)),
            (vec![lags(10_001), down()], Some(0), None),
            (vec![Unknown, Unknown], None, None),
            (vec![down(), Promoted, lags(1000)], Some(2), Some(1)),
            (vec![], None, None),
        ] {
            assert_eq!(choose(&readings, current, MAX), chosen, "{readings:?}");
        }
    }

    #[test]
    fn whoever_is_not_asked_has_a_reason() {
        let why = |reading| why_not(&reading, MAX);
        assert_eq!(why(lags(31_500)).as_deref(), Some("lags by 31s"));
        assert_eq!(why(Failed("gone".into())).as_deref(), Some("gone"));
        assert_eq!(why(lags(9_000)), None);
        assert_eq!(why(Promoted), None);
    }
}
