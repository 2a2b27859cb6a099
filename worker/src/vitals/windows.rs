//! Windows of one second: how long the queries took that were answered, how many were answered by an illness of the
//! resource, and how many had not been answered long after the others.
//!
//! The nth window is the nth second after the worker began to look, whether anything happened in it or not: no demand is no
//! missing signal. Pure: time is an argument. Bounds: [`KEPT`] windows that have ended, one histogram of a fixed size, and
//! the queries on their way, of which a grant has a number.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hdrhistogram::Histogram;
use stoke_core::units::Moment;
use stoke_proto::v1::{HealthWindow, LatencyCount};

/// How many windows that have ended are told of: reports come every second, and may be late, or lost with a call.
const KEPT: usize = 5;
/// How long a window is.
const LENGTH: Duration = Duration::from_secs(1);
/// What latencies are told apart: from a microsecond to an hour, with two digits. Beyond, they count as that.
const MICROS_MIN: u64 = 1;
const MICROS_MAX: u64 = 3_600_000_000;
const DIGITS: u8 = 2;

/// Names a query on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QueryId(u64);

/// The windows of one resource.
#[derive(Debug)]
pub(super) struct Windows {
    begun: Moment,
    /// How many windows have ended.
    past: u64,
    latencies: Histogram<u32>,
    ill: u64,
    ended: VecDeque<HealthWindow>,
    on_way: BTreeMap<QueryId, Moment>,
    queries: u64,
}

impl Windows {
    pub(super) fn new(now: Moment) -> Self {
        let latencies = Histogram::new_with_bounds(MICROS_MIN, MICROS_MAX, DIGITS);
        Self {
            begun: now,
            past: 0,
            latencies: latencies.unwrap_or_else(|error| unreachable!("constant bounds: {error}")),
            ill: 0,
            ended: VecDeque::new(),
            on_way: BTreeMap::new(),
            queries: 0,
        }
    }

    /// A query leaves.
    pub(super) fn sent(&mut self, now: Moment) -> QueryId {
        self.advance(now);
        self.queries += 1;
        let id = QueryId(self.queries);
        self.on_way.insert(id, now);
        id
    }

    /// A query was answered.
    pub(super) fn answered(&mut self, query: QueryId, now: Moment, ill: bool) {
        self.advance(now);
        if let Some(sent) = self.on_way.remove(&query) {
            self.latencies.saturating_record(micros(now.since(sent)));
            self.ill += u64::from(ill);
        }
    }

    /// Nobody waits for a query's answer any more.
    pub(super) fn dropped(&mut self, query: QueryId, now: Moment) {
        self.advance(now);
        self.on_way.remove(&query);
    }

    /// Since when the query is on its way that left first.
    pub(super) fn oldest(&self) -> Option<Moment> {
        self.on_way.first_key_value().map(|(_, sent)| *sent)
    }

    /// The last few windows that have ended, the oldest first.
    pub(super) fn ended(&mut self, now: Moment) -> Vec<HealthWindow> {
        self.advance(now);
        self.ended.iter().cloned().collect()
    }

    /// Ends all windows that are over. Nothing left or was answered since it was called last, so what is on its way now was
    /// so at the end of each of them.
    fn advance(&mut self, now: Moment) {
        let seconds = now.since(self.begun).as_secs();
        if seconds <= self.past {
            return;
        }
        self.end_one();
        // Of a long silence the last windows will do.
        self.past = self.past.max(seconds.saturating_sub(KEPT as u64));
        while self.past < seconds {
            self.end_one();
        }
    }

    fn end_one(&mut self) {
        self.past += 1;
        let end = self.begun + LENGTH * u32::try_from(self.past).unwrap_or(u32::MAX);
        let longest = if self.latencies.is_empty() {
            0
        } else {
            self.latencies.max()
        };
        let ages = self.on_way.values().map(|sent| micros(end.since(*sent)));
        let (overdue, oldest_micros) = ages
            .filter(|age| *age > longest)
            .fold((0, 0), |(count, oldest), age| (count + 1, age.max(oldest)));
        let latencies = self.latencies.iter_recorded().map(|found| LatencyCount {
            micros: found.value_iterated_to(),
            count: found.count_since_last_iteration(),
        });
        let window = HealthWindow {
            number: self.past,
            latencies: latencies.collect(),
            errors: std::mem::take(&mut self.ill),
            overdue,
            oldest_micros,
        };
        self.latencies.reset();
        if self.ended.len() >= KEPT {
            self.ended.pop_front();
        }
        self.ended.push_back(window);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    /// A query that left then and took so long, in milliseconds.
    fn query(windows: &mut Windows, sent: u64, took: u64, ill: bool) {
        let id = windows.sent(at(sent));
        windows.answered(id, at(sent + took), ill);
    }

    /// Latencies, in tens of milliseconds.
    fn counts(window: &HealthWindow) -> Vec<(u64, u64)> {
        let of = |found: &LatencyCount| (found.micros / 10_000, found.count);
        window.latencies.iter().map(of).collect()
    }

    #[test]
    fn a_query_counts_in_the_second_in_which_it_was_answered() {
        let mut windows = Windows::new(at(0));
        query(&mut windows, 100, 10, false);
        query(&mut windows, 200, 10, true);
        query(&mut windows, 900, 300, false);
        let ended = windows.ended(at(2000));
        assert_eq!(counts(&ended[0]), [(1, 2)]);
        assert_eq!((ended[0].number, ended[0].errors), (1, 1));
        assert_eq!(counts(&ended[1]), [(30, 1)]);
        assert_eq!((ended[1].number, ended[1].errors), (2, 0));
    }

    #[test]
    fn a_latency_is_told_to_two_digits_and_bounded() {
        let mut windows = Windows::new(at(0));
        let id = windows.sent(Moment::from_nanos(0));
        windows.answered(id, Moment::from_nanos(0), false);
        query(&mut windows, 0, 123, false);
        let told = windows.ended(at(1000)).remove(0).latencies;
        assert_eq!(told[0].micros, 0, "less than a microsecond");
        assert!((123_000..124_230).contains(&told[1].micros), "{told:?}");
        query(&mut windows, 1000, 90 * 60_000, false);
        let last = windows.ended(at(1_000_000_000));
        assert!(last.iter().all(|window| window.latencies.is_empty()));
        let mut windows = Windows::new(at(0));
        query(&mut windows, 0, 90 * 60_000, false);
        let told = windows.ended(at(5_401_000)).pop().unwrap().latencies;
        assert!(
            (MICROS_MAX..=MICROS_MAX / 100 * 101).contains(&told[0].micros),
            "{told:?}"
        );
    }

    #[test]
    fn what_is_not_answered_is_overdue_when_it_is_older_than_all_answers() {
        let mut windows = Windows::new(at(0));
        let first = windows.sent(at(300));
        let _second = windows.sent(at(400));
        let third = windows.sent(at(950));
        query(&mut windows, 500, 100, false);
        let ended = windows.ended(at(1000)).pop().unwrap();
        assert_eq!((ended.overdue, ended.oldest_micros), (2, 700_000));
        windows.answered(first, at(1100), false);
        windows.dropped(third, at(1100));
        let ended = windows.ended(at(2000)).pop().unwrap();
        assert_eq!((ended.overdue, ended.oldest_micros), (1, 1_600_000));
        let silent = windows.ended(at(3000)).pop().unwrap();
        assert_eq!((silent.overdue, silent.oldest_micros), (1, 2_600_000));
    }

    #[test]
    fn a_long_silence_ends_in_empty_windows_whose_numbers_go_on() {
        let mut windows = Windows::new(at(0));
        query(&mut windows, 100, 10, true);
        let ended = windows.ended(at(1_000_500));
        let numbers: Vec<u64> = ended.iter().map(|window| window.number).collect();
        assert_eq!(numbers, [996, 997, 998, 999, 1000]);
        assert!(
            ended
                .iter()
                .all(|window| window.latencies.is_empty() && window.errors == 0)
        );
    }

    proptest! {
        /// Whatever comes when, each answer is in one window, and each window is told of in one form only.
        #[test]
        fn every_answer_counts_once(waits in prop::collection::vec((0u64..700, any::<bool>()), 1..200)) {
            let mut windows = Windows::new(at(0));
            let mut told = BTreeMap::new();
            let (mut now, mut ill) = (0, 0);
            for (wait, is_ill) in &waits {
                let id = windows.sent(at(now));
                now += wait;
                windows.answered(id, at(now), *is_ill);
                ill += u64::from(*is_ill);
                for window in windows.ended(at(now)) {
                    let before = told.insert(window.number, window.clone());
                    prop_assert!(before.is_none_or(|before| before == window));
                }
            }
            told.extend(windows.ended(at(now + 1000)).into_iter().map(|window| (window.number, window)));
            let count: u64 = told.values().flat_map(|window| &window.latencies).map(|found| found.count).sum();
            prop_assert_eq!(count, waits.len() as u64);
            prop_assert_eq!(told.values().map(|window| window.errors).sum::<u64>(), ill);
        }
    }
}
