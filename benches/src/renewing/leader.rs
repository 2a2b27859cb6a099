//! A leader that shares the budgets: it reads all records whenever one has changed, and shares with the shipped allocator,
//! as the coordinator's leader does, among all members. It leads no jobs: there are none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use stoke_coordinator::view::View;
use stoke_core::ledger::{Allocator, Change, Claim, Division, Ledger, Observed, Share, Timing};
use stoke_core::names::{Resource, WorkerName};
use stoke_core::records::keys;
use stoke_store::clock::{BootClock, Clock};
use stoke_store::wake::Wakeups;
use stoke_store::{Compare, Store, TxnOutcome};
use tokio_util::sync::CancellationToken;

/// How long at least between two looks: as the coordinator's.
const LOOK_APART: Duration = Duration::from_millis(50);

pub(super) struct Leader {
    store: Arc<dyn Store>,
    targets: BTreeMap<Resource, Share>,
    timing: Timing,
    allocators: BTreeMap<Resource, Allocator>,
}

/// The only place that calls it: one decision over one resource.
fn step(
    allocator: &mut Allocator,
    observed: &Observed,
    wanted: &Ledger,
    claims: &BTreeMap<WorkerName, Claim>,
) -> Vec<Change> {
    allocator.step(BootClock.now(), observed, wanted, claims)
}

impl Leader {
    pub(super) fn new(
        store: Arc<dyn Store>,
        targets: BTreeMap<Resource, Share>,
        timing: Timing,
    ) -> Self {
        Self {
            store,
            targets,
            timing,
            allocators: BTreeMap::new(),
        }
    }

    /// Shares until `stop` is cancelled.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut wakeups = Wakeups::spawn(self.store.clone(), View::keys(), stop.clone());
        let leading = async {
            loop {
                wakeups.changed().await;
                if let Err(error) = self.look().await {
                    eprintln!("the leader could not look: {error:#}");
                }
                tokio::time::sleep(LOOK_APART).await;
            }
        };
        let _: Option<()> = stop.run_until_cancelled(leading).await;
    }

    async fn look(&mut self) -> Result<()> {
        let view = View::read(&*self.store).await?;
        let members = view.members.keys();
        let claims: BTreeMap<WorkerName, Claim> = members
            .map(|name| (name.clone(), Claim::unknown()))
            .collect();
        let nothing = Observed::default();
        for (resource, target) in self.targets.clone() {
            let observed = view.resources.get(&resource).unwrap_or(&nothing);
            let wanted = Ledger::new(target);
            let timing = self.timing;
            let allocators = self.allocators.entry(resource.clone());
            let allocator = allocators.or_insert_with(|| Allocator::new(timing));
            for change in step(allocator, observed, &wanted, &claims) {
                if let Change::Divide(division) = change {
                    self.divide(&resource, division).await?;
                }
            }
        }
        Ok(())
    }

    /// Nobody is elected here: what stands for the proof that it leads holds always, and is compared all the same.
    async fn divide(&self, resource: &Resource, division: Division) -> Result<()> {
        let leader = Compare::Absent(keys::peer("nobody"));
        let term_ms = u64::try_from(self.timing.term.as_millis()).unwrap_or(u64::MAX);
        let mut expected = division.expected;
        for part in division.parts() {
            let txn = division.txn(part, expected, term_ms);
            let txn = stoke_store::ledger::txn(resource, &txn, Some(&leader));
            match self.store.txn(txn).await? {
                TxnOutcome::Committed(revision) => expected = Some(revision.0),
                TxnOutcome::Refused => return Ok(()),
            }
        }
        Ok(())
    }
}
