//! How many requests come a second, by the times of a log's lines: whatever some clocks say.

/// So many times are kept: one of so many lines that there are no more.
const KEPT_MAX: usize = 8192;
/// Of so many at least, some are left out at both ends.
const TRIMMED_MIN: usize = 20;
/// The part of them: one in so many.
const TRIMMED: usize = 200;

/// When there were requests.
#[derive(Clone, Debug)]
pub(super) struct Times {
    seen: u64,
    /// One of so many is kept.
    every: u64,
    kept: Vec<i64>,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            seen: 0,
            every: 1,
            kept: Vec::new(),
        }
    }
}

impl Times {
    /// A request, in seconds since 1970.
    pub(super) fn see(&mut self, at: i64) {
        if self.seen.is_multiple_of(self.every) {
            if self.kept.len() == KEPT_MAX {
                let mut n = 0;
                self.kept.retain(|_| {
                    n += 1;
                    n % 2 == 1
                });
                self.every *= 2;
            }
            if self.seen.is_multiple_of(self.every) {
                self.kept.push(at);
            }
        }
        self.seen += 1;
    }

    /// How many requests there were a second. The first and the last two hundredth of them do not matter: a line from 1970, or of a
    /// clock that is years ahead, would make it as good as none. `None` where there are not two times.
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    pub(super) fn per_second(mut self) -> Option<f64> {
        self.kept.sort_unstable();
        let kept = &self.kept;
        let (first, last) = (*kept.first()?, *kept.last()?);
        if kept.len() < TRIMMED_MIN {
            let seconds = last.checked_sub(first).filter(|seconds| *seconds > 0)?;
            // The last second counts, too.
            return Some(self.seen as f64 / (seconds as f64 + 1.0));
        }
        let left_out = (kept.len() / TRIMMED).max(1);
        let (from, to) = (left_out, kept.len() - 1 - left_out);
        let seconds = kept[to]
            .checked_sub(kept[from])
            .filter(|seconds| *seconds > 0)?;
        let requests = (to - from) as f64 / kept.len() as f64 * self.seen as f64;
        Some(requests / seconds as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn per_second(times: impl IntoIterator<Item = i64>) -> Option<f64> {
        let mut all = Times::default();
        times.into_iter().for_each(|at| all.see(at));
        all.per_second()
    }

    #[test]
    fn a_rate_needs_two_times() {
        assert_eq!(per_second([]), None);
        assert_eq!(per_second([1000]), None);
        assert_eq!(per_second([1000, 1000]), None);
        // Clocks jump back.
        assert_eq!(per_second([1000, 997, 998]), Some(0.75));
        assert_eq!(per_second([i64::MIN, i64::MAX]), None);
        assert_eq!(per_second([5; 100]), None);
    }

    #[test]
    fn of_any_number_of_requests_the_rate_is_right_but_for_a_hundredth() {
        for (requests, each_second) in [(500, 2), (40_000, 10), (1_000_000, 250)] {
            let rate = per_second((0..requests).map(|n| 1_700_000_000 + n / each_second)).unwrap();
            let expected = each_second as f64;
            assert!((rate / expected - 1.0).abs() < 0.01, "{requests}: {rate}");
        }
    }

    #[test]
    fn clocks_that_are_wrong_by_years_change_nothing() {
        let day = (0..86_400).map(|n| 1_700_000_000 + n);
        for wrong in [0, 4_070_908_800, i64::MIN, i64::MAX] {
            let at = [3, 40_000, 80_000];
            let times = day
                .clone()
                .enumerate()
                .map(|(n, time)| match at.contains(&n) {
                    true => wrong,
                    false => time,
                });
            let rate = per_second(times).unwrap();
            assert!((rate - 1.0).abs() < 0.01, "{wrong}: {rate}");
        }
    }
}
