//! What this process has seen of the store, and what it must not grant because of that.
//!
//! A store that was restored from a backup does not know what was granted after the backup was made. Whoever has seen it
//! before notices, leader or not, and grants nothing until all such grants are certainly over. Who has not seen it for that
//! long, as a process that has just started, cannot notice: it takes back and lowers, but raises nothing so early.

use std::convert::Infallible;
use std::sync::PoisonError;
use std::time::Duration;

use stoke_core::ledger::{Change, Observed, Share};
use stoke_core::names::WorkerName;
use stoke_core::records::keys;
use stoke_core::units::Moment;
use stoke_store::continuity::{Continuity, Restored};
use stoke_store::{Revision, StoreError};

use crate::Shared;
use crate::view::View;

/// How often a coordinator looks at the store's revision, whether it leads or not.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What this process has seen of the store, over all its times as a leader and before.
#[derive(Debug)]
pub(crate) struct Sightings {
    quarantine: Duration,
    /// From here on it has known the store for long enough.
    known_from: Moment,
    /// The store's id and revision, and those of the ledgers.
    seen: Continuity,
    /// Until when nothing is granted, because they went back.
    restored_until: Option<Moment>,
}

/// What may be granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum May {
    /// Nothing, and nothing is taken back: the store was restored.
    Nothing,
    /// Shares may sink, and be taken back.
    Lower,
    /// Whatever the ledger allows.
    Share,
}

impl Sightings {
    /// Of a process that starts at `now`.
    pub(crate) fn new(now: Moment, quarantine: Duration) -> Self {
        Self {
            quarantine,
            known_from: now + quarantine,
            seen: Continuity::default(),
            restored_until: None,
        }
    }

    /// Takes note of what was read.
    ///
    /// # Errors
    /// The store was restored.
    pub(crate) fn look(&mut self, now: Moment, view: &View) -> Result<(), Restored> {
        // Of a ledger, the last division cannot be undone but by a backup.
        let ledgers: Vec<(String, Revision)> = view
            .resources
            .iter()
            .filter_map(|(resource, observed)| {
                let (_, revision) = observed.ledger?;
                Some((keys::ledger(resource), Revision(revision)))
            })
            .collect();
        let ledgers = ledgers.iter().map(|(key, at)| (key.as_str(), *at));
        let (id, revision) = view.read_at;
        let look = self.seen.look(id, revision, ledgers);
        if look.is_err() {
            self.restored_until = Some(now + self.quarantine);
        }
        look
    }

    /// What may be granted on what was read. A store without any grant is taken for a new one.
    pub(crate) fn may(&mut self, now: Moment, view: &View) -> May {
        let mut resources = view.resources.values();
        let is_new = resources.all(|of| of.workers().is_empty());
        if is_new {
            self.known_from = self.known_from.min(now);
        }
        if self.restored_until.is_some_and(|until| now < until) {
            May::Nothing
        } else if now < self.known_from {
            May::Lower
        } else {
            May::Share
        }
    }
}

/// What is left of a decision where no share may be raised.
pub(crate) fn lowering(changes: Vec<Change>, observed: &Observed) -> Vec<Change> {
    let present = |worker: &WorkerName| {
        observed
            .caps
            .get(worker)
            .map_or(Share::NONE, |(cap, _)| cap.share)
    };
    let lower = |change| match change {
        Change::Divide(mut division) => {
            for (worker, share) in &mut division.caps {
                *share = share.min(present(worker));
            }
            division
                .caps
                .retain(|(worker, share)| *share != present(worker));
            let says_something = !division.caps.is_empty()
                || observed.ledger.map(|(ledger, _)| ledger) != Some(division.ledger);
            says_something.then_some(Change::Divide(division))
        }
        reclaim @ Change::Reclaim(_) => Some(reclaim),
    };
    changes.into_iter().filter_map(lower).collect()
}

/// Looks at the store's revision again and again, for as long as nobody looks at all of it. (Not beside a leader's looks: of two
/// reads at a time, the later answer may be the earlier revision.)
pub(crate) async fn keep_looking(shared: &Shared) -> Infallible {
    loop {
        if let Err(error) = look(shared).await {
            let error = stoke_core::explain::explain(&error);
            tracing::debug!(error, "could not look at the store's revision");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn look(shared: &Shared) -> Result<(), StoreError> {
    let snapshot = shared.store.read(&[]).await?;
    let view = View {
        read_at: (snapshot.cluster_id, snapshot.revision),
        ..View::default()
    };
    shared.sight(&view);
    Ok(())
}

impl Shared {
    /// Takes note of what was read; `true` where it shows that the store was restored.
    pub(crate) fn sight(&self, view: &View) -> bool {
        let look = {
            let mut sightings = self
                .sightings
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            sightings.look(self.clock.now(), view)
        };
        if let Err(restored) = &look {
            tracing::error!(
                why = %restored,
                quarantine = ?self.settings.timing.quarantine,
                "the store was restored from a backup: nothing is granted until old grants are certainly over"
            );
        }
        look.is_err()
    }
}

#[cfg(test)]
mod tests {
    use stoke_core::ledger::{Allocator, Cap, Claim, Ledger, Timing};

    use super::*;

    const QUARANTINE: Duration = Duration::from_secs(6);

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    fn share(qps: u64) -> Share {
        Share {
            rate_milli: qps * 1000,
            burst: qps,
            in_flight: qps,
            rows: Share::ANY_ROWS,
        }
    }

    fn worker(name: &str) -> WorkerName {
        name.parse().unwrap()
    }

    fn ledger(target: Share) -> Ledger {
        Ledger::new(target)
    }

    /// A store at this revision, where `w1` has a share of 4, and the ledger was put at revision 40.
    fn view(revision: u64) -> View {
        let cap = Cap {
            share: share(4),
            term_ms: 5000,
        };
        let observed = Observed {
            ledger: Some((ledger(share(10)), 40)),
            caps: [(worker("w1"), (cap, 41))].into(),
            acks: [].into(),
        };
        View {
            read_at: (7, Revision(revision)),
            resources: [("origin/shop".parse().unwrap(), observed)].into(),
            ..View::default()
        }
    }

    #[test]
    fn a_process_that_has_just_started_raises_nothing_unless_the_store_is_new() {
        let mut sightings = Sightings::new(at(100), QUARANTINE);
        assert_eq!(sightings.may(at(105), &view(50)), May::Lower);
        assert_eq!(sightings.may(at(106), &view(50)), May::Share);
        // What it finds there a little later are its own grants.
        let mut sightings = Sightings::new(at(100), QUARANTINE);
        assert_eq!(sightings.may(at(100), &View::default()), May::Share);
        assert_eq!(sightings.may(at(101), &view(50)), May::Share);
    }

    #[test]
    fn nothing_is_granted_for_the_quarantine_after_the_store_was_seen_to_be_restored() {
        let mut sightings = Sightings::new(at(0), QUARANTINE);
        sightings.look(at(100), &view(50)).unwrap();
        sightings.look(at(101), &view(45)).unwrap_err();
        sightings.look(at(102), &view(46)).unwrap();
        assert_eq!(sightings.may(at(106), &view(46)), May::Nothing);
        assert_eq!(sightings.may(at(107), &view(47)), May::Share);
    }

    #[test]
    fn a_ledger_older_than_it_was_shows_a_restored_store_that_has_gone_past() {
        let mut sightings = Sightings::new(at(0), QUARANTINE);
        sightings.look(at(100), &view(50)).unwrap();
        let mut older = view(60);
        let observed = older.resources.values_mut().next().unwrap();
        observed.ledger = Some((ledger(share(10)), 39));
        sightings.look(at(101), &older).unwrap_err();
        assert_eq!(sightings.may(at(101), &older), May::Nothing);
    }

    #[test]
    fn where_nothing_may_be_raised_shares_sink_all_the_same_and_the_target_is_written() {
        let observed = &view(50).resources.into_values().next().unwrap();
        let decide = |target: u64| {
            let claims = ["w1", "w2"]
                .map(|name| (worker(name), Claim::unknown()))
                .into();
            let mut allocator = Allocator::new(Timing::default());
            let wanted = ledger(share(target));
            lowering(allocator.step(at(1), observed, &wanted, &claims), observed)
        };
        assert_eq!(decide(10), [], "w1's and w2's raises to 5 are left out");
        let [Change::Divide(division)] = &decide(2)[..] else {
            panic!("a division")
        };
        assert_eq!(division.caps, [(worker("w1"), share(1))]);
        assert_eq!(division.ledger.target, share(2));
    }
}
