//! Merging sorted runs into one, and the rows of one key into one row.

use std::cmp::Ordering;

use super::buffer::{Head, Order, Sorted};
use super::rank::RankError;
use super::row::{Place, Row};
use crate::job::Merge;
use crate::units::Priority;

/// A run of sorted rows that was spilled, block by block.
pub trait Blocks {
    /// Why a block cannot be read.
    type Error;

    /// Puts the next block, as it was written, in place of what is in `block`; `false` at the end.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn next_block(&mut self, block: &mut Vec<u8>) -> Result<bool, Self::Error>;
}

/// A sorted run.
#[derive(Debug)]
pub(super) enum Run<B> {
    InMemory(Sorted),
    Spilled(B),
}

/// A run that is being read, and where in it.
#[derive(Debug)]
enum Cursor<B> {
    InMemory(Sorted),
    Spilled {
        blocks: B,
        block: Vec<u8>,
        /// Where the present row begins, and what decides its comparisons.
        at: usize,
        head: Head,
    },
}

impl<B: Blocks> Cursor<B> {
    /// At the first row; `None` where there is none.
    fn open(run: Run<B>, order: Order) -> Result<Option<Self>, RankError<B::Error>> {
        match run {
            Run::InMemory(sorted) => {
                Ok(sorted.peek().is_some().then_some(Cursor::InMemory(sorted)))
            }
            Run::Spilled(mut blocks) => {
                let mut block = Vec::new();
                let head = first_of_next(&mut blocks, &mut block, order)?;
                Ok(head.map(|head| Cursor::Spilled {
                    blocks,
                    block,
                    at: 0,
                    head,
                }))
            }
        }
    }

    fn present(&self) -> Option<(Head, Row<'_>)> {
        match self {
            Self::InMemory(sorted) => sorted.peek(),
            Self::Spilled {
                block, at, head, ..
            } => Some((*head, Row::read(&block[*at..])?)),
        }
    }

    /// Goes to the next row; `false` where there is none.
    fn advance(&mut self, order: Order) -> Result<bool, RankError<B::Error>> {
        match self {
            Self::InMemory(sorted) => {
                sorted.advance();
                Ok(sorted.peek().is_some())
            }
            Self::Spilled {
                blocks,
                block,
                at,
                head,
            } => {
                let row = Row::read(&block[*at..]).ok_or(RankError::Damaged)?;
                *at += row.bytes();
                let next = if *at < block.len() {
                    let row = Row::read(&block[*at..]).ok_or(RankError::Damaged)?;
                    Some(order.head(&row))
                } else {
                    *at = 0;
                    first_of_next(blocks, block, order)?
                };
                if let Some(next) = next {
                    *head = next;
                }
                Ok(next.is_some())
            }
        }
    }
}

/// The first row of the next block.
fn first_of_next<B: Blocks>(
    blocks: &mut B,
    block: &mut Vec<u8>,
    order: Order,
) -> Result<Option<Head>, RankError<B::Error>> {
    if !blocks.next_block(block).map_err(RankError::Spill)? {
        return Ok(None);
    }
    let first = Row::read(block).ok_or(RankError::Damaged)?;
    Ok(Some(order.head(&first)))
}

/// Several sorted runs as one.
#[derive(Debug)]
pub(super) struct Merged<B> {
    order: Order,
    cursors: Vec<Cursor<B>>,
    /// A heap of the cursors that are not at their end, the one with the first row at its top.
    heap: Vec<usize>,
}

impl<B: Blocks> Merged<B> {
    pub(super) fn new(runs: Vec<Run<B>>, order: Order) -> Result<Self, RankError<B::Error>> {
        let mut cursors = Vec::with_capacity(runs.len());
        for run in runs {
            cursors.extend(Cursor::open(run, order)?);
        }
        let mut merged = Self {
            order,
            heap: (0..cursors.len()).collect(),
            cursors,
        };
        for n in (0..merged.heap.len() / 2).rev() {
            merged.sift_down(n);
        }
        Ok(merged)
    }

    /// The present row; `None` at the end.
    pub(super) fn row(&self) -> Option<Row<'_>> {
        let (_, row) = self.cursors[*self.heap.first()?].present()?;
        Some(row)
    }

    /// Goes to the next row.
    pub(super) fn advance(&mut self) -> Result<(), RankError<B::Error>> {
        let Some(&first) = self.heap.first() else {
            return Ok(());
        };
        if !self.cursors[first].advance(self.order)? {
            self.heap.swap_remove(0);
        }
        self.sift_down(0);
        Ok(())
    }

    fn sift_down(&mut self, mut parent: usize) {
        loop {
            let children = [2 * parent + 1, 2 * parent + 2];
            let mut first = parent;
            for child in children {
                if child < self.heap.len() && self.is_before(child, first) {
                    first = child;
                }
            }
            if first == parent {
                return;
            }
            self.heap.swap(first, parent);
            parent = first;
        }
    }

    fn is_before(&self, one: usize, other: usize) -> bool {
        let present = |n: usize| self.cursors[self.heap[n]].present();
        let (Some((one, of_one)), Some((other, of_other))) = (present(one), present(other)) else {
            return false;
        };
        let compared = self
            .order
            .compare(one, other, || (of_one.key, of_other.key));
        compared == Ordering::Less
    }
}

/// Rows by key, those of one key merged into one as their sources say.
#[derive(Debug)]
pub(super) struct Folded<B> {
    merged: Merged<B>,
    known: Known,
}

/// What the rows of a key that were seen so far come to.
#[derive(Debug)]
struct Known {
    key: Vec<u8>,
    argument: Vec<u8>,
    loader: u32,
    priority: Priority,
    place: Place,
}

impl<B: Blocks> Folded<B> {
    pub(super) fn new(runs: Vec<Run<B>>) -> Result<Self, RankError<B::Error>> {
        Ok(Self {
            merged: Merged::new(runs, Order::ByKey)?,
            known: Known {
                key: Vec::new(),
                argument: Vec::new(),
                loader: 0,
                priority: Priority::default(),
                place: Place::new(0, 0),
            },
        })
    }

    /// The next key's row; `None` at the end. `merge`: how a source's rows are merged with those before them.
    pub(super) fn next(
        &mut self,
        merge: impl Fn(u32) -> Merge,
    ) -> Result<Option<Row<'_>>, RankError<B::Error>> {
        let Self { merged, known } = self;
        let Some(first) = merged.row() else {
            return Ok(None);
        };
        known.begin(&first);
        merged.advance()?;
        while let Some(row) = merged.row().filter(|row| row.key == known.key) {
            known.absorb(&row, merge(row.place.source()));
            merged.advance()?;
        }
        Ok(Some(self.known.row()))
    }
}

impl Known {
    fn begin(&mut self, row: &Row<'_>) {
        self.key.clear();
        self.key.extend_from_slice(row.key);
        self.place = row.place;
        self.priority = row.priority;
        self.load_as(row);
    }

    fn load_as(&mut self, row: &Row<'_>) {
        self.argument.clear();
        self.argument.extend_from_slice(row.argument);
        self.loader = row.loader;
    }

    /// With [`Merge::Max`] the loader and argument of the higher priority stay, with [`Merge::Sum`] those of the first.
    fn absorb(&mut self, row: &Row<'_>, merge: Merge) {
        match merge {
            Merge::Max if row.priority > self.priority => {
                self.priority = row.priority;
                self.load_as(row);
            }
            Merge::Max => {}
            Merge::Sum => self.priority = self.priority.saturating_add(row.priority),
        }
    }

    fn row(&self) -> Row<'_> {
        Row {
            key: &self.key,
            argument: &self.argument,
            loader: self.loader,
            priority: self.priority,
            place: self.place,
        }
    }
}
