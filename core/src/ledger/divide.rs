//! How a target is divided among the workers that have work.
//!
//! Max-min fair, by weight and by what is queued: nobody gets more than it could use within a term, before shares may
//! move again, while somebody else could use it; what nobody could use is divided all the same, by how much is queued, so
//! that all of the target is given out while anybody has work, and little of it to whoever has but a probe to send. Work of a higher priority goes first; what is of lower ones keeps a twentieth
//! together, so that nothing ever stands still for another job's sake.
//!
//! Max-min fairness by filling: D. Bertsekas, R. Gallager, Data Networks, 2nd ed., §6.5.2.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Share;
use crate::names::WorkerName;

/// What one worker has to do on a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its part beside others, where both could use more: 100 is usual; 0 counts as 1.
    pub weight: u32,
    /// How many queries it has queued, by the priority of the jobs that they are for; [`Claim::UNKNOWN`]: any number.
    /// It may be little more than none: whoever has a claim has a part.
    pub queued: BTreeMap<u32, u64>,
}

impl Claim {
    /// Nobody knows how many queries there will be.
    pub const UNKNOWN: u64 = u64::MAX;

    /// Of a worker of the usual weight that has any number of queries to send, for jobs of the lowest priority.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            weight: 100,
            queued: BTreeMap::from([(0, Self::UNKNOWN)]),
        }
    }

    fn priority_max(&self) -> u32 {
        self.queued.keys().next_back().copied().unwrap_or(0)
    }
}

/// What is of a lower priority than something else keeps one part in so many, together.
const LOWER_PART: u64 = 20;

/// How many of `workers` can have a share at all: each needs at least one query in flight, a burst of one and a row a
/// second. The rest stand by.
#[must_use]
pub fn sharers(target: Share, workers: usize) -> usize {
    if target.rate_milli == 0 {
        return 0;
    }
    let most = target
        .in_flight
        .min(target.burst)
        .min(target.rows)
        .min(target.rate_milli);
    workers.min(usize::try_from(most).unwrap_or(usize::MAX))
}

/// Divides a target among those who have a claim; where not all can have a share, those with work of the highest priority
/// have one, by name.
///
/// From one query a second and worker on, rates are whole queries a second: a rate of n lets at most ⌈n⌉ queries
/// out in any second, so that only whole numbers add up to no more than the target in every second. In each dimension
/// the parts add up to the target exactly, where anybody has a share.
#[must_use]
pub fn divide(
    target: Share,
    claims: &BTreeMap<WorkerName, Claim>,
    term: Duration,
) -> BTreeMap<WorkerName, Share> {
    let mut by_priority: Vec<_> = claims.iter().collect();
    by_priority.sort_by_key(|(_, claim)| std::cmp::Reverse(claim.priority_max()));
    by_priority.truncate(sharers(target, claims.len()));
    let sharing: BTreeSet<&WorkerName> = by_priority.iter().map(|(name, _)| *name).collect();
    let claiming: Vec<&Claim> = claims
        .iter()
        .filter(|(name, _)| sharing.contains(name))
        .map(|(_, claim)| claim)
        .collect();
    let rates = rates(target.rate_milli, &claiming, term);
    // What a query takes beside its token goes with the tokens.
    let along = |whole: u64| in_proportion(whole, &rates);
    let (bursts, in_flight) = (along(target.burst), along(target.in_flight));
    let rows = if target.rows == Share::ANY_ROWS {
        vec![Share::ANY_ROWS; rates.len()]
    } else {
        along(target.rows)
    };
    let share = |nth: usize| Share {
        rate_milli: rates[nth],
        burst: bursts[nth],
        in_flight: in_flight[nth],
        rows: rows[nth],
    };
    let mut shares: BTreeMap<WorkerName, Share> = claims
        .keys()
        .map(|name| (name.clone(), Share::NONE))
        .collect();
    shares.extend(
        sharing
            .into_iter()
            .enumerate()
            .map(|(nth, name)| (name.clone(), share(nth))),
    );
    shares
}

/// The rates of those who share, in thousandths of a query a second.
fn rates(rate_milli: u64, claims: &[&Claim], term: Duration) -> Vec<u64> {
    // Whole queries a second where there is one for each.
    let unit_milli = if rate_milli / 1000 >= claims.len() as u64 {
        1000
    } else {
        1
    };
    let units = rate_milli / unit_milli;
    let takers = |most: &dyn Fn(&Claim) -> u64| -> Vec<Taker> {
        let taker = |claim: &&Claim| Taker {
            weight: claim.weight.max(1).into(),
            most: most(claim),
        };
        claims.iter().map(taker).collect()
    };
    let mut parts = vec![0; claims.len()];
    let mut left = units;
    let priorities: BTreeSet<u32> = claims
        .iter()
        .flat_map(|claim| claim.queued.keys().copied())
        .collect();
    for (nth, priority) in priorities.iter().enumerate().rev() {
        let kept = if nth > 0 { left / LOWER_PART } else { 0 };
        let takers = takers(&|claim| usable(claim.queued.get(priority).copied(), unit_milli, term));
        left = kept + fill(left - kept, &takers, &mut parts);
    }
    // What nobody could use within a term: it may yet turn out that somebody can, likeliest whoever has most to do.
    let by_queued: Vec<Taker> = claims.iter().map(|claim| by_queued(claim)).collect();
    fill(left, &by_queued, &mut parts);
    at_least_one(&mut parts);
    let mut rates: Vec<u64> = parts.into_iter().map(|part| part * unit_milli).collect();
    if let Some(last) = rates.last_mut() {
        *last += rate_milli - units * unit_milli;
    }
    rates
}

/// The largest rate, in units, at which so many queries last for a term.
fn usable(queued: Option<u64>, unit_milli: u64, term: Duration) -> u64 {
    match queued {
        None => 0,
        Some(Claim::UNKNOWN) => u64::MAX,
        Some(queries) => {
            let term_ms = u64::try_from(term.as_millis()).unwrap_or(u64::MAX).max(1);
            let rate_milli = queries.saturating_mul(1_000_000) / term_ms;
            rate_milli.div_ceil(unit_milli)
        }
    }
}

/// Takes any part, by all that it has queued.
fn by_queued(claim: &Claim) -> Taker {
    let queued = claim
        .queued
        .values()
        .fold(0, |sum: u64, n| sum.saturating_add(*n));
    Taker {
        weight: queued.max(1),
        most: u64::MAX,
    }
}

/// Somebody among whom something is divided.
#[derive(Clone, Copy, Debug)]
struct Taker {
    weight: u64,
    /// It takes no more than this.
    most: u64,
}

/// Divides `whole` by weight, nobody getting more than it takes; adds to `parts`, and returns what nobody takes. What an
/// exact division leaves over goes to those from whom it takes most.
fn fill(whole: u64, takers: &[Taker], parts: &mut [u64]) -> u64 {
    let mut given = vec![0u64; takers.len()];
    let mut left = whole;
    loop {
        let mut open: Vec<usize> = (0..takers.len())
            .filter(|nth| given[*nth] < takers[*nth].most)
            .collect();
        let weights: u128 = open
            .iter()
            .map(|nth| u128::from(takers[*nth].weight.max(1)))
            .sum();
        if left == 0 || open.is_empty() {
            break;
        }
        let round = u128::from(left);
        let fair = |nth: &usize| round * u128::from(takers[*nth].weight.max(1));
        let mut someone_is_full = false;
        for nth in &open {
            let part = u64::try_from(fair(nth) / weights).unwrap_or(u64::MAX);
            let takes = part.min(takers[*nth].most - given[*nth]);
            someone_is_full |= takes < part;
            given[*nth] += takes;
            left -= takes;
        }
        if someone_is_full {
            continue;
        }
        open.sort_by_key(|nth| std::cmp::Reverse(fair(nth) % weights));
        for nth in open {
            let one = u64::from(left > 0 && given[nth] < takers[nth].most);
            given[nth] += one;
            left -= one;
        }
    }
    for (part, given) in parts.iter_mut().zip(given) {
        *part += given;
    }
    left
}

/// Divides `whole` in proportion, each getting at least one; there is one for each.
fn in_proportion(whole: u64, proportions: &[u64]) -> Vec<u64> {
    let taker = |proportion: &u64| Taker {
        weight: *proportion,
        most: u64::MAX,
    };
    let takers: Vec<Taker> = proportions.iter().map(taker).collect();
    let mut parts = vec![0; takers.len()];
    fill(whole, &takers, &mut parts);
    at_least_one(&mut parts);
    parts
}

/// Whoever has nothing gets one of those who have most: who has just begun could not begin otherwise.
fn at_least_one(parts: &mut [u64]) {
    while let Some(nothing) = parts.iter().position(|part| *part == 0) {
        let most = (0..parts.len()).max_by_key(|nth| parts[*nth]);
        let Some(most) = most.filter(|nth| parts[*nth] > 1) else {
            return;
        };
        parts[most] -= 1;
        parts[nothing] += 1;
    }
}

#[cfg(test)]
mod tests;
