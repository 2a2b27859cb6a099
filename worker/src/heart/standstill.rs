//! Standing still after the store was restored from a backup.
//!
//! A restored store does not know what was granted after its backup was made. Were this worker to renew there at once,
//! another one could still use what it was granted before, and both together more than the budget. So whoever sees that the
//! store was restored renews nothing until all grants of before are certainly over, as the coordinator grants nothing for
//! as long.

use std::time::Duration;

use stoke_core::names::{Resource, WorkerName};
use stoke_core::records::keys;
use stoke_core::units::Moment;
use stoke_store::Revision;
use stoke_store::continuity::{Continuity, Restored};

use super::reading::Records;

/// Whether, and why, nothing is renewed.
#[derive(Debug)]
pub(super) struct Standstill {
    worker: WorkerName,
    quarantine: Duration,
    seen: Continuity,
    now: Option<(Moment, Restored)>,
}

impl Standstill {
    pub(super) fn new(worker: WorkerName, quarantine: Duration) -> Self {
        Self {
            worker,
            quarantine,
            seen: Continuity::default(),
            now: None,
        }
    }

    /// Notes an ack of this worker's.
    pub(super) fn acked(&mut self, resource: &Resource, at: Revision) {
        self.seen.put(keys::ack(resource, &self.worker), at);
    }

    /// Takes note of what was read.
    ///
    /// # Errors
    /// The store was restored: nothing that it granted before holds.
    pub(super) fn look(&mut self, now: Moment, records: &Records) -> Result<(), Restored> {
        let acks: Vec<(String, Revision)> = records
            .resources
            .iter()
            .filter_map(|(resource, found)| {
                let (_, revision) = found.ack?;
                Some((keys::ack(resource, &self.worker), Revision(revision)))
            })
            .collect();
        let acks = acks.iter().map(|(key, at)| (key.as_str(), *at));
        let look = self.seen.look(records.cluster_id, records.revision, acks);
        if let Err(restored) = &look {
            self.now = Some((now + self.quarantine, restored.clone()));
        }
        look
    }

    /// How the store was found to be restored, while it is too early to renew.
    pub(super) fn lasts(&mut self, now: Moment) -> Option<&Restored> {
        self.now.take_if(|(until, _)| *until <= now);
        self.now.as_ref().map(|(_, restored)| restored)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use stoke_core::ledger::{Ack, Share};

    use super::super::reading::Found;
    use super::*;

    const QUARANTINE: Duration = Duration::from_secs(6);

    fn shop() -> Resource {
        "origin/shop".parse().unwrap()
    }

    fn records(revision: u64, ack: Option<u64>) -> Records {
        let confirmed = Ack {
            share: Share::NONE,
            sequence: 1,
            lingering: false,
        };
        let found = Found {
            ack: ack.map(|revision| (confirmed, revision)),
            ..Found::default()
        };
        Records {
            revision: Revision(revision),
            cluster_id: 7,
            resources: BTreeMap::from([(shop(), found)]),
            ..Records::default()
        }
    }

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    fn standstill() -> Standstill {
        let mut standstill = Standstill::new("w1.0".parse().unwrap(), QUARANTINE);
        standstill.look(at(0), &records(100, Some(90))).unwrap();
        standstill.acked(&shop(), Revision(101));
        standstill
    }

    #[test]
    fn nothing_is_renewed_for_the_quarantine_after_the_store_was_seen_to_be_restored() {
        let mut standstill = standstill();
        assert_eq!(standstill.lasts(at(1)), None);
        standstill.look(at(1), &records(50, Some(40))).unwrap_err();
        standstill.look(at(2), &records(51, Some(40))).unwrap();
        assert!(standstill.lasts(at(6)).is_some());
        assert_eq!(standstill.lasts(at(7)), None);
    }

    #[test]
    fn an_ack_older_than_the_last_confirmed_one_shows_a_restored_store_that_has_gone_past() {
        let mut standstill = standstill();
        standstill.look(at(1), &records(500, Some(90))).unwrap_err();
        assert!(standstill.lasts(at(1)).is_some());
    }

    #[test]
    fn an_ack_that_was_taken_back_or_marked_by_a_coordinator_is_no_restored_store() {
        let mut standstill = standstill();
        standstill.look(at(1), &records(500, None)).unwrap();
        standstill.look(at(2), &records(501, Some(501))).unwrap();
        assert_eq!(standstill.lasts(at(2)), None);
    }
}
