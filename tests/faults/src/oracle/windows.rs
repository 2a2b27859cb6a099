//! B3: in no second, wherever it begins, does the database see more statements than the ceiling allows.
//!
//! The README promises more than ceiling · 1 s + burst: at most the ceiling, without the burst, where each worker has a whole
//! query a second; so that is what is asked for here. Two things are allowed for, each where it can happen only: a second that
//! touches a change of the ceiling counts against the larger one, and a worker that was stopped may send what it had in hand
//! when it wakes.

use super::Ceilings;

/// What "any second" means, in milliseconds.
const SECOND_MS: u64 = 1000;
/// How much later than it was so a change of the ceiling may have been seen, or the other way round, in milliseconds.
const SEEN_WITHIN_MS: u64 = 250;

/// Queries that a stopped worker had in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InHand {
    /// When it was woken.
    pub(crate) woken_ms: u64,
    /// Its share of the queries in flight.
    pub(crate) queries: u64,
}

/// The fullest second, measured by what was allowed in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fullest {
    /// When it began.
    pub(crate) from_ms: u64,
    /// Statements in it.
    pub(crate) statements: u64,
    /// What the ceiling allowed: whole queries.
    pub(crate) ceiling: u64,
    /// What a worker that was woken then could have had in hand.
    pub(crate) in_hand: u64,
}

impl Fullest {
    /// Whether that was too much.
    pub(crate) fn is_over(&self) -> bool {
        self.statements > self.ceiling + self.in_hand
    }

    /// Statements beside what the ceiling allowed, whatever was in hand.
    #[expect(clippy::cast_precision_loss, reason = "a few statements")]
    pub(crate) fn ratio(&self) -> f64 {
        self.statements as f64 / (self.ceiling.max(1)) as f64
    }
}

/// The second that used most of what it was allowed, or broke it by most. `times` are when statements came, in milliseconds since
/// 1970, in order.
pub(crate) fn fullest(times: &[u64], ceilings: &Ceilings, in_hand: &[InHand]) -> Fullest {
    let seconds = times.iter().enumerate().map(|(first, from_ms)| {
        let until_ms = from_ms + SECOND_MS;
        let within = times[first..].partition_point(|time| *time < until_ms);
        Fullest {
            from_ms: *from_ms,
            statements: within as u64,
            ceiling: ceiling_within(ceilings, *from_ms, until_ms),
            in_hand: in_hand
                .iter()
                .filter(|hand| touches(hand, *from_ms, until_ms))
                .map(|hand| hand.queries)
                .sum(),
        }
    });
    let rank = |second: &Fullest| {
        let beyond = second
            .statements
            .saturating_sub(second.ceiling + second.in_hand);
        // Of those that are not over: statements per ceiling, in thousandths.
        (beyond, second.statements * 1000 / second.ceiling.max(1))
    };
    seconds.max_by_key(rank).unwrap_or_default()
}

/// The largest ceiling that may have been in force in this time, in whole queries a second.
fn ceiling_within(ceilings: &Ceilings, from_ms: u64, until_ms: u64) -> u64 {
    let ends = ceilings
        .iter()
        .skip(1)
        .map(|(end, _)| *end)
        .chain([u64::MAX]);
    let in_force = ceilings.iter().zip(ends).filter(|((begin, _), end)| {
        *begin < until_ms + SEEN_WITHIN_MS && end.saturating_add(SEEN_WITHIN_MS) > from_ms
    });
    let largest = in_force.map(|((_, rate_milli), _)| *rate_milli).max();
    largest.unwrap_or(0).div_ceil(1000)
}

/// Whether what was in hand can have come in this time: within a second of the waking.
fn touches(hand: &InHand, from_ms: u64, until_ms: u64) -> bool {
    hand.woken_ms < until_ms && from_ms < hand.woken_ms + SECOND_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUR: [(u64, u64); 1] = [(0, 4000)];

    #[test]
    fn a_second_that_begins_anywhere_counts() {
        let times = [10_100, 10_900, 10_950, 11_050, 11_850];
        let found = fullest(&times, &FOUR.to_vec(), &[]);
        assert_eq!((found.statements, found.is_over()), (4, false));
        let times = [10_100, 10_900, 10_950, 11_050, 11_099];
        let found = fullest(&times, &FOUR.to_vec(), &[]);
        assert_eq!((found.from_ms, found.statements), (10_100, 5));
        assert!(found.is_over());
    }

    #[test]
    fn the_end_of_a_second_is_not_in_it() {
        let times = [10_000, 10_250, 10_500, 10_750, 11_000];
        assert!(!fullest(&times, &FOUR.to_vec(), &[]).is_over());
    }

    #[test]
    fn a_lowered_ceiling_holds_for_seconds_that_begin_after_it_was_seen() {
        let ceilings = vec![(0, 4000), (20_000, 1000)];
        let around = [19_900, 20_000, 20_050, 20_100];
        assert!(!fullest(&around, &ceilings, &[]).is_over());
        let after = [20_300, 20_400];
        let found = fullest(&after, &ceilings, &[]);
        assert_eq!((found.statements, found.ceiling), (2, 1));
        assert!(found.is_over());
    }

    #[test]
    fn the_second_shown_is_the_worst_beside_its_own_ceiling() {
        let ceilings = vec![(0, 4000), (20_000, 1000)];
        let times = [10_000, 10_001, 10_002, 10_003, 30_000, 30_100];
        assert_eq!(fullest(&times, &ceilings, &[]).from_ms, 30_000);
    }

    #[test]
    fn before_there_is_a_ceiling_nothing_may_come() {
        assert!(fullest(&[10_000], &vec![(20_000, 4000)], &[]).is_over());
        assert!(fullest(&[10_000], &vec![], &[]).is_over());
        assert!(!fullest(&[], &vec![], &[]).is_over());
    }

    #[test]
    fn what_a_woken_worker_had_in_hand_is_allowed_for_once_and_only_then() {
        let hand = [InHand {
            woken_ms: 10_000,
            queries: 2,
        }];
        let six = [10_000, 10_001, 10_002, 10_003, 10_004, 10_005];
        assert!(!fullest(&six, &FOUR.to_vec(), &hand).is_over());
        let later: Vec<u64> = six.iter().map(|time| time + 1000).collect();
        assert!(fullest(&later, &FOUR.to_vec(), &hand).is_over());
        let seven: Vec<u64> = six.iter().copied().chain([10_006]).collect();
        assert!(fullest(&seven, &FOUR.to_vec(), &hand).is_over());
    }

    #[test]
    fn a_pace_of_130_percent_is_found() {
        let times: Vec<u64> = (0..260).map(|n| 10_000 + n * 1000 / 52).collect();
        assert!(fullest(&times, &vec![(0, 40_000)], &[]).is_over());
    }
}
