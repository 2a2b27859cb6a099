//! Commits what the allocators decide.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use stoke_core::ledger::{
    Allocator, Change, Division, Ledger, LedgerTxn, Observed, Reclaim, Share,
};
use stoke_core::names::Resource;
use stoke_core::units::Moment;
use stoke_store::{StoreError, TxnOutcome};

use super::guards::Keepers;
use super::{Lead, demand};
use crate::sightings::{May, lowering};
use crate::view::View;

impl Lead {
    /// Lets each resource's allocator decide on what was read, and commits that.
    pub(super) async fn share_budgets(
        &mut self,
        view: &View,
        received: Moment,
        keepers: &Keepers,
    ) -> Result<(), StoreError> {
        let may = {
            let sightings = self.shared.sightings.lock();
            let mut sightings = sightings.unwrap_or_else(std::sync::PoisonError::into_inner);
            sightings.may(received, view)
        };
        if may == May::Nothing {
            return Ok(());
        }
        let claims = demand::claims(view, keepers);
        let mut members = view.members.keys();
        let only = members.next().filter(|_| members.next().is_none());
        let claims = self.lingering.step(received, claims, only);
        let shared = Arc::clone(&self.shared);
        let configured = shared.settings.budgets.keys();
        let resources: BTreeSet<&Resource> = configured.chain(view.resources.keys()).collect();
        let nobody = BTreeMap::new();
        let nothing = Observed::default();
        for resource in resources {
            if view.frozen.contains_key(resource) {
                // What is reserved is not known: nothing is given, nothing taken back, and all clocks begin anew then.
                self.allocators.remove(resource);
                continue;
            }
            let observed = view.resources.get(resource).unwrap_or(&nothing);
            let Some(asked) = self.asked(resource, view, received) else {
                continue;
            };
            let wanted = self.held_down(resource, asked);
            let timing = self.shared.settings.timing;
            let allocator = self
                .allocators
                .entry(resource.clone())
                .or_insert_with(|| Allocator::new(timing));
            let changes = allocator.step(
                received,
                observed,
                &wanted,
                claims.get(resource).unwrap_or(&nobody),
            );
            let changes = match may {
                May::Share => changes,
                May::Lower | May::Nothing => lowering(changes, observed),
            };
            let mut ledger = observed.ledger;
            for change in changes {
                tracing::debug!(%resource, ?change, "shares a budget");
                match change {
                    Change::Divide(division) => self.divide(resource, division).await?,
                    Change::Reclaim(reclaim) => {
                        let Some(revision) = self.reclaim(resource, ledger, &reclaim).await? else {
                            break;
                        };
                        ledger = ledger.map(|(ledger, _)| (ledger, revision));
                    }
                }
            }
        }
        Ok(())
    }

    /// A resource's ledger by what is asked for now; `None` where nothing ever was.
    pub(super) fn asked(
        &mut self,
        resource: &Resource,
        view: &View,
        now: Moment,
    ) -> Option<Ledger> {
        let configured = self.shared.settings.budgets.get(resource).copied();
        let wanted = wanted(configured, view.resources.get(resource))?;
        let countdown = self.countdowns.entry(resource.clone()).or_default();
        Some(countdown.step(now, wanted))
    }

    /// Commits a division in as many transactions as it takes: each compares the ledger's revision that the one
    /// before made. One of which nothing is known ends it.
    async fn divide(&self, resource: &Resource, division: Division) -> Result<(), StoreError> {
        let term = self.shared.settings.timing.term.as_millis();
        let term_ms = u64::try_from(term).unwrap_or(u64::MAX);
        let mut expected = division.expected;
        for part in division.parts() {
            let txn = division.txn(part, expected, term_ms);
            match self.commit_on(resource, &txn).await {
                Ok(TxnOutcome::Committed(revision)) => expected = Some(revision.0),
                Ok(TxnOutcome::Refused) | Err(StoreError::Unknown { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes a dead worker's grant back, where the ledger is still this one. Gives the ledger's new revision: of several
    /// grants that are taken back after one look, each finds what the one before made. `None`: something else has changed.
    async fn reclaim(
        &self,
        resource: &Resource,
        ledger: Option<(Ledger, u64)>,
        reclaim: &Reclaim,
    ) -> Result<Option<u64>, StoreError> {
        match self.commit_on(resource, &reclaim.txn(ledger)).await {
            Ok(TxnOutcome::Committed(revision)) => {
                tracing::info!(%resource, worker = %reclaim.worker, "took back a grant that is certainly over");
                Ok(Some(revision.0))
            }
            Ok(TxnOutcome::Refused) | Err(StoreError::Unknown { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn commit_on(
        &self,
        resource: &Resource,
        txn: &LedgerTxn,
    ) -> Result<TxnOutcome, StoreError> {
        let leader = self.leadership.compare();
        let txn = stoke_store::ledger::txn(resource, txn, Some(&leader));
        self.shared.store.txn(txn).await
    }
}

/// What is asked for: what the configuration says where it is new, else what an operator set last. `None` where
/// neither has said anything.
fn wanted(configured: Option<Share>, observed: Option<&Observed>) -> Option<Ledger> {
    let stored = observed.and_then(|observed| observed.ledger.map(|(ledger, _)| ledger));
    match (configured, stored) {
        (None, stored) => stored,
        (Some(configured), Some(stored)) if stored.configured == configured => Some(stored),
        (Some(configured), _) => Some(Ledger::new(configured)),
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
            rows: Share::ANY_ROWS,
        }
    }

    fn stored(target: Share, configured: Share) -> Observed {
        let ledger = Ledger {
            configured,
            ..Ledger::new(target)
        };
        Observed {
            ledger: Some((ledger, 7)),
            ..Observed::default()
        }
    }

    #[test]
    fn what_an_operator_set_outlives_a_restart_but_not_a_changed_configuration() {
        let set = stored(share(5), share(20));
        assert_eq!(wanted(Some(share(20)), Some(&set)).unwrap().asked, share(5));
        assert_eq!(
            wanted(Some(share(30)), Some(&set)).unwrap().asked,
            share(30)
        );
        assert_eq!(wanted(None, Some(&set)).unwrap().asked, share(5));
        assert_eq!(wanted(None, None), None);
    }
}
