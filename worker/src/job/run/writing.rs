//! How a run writes its checkpoints: while goes go on, and the last one once none is left.

use std::time::Duration;

use stoke_core::explain::explain;
use stoke_core::progress::Followed;
use tokio::time::Instant;

use super::{CHECKPOINT_EVERY, Ended, Run};
use crate::job::checkpoint::{self, CheckpointError};
use crate::trouble::Cause;

/// How long until the last checkpoint, which could not be written, is tried again.
const LAST_CHECKPOINT_AGAIN: Duration = Duration::from_millis(250);

impl Run {
    /// Ends what is in flight (it was told to stop, so it begins nothing more), and says how far it has come: again and
    /// again until that is written, or this run is dismissed.
    pub(super) async fn end(&mut self) -> Ended {
        while self.goes_before.next().await.is_some() {}
        while !self.part.may_end() {
            match self.goes.next().await {
                Some((kind, gave)) => self.settle(kind, gave),
                None => self.part.all_gone(),
            }
        }
        loop {
            if self.part.is_superseded() {
                if self.given.changed().await.is_err() {
                    return Ended::Broken;
                }
                if self.follow() == Followed::Anew {
                    return Ended::Anew;
                }
            }
            let last = self.part.last_checkpoint(self.stop.is_abort());
            let keeper = self.part.keeper();
            match checkpoint::write(&self.shared, &self.job, keeper, &last).await {
                Ok(()) => {
                    self.stop.confirm(self.part.keeper().assignment());
                    return Ended::Complete;
                }
                Err(CheckpointError::Superseded(_)) => self.part.supersede(),
                Err(error) => {
                    tracing::warn!(job = %self.job, error = explain(&error), "could not write the last checkpoint, trying again");
                    self.note_checkpoint(&error);
                    tokio::time::sleep(LAST_CHECKPOINT_AGAIN).await;
                }
            }
        }
    }

    /// Writes a checkpoint while goes go on; one that could not be written is written later.
    pub(super) async fn checkpoint(&mut self) {
        if self.part.is_superseded() {
            return;
        }
        let checkpoint = self.part.checkpoint();
        let mut gaves = Vec::new();
        let written = {
            let keeper = self.part.keeper();
            let writing = checkpoint::write(&self.shared, &self.job, keeper, &checkpoint);
            tokio::pin!(writing);
            loop {
                tokio::select! {
                    written = &mut writing => break Some(written),
                    Some(gave) = self.goes.next() => gaves.push(gave),
                    () = self.stop.token.cancelled() => break None,
                }
            }
        };
        for (kind, gave) in gaves {
            self.settle(kind, gave);
        }
        match written {
            Some(Ok(())) => self.shared.troubles.clear(&self.job, Cause::Checkpoint),
            Some(Err(CheckpointError::Superseded(_))) => self.part.supersede(),
            Some(Err(error)) => {
                self.list_again = Instant::now() + CHECKPOINT_EVERY;
                self.note_checkpoint(&error);
                tracing::warn!(job = %self.job, error = explain(&error), "could not write a checkpoint, trying again");
            }
            None => self.part.keeper().unknown(),
        }
    }

    fn note_checkpoint(&self, error: &CheckpointError) {
        let text = format!("cannot write a checkpoint: {}", explain(error));
        self.shared
            .troubles
            .note(&self.job, Cause::Checkpoint, text);
    }
}
