//! Rows: entries on their way to their ranks, as bytes in a row.
//!
//! What holds them (buffers, blocks of spilled runs) holds nothing else, so that sorting ten million of them costs no
//! ten million allocations, and spilling them is copying.

use super::Entry;
use crate::units::Priority;

/// Where an entry was offered: by which source, and as its how-manieth row. The order of places is the order of sources,
/// and inside a source that of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u64);

impl Place {
    /// How many bits count a source's rows; the others are for sources.
    const NTH_BITS: u32 = 40;
    /// How many rows of one source have places of their own: a thousand times [`ENTRIES_MAX`](super::ENTRIES_MAX).
    pub(super) const ROWS_MAX: u64 = 1 << Self::NTH_BITS;

    /// The place of a source's `nth` row (from 0, below [`Place::ROWS_MAX`]). Sources are below 2²⁴, for a job's spec
    /// travels in one message.
    #[must_use]
    pub(super) const fn new(source: u32, nth: u64) -> Self {
        Self(((source as u64) << Self::NTH_BITS) | (nth & (Self::ROWS_MAX - 1)))
    }

    /// Which source.
    #[must_use]
    pub(super) const fn source(self) -> u32 {
        (self.0 >> Self::NTH_BITS) as u32
    }
}

/// An entry on its way to its rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row<'a> {
    /// The cache key.
    pub(super) key: &'a [u8],
    /// What the loader's query is asked with: UTF-8.
    pub(super) argument: &'a [u8],
    /// Which of the job's loaders loads it: an index.
    pub(super) loader: u32,
    /// How many requests it is expected to get.
    pub(super) priority: Priority,
    /// Where it was offered; of merged ones, the first.
    pub(super) place: Place,
}

impl<'a> Row<'a> {
    /// How many bytes a row takes beside its key and argument: the lengths of both, loader, priority, place.
    pub(super) const HEAD_BYTES: usize = 3 * size_of::<u32>() + 2 * size_of::<u64>();

    /// How many bytes it takes.
    #[must_use]
    pub(super) const fn bytes(&self) -> usize {
        Self::HEAD_BYTES + self.key.len() + self.argument.len()
    }

    /// Adds it to others.
    pub(super) fn write(&self, rows: &mut Vec<u8>) {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        rows.extend_from_slice(&length(self.key).to_le_bytes());
        rows.extend_from_slice(&length(self.argument).to_le_bytes());
        rows.extend_from_slice(&self.loader.to_le_bytes());
        rows.extend_from_slice(&self.priority.as_milli().to_le_bytes());
        rows.extend_from_slice(&self.place.0.to_le_bytes());
        rows.extend_from_slice(self.key);
        rows.extend_from_slice(self.argument);
    }

    /// The first of these rows; `None` where they are none.
    pub(super) fn read(rows: &'a [u8]) -> Option<Self> {
        let (key, rows) = rows.split_first_chunk()?;
        let (argument, rows) = rows.split_first_chunk()?;
        let (loader, rows) = rows.split_first_chunk()?;
        let (priority, rows) = rows.split_first_chunk()?;
        let (place, rows) = rows.split_first_chunk()?;
        let length = |bytes: &[u8; 4]| usize::try_from(u32::from_le_bytes(*bytes)).ok();
        let (key, rows) = rows.split_at_checked(length(key)?)?;
        Some(Self {
            key,
            argument: rows.get(..length(argument)?)?,
            loader: u32::from_le_bytes(*loader),
            priority: Priority::from_milli(u64::from_le_bytes(*priority)),
            place: Place(u64::from_le_bytes(*place)),
        })
    }

    /// The entry; `None` where its argument is no text.
    pub(super) fn entry(&self) -> Option<Entry> {
        Some(Entry {
            key: self.key.into(),
            loader: self.loader,
            argument: std::str::from_utf8(self.argument).ok()?.into(),
            priority: self.priority,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_row_is_read_as_it_was_written_and_what_is_cut_off_is_none(
            key in prop::collection::vec(any::<u8>(), 0..40),
            argument in ".{0,20}",
            loader: u32,
            milli in 0..=Priority::REQUESTS_MAX * 1000,
            source in 0u32..1 << 24,
            nth in 0..Place::ROWS_MAX,
        ) {
            let row = Row {
                key: &key,
                argument: argument.as_bytes(),
                loader,
                priority: Priority::from_milli(milli),
                place: Place::new(source, nth),
            };
            prop_assert_eq!(row.place.source(), source);
            let mut bytes = Vec::new();
            row.write(&mut bytes);
            prop_assert_eq!(bytes.len(), row.bytes());
            prop_assert_eq!(Row::read(&bytes), Some(row));
            for end in 0..bytes.len() {
                prop_assert_eq!(Row::read(&bytes[..end]), None);
            }
        }
    }

    #[test]
    fn places_are_in_the_order_of_sources_then_rows() {
        let places = [(0, 0), (0, 1), (0, Place::ROWS_MAX - 1), (1, 0), (7, 3)];
        assert!(
            places
                .map(|(source, nth)| Place::new(source, nth))
                .is_sorted()
        );
    }
}
