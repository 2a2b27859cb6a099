//! What is read of a plan, wherever it comes from.

use std::time::Duration;

use stoke_coordinator::ranking::{List, RankingError, RankingSettings};
use stoke_core::estimate::Drift;
use stoke_core::plan::Entry;
use stoke_worker::source::SourceRow;
use tokio::sync::mpsc;

use crate::exit::{Exit, Failure, OrExit};
use crate::show::estimate::About;

/// How many chunks of rows wait to be collected.
pub(super) const CHUNKS_WAITING: usize = 4;

/// A plan in no order yet, and what its source says beside it.
pub(super) struct Input {
    pub(super) entries: Entries,
    pub(super) about: About,
    /// How traffic drifts, as its history says.
    pub(super) drift: Option<Drift>,
    /// How many requests its history has, where there is one, be it too short to say how.
    pub(super) history_requests: Option<u64>,
    pub(super) requests_per_second: Option<f64>,
    pub(super) batch_keys: Option<u32>,
    pub(super) ttl: Option<Duration>,
    pub(super) plan_bytes: Option<f64>,
}

impl Input {
    /// Of a source that says nothing beside its entries.
    pub(super) const fn of(entries: Entries, about: About) -> Self {
        Self {
            entries,
            about,
            drift: None,
            history_requests: None,
            requests_per_second: None,
            batch_keys: None,
            ttl: None,
            plan_bytes: None,
        }
    }
}

/// Entries, collected to be ranked as plans are: in bounded memory, of one key one.
pub(super) struct Entries(List);

impl Entries {
    /// None yet, whose duplicates are merged in this way.
    pub(super) fn new(merge: stoke_core::job::Merge) -> Result<Self, Failure> {
        let list = List::new(&RankingSettings::default(), merge);
        Ok(Self(list.or_exit(Exit::Unreachable)?))
    }

    /// Adds some.
    pub(super) async fn add(self, entries: Vec<Entry>) -> Result<Self, Failure> {
        let adding = tokio::task::spawn_blocking(move || {
            let Self(mut list) = self;
            for entry in &entries {
                list.offer(&entry.key, entry.priority)?;
            }
            Ok(Self(list))
        });
        let added = adding.await.or_exit(Exit::Unreachable)?;
        added.map_err(failure)
    }

    /// Adds all rows that come, each as the entry that `entry` makes of it, until no more come.
    pub(super) async fn add_rows(
        mut self,
        mut rows: mpsc::Receiver<Vec<SourceRow>>,
        mut entry: impl FnMut(SourceRow) -> Entry,
    ) -> Result<Self, Failure> {
        while let Some(chunk) = rows.recv().await {
            self = self
                .add(chunk.into_iter().map(&mut entry).collect())
                .await?;
        }
        Ok(self)
    }

    /// Ranks them.
    pub(super) async fn rank(
        self,
    ) -> Result<impl Iterator<Item = Result<Entry, Failure>> + Send, Failure> {
        let ranking = tokio::task::spawn_blocking(move || self.0.rank());
        let ranked = ranking.await.or_exit(Exit::Unreachable)?.map_err(failure)?;
        Ok(ranked.map(|entry| entry.map_err(|error| failure(error.into()))))
    }
}

fn failure(error: RankingError) -> Failure {
    let exit = match error.is_transient() {
        true => Exit::Unreachable,
        false => Exit::Usage,
    };
    (exit, error.into())
}
