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

/// How many bytes the keys and arguments of one source may have together: 256 for each of the most entries.
pub const SOURCE_BYTES_MAX: u64 = 256 << 30;

/// How many bytes a batch takes in memory, about.
#[must_use]
pub fn bytes_of(batch: &EntryBatch) -> usize {
    let keys: usize = batch.keys.iter().map(Bytes::len).sum();
    let arguments: usize = batch.arguments.iter().map(String::len).sum();
    // What is not keys is columns of numbers; a batch of nothing is not nothing.
    keys + arguments + 8 * (batch.ranks.len() + batch.priorities.len() + batch.loaders.len()) + 64
}

/// A row of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRow<'a> {
    /// The cache key.
    pub key: &'a [u8],
    /// What the loader's query is asked with.
    pub argument: &'a str,
    /// Which of the job's loaders loads it; `None`: the source's.
    pub loader: Option<u32>,
    /// How many requests it is expected to get.
    pub priority: Priority,
}

/// The rows of a batch, all of whose columns were checked first.
///
/// # Errors
/// Where a column does not fit.
pub fn rows(
    batch: &EntryBatch,
    loaders: usize,
) -> Result<impl Iterator<Item = BatchRow<'_>>, BadBatch> {
    check(batch, loaders)?;
    let columns = batch.keys.iter().zip(&batch.arguments).enumerate();
    Ok(columns.map(|(n, (key, argument))| BatchRow {
        key,
        argument,
        loader: batch.loaders.get(n).copied(),
        priority: batch
            .priorities
            .get(n)
            .map_or(Priority::ONE, |milli| Priority::from_milli(*milli)),
    }))
}

/// Checks each column of a batch.
///
/// # Errors
/// Where one does not fit.
pub fn check(batch: &EntryBatch, loaders: usize) -> Result<(), BadBatch> {
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
    for (entry, (key, argument)) in batch.keys.iter().zip(&batch.arguments).enumerate() {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            let bytes = key.len();
            return Err(BadBatch::Key { entry, bytes });
        }
        if argument.len() > ARGUMENT_BYTES_MAX {
            let bytes = argument.len();
            return Err(BadBatch::Argument { entry, bytes });
        }
    }
    let stray = |loader: &u32| usize::try_from(*loader).is_ok_and(|loader| loader >= loaders);
    match batch.loaders.iter().position(stray) {
        None => Ok(()),
        Some(entry) => Err(BadBatch::Loader {
            entry,
            loader: batch.loaders[entry],
            loaders,
        }),
    }
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
        let batch = batch(&["a", "b"]);
        let rows: Vec<BatchRow<'_>> = rows(&batch, 1).unwrap().collect();
        assert_eq!(
            (rows.len(), rows[0].loader, rows[0].priority),
            (2, None, Priority::ONE)
        );
    }

    #[test]
    fn columns_that_do_not_fit_are_named() {
        let short = EntryBatch {
            priorities: vec![1],
            ..batch(&["a", "b"])
        };
        assert_eq!(
            check(&short, 1),
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
            check(&stray, 2),
            Err(BadBatch::Loader {
                entry: 1,
                loader: 3,
                loaders: 2
            })
        );
        assert_eq!(
            check(&batch(&["a", ""]), 1),
            Err(BadBatch::Key { entry: 1, bytes: 0 })
        );
        let long = EntryBatch {
            arguments: vec!["x".repeat(ARGUMENT_BYTES_MAX + 1)],
            ..batch(&["a"])
        };
        assert_eq!(
            check(&long, 1),
            Err(BadBatch::Argument {
                entry: 0,
                bytes: ARGUMENT_BYTES_MAX + 1
            })
        );
    }
}
