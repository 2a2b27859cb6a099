//! A worker's part of one job: the tasks of its planning, and working on its partitions.
//!
//! [`JobRun`] does what the assignment says, from the entries' stream to checkpoints. Where another assignment goes on from
//! what it did, it goes on too; else it begins anew where the store says. What it decides is in two types without I/O, which
//! the simulator drives, too: [`Part`] and its [`Keeper`]. [`TaskRun`] does one task of planning and sends what it gave up.

mod backoff;
mod batching;
mod checkpoint;
mod copied;
mod entries;
mod joint;
mod keeper;
mod load;
mod lookahead;
mod part;
mod planning;
mod prepare;
mod presence;
mod recipe;
mod reported;
mod room;
mod run;
mod sample;
mod scan_cut;
mod source_read;

pub use backoff::after;
pub(crate) use copied::Refusals;
pub(crate) use entries::Entries;
pub use entries::{Brought, Task};
pub use joint::Lacking;
pub use keeper::{Keeper, Known, Superseded, Writing};
pub use load::{RowFailure, Verdict};
pub use part::{Part, Settled};
pub use planning::AssignedTask;
pub(crate) use planning::TaskRun;
use run::Ended;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use stoke_core::mutant::Mutant;
use stoke_core::names::JobName;
use stoke_core::records::{Assignment, Checkpoint, Job};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::worker::Shared;

/// An assignment as the store has it.
#[derive(Clone, Debug)]
pub struct Assigned {
    /// The assignment.
    pub assignment: Assignment,
    /// Its mod revision: what checkpoints compare.
    pub revision: u64,
    /// The checkpoint made under it, with its mod revision.
    pub checkpoint: Option<(Checkpoint, u64)>,
}

impl Assigned {
    /// Whether it asks anything more of a worker that has confirmed its stop under the assignment of mod revision `confirmed`
    /// (0: under none). What was read of the store may be older than that confirmation, which says that nothing more comes.
    #[must_use]
    pub fn is_beyond(&self, confirmed: u64) -> bool {
        self.revision > confirmed || Mutant::StopTakenBack.is_on()
    }
}

/// Tells a run to stop, and how.
#[derive(Clone, Debug, Default)]
struct Stop {
    /// Nothing more is sent.
    token: CancellationToken,
    /// Nothing more is begun: what has been sent is brought to its end.
    leave: CancellationToken,
    aborted: Arc<AtomicBool>,
    /// The revision of the assignment under which the last checkpoint was written, which says that nothing more will come
    /// under it; 0: none was.
    confirmed: Arc<AtomicU64>,
}

impl Stop {
    fn is_abort(&self) -> bool {
        self.aborted.load(Ordering::Acquire)
    }

    fn confirm(&self, assignment: u64) {
        self.confirmed.store(assignment, Ordering::Release);
    }

    fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::Acquire)
    }
}

/// The run of a job's partitions that are this worker's.
#[derive(Debug)]
pub(crate) struct JobRun {
    /// The assignment that the store has.
    given: watch::Sender<Assigned>,
    stop: Stop,
    /// Ends at once: what it would write counts nowhere any more.
    dismiss: CancellationToken,
    task: JoinHandle<Ended>,
}

impl JobRun {
    /// Starts a run, once the one before it has ended.
    pub(crate) fn start(
        shared: Arc<Shared>,
        job: JobName,
        record: Job,
        assigned: Assigned,
        before: Option<Self>,
    ) -> Self {
        let (stop, dismiss) = (Stop::default(), CancellationToken::new());
        let (given, seen) = watch::channel(assigned);
        let (stopped, dismissed) = (stop.clone(), dismiss.clone());
        let span = tracing::info_span!("job", %job);
        let working = async move {
            if let Some(before) = before {
                before.dismiss();
                before.join().await;
            }
            let working = async {
                let mut goes = run::Goes::default();
                loop {
                    let (shared, job) = (Arc::clone(&shared), job.clone());
                    let (seen, stopped) = (seen.clone(), stopped.clone());
                    let run = run::Run::new(shared, job, &record, seen, stopped, goes);
                    let (ended, in_flight) = run.work().await;
                    if ended != Ended::Anew {
                        break ended;
                    }
                    goes = in_flight;
                }
            };
            let ended = dismissed.run_until_cancelled(working).await;
            if stopped.leave.is_cancelled() {
                // The heart waits for it.
                shared.look.notify_one();
            }
            ended.unwrap_or(Ended::Broken)
        };
        let task = tokio::spawn(working.instrument(span));
        Self {
            given,
            stop,
            dismiss,
            task,
        }
    }

    /// Goes on under this assignment. `false`: it has ended, and another run is needed.
    pub(crate) fn follow(&self, assigned: &Assigned) -> bool {
        self.given.send_if_modified(|given| {
            let is_newer = assigned.revision > given.revision;
            if is_newer {
                *given = assigned.clone();
            }
            is_newer
        });
        !self.is_over() || !assigned.is_beyond(self.stop.confirmed())
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// The job is aborted: it stops sending, ends what is in flight, counts what is left as cancelled, and confirms.
    pub(crate) fn abort(&self) {
        self.stop.aborted.store(true, Ordering::Release);
        self.stop.token.cancel();
    }

    /// The worker leaves: it begins nothing more, ends what is in flight, and says how far it has come.
    pub(crate) fn leave(&self) {
        self.stop.leave.cancel();
    }

    /// Tells it to end at once.
    pub(crate) fn dismiss(&self) {
        self.dismiss.cancel();
    }

    /// Waits until it has ended; says whether its last checkpoint says all that it did.
    pub(crate) async fn join(self) -> bool {
        matches!(self.task.await, Ok(Ended::Complete))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_confirmed_its_stop_is_asked_for_more_by_a_later_assignment_only() {
        let assigned = Assigned {
            assignment: Assignment::default(),
            revision: 5,
            checkpoint: None,
        };
        assert_eq!(
            [0, 4, 5, 6].map(|at| assigned.is_beyond(at)),
            [true, true, false, false]
        );
    }
}
