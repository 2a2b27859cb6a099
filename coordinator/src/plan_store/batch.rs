//! Entries in columns, as they travel and are stored, to and from entries.

use bytes::Bytes;
use stoke_core::plan::Entry;
use stoke_core::units::{Priority, Rank};
use stoke_proto::v1::EntryBatch;

/// A batch that does not say what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBatch {
    /// A column has another length than the keys.
    #[error("the column {column} has {found} elements, but there are {keys} keys")]
    Length {
        /// Which.
        column: &'static str,
        /// How many it has.
        found: usize,
        /// How many keys there are.
        keys: usize,
    },
    /// An entry names a loader that the job does not have.
    #[error("entry {entry} of the batch names loader {loader}, but the job has {loaders}")]
    Loader {
        /// Which entry.
        entry: usize,
        /// The index it gives.
        loader: u32,
        /// How many loaders there are.
        loaders: usize,
    },
    /// A key that Redis would not take.
    #[error(
        "entry {entry} of the batch has a key of {bytes} bytes: 1 to {KEY_BYTES_MAX} are possible"
    )]
    Key {
        /// Which entry.
        entry: usize,
        /// How long its key is.
        bytes: usize,
    },
    /// An argument that no query should be asked with.
    #[error(
        "entry {entry} of the batch has an argument of {bytes} bytes: at most {ARGUMENT_BYTES_MAX} are possible"
    )]
    Argument {
        /// Which entry.
        entry: usize,
        /// How long its argument is.
        bytes: usize,
    },
}

pub(super) use stoke_core::plan::KEY_BYTES_MAX;
/// The longest argument, in bytes: as a key's.
const ARGUMENT_BYTES_MAX: usize = KEY_BYTES_MAX;

/// How many bytes the keys and arguments of one source may have together: they are held in memory while a plan is made.
pub const SOURCE_BYTES_MAX: usize = 2 << 30;

/// How many bytes a batch takes in memory, about.
#[must_use]
pub fn bytes_of(batch: &EntryBatch) -> usize {
    let keys: usize = batch.keys.iter().map(Bytes::len).sum();
    let arguments: usize = batch.arguments.iter().map(String::len).sum();
    // What is not keys is columns of numbers; a batch of nothing is not nothing.
    keys + arguments + 8 * (batch.ranks.len() + batch.priorities.len() + batch.loaders.len()) + 64
}

/// Takes a batch apart, checking each column.
///
/// # Errors
/// Where a column does not fit.
pub fn entries(batch: EntryBatch, loaders: usize) -> Result<Vec<Entry>, BadBatch> {
    let keys = batch.keys.len();
    let check = |column, found, may_be_empty: bool| {
        if found == keys || (may_be_empty && found == 0) {
            Ok(())
        } else {
            Err(BadBatch::Length {
                column,
                found,
                keys,
            })
        }
    };
    check("priorities", batch.priorities.len(), true)?;
    check("loaders", batch.loaders.len(), true)?;
    check("arguments", batch.arguments.len(), false)?;
    let mut entries = Vec::with_capacity(keys);
    for (n, (key, argument)) in batch.keys.into_iter().zip(batch.arguments).enumerate() {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(BadBatch::Key {
                entry: n,
                bytes: key.len(),
            });
        }
        if argument.len() > ARGUMENT_BYTES_MAX {
            return Err(BadBatch::Argument {
                entry: n,
                bytes: argument.len(),
            });
        }
        let loader = batch.loaders.get(n).copied().unwrap_or(0);
        if usize::try_from(loader).is_ok_and(|loader| loader >= loaders) {
            return Err(BadBatch::Loader {
                entry: n,
                loader,
                loaders,
            });
        }
        let priority = batch
            .priorities
            .get(n)
            .map_or(Priority::ONE, |milli| Priority::from_milli(*milli));
        entries.push(Entry {
            key: key.to_vec().into(),
            loader,
            argument: argument.into(),
            priority,
        });
    }
    Ok(entries)
}

/// Puts ranked entries into columns.
#[must_use]
pub fn rows_to_batch(rows: &[(Rank, Entry)]) -> EntryBatch {
    let loaders = if rows.iter().all(|(_, entry)| entry.loader == 0) {
        Vec::new()
    } else {
        rows.iter().map(|(_, entry)| entry.loader).collect()
    };
    EntryBatch {
        ranks: rows.iter().map(|(rank, _)| rank.0).collect(),
        keys: rows
            .iter()
            .map(|(_, entry)| Bytes::copy_from_slice(&entry.key))
            .collect(),
        priorities: rows
            .iter()
            .map(|(_, entry)| entry.priority.as_milli())
            .collect(),
        loaders,
        arguments: rows
            .iter()
            .map(|(_, entry)| entry.argument.to_string())
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(keys: &[&'static str]) -> EntryBatch {
        EntryBatch {
            keys: keys
                .iter()
                .map(|key| Bytes::from_static(key.as_bytes()))
                .collect(),
            arguments: keys.iter().map(|key| (*key).to_owned()).collect(),
            ..EntryBatch::default()
        }
    }

    #[test]
    fn columns_that_may_be_left_out_have_defaults() {
        let entries = entries(batch(&["a", "b"]), 1).unwrap();
        assert_eq!(
            (entries.len(), entries[0].loader, entries[0].priority),
            (2, 0, Priority::ONE)
        );
    }

    #[test]
    fn columns_that_do_not_fit_are_named() {
        let short = EntryBatch {
            priorities: vec![1],
            ..batch(&["a", "b"])
        };
        assert_eq!(
            entries(short, 1),
            Err(BadBatch::Length {
                column: "priorities",
                found: 1,
                keys: 2
            })
        );
        let stray = EntryBatch {
            loaders: vec![0, 3],
            ..batch(&["a", "b"])
        };
        assert_eq!(
            entries(stray, 2),
            Err(BadBatch::Loader {
                entry: 1,
                loader: 3,
                loaders: 2
            })
        );
        assert_eq!(
            entries(batch(&["a", ""]), 1),
            Err(BadBatch::Key { entry: 1, bytes: 0 })
        );
        let long = EntryBatch {
            arguments: vec!["x".repeat(ARGUMENT_BYTES_MAX + 1)],
            ..batch(&["a"])
        };
        assert_eq!(
            entries(long, 1),
            Err(BadBatch::Argument {
                entry: 0,
                bytes: ARGUMENT_BYTES_MAX + 1
            })
        );
    }
}
