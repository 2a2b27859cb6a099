//! How a run's checkpoints are written: what its `Keeper` says is next is called for, one after the other.

use stoke_core::records::Checkpoint;
use stoke_store::TxnOutcome;
use stoke_worker::doors::Writing;

use super::run::Stop;
use crate::simulation::network::{Line, Process};
use crate::simulation::store::{Answer, Request};
use crate::simulation::world::World;

/// A checkpoint being written.
#[derive(Debug)]
pub(super) struct Write {
    checkpoint: Checkpoint,
    pub(super) is_last: bool,
    /// The commit is under way.
    commits: bool,
}

impl World {
    pub(super) fn checkpoint(&mut self, nth: usize, job: usize) {
        let now = self.now;
        let Some(run) = self.workers[nth].runs.get_mut(&job) else {
            return;
        };
        if run.part.is_superseded() {
            return;
        }
        run.wrote = now;
        run.write = Some(Write {
            checkpoint: run.part.checkpoint(),
            is_last: false,
            commits: false,
        });
        self.go_on_writing(nth, job);
    }

    pub(super) fn end(&mut self, nth: usize, job: usize) {
        let Some(run) = self.workers[nth].runs.get_mut(&job) else {
            return;
        };
        let checkpoint = run.part.last_checkpoint(run.stop == Some(Stop::Abort));
        run.write = Some(Write {
            checkpoint,
            is_last: true,
            commits: false,
        });
        self.go_on_writing(nth, job);
    }

    /// Does what is next so that the checkpoint is written.
    fn go_on_writing(&mut self, nth: usize, job: usize) {
        let Some(run) = self.workers[nth].runs.get_mut(&job) else {
            return;
        };
        let Some(write) = &mut run.write else {
            return;
        };
        let next = run.part.keeper().next(&write.checkpoint);
        write.commits = matches!(next, Writing::Commit(_));
        let request = match next {
            Writing::Nothing => return self.has_written(nth, job),
            Writing::List {
                log,
                chunk,
                failures,
            } => Request::List {
                job: self.jobs[job].name.clone(),
                log,
                chunk,
                ranks: failures.iter().map(|failure| failure.rank).collect(),
            },
            Writing::LookUp(keys) => Request::Read(keys),
            Writing::Commit(txn) => Request::Txn(txn),
        };
        self.call(Process::Worker(nth), Line::Job(job), request);
    }

    /// What was called for a checkpoint's sake has been answered.
    pub(in crate::simulation) fn write_answered(&mut self, nth: usize, job: usize, answer: Answer) {
        let Some(run) = self.workers[nth].runs.get_mut(&job) else {
            return;
        };
        let Some(write) = &run.write else {
            return;
        };
        let commits = write.commits;
        let keeper = run.part.keeper();
        match answer {
            Answer::Listed => keeper.listed(),
            Answer::NotListed => keeper.refused(),
            Answer::Read(snapshot) => {
                if keeper.found(&snapshot).is_err() {
                    run.part.supersede();
                    run.write = None;
                    return self.turn(nth, job);
                }
            }
            Answer::Txn(TxnOutcome::Committed(revision)) => {
                keeper.committed(revision);
            }
            Answer::Txn(TxnOutcome::Refused) => keeper.refused(),
            _ => {
                if commits {
                    keeper.unknown();
                }
                // It is tried again later.
                run.write = None;
                return;
            }
        }
        self.go_on_writing(nth, job);
    }

    fn has_written(&mut self, nth: usize, job: usize) {
        let Some(run) = self.workers[nth].runs.get_mut(&job) else {
            return;
        };
        let is_last = run.write.take().is_some_and(|write| write.is_last);
        run.is_over |= is_last;
        self.turn(nth, job);
    }
}
