//! Settles who gets what: the stable matching of partitions and workers with bounded load.
//!
//! A partition prefers the worker that comes for it earliest, and a worker the partitions that it comes for earliest. So
//! both sides judge a pair by the same time, and then Gale and Shapley's deferred acceptance ("College admissions and the
//! stability of marriage", 1962) has one outcome, which is found by taking all pairs in the order of time: a partition
//! goes to the first worker that comes for it and is not full. The outcome depends on the times and the capacities alone,
//! and a change at one worker spreads only where it fills or empties another.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::ring::score::Favourites;

/// The number of the worker that gets each of `partitions`; nothing where there are no workers.
///
/// `capacities` are those of the workers. Together they hold all partitions: so when the last worker is full, or the last
/// favourite was called, every partition has its owner.
pub(super) fn stable(
    partitions: usize,
    mut workers: Vec<Favourites>,
    mut capacities: Vec<u16>,
) -> Vec<usize> {
    let mut owners = vec![None; partitions];
    let mut unowned = partitions;
    // The next favourite of every worker that is not full. Workers that come at the same time come in the order of numbers.
    let first = workers
        .iter_mut()
        .enumerate()
        .filter_map(|(worker, favourites)| coming(worker, favourites));
    let mut race: BinaryHeap<_> = first.collect();
    while unowned > 0
        && let Some(Reverse((_, worker, partition))) = race.pop()
    {
        let owner = &mut owners[usize::from(partition)];
        if owner.is_none() {
            *owner = Some(worker);
            unowned -= 1;
            capacities[worker] -= 1;
        }
        if capacities[worker] > 0 {
            race.extend(coming(worker, &mut workers[worker]));
        }
    }
    owners.into_iter().flatten().collect()
}

/// The next favourite of `worker`, as the race compares them: by time, then by the worker's number.
fn coming(worker: usize, favourites: &mut Favourites) -> Option<Reverse<(u64, usize, u16)>> {
    favourites
        .next()
        .map(|(time, partition)| Reverse((time, worker, partition)))
}
