//! The last second, as the database may have counted it: no second sees more queries than the budget, though shares move
//! between workers.
//!
//! A query leaves only where the second before it has seen fewer than the share, and a share counts as the least that it
//! was in that second: lowered at once, raised a second later. Then, for any second that begins at t, each worker's last
//! query in it has a second behind it that contains t, so the worker sent at most its share at t; and the shares at t add
//! up to the ceiling at most.
//!
//! A query that is held up on its way counts later than it left. So its second begins when it can have arrived: when it
//! was answered, less the time that queries take anyway. Where nothing is late and no share moves, pacing is slower than
//! all this, and nothing waits.
//!
//! Whoever is the first of all to have a share need not wait for that second ([`Window::untouched`]).
//!
//! Pure: time is an argument. Shares of less than one query a second are pacing's alone, and so are those that have been more than
//! [`QUERIES_MAX`] for a second: one in which such a share was moved may see a few more than the budget, as README says.

use std::collections::VecDeque;
use std::time::Duration;

use stoke_core::units::Moment;

/// Later than this nothing is counted: a query that takes long need not have arrived late.
const LATE_MAX: Duration = Duration::from_millis(200);
/// Beyond so many queries a second one more is no matter, and the headroom of the pace is enough.
const QUERIES_MAX: usize = 1000;
/// How much a slower answer moves what queries take anyway; a faster one moves it at once.
const SMOOTHING: u32 = 16;

/// A query that left.
#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Moment,
    late: Option<Duration>,
}

/// The queries and the shares of the last second or so.
#[derive(Debug)]
pub(super) struct Window {
    sent: VecDeque<Sent>,
    usual: Option<Duration>,
    /// From when on the share was so many thousandths of a query a second; the last one is in force.
    shares: VecDeque<(Moment, u64)>,
}

/// What "in any second" speaks of.
const SECOND: Duration = Duration::from_secs(1);

impl Window {
    /// Before there is a share. Others may have one.
    pub(super) fn new(now: Moment) -> Self {
        Self {
            shares: VecDeque::from([(now, 0)]),
            ..Self::untouched()
        }
    }

    /// Before anybody has a share: the first counts at once.
    pub(super) fn untouched() -> Self {
        Self {
            sent: VecDeque::new(),
            usual: None,
            shares: VecDeque::new(),
        }
    }

    /// From `now` on the share is so many thousandths of a query a second.
    pub(super) fn note_share(&mut self, now: Moment, rate_milli: u64) {
        let now = self.shares.back().map_or(now, |(since, _)| now.max(*since));
        if self
            .shares
            .back()
            .is_none_or(|(_, before)| *before != rate_milli)
        {
            self.shares.push_back((now, rate_milli));
        }
        // One that ended more than a second ago counts no more.
        while self
            .shares
            .get(1)
            .is_some_and(|(end, _)| *end + SECOND <= now)
        {
            self.shares.pop_front();
        }
    }

    /// When another query may leave at the earliest, where that is not at once; so many more are about to.
    pub(super) fn opens_at(&self, now: Moment, leaving: usize) -> Option<Moment> {
        let (_, present) = self.shares.back()?;
        if *present < 1000 {
            return None;
        }
        let ends = self
            .shares
            .iter()
            .skip(1)
            .map(|(end, _)| Some(*end))
            .chain([None]);
        let counting = self
            .shares
            .iter()
            .zip(ends)
            .filter(|(_, end)| end.is_none_or(|end| now < end + SECOND));
        let (rate_milli, end) = counting
            .map(|((_, rate), end)| (*rate, end))
            .min_by_key(|(rate, _)| *rate)?;
        let rate = usize::try_from(rate_milli / 1000).unwrap_or(usize::MAX);
        if rate == 0 {
            return end.map(|end| end + SECOND);
        }
        if rate > QUERIES_MAX {
            return None;
        }
        let nth = (self.sent.len() + leaving).checked_sub(rate)?;
        // Where the share has sunk below what is about to leave, a second without any comes before that.
        let last = self.sent.len().checked_sub(1)?;
        let before = self.sent.get(nth.min(last))?;
        let late = before
            .late
            .unwrap_or_else(|| self.late(now.since(before.at)));
        Some(before.at + late + SECOND)
    }

    /// Notes that so many queries leave.
    pub(super) fn note_sent(&mut self, now: Moment, queries: u32) {
        for _ in 0..(queries as usize).min(QUERIES_MAX) {
            if self.sent.len() >= QUERIES_MAX {
                self.sent.pop_front();
            }
            self.sent.push_back(Sent {
                at: now,
                late: None,
            });
        }
    }

    /// Notes that the query, or all of them, that left then was answered.
    pub(super) fn note_answered(&mut self, sent: Moment, now: Moment) {
        let took = now.since(sent);
        let late = self.late(took);
        self.usual = Some(match self.usual {
            Some(usual) if took > usual => usual + (took - usual) / SMOOTHING,
            _ => took,
        });
        let since = self
            .sent
            .iter_mut()
            .rev()
            .take_while(|query| query.at >= sent);
        for query in since.filter(|query| query.at == sent) {
            query.late = Some(late);
        }
    }

    /// How late a query can have arrived that has taken so long.
    fn late(&self, took: Duration) -> Duration {
        took.saturating_sub(self.usual.unwrap_or(took))
            .min(LATE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    /// A share that has been in force for long.
    fn steady(rate: u64) -> Window {
        let mut window = Window::new(at(0));
        window.note_share(at(1), rate * 1000);
        window
    }

    /// Queries that left at these times and took so long, in milliseconds.
    fn send(window: &mut Window, queries: &[(u64, u64)]) {
        for (sent, took) in queries {
            window.note_sent(at(*sent), 1);
            window.note_answered(at(*sent), at(sent + took));
        }
    }

    #[test]
    fn a_query_that_was_answered_as_usual_counts_when_it_left() {
        let mut window = steady(3);
        send(&mut window, &[(5000, 300), (5350, 300), (5700, 300)]);
        assert_eq!(window.opens_at(at(5900), 0), Some(at(6000)));
        let mut wider = steady(4);
        send(&mut wider, &[(5000, 300), (5350, 300), (5700, 300)]);
        assert_eq!(wider.opens_at(at(5900), 0), None);
    }

    #[test]
    fn a_query_that_was_answered_late_counts_from_when_it_can_have_arrived() {
        let mut window = steady(2);
        send(&mut window, &[(5000, 5), (5350, 85), (5700, 5)]);
        assert_eq!(window.opens_at(at(6200), 0), Some(at(6430)));
    }

    #[test]
    fn a_query_that_is_not_answered_yet_may_still_be_on_its_way() {
        let mut window = steady(1);
        send(&mut window, &[(5000, 5)]);
        window.note_sent(at(5350), 1);
        assert_eq!(window.opens_at(at(6300), 0), Some(at(6550)));
    }

    #[test]
    fn a_share_is_lowered_at_once_and_raised_a_second_later() {
        let mut window = steady(2);
        send(&mut window, &[(5000, 5), (5400, 5)]);
        window.note_share(at(5500), 5000);
        assert_eq!(window.opens_at(at(5600), 0), Some(at(6000)), "still 2");
        assert_eq!(window.opens_at(at(6500), 0), None, "5 by now");
        window.note_share(at(6600), 1000);
        assert_eq!(window.opens_at(at(6600), 0), Some(at(6400)), "1 at once");
    }

    #[test]
    fn a_share_that_was_gone_meanwhile_counts_from_when_it_came_back() {
        let mut window = steady(2);
        // It was noted late that it had ended before.
        window.note_share(at(5000), 0);
        window.note_share(at(5900), 2000);
        assert_eq!(window.opens_at(at(6000), 0), Some(at(6900)));
        window.note_share(at(5950), 0);
        window.note_share(at(7000), 2000);
        assert_eq!(window.opens_at(at(7000), 0), Some(at(8000)));
    }

    #[test]
    fn whoever_had_nothing_waits_a_second() {
        let mut window = Window::new(at(0));
        window.note_share(at(7000), 5000);
        assert_eq!(window.opens_at(at(7100), 0), Some(at(8000)));
        assert_eq!(window.opens_at(at(8000), 0), None);
    }

    #[test]
    fn whoever_is_the_first_does_not_wait() {
        let mut first = Window::untouched();
        assert_eq!(first.opens_at(at(6000), 0), None);
        first.note_share(at(7000), 2000);
        assert_eq!(first.opens_at(at(7000), 0), None);
        send(&mut first, &[(7000, 5), (7010, 5)]);
        assert_eq!(first.opens_at(at(7020), 0), Some(at(8000)), "2 in a second");
    }

    proptest! {
        /// However many leave at once, up to the share.
        #[test]
        fn no_second_sees_more_than_the_share_though_several_leave_at_once(
            moves in prop::collection::vec((0u64..400, 1u32..=10), 1..60),
        ) {
            const SHARE: u64 = 10;
            let mut window = steady(SHARE);
            let (mut sent, mut now) = (Vec::new(), 5000);
            for (wait, group) in moves {
                now += wait;
                for leaving in 0..group as usize {
                    if let Some(opens) = window.opens_at(at(now), leaving).filter(|opens| *opens > at(now)) {
                        now += u64::try_from(opens.since(at(now)).as_millis()).unwrap();
                    }
                }
                window.note_sent(at(now), group);
                window.note_answered(at(now), at(now));
                sent.extend((0..group).map(|_| now));
            }
            for (n, first) in sent.iter().enumerate() {
                let within = sent[n..].iter().take_while(|at| **at < first + 1000).count();
                prop_assert!(within as u64 <= SHARE, "{within} in the second from {first}");
            }
        }

        /// Any number of workers, whose shares move as they like but never add up to more than the budget: no second sees
        /// more queries than the budget, however eagerly each sends.
        #[test]
        fn no_second_sees_more_than_the_budget_though_shares_move(
            moves in prop::collection::vec((0u64..2500, 0usize..4, 0u64..=10), 1..60),
        ) {
            const BUDGET: u64 = 10;
            let mut windows: Vec<Window> = (0..4).map(|_| Window::new(at(0))).collect();
            let mut shares = [0u64; 4];
            let mut sent: Vec<u64> = Vec::new();
            let mut now = 0;
            for (wait, worker, wanted) in moves {
                for millis in now..now + wait {
                    for (window, share) in windows.iter_mut().zip(shares) {
                        while share > 0 && window.opens_at(at(millis), 0).is_none_or(|opens| opens <= at(millis)) {
                            window.note_sent(at(millis), 1);
                            window.note_answered(at(millis), at(millis));
                            sent.push(millis);
                        }
                    }
                }
                now += wait;
                let others: u64 = shares.iter().sum::<u64>() - shares[worker];
                shares[worker] = wanted.min(BUDGET - others);
                windows[worker].note_share(at(now), shares[worker] * 1000);
            }
            for (n, first) in sent.iter().enumerate() {
                let within = sent[n..].iter().take_while(|at| **at < first + 1000).count();
                prop_assert!(within as u64 <= BUDGET, "{within} in the second from {first}");
            }
        }
    }

    #[test]
    fn what_queries_take_anyway_is_learnt() {
        let mut window = steady(20);
        let slower: Vec<(u64, u64)> = (0..100)
            .map(|n| (n * 100, if n < 10 { 5 } else { 60 }))
            .collect();
        send(&mut window, &slower);
        let last = window.sent.back().unwrap();
        assert!(last.late.unwrap() < Duration::from_millis(2), "{last:?}");
    }
}
