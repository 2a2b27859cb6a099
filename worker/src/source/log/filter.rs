//! Which accesses count, and how much.

use std::time::SystemTime;

use stoke_core::access_log::{AccessLog, Filter};

use super::access::Access;

/// Whether an access counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Filtered {
    /// It does, with this weight: 1, or less where it is old.
    Counts(f64),
    Out,
}

/// Decides over accesses.
#[derive(Debug)]
pub(super) struct Sieve {
    /// None: all methods.
    methods: Vec<String>,
    /// For each status whether it counts: there are not so many that they could not be looked up.
    statuses: Vec<bool>,
    since: Option<i64>,
    until: Option<i64>,
    half_life_s: Option<f64>,
    /// From which second since 1970 ages count.
    ages_from: i64,
    /// When the newest of those that count was.
    newest: Option<i64>,
}

/// All statuses are below.
const STATUSES: u16 = 1000;

/// So many half-lives old an access counts less than the least that can be told of a priority.
const HALF_LIVES_MAX: f64 = 10.0;

impl Sieve {
    pub(super) fn new(log: &AccessLog, now: SystemTime) -> Self {
        let now = now.duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        });
        #[expect(
            clippy::cast_precision_loss,
            reason = "a time of days or years, in seconds"
        )]
        let half_life_s = log.half_life_s.map(|seconds| seconds as f64);
        let Filter {
            methods,
            statuses,
            since,
            until,
        } = &log.filter;
        let counts = |status| statuses.iter().any(|wanted| wanted.contain(status));
        Self {
            methods: methods.iter().cloned().collect(),
            statuses: (0..STATUSES).map(counts).collect(),
            since: *since,
            until: *until,
            ages_from: until.unwrap_or(now),
            half_life_s,
            newest: None,
        }
    }

    /// How many half-lives old the newest access is, where that is so many that nearly nothing is left of any.
    pub(super) fn faded(&self) -> Option<u64> {
        let half_lives = self.half_lives(self.newest?)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and is not negative"
        )]
        (half_lives > HALF_LIVES_MAX).then_some(half_lives as u64)
    }

    fn half_lives(&self, at: i64) -> Option<f64> {
        // What a clock that was ahead has written is as new as can be.
        let age = self.ages_from.saturating_sub(at).max(0);
        #[expect(clippy::cast_precision_loss, reason = "an age, in seconds")]
        self.half_life_s.map(|half_life_s| age as f64 / half_life_s)
    }

    /// What an access counts.
    ///
    /// # Errors
    /// Where it has no time, and that matters.
    pub(super) fn weight(&mut self, access: &Access<'_>) -> Result<Filtered, String> {
        let is_of_time = self.since.is_some() || self.until.is_some() || self.half_life_s.is_some();
        if is_of_time && access.at.is_none() {
            return Err("it has no time, by which it is to be filtered or weighed".to_owned());
        }
        let by_method = |method: &[u8]| {
            let mut wanted = self.methods.iter();
            self.methods.is_empty() || wanted.any(|wanted| wanted.as_bytes() == method)
        };
        let by_status = |status| self.statuses.get(usize::from(status)) == Some(&true);
        let by_time = |at: i64| {
            self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at < until)
        };
        let passes = access.method.as_deref().is_none_or(by_method)
            && access.status.is_none_or(by_status)
            && access.at.is_none_or(by_time);
        if !passes {
            return Ok(Filtered::Out);
        }
        self.newest = self.newest.max(access.at);
        let half_lives = access.at.and_then(|at| self.half_lives(at));
        let weight = half_lives.map_or(1.0, |half_lives| (-half_lives).exp2());
        Ok(Filtered::Counts(weight))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn log(filter: Filter, half_life_s: Option<u64>) -> AccessLog {
        AccessLog {
            paths: Vec::new(),
            lines: Default::default(),
            fields: Default::default(),
            urls: Vec::new(),
            filter,
            half_life_s,
        }
    }

    fn access(method: &'static str, status: u16, at: i64) -> Access<'static> {
        Access {
            method: Some(method.as_bytes().into()),
            status: Some(status),
            at: Some(at),
            ..Access::default()
        }
    }

    #[test]
    fn what_was_read_and_answered_counts() {
        let mut sieve = Sieve::new(&log(Filter::default(), None), SystemTime::now());
        let mut weight = |method, status| sieve.weight(&access(method, status, 5)).unwrap();
        assert_eq!(weight("GET", 200), Filtered::Counts(1.0));
        assert_eq!(weight("HEAD", 304), Filtered::Counts(1.0));
        for (method, status) in [("POST", 200), ("get", 200), ("GET", 404), ("GET", 302)] {
            assert_eq!(weight(method, status), Filtered::Out, "{method} {status}");
        }
        assert_eq!(
            sieve.weight(&Access::default()),
            Ok(Filtered::Counts(1.0)),
            "nothing is said"
        );
    }

    #[test]
    fn times_bound_and_weigh() {
        let filter = Filter {
            since: Some(1000),
            until: Some(2000),
            ..Filter::default()
        };
        let mut sieve = Sieve::new(&log(filter, Some(100)), SystemTime::now());
        let mut weight = |at| sieve.weight(&access("GET", 200, at)).unwrap();
        assert_eq!([weight(999), weight(2000)], [Filtered::Out; 2]);
        assert_eq!(
            [weight(1900), weight(1700)],
            [0.5, 0.125].map(Filtered::Counts)
        );
        assert!(
            sieve
                .weight(&Access::default())
                .unwrap_err()
                .contains("no time")
        );
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(500);
        let mut sieve = Sieve::new(&log(Filter::default(), Some(100)), now);
        let mut weight = |at| sieve.weight(&access("GET", 200, at)).unwrap();
        assert_eq!([weight(400), weight(600)], [0.5, 1.0].map(Filtered::Counts));
        assert_eq!(sieve.faded(), None);
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(2000);
        let mut sieve = Sieve::new(&log(Filter::default(), Some(100)), later);
        for at in [100, 700, 300] {
            sieve.weight(&access("GET", 200, at)).unwrap();
        }
        assert_eq!(sieve.faded(), Some(13));
    }
}
