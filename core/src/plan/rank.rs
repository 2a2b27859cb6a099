//! Ranking: entries in any order become a list without duplicates, the most requested first.
//!
//! Order: falling priority; among equals, the one offered first comes first, where sources are in their order. So the
//! same sources read in the same order give the same plan.
//!
//! What memory does not hold is spilled, so this is a merge sort in two passes: each source's rows are sorted by key in
//! runs as they come ([`SourceRows`]); all runs are merged, the rows of one key into one, and what comes out is sorted
//! by rank in the same way ([`Ranked`]). Where runs are kept, and how much memory there is, a [`Spill`] says: nothing
//! here does I/O. What nobody has to spill never leaves memory.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::Entry;
use super::buffer::{Buffer, Order};
use super::merge::{Blocks, Folded, Merged, Run};
use super::row::{Place, Row};
use crate::job::Merge;
use crate::units::Priority;

/// The largest plan, in entries, and the most rows that one key source may give: more than any cache holds, and what
/// the names of bands are made for.
pub const ENTRIES_MAX: u64 = 1_000_000_000;

/// How many runs are merged at once: each has a block in memory.
const FAN_IN_MAX: usize = 64;

/// A plan would be too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key sources have more than {ENTRIES_MAX} keys: lower their number, or split the job")]
pub struct TooManyEntries;

/// Why entries could not be ranked.
#[derive(Debug, thiserror::Error)]
pub enum RankError<E> {
    /// There are too many.
    #[error(transparent)]
    TooMany(#[from] TooManyEntries),
    /// Rows could not be spilled, or not be read again.
    #[error(transparent)]
    Spill(E),
    /// What was read again is not what was spilled.
    #[error("a row of a plan in the making is damaged")]
    Damaged,
}

/// Where sorted rows are kept that memory does not hold, run by run; and how much memory holds.
pub trait Spill {
    /// Why it cannot be done.
    type Error;
    /// A run that was spilled, to be read once.
    type Run: Blocks<Error = Self::Error>;
    /// How many bytes a block has, about: at most two of the longest rows more.
    const BLOCK_BYTES: usize;

    /// Whether rows may take so many bytes of memory in all, rather than be spilled; if so, they count as held.
    fn may_hold(&mut self, bytes: usize) -> bool;

    /// Takes note that rows take so many bytes of memory in all, be it more than they may.
    fn hold(&mut self, bytes: usize);

    /// Begins a run.
    ///
    /// # Errors
    /// Where it cannot be spilled.
    fn begin(&mut self) -> Result<(), Self::Error>;

    /// Adds a block to the run that was begun.
    ///
    /// # Errors
    /// Where it cannot be spilled.
    fn block(&mut self, block: &[u8]) -> Result<(), Self::Error>;

    /// Ends the run.
    ///
    /// # Errors
    /// Where it cannot be spilled.
    fn end(&mut self) -> Result<Self::Run, Self::Error>;
}

/// The rows of one key source: offered one after another, sorted by key in runs.
#[derive(Debug)]
pub struct SourceRows<S: Spill> {
    source: u32,
    merge: Merge,
    rows: u64,
    buffer: Buffer,
    runs: Vec<S::Run>,
    spill: S,
}

impl<S: Spill> SourceRows<S> {
    /// None yet, of the source with this number; its duplicates, and those it has in common with the sources before it,
    /// are merged in this way.
    #[must_use]
    pub fn new(source: u32, merge: Merge, spill: S) -> Self {
        Self {
            source,
            merge,
            rows: 0,
            buffer: Buffer::new(Order::ByKey),
            runs: Vec::new(),
            spill,
        }
    }

    /// How many were offered.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether some of them were spilled.
    #[must_use]
    pub const fn is_spilled(&self) -> bool {
        !self.runs.is_empty()
    }

    /// Whether so many more rows with so many bytes of keys and arguments may be held in memory. If not, those held
    /// should be spilled first; then it makes room in any case.
    pub fn make_room(&mut self, rows: usize, bytes: usize) -> bool {
        let more = rows * Buffer::bytes_of(Row::HEAD_BYTES) + bytes;
        let all = self.buffer.bytes() + more;
        let may = self.spill.may_hold(all);
        if !may && self.buffer.is_empty() {
            self.spill.hold(all);
            return true;
        }
        may
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// Where it is one too many.
    pub fn offer(
        &mut self,
        key: &[u8],
        argument: &str,
        loader: u32,
        priority: Priority,
    ) -> Result<(), TooManyEntries> {
        if self.rows == ENTRIES_MAX {
            return Err(TooManyEntries);
        }
        self.buffer.push(&Row {
            key,
            argument: argument.as_bytes(),
            loader,
            priority,
            place: Place::new(self.source, self.rows),
        });
        self.rows += 1;
        Ok(())
    }

    /// Spills what is in memory.
    ///
    /// # Errors
    /// Where it cannot be spilled.
    pub fn spill(&mut self) -> Result<(), RankError<S::Error>> {
        let merge = self.merge;
        let rows = std::mem::replace(&mut self.buffer, Buffer::new(Order::ByKey));
        // Of a key that comes again and again, one row is spilled. Runs of one source follow each other, so merging
        // what they hold of a key comes to the same as merging all its rows one by one.
        let mut folded = Folded::<S::Run>::new(vec![Run::InMemory(rows.sorted())])
            .map_err(|_| RankError::Damaged)?;
        let run = write_run(&mut self.spill, |block| {
            let row = folded.next(|_| merge)?;
            Ok(row.map(|row| row.write(block)).is_some())
        })?;
        self.runs.push(run);
        self.spill.hold(0);
        Ok(())
    }
}

/// Spills the rows that `next_row` adds to a block one after another, until it adds none.
fn write_run<S: Spill>(
    spill: &mut S,
    mut next_row: impl FnMut(&mut Vec<u8>) -> Result<bool, RankError<S::Error>>,
) -> Result<S::Run, RankError<S::Error>> {
    spill.begin().map_err(RankError::Spill)?;
    let mut block = Vec::with_capacity(S::BLOCK_BYTES);
    while next_row(&mut block)? {
        if block.len() >= S::BLOCK_BYTES {
            spill.block(&block).map_err(RankError::Spill)?;
            block.clear();
        }
    }
    if !block.is_empty() {
        spill.block(&block).map_err(RankError::Spill)?;
    }
    spill.end().map_err(RankError::Spill)
}

/// Merges runs, some after others, until they are few enough to be merged at once.
fn few<S: Spill>(
    mut runs: Vec<Run<S::Run>>,
    order: Order,
    spill: &mut S,
) -> Result<Vec<Run<S::Run>>, RankError<S::Error>> {
    while runs.len() > FAN_IN_MAX {
        let rest = runs.split_off(FAN_IN_MAX);
        // As they are: rows of one key must be merged in the order of all their places.
        let mut merged = Merged::new(std::mem::replace(&mut runs, rest), order)?;
        let run = write_run(spill, |block| {
            let Some(row) = merged.row() else {
                return Ok(false);
            };
            row.write(block);
            merged.advance()?;
            Ok(true)
        })?;
        runs.push(Run::Spilled(run));
    }
    Ok(runs)
}

/// Entries in the order of their ranks, without duplicates: the `n`th has rank `n`.
#[derive(Debug)]
pub struct Ranked<S: Spill> {
    merged: Merged<S::Run>,
    /// Keeps what is held in memory counted.
    _spill: S,
}

impl<S: Spill> Ranked<S> {
    /// Ranks the rows of all sources.
    ///
    /// # Errors
    /// Where there are too many different keys, or they cannot be spilled or read again.
    pub fn of(sources: Vec<SourceRows<S>>, spill: S) -> Result<Self, RankError<S::Error>> {
        Self::at_most(ENTRIES_MAX, sources, spill)
    }

    fn at_most(
        entries_max: u64,
        sources: Vec<SourceRows<S>>,
        mut spill: S,
    ) -> Result<Self, RankError<S::Error>> {
        let sources = match Self::of_distinct(entries_max, sources)? {
            ControlFlow::Break(ranked) => return Ok(ranked),
            ControlFlow::Continue(sources) => sources,
        };
        let mut runs = Vec::new();
        let mut merges = BTreeMap::new();
        let mut held = Vec::new();
        for source in sources {
            merges.insert(source.source, source.merge);
            runs.extend(source.runs.into_iter().map(Run::Spilled));
            if !source.buffer.is_empty() {
                runs.push(Run::InMemory(source.buffer.sorted()));
            }
            held.push(source.spill);
        }
        let mut folded = Folded::new(few(runs, Order::ByKey, &mut spill)?)?;
        let mut buffer = Buffer::new(Order::ByRank);
        let mut runs = Vec::new();
        let mut entries = 0;
        let merge = |source| merges.get(&source).copied().unwrap_or_default();
        while let Some(row) = folded.next(merge)? {
            entries += 1;
            if entries > entries_max {
                return Err(TooManyEntries.into());
            }
            let more = Buffer::bytes_of(row.bytes());
            if !spill.may_hold(buffer.bytes() + more) {
                if !buffer.is_empty() {
                    let full = std::mem::replace(&mut buffer, Buffer::new(Order::ByRank));
                    runs.push(Run::Spilled(spill_sorted(full, &mut spill)?));
                }
                spill.hold(more);
            }
            buffer.push(&row);
        }
        drop((folded, held));
        runs.push(Run::InMemory(buffer.sorted()));
        let merged = Merged::new(few(runs, Order::ByRank, &mut spill)?, Order::ByRank)?;
        Ok(Self {
            merged,
            _spill: spill,
        })
    }
}

/// What is ranked at once, or else the sources, as they were.
type Attempt<S> = ControlFlow<Ranked<S>, Vec<SourceRows<S>>>;

impl<S: Spill> Ranked<S> {
    /// Ranks the rows of a lone source that are all in memory, where each has a key of its own, without merging or copying any;
    /// else the sources come back as they are.
    fn of_distinct(
        entries_max: u64,
        sources: Vec<SourceRows<S>>,
    ) -> Result<Attempt<S>, RankError<S::Error>> {
        let mut source = match <[SourceRows<S>; 1]>::try_from(sources) {
            Ok([source]) => source,
            Err(sources) => return Ok(ControlFlow::Continue(sources)),
        };
        let bytes = source.buffer.bytes() + source.buffer.bytes_to_rank();
        let are_all_here = !source.is_spilled() && source.rows <= entries_max;
        if !are_all_here || !source.spill.may_hold(bytes) {
            return Ok(ControlFlow::Continue(vec![source]));
        }
        match source.buffer.ranked() {
            Ok(sorted) => Ok(ControlFlow::Break(Self {
                merged: Merged::new(vec![Run::InMemory(sorted)], Order::ByRank)?,
                _spill: source.spill,
            })),
            Err(buffer) => {
                source.spill.hold(buffer.bytes());
                source.buffer = buffer;
                Ok(ControlFlow::Continue(vec![source]))
            }
        }
    }
}

fn spill_sorted<S: Spill>(rows: Buffer, spill: &mut S) -> Result<S::Run, RankError<S::Error>> {
    let mut sorted = rows.sorted();
    write_run(spill, |block| {
        let Some((_, row)) = sorted.peek() else {
            return Ok(false);
        };
        row.write(block);
        sorted.advance();
        Ok(true)
    })
}

impl<S: Spill> Iterator for Ranked<S> {
    type Item = Result<Entry, RankError<S::Error>>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.merged.row()?.entry().ok_or(RankError::Damaged);
        match self.merged.advance() {
            Ok(()) => Some(entry),
            Err(error) => Some(Err(error)),
        }
    }
}
