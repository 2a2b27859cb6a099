//! How often each key was asked for, in bounded memory.
//!
//! What is known of a key lies before its bytes, and those of all keys behind one another, and a table of hashes and places leads
//! there: so a key is found, or known to be new, by two looks into memory, which is what counting takes its time for. (A key that is
//! an allocation of its own, with its counts in the table, takes twice the memory.)

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Counted {
    /// How often, each time by its weight.
    pub(crate) count: f64,
    /// In how many lines.
    pub(crate) lines: u64,
    /// Where it was met first: the number of the file, and of the line in it.
    pub(crate) first: (u32, u64),
}

/// What lies before a key's bytes.
#[derive(Clone, Copy, Debug)]
struct Head {
    counted: Counted,
    /// How many bytes the key has.
    length: u32,
}

impl Head {
    const BYTES: usize = 32;

    fn write(self) -> [u8; Self::BYTES] {
        let Counted {
            count,
            lines,
            first: (file, line),
        } = self.counted;
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&count.to_le_bytes());
        bytes[8..16].copy_from_slice(&lines.to_le_bytes());
        bytes[16..24].copy_from_slice(&line.to_le_bytes());
        bytes[24..28].copy_from_slice(&file.to_le_bytes());
        bytes[28..].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }

    fn read(bytes: &[u8; Self::BYTES]) -> Self {
        let [a, b, c, d] = [0, 8, 16, 24].map(|at| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(eight)
        });
        let (file, length) = (d as u32, (d >> 32) as u32);
        Self {
            counted: Counted {
                count: f64::from_bits(a),
                lines: b,
                first: (file, c),
            },
            length,
        }
    }
}

/// Where a key lies, and a part of its hash, by which nearly all others are told from it without a look at them.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: u32,
    hash: u32,
}

impl Place {
    /// What the table goes by: it takes its first bits for one thing, and its last for another.
    const fn spread(hash: u32) -> u64 {
        (hash as u64) << 32 | hash as u64
    }
}

/// An access that is not counted yet.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// Where its key ends, which begins where that of the one before ends.
    end: usize,
    weight: f64,
    at: (u32, u64),
}

/// So many accesses wait at most, and so many bytes of their keys.
const WAITING_MAX: usize = 64;
const WAITING_BYTES_MAX: usize = 64 << 10;

/// Counts keys, and says how much memory they take.
///
/// Accesses are counted some at a time: looks into memory that do not wait for each other take the time of one.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    counts: Counts,
    waiting: Vec<Waiting>,
    /// Their keys, one behind the other.
    waiting_keys: Vec<u8>,
}

impl Counter {
    /// Counts a key once more.
    pub(crate) fn add(&mut self, key: &[u8], weight: f64, at: (u32, u64)) {
        self.waiting_keys.extend_from_slice(key);
        let end = self.waiting_keys.len();
        self.waiting.push(Waiting { end, weight, at });
        if self.waiting.len() == WAITING_MAX || end >= WAITING_BYTES_MAX {
            self.settle();
        }
    }

    fn settle(&mut self) {
        let mut begin = 0;
        for Waiting { end, weight, at } in self.waiting.drain(..) {
            self.counts.add(&self.waiting_keys[begin..end], weight, at);
            begin = end;
        }
        self.waiting_keys.clear();
    }

    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.counts.keys.len() + self.counts.table.allocation_size() + self.waiting_keys.len()
    }

    /// What was counted, in the order in which the keys were met; of more than 4 GiB of keys, some more than once.
    pub(crate) fn counts(&mut self) -> impl Iterator<Item = (&[u8], Counted)> {
        self.settle();
        let keys = &self.counts.keys;
        let mut at = 0;
        std::iter::from_fn(move || {
            let (head, key) = read(keys, at)?;
            at += Head::BYTES + key.len();
            Some((key, head.counted))
        })
    }

    /// Begins anew.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
        self.waiting_keys.clear();
        self.counts.table.clear();
        self.counts.keys.clear();
    }
}

#[derive(Debug, Default)]
struct Counts {
    hasher: RandomState,
    table: HashTable<Place>,
    /// The [`Head`] of each key, and the key.
    keys: Vec<u8>,
}

impl Counts {
    fn add(&mut self, key: &[u8], weight: f64, at: (u32, u64)) {
        let Self {
            hasher,
            table,
            keys,
        } = self;
        let hash = hasher.hash_one(key) as u32;
        let is_it = |place: &Place| {
            let found = (place.hash == hash).then(|| read(keys, place.at as usize));
            found.flatten().is_some_and(|(_, known)| known == key)
        };
        if let Some(place) = table.find(Place::spread(hash), is_it) {
            let head = keys[place.at as usize..].first_chunk_mut();
            if let Some(bytes) = head {
                let mut head = Head::read(bytes);
                head.counted.count += weight;
                head.counted.lines += 1;
                *bytes = head.write();
            }
            return;
        }
        let place = u32::try_from(keys.len());
        let counted = Counted {
            count: weight,
            lines: 1,
            first: at,
        };
        let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
        keys.extend_from_slice(&Head { counted, length }.write());
        keys.extend_from_slice(&key[..length as usize]);
        // Behind 4 GiB it is not found again, and stands there once for each access.
        if let Ok(at) = place {
            table.insert_unique(Place::spread(hash), Place { at, hash }, |place| {
                Place::spread(place.hash)
            });
        }
    }
}

/// The key that begins there, with what is known of it.
fn read(keys: &[u8], at: usize) -> Option<(Head, &[u8])> {
    let (head, rest) = keys.get(at..)?.split_first_chunk()?;
    let head = Head::read(head);
    Some((head, rest.get(..head.length as usize)?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn weights_add_up_until_it_begins_anew() {
        let mut counter = Counter::default();
        for (key, weight, at) in [
            (b"b".as_slice(), 1.0, (0, 1)),
            (b"a", 0.5, (0, 2)),
            (b"", 2.0, (0, 3)),
            (b"b", 0.25, (1, 7)),
            (b"", 1.0, (1, 8)),
        ] {
            counter.add(key, weight, at);
        }
        let of = |count, lines, first| Counted {
            count,
            lines,
            first,
        };
        let expected = [
            (b"b".as_slice(), of(1.25, 2, (0, 1))),
            (b"a", of(0.5, 1, (0, 2))),
            (b"", of(3.0, 2, (0, 3))),
        ];
        assert!(counter.counts().eq(expected), "in the order of their first");
        let bytes = counter.bytes();
        assert!(bytes >= 2 + 3 * Head::BYTES);
        counter.clear();
        assert_eq!(counter.counts().count(), 0);
        assert!(counter.bytes() < bytes);
        counter.add(b"b", 1.0, (2, 1));
        assert!(counter.counts().eq([(b"b".as_slice(), of(1.0, 1, (2, 1)))]));
    }

    proptest! {
        #[test]
        fn what_is_known_of_a_key_is_kept(count: f64, lines: u64, first: (u32, u64), length: u32) {
            let head = Head { counted: Counted { count, lines, first }, length };
            let read = Head::read(&head.write());
            prop_assert_eq!(read.counted.count.to_bits(), count.to_bits());
            prop_assert_eq!((read.counted.lines, read.counted.first, read.length), (lines, first, length));
        }

        #[test]
        fn it_counts_as_a_map_does(keys in prop::collection::vec(prop::collection::vec(0u8..3, 0..4), 0..300)) {
            let mut counter = Counter::default();
            let mut expected = BTreeMap::<&[u8], u64>::new();
            for (line, key) in (1..).zip(&keys) {
                counter.add(key, 1.0, (0, line));
                *expected.entry(key).or_default() += 1;
            }
            let counted: BTreeMap<&[u8], u64> = counter.counts().map(|(key, counted)| (key, counted.lines)).collect();
            prop_assert_eq!(counted, expected);
            prop_assert!(counter.counts().is_sorted_by_key(|(_, counted)| counted.first));
        }
    }
}
