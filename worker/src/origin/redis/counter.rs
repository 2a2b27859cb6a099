//! Counts that an application keeps: of a sorted set or a hash, member by member.
//!
//! All of a counter is read by ZSCAN or HSCAN: a member that is there all the time comes once at least, however its score changes
//! meanwhile. The highest of a sorted set are read by their ranks, window by window: exact in the first, and a member that passes
//! from a later window to an earlier one between the two is missed, as those are that are pushed the other way read twice. A
//! cursor means something at one node only, so where the key's slot has another owner in the end, reading fails and is tried anew.

use std::sync::Arc;

use bytes::Bytes;
use stoke_core::usage::Counter;
use tokio::sync::mpsc;

use super::Engine;
use super::scan::{SlotsMove, send};
use crate::cache::{Cache, CommandError, CounterKind, WINDOW};
use crate::origin::OriginError;
use crate::origin::meter::Meter;
use crate::source::{Found, Gathered, Rules, SourceRow, Whereabouts, priority_of};

/// A limit of what has no order.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "it is a hash, which has no order to take the highest of: leave limit out, or keep the counts in a sorted set"
)]
struct NoOrder;

/// A counter being read.
struct Reading<'a, 'm> {
    cache: &'a Cache,
    counter: &'a Counter,
    meter: &'a mut Meter<'m>,
    found: Found<'a>,
    sink: &'a mpsc::Sender<Vec<SourceRow>>,
    doing: String,
}

impl Engine {
    /// Sends the members of a counter with their counts.
    pub(super) async fn counter(
        &self,
        meter: &mut Meter<'_>,
        counter: &Counter,
        rules: &Rules,
        sink: &mpsc::Sender<Vec<SourceRow>>,
    ) -> Result<Gathered, OriginError> {
        let doing = format!("read the counter {:?}: {}", counter.key, self.doing);
        let found = Found::new(&counter.pattern, rules);
        let found = found.map_err(|fault| OriginError::permanent(&doing, fault))?;
        let cache = Arc::clone(self.cache(meter).await?);
        let key = counter.key.as_bytes();
        let kind = cache.counter_kind(&meter.sharing(), key).await?;
        let kind = kind.map_err(|error| self.failed_at(&doing, error))?;
        let before = self.standing(meter, &cache, key).await?;
        let reading = Reading {
            cache: &cache,
            counter,
            meter,
            found,
            sink,
            doing: doing.clone(),
        };
        let read = match (kind, counter.limit) {
            (_, None) => reading.all(kind).await?,
            (CounterKind::SortedSet, Some(limit)) => reading.highest(limit).await?,
            (CounterKind::Hash, Some(_)) => return Err(OriginError::permanent(&doing, NoOrder)),
        };
        let gathered = read.map_err(|error| self.failed_at(&doing, error))?;
        if self.standing(meter, &cache, key).await? != before {
            return Err(OriginError::transient(doing, SlotsMove));
        }
        Ok(gathered)
    }

    /// Who owns a key, and how that node says it stands.
    async fn standing(
        &self,
        meter: &Meter<'_>,
        cache: &Cache,
        key: &[u8],
    ) -> Result<Option<String>, OriginError> {
        let Some(owner) = cache.owner(key).await else {
            return Ok(None);
        };
        let said = cache.said_by(&meter.sharing(), &owner).await?;
        let said = said.map_err(|error| self.failed(error))?;
        Ok(Some(format!("{owner} {said}")))
    }

    pub(super) fn failed_at(&self, doing: &str, error: CommandError) -> OriginError {
        match error.kind {
            kind if kind.is_transient() => OriginError::no_entry(doing, error),
            _ => OriginError::permanent(doing, error),
        }
    }
}

impl Reading<'_, '_> {
    async fn all(
        mut self,
        kind: CounterKind,
    ) -> Result<Result<Gathered, CommandError>, OriginError> {
        let mut cursor = 0;
        loop {
            let key = (self.counter.key.as_bytes(), kind);
            let counts = self
                .cache
                .counts(&self.meter.sharing(), key, cursor)
                .await?;
            let (next, counts) = match counts {
                Ok(counts) => counts,
                Err(error) => return Ok(Err(error)),
            };
            self.take(counts).await?;
            if next == 0 {
                return self.finish().await.map(Ok);
            }
            cursor = next;
        }
    }

    async fn highest(mut self, limit: u64) -> Result<Result<Gathered, CommandError>, OriginError> {
        let mut from = 0;
        while from < limit {
            let window = (from, WINDOW.min(limit - from));
            let key = self.counter.key.as_bytes();
            let counts = self
                .cache
                .highest(&self.meter.sharing(), key, window)
                .await?;
            let counts = match counts {
                Ok(counts) => counts,
                Err(error) => return Ok(Err(error)),
            };
            let is_last = (counts.len() as u64) < window.1;
            self.take(counts).await?;
            if is_last {
                break;
            }
            from += window.1;
        }
        self.finish().await.map(Ok)
    }

    async fn take(&mut self, counts: Vec<(Bytes, Bytes)>) -> Result<(), OriginError> {
        for (member, count) in counts {
            let Some(parts) = self.found.parts(&member) else {
                continue;
            };
            self.meter.count_row();
            let at = Whereabouts::Row(self.meter.rows());
            let chunk = self.found.row(at, (&member, &parts), priority_of(&count));
            let chunk = chunk.map_err(|fault| OriginError::permanent(&self.doing, fault))?;
            send(self.sink, chunk).await?;
        }
        Ok(())
    }

    async fn finish(self) -> Result<Gathered, OriginError> {
        let (last, gathered) = self.found.finish();
        send(self.sink, last).await?;
        Ok(gathered)
    }
}
