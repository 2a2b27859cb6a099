//! Rows in memory: collected in any order, then sorted in place.

use std::cmp::Ordering;
use std::hash::{DefaultHasher, Hasher};

use super::row::{Place, Row};

/// What rows are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Rows of one key lie together, in the order of their places. Which key comes first means nothing: a hash decides
    /// nearly all comparisons, where keys mostly begin alike.
    ByKey,
    /// Falling priority; among equals, the place.
    ByRank,
}

/// What decides most comparisons of rows, beside their place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    prefix: u64,
    place: Place,
}

impl Order {
    pub(super) fn head(self, row: &Row<'_>) -> Head {
        let prefix = match self {
            Self::ByKey => hash(row.key),
            Self::ByRank => u64::MAX - row.priority.as_milli(),
        };
        Head {
            prefix,
            place: row.place,
        }
    }

    /// Compares rows; `keys` gives the keys of both.
    pub(super) fn compare<'a>(
        self,
        one: Head,
        other: Head,
        keys: impl FnOnce() -> (&'a [u8], &'a [u8]),
    ) -> Ordering {
        let by_key = || match self {
            Self::ByKey => {
                let (one, other) = keys();
                one.cmp(other)
            }
            Self::ByRank => Ordering::Equal,
        };
        let by_prefix = one.prefix.cmp(&other.prefix).then_with(by_key);
        by_prefix.then_with(|| one.place.cmp(&other.place))
    }
}

/// The same for the same key in this process: the keys of the hash are fixed.
fn hash(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    let hash = hasher.finish();
    // In tests different keys of one hash are seen, too.
    if cfg!(test) { hash % 8 } else { hash }
}

#[derive(Clone, Copy, Debug)]
struct Indexed {
    head: Head,
    /// Where it begins.
    at: usize,
}

/// Rows that are being collected.
#[derive(Debug)]
pub(super) struct Buffer {
    order: Order,
    rows: Vec<u8>,
    index: Vec<Indexed>,
}

impl Buffer {
    /// How many bytes a row of so many takes here.
    pub(super) const fn bytes_of(row_bytes: usize) -> usize {
        row_bytes + size_of::<Indexed>()
    }

    pub(super) const fn new(order: Order) -> Self {
        Self {
            order,
            rows: Vec::new(),
            index: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, row: &Row<'_>) {
        let head = self.order.head(row);
        let at = self.rows.len();
        reserve(&mut self.rows, row.bytes());
        reserve(&mut self.index, 1);
        row.write(&mut self.rows);
        self.index.push(Indexed { head, at });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// How many bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        self.rows.len() + self.index.len() * size_of::<Indexed>()
    }

    /// How many bytes more [`Buffer::ranked`] takes.
    pub(super) const fn bytes_to_rank(&self) -> usize {
        self.index.len() * size_of::<(u64, usize)>()
    }

    /// The rows, which were collected by key, by rank, where each has a key of its own; else they come back as they are.
    pub(super) fn ranked(self) -> Result<Sorted, Self> {
        if self.has_duplicates() {
            return Err(self);
        }
        let Self {
            rows, mut index, ..
        } = self;
        let order = Order::ByRank;
        for indexed in &mut index {
            if let Some(row) = Row::read(&rows[indexed.at..]) {
                indexed.head = order.head(&row);
            }
        }
        index.sort_unstable_by(|one, other| order.compare(one.head, other.head, || (&[], &[])));
        Ok(Sorted {
            rows,
            index: index.into_iter(),
        })
    }

    /// Whether two rows have the same key. Rows stay in their order, which is that of memory.
    fn has_duplicates(&self) -> bool {
        debug_assert_eq!(self.order, Order::ByKey);
        let key = |n: usize| Row::read(&self.rows[self.index[n].at..]).map(|row| row.key);
        let hashes = self.index.iter().enumerate();
        let mut hashes: Vec<(u64, usize)> = hashes.map(|(n, row)| (row.head.prefix, n)).collect();
        hashes.sort_unstable();
        let of_one_hash = hashes.chunk_by(|one, other| one.0 == other.0);
        of_one_hash.filter(|rows| rows.len() > 1).any(|rows| {
            let mut keys: Vec<_> = rows.iter().map(|(_, n)| key(*n)).collect();
            keys.sort_unstable();
            keys.windows(2).any(|pair| pair[0] == pair[1])
        })
    }

    pub(super) fn sorted(self) -> Sorted {
        let Self {
            order,
            rows,
            mut index,
        } = self;
        let key = |indexed: &Indexed| Row::read(&rows[indexed.at..]).map_or(&[][..], |row| row.key);
        index.sort_unstable_by(|one, other| {
            order.compare(one.head, other.head, || (key(one), key(other)))
        });
        Sorted {
            rows,
            index: index.into_iter(),
        }
    }
}

/// Makes room for so many more: in small steps, for the room is counted.
fn reserve<T>(vec: &mut Vec<T>, more: usize) {
    const STEP_PART: usize = 16;
    const STEP_BYTES_MIN: usize = 4096;
    if vec.capacity() - vec.len() < more {
        let step = (STEP_BYTES_MIN / size_of::<T>()).max(vec.len() / STEP_PART);
        vec.reserve_exact(more.max(step));
    }
}

/// Rows in their order.
#[derive(Debug)]
pub(super) struct Sorted {
    rows: Vec<u8>,
    index: std::vec::IntoIter<Indexed>,
}

impl Sorted {
    /// The next row, with what decides comparisons.
    pub(super) fn peek(&self) -> Option<(Head, Row<'_>)> {
        let indexed = self.index.as_slice().first()?;
        Some((indexed.head, Row::read(&self.rows[indexed.at..])?))
    }

    pub(super) fn advance(&mut self) {
        self.index.next();
    }
}
