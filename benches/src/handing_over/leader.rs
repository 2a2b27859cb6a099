//! A leader that hands over: it reads all records whenever one has changed, decides as it is shipped, and commits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use stoke_coordinator::doors::{At, Jobs, Known, Planning, View};
use stoke_core::ledger::Timing;
use stoke_core::progress::Effort;
use stoke_store::TxnOutcome;
use stoke_store::clock::{BootClock, Clock};
use stoke_store::wake::Wakeups;
use tokio_util::sync::CancellationToken;

use super::scene::{Scene, bytes};

/// How long at least between two looks: as the coordinator's.
pub(super) const LOOK_APART: Duration = Duration::from_millis(50);
/// How long at most: likewise.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long handing over may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What handing over took.
#[derive(Debug, Default)]
pub(super) struct Handed {
    pub(super) took: Duration,
    /// Transactions that were committed, and what they put.
    pub(super) steps: u32,
    pub(super) bytes: usize,
}

pub(super) struct Leader {
    scene: Arc<Scene>,
    jobs: Jobs,
    wakeups: Wakeups,
}

impl Leader {
    pub(super) fn new(scene: Arc<Scene>) -> Self {
        let stop = CancellationToken::new();
        let wakeups = Wakeups::spawn(Arc::clone(&scene.store), View::keys(), stop);
        Self {
            scene,
            jobs: Jobs::default(),
            wakeups,
        }
    }

    /// Leads until there is nothing left to do, nor to wait for.
    pub(super) async fn until_settled(&mut self) -> Result<Handed> {
        let begun = Instant::now();
        let mut handed = Handed::default();
        loop {
            ensure!(begun.elapsed() < PATIENCE, "it is handed over for ever");
            let (steps, is_settled) = (handed.steps, self.look(&mut handed).await?);
            if is_settled {
                handed.took = begun.elapsed();
                return Ok(handed);
            }
            tokio::time::sleep(LOOK_APART).await;
            if handed.steps == steps {
                let _: Result<(), _> =
                    tokio::time::timeout(LOOK_EVERY, self.wakeups.changed()).await;
            }
        }
    }

    async fn look(&mut self, handed: &mut Handed) -> Result<bool> {
        let view = View::read(&*self.scene.store).await?;
        let now = BootClock.now();
        self.jobs.look(&view, now, 0);
        let job = view.jobs.get(&self.scene.job).context("no job")?;
        let known = Known {
            planning: Planning::Unknown,
            spent: Effort::default(),
        };
        let at = At {
            now,
            wall_ms: 0,
            timing: Timing::default(),
        };
        let Some(step) = self.jobs.next(job, &view, known, at) else {
            let is_awaited =
                |owner: &stoke_coordinator::view::Owner| !owner.assignment.value.leaving.is_empty();
            return Ok(!job.owners.values().any(is_awaited));
        };
        let put = bytes(&step.txn);
        let outcome = self.scene.store.txn(step.txn).await?;
        if matches!(outcome, TxnOutcome::Committed(_)) {
            handed.steps += 1;
            handed.bytes += put;
        }
        Ok(false)
    }
}
