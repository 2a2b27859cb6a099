//! How long owners have been asked to release partitions, on this leader's clock: another leader's begins anew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stoke_core::ledger::Timing;
use stoke_core::names::{JobName, WorkerName};
use stoke_core::units::{Moment, PartitionId};

use crate::view::JobView;

/// Since when this leader has seen partitions marked to leave their owners.
#[derive(Debug, Default)]
pub(in super::super) struct Departures {
    since: BTreeMap<JobName, BTreeMap<(PartitionId, WorkerName), Moment>>,
}

impl Departures {
    /// Takes note of what a look showed: marks that are new begin to count, those that are gone are forgotten.
    pub(in super::super) fn look<'a>(
        &mut self,
        jobs: impl Iterator<Item = &'a JobView>,
        now: Moment,
    ) {
        let mut before = std::mem::take(&mut self.since);
        for job in jobs {
            let seen = before.remove(&job.name).unwrap_or_default();
            let since = |marked| {
                let since = seen.get(&marked).copied().unwrap_or(now);
                (marked, since)
            };
            let marked = job.owners.iter().flat_map(|(worker, owner)| {
                let leaving = owner.assignment.value.leaving.iter();
                leaving.map(|partition| (*partition, worker.clone()))
            });
            let marked: BTreeMap<_, _> = marked.map(since).collect();
            if !marked.is_empty() {
                self.since.insert(job.name.clone(), marked);
            }
        }
    }

    /// The partitions whose owners were asked so long ago that they are not waited for.
    pub(in super::super) fn overdue(
        &self,
        job: &JobName,
        now: Moment,
        timing: Timing,
    ) -> BTreeSet<PartitionId> {
        let marked = self.since.get(job).into_iter().flatten();
        let overdue = marked.filter(|(_, since)| now.since(**since) >= patience(timing));
        overdue.map(|((partition, _), _)| *partition).collect()
    }
}

/// How long an owner is waited for: until it has looked at the store, the last statement it had sent has come back, and
/// its checkpoint has been written.
#[must_use]
pub(in super::super) fn patience(timing: Timing) -> Duration {
    timing.drifted(timing.renew_every + timing.statement_timeout) + timing.renew_deadline
}

#[cfg(test)]
mod tests {
    use stoke_core::records::{Assignment, keys};

    use super::super::super::scene::{self, Scene};
    use super::*;

    const START: Moment = Moment::from_nanos(1_000_000_000_000);

    /// A job of which these workers own a partition each, by its number, and which of those are marked.
    fn job(owners: &[(&str, u16, bool)]) -> JobView {
        let plan = scene::plan(10, scene::coarsest());
        let scene = Scene::running(scene::spec(vec![scene::named()]), plan);
        for (owner, partition, leaves) in owners {
            let partition = PartitionId(*partition);
            let assignment = Assignment {
                partitions: [(partition, Default::default())].into(),
                leaving: leaves.then_some(partition).into_iter().collect(),
                ..Assignment::default()
            };
            let owner = scene::worker(owner);
            scene.put(&keys::assignment(scene.job(), &owner), &assignment);
        }
        scene.view()
    }

    #[test]
    fn each_mark_counts_from_when_this_leader_first_saw_it() {
        let timing = Timing::default();
        let patience = patience(timing);
        let early = Duration::from_secs(1);
        let mut departures = Departures::default();
        let first = job(&[("w1", 1, true), ("w2", 2, false), ("w3", 3, false)]);
        departures.look([&first].into_iter(), START);
        let second = job(&[("w1", 1, true), ("w2", 2, true), ("w3", 3, false)]);
        departures.look([&second].into_iter(), START + early);
        let overdue = |departures: &Departures, at| {
            let overdue = departures.overdue(&first.name, at, timing);
            overdue.into_iter().map(|p| p.0).collect::<Vec<_>>()
        };
        for (after, expected) in [
            (patience - Duration::from_nanos(1), vec![]),
            (patience, vec![1]),
            (patience + early, vec![1, 2]),
        ] {
            assert_eq!(overdue(&departures, START + after), expected, "{after:?}");
        }
        // Another leader's clock begins when that one first looks.
        let mut other = Departures::default();
        other.look([&second].into_iter(), START + patience);
        assert!(overdue(&other, START + patience + early).is_empty());
    }

    #[test]
    fn one_that_has_a_new_owner_or_lost_its_mark_counts_anew() {
        let timing = Timing::default();
        let late = START + patience(timing);
        let marked = job(&[("w1", 1, true)]);
        for between in [job(&[("w2", 1, true)]), job(&[("w1", 1, false)])] {
            let mut departures = Departures::default();
            departures.look([&marked].into_iter(), START);
            departures.look([&between].into_iter(), late);
            assert!(departures.overdue(&marked.name, late, timing).is_empty());
            departures.look([&marked].into_iter(), late);
            assert!(departures.overdue(&marked.name, late, timing).is_empty());
        }
    }

    #[test]
    fn patience_outlasts_a_beat_a_statement_and_a_write() {
        let timing = Timing::default();
        assert!(patience(timing) > Duration::from_secs(7));
        assert!(patience(timing) < Duration::from_secs(8));
    }
}
