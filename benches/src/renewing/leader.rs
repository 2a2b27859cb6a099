//! A leader that shares the budgets: it reads all records whenever one has changed, and shares with the shipped allocator,
//! as the coordinator's leader does, among all members. It leads no jobs: there are none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use stoke_coordinator::view::View;
use stoke_core::ledger::{Allocator, Cap, Change, Division, Ledger, Observed, Share, Timing};
use stoke_core::names::{Resource, WorkerName};
use stoke_core::records::keys;
use stoke_store::clock::{BootClock, Clock};
use stoke_store::wake::Wakeups;
use stoke_store::{Compare, Op, Revision, Store, Txn, TxnOutcome, record};
use tokio_util::sync::CancellationToken;

/// How long at least between two looks, and how many caps one transaction puts: as the coordinator's.
const LOOK_APART: Duration = Duration::from_millis(50);
const CAPS_MAX: usize = 100;

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
    demanding: &BTreeSet<WorkerName>,
) -> Vec<Change> {
    allocator.step(BootClock.now(), observed, wanted, demanding)
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
        let members: BTreeSet<WorkerName> = view.members.keys().cloned().collect();
        let nothing = Observed::default();
        for (resource, target) in self.targets.clone() {
            let observed = view.resources.get(&resource).unwrap_or(&nothing);
            let wanted = Ledger {
                target,
                ceiling: target,
                configured: target,
            };
            let timing = self.timing;
            let allocators = self.allocators.entry(resource.clone());
            let allocator = allocators.or_insert_with(|| Allocator::new(timing));
            for change in step(allocator, observed, &wanted, &members) {
                if let Change::Divide(division) = change {
                    self.divide(&resource, division).await?;
                }
            }
        }
        Ok(())
    }

    async fn divide(&self, resource: &Resource, division: Division) -> Result<()> {
        let ledger_key = keys::ledger(resource);
        let mut expected = division.expected;
        for chunk in division.caps.chunks(CAPS_MAX) {
            let compare = match expected {
                Some(revision) => Compare::ModRevision(ledger_key.clone(), Revision(revision)),
                None => Compare::Absent(ledger_key.clone()),
            };
            let put = |key: String, value| Op::Put {
                key,
                value,
                lease: None,
            };
            let mut ops = vec![put(ledger_key.clone(), record::encode(&division.ledger))];
            ops.extend(chunk.iter().map(|(worker, share)| {
                let key = keys::cap(resource, worker);
                put(key, record::encode(&self.cap(*share)))
            }));
            let compares = vec![compare];
            match self.store.txn(Txn { compares, ops }).await? {
                TxnOutcome::Committed(revision) => expected = Some(revision.0),
                TxnOutcome::Refused => return Ok(()),
            }
        }
        Ok(())
    }

    fn cap(&self, share: Share) -> Cap {
        let term_ms = u64::try_from(self.timing.term.as_millis()).unwrap_or(u64::MAX);
        Cap { share, term_ms }
    }
}
