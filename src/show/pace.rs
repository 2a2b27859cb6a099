//! How fast a job goes, and when it will be done, by what was seen of it last.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What was seen before is forgotten: the rate is that of the last ten seconds.
const REMEMBERED: Duration = Duration::from_secs(10);
/// How long something must have been seen before a rate means anything.
const SEEN_AT_LEAST: Duration = Duration::from_secs(1);
/// The most that is remembered: a watch sends ten messages a second at most.
const SEEN_MAX: usize = 200;

/// What was seen of a job lately: when, and how many entries had an outcome.
#[derive(Debug, Default)]
pub struct Pace {
    seen: VecDeque<(Instant, u64)>,
}

impl Pace {
    /// Takes note of how many entries have an outcome now.
    pub fn note(&mut self, now: Instant, done: u64) {
        self.seen.push_back((now, done));
        // One is kept from before, so that what is remembered spans all of that time.
        while self.seen.len() > SEEN_MAX
            || self
                .seen
                .get(1)
                .is_some_and(|(at, _)| now.duration_since(*at) >= REMEMBERED)
        {
            self.seen.pop_front();
        }
    }

    /// Forgets everything: who stands still has no pace.
    pub fn forget(&mut self) {
        self.seen.clear();
    }

    /// Entries a second; `None` as long as too little was seen.
    #[expect(clippy::cast_precision_loss, reason = "a rate for display")]
    pub fn rate(&self) -> Option<f64> {
        let (first, before) = self.seen.front()?;
        let (last, now) = self.seen.back()?;
        let span = last.duration_since(*first);
        (span >= SEEN_AT_LEAST).then(|| now.saturating_sub(*before) as f64 / span.as_secs_f64())
    }

    /// How many seconds so many entries will take at this pace; `None` where nobody can tell.
    #[expect(clippy::cast_precision_loss, reason = "a time for display")]
    pub fn seconds_left(&self, pending: u64) -> Option<f64> {
        let rate = self.rate()?;
        (rate > 0.0).then(|| pending as f64 / rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_ten_seconds() {
        let begun = Instant::now();
        let mut pace = Pace::default();
        let after = |seconds| begun + Duration::from_secs(seconds);
        pace.note(begun, 1_000_000);
        assert_eq!(pace.rate(), None, "what was done before is no pace");
        for second in 1..=5 {
            pace.note(after(second), 1_000_000 + second * 100);
        }
        assert_eq!(pace.rate(), Some(100.0));
        assert_eq!(pace.seconds_left(500), Some(5.0));
        for second in 6..=20 {
            pace.note(after(second), 1_000_500 + (second - 5) * 300);
        }
        assert_eq!(pace.rate(), Some(300.0), "the slow beginning is forgotten");
    }

    #[test]
    fn who_stands_still_never_gets_there() {
        let begun = Instant::now();
        let mut pace = Pace::default();
        pace.note(begun, 7);
        pace.note(begun + Duration::from_secs(3), 7);
        assert_eq!((pace.rate(), pace.seconds_left(1)), (Some(0.0), None));
        pace.forget();
        assert_eq!(pace.rate(), None);
    }
}
