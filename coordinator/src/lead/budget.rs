//! Commits what the allocators decide.

use std::collections::BTreeSet;

use stoke_core::ledger::{Allocator, Cap, Change, Division, Ledger, Observed, Reclaim, Share};
use stoke_core::names::Resource;
use stoke_core::records::keys;
use stoke_core::units::Moment;
use stoke_store::{Compare, Op, Revision, StoreError, Txn, TxnOutcome, record};

use super::{Lead, demand};
use crate::sightings::{May, lowering};
use crate::view::View;

/// How many caps one transaction puts; a larger division takes several.
const CAPS_MAX: usize = 100;

impl Lead {
    /// Lets each resource's allocator decide on what was read, and commits that.
    pub(super) async fn share_budgets(
        &mut self,
        view: &View,
        received: Moment,
    ) -> Result<(), StoreError> {
        let may = {
            let sightings = self.shared.sightings.lock();
            let sightings = sightings.unwrap_or_else(std::sync::PoisonError::into_inner);
            sightings.may(received, view)
        };
        if may == May::Nothing {
            return Ok(());
        }
        let demand = demand::demand(view);
        let configured = &self.shared.settings.budgets;
        let resources: BTreeSet<&Resource> =
            configured.keys().chain(view.resources.keys()).collect();
        let nobody = BTreeSet::new();
        let nothing = Observed::default();
        for resource in resources {
            if view.frozen.contains_key(resource) {
                // What is reserved is not known: nothing is given, nothing taken back, and all clocks begin anew then.
                self.allocators.remove(resource);
                continue;
            }
            let observed = view.resources.get(resource).unwrap_or(&nothing);
            let Some(wanted) = wanted(configured.get(resource).copied(), observed) else {
                continue;
            };
            let timing = self.shared.settings.timing;
            let allocator = self
                .allocators
                .entry(resource.clone())
                .or_insert_with(|| Allocator::new(timing));
            let changes = allocator.step(
                received,
                observed,
                &wanted,
                demand.get(resource).unwrap_or(&nobody),
            );
            let changes = match may {
                May::Share => changes,
                May::Lower | May::Nothing => lowering(changes, observed),
            };
            for change in changes {
                tracing::debug!(%resource, ?change, "shares a budget");
                match change {
                    Change::Divide(division) => self.divide(resource, division).await?,
                    Change::Reclaim(reclaim) => self.reclaim(resource, observed, &reclaim).await?,
                }
            }
        }
        Ok(())
    }

    /// Commits a division in as many transactions as it takes: each compares the ledger's revision that the one
    /// before made. One of which nothing is known ends it.
    async fn divide(&self, resource: &Resource, division: Division) -> Result<(), StoreError> {
        let ledger_key = keys::ledger(resource);
        let mut expected = division.expected;
        let mut chunks = division.caps.chunks(CAPS_MAX);
        let mut chunk = chunks.next().unwrap_or_default();
        loop {
            let caps = chunk.iter().map(|(worker, share)| {
                let key = keys::cap(resource, worker);
                if *share == Share::NONE {
                    Op::Delete(key)
                } else {
                    Op::Put {
                        key,
                        value: record::encode(&self.cap(*share)),
                        lease: None,
                    }
                }
            });
            let ledger = Op::Put {
                key: ledger_key.clone(),
                value: record::encode(&division.ledger),
                lease: None,
            };
            let compare = match expected {
                Some(revision) => Compare::ModRevision(ledger_key.clone(), Revision(revision)),
                None => Compare::Absent(ledger_key.clone()),
            };
            let txn = Txn {
                compares: vec![compare],
                ops: std::iter::once(ledger).chain(caps).collect(),
            };
            match self.shared.store.txn(self.fenced(txn)).await {
                Ok(TxnOutcome::Committed(revision)) => expected = Some(revision.0),
                Ok(TxnOutcome::Refused) | Err(StoreError::Unknown { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
            match chunks.next() {
                Some(next) => chunk = next,
                None => return Ok(()),
            }
        }
    }

    fn cap(&self, share: Share) -> Cap {
        let term = self.shared.settings.timing.term.as_millis();
        let term_ms = u64::try_from(term).unwrap_or(u64::MAX);
        Cap { share, term_ms }
    }

    /// Takes a dead worker's grant back. The ledger is put again, so that no division of an older snapshot passes.
    async fn reclaim(
        &self,
        resource: &Resource,
        observed: &Observed,
        reclaim: &Reclaim,
    ) -> Result<(), StoreError> {
        let ack_key = keys::ack(resource, &reclaim.worker);
        let mut txn = Txn::default();
        txn.compares.push(match reclaim.expected_ack {
            Some(revision) => Compare::ModRevision(ack_key.clone(), Revision(revision)),
            None => Compare::Absent(ack_key.clone()),
        });
        txn.ops
            .push(Op::Delete(keys::cap(resource, &reclaim.worker)));
        txn.ops.push(match &reclaim.lingering {
            Some(ack) => Op::Put {
                key: ack_key,
                value: record::encode(ack),
                lease: None,
            },
            None => Op::Delete(ack_key),
        });
        if let Some((ledger, revision)) = &observed.ledger {
            let key = keys::ledger(resource);
            // Several may be taken back after one look: only the first still finds the ledger as it was.
            txn.compares
                .push(Compare::ModRevision(key.clone(), Revision(*revision)));
            txn.ops.push(Op::Put {
                key,
                value: record::encode(ledger),
                lease: None,
            });
        }
        if self.commit(txn).await? {
            tracing::info!(%resource, worker = %reclaim.worker, "took back a grant that is certainly over");
        }
        Ok(())
    }
}

/// What is asked for: what the configuration says where it is new, else what an operator set last. `None` where
/// neither has said anything.
fn wanted(configured: Option<Share>, observed: &Observed) -> Option<Ledger> {
    let stored = observed.ledger.map(|(ledger, _)| ledger);
    match (configured, stored) {
        (None, stored) => stored,
        (Some(configured), Some(stored)) if stored.configured == configured => Some(stored),
        (Some(configured), _) => Some(Ledger {
            target: configured,
            ceiling: configured,
            configured,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(rate_milli: u64) -> Share {
        Share {
            rate_milli,
            burst: 1,
            in_flight: 1,
        }
    }

    fn stored(target: Share, configured: Share) -> Observed {
        Observed {
            ledger: Some((
                Ledger {
                    target,
                    ceiling: target,
                    configured,
                },
                7,
            )),
            ..Observed::default()
        }
    }

    #[test]
    fn what_an_operator_set_outlives_a_restart_but_not_a_changed_configuration() {
        let set = stored(share(5), share(20));
        assert_eq!(wanted(Some(share(20)), &set).unwrap().target, share(5));
        assert_eq!(wanted(Some(share(30)), &set).unwrap().target, share(30));
        assert_eq!(wanted(None, &set).unwrap().target, share(5));
        assert_eq!(wanted(None, &Observed::default()), None);
    }
}
