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

/// Counts keys, and says how much memory they take.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    hasher: RandomState,
    table: HashTable<Place>,
    /// The [`Head`] of each key, and the key.
    keys: Vec<u8>,
}

impl Counter {
    /// Counts a key once more; whether it could. It cannot where there are 4 GiB of keys.
    pub(crate) fn add(&mut self, key: &[u8], weight: f64, at: (u32, u64)) -> bool {
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
            return true;
        }
        let (Ok(place), Ok(length)) = (u32::try_from(keys.len()), u32::try_from(key.len())) else {
            return false;
        };
        let counted = Counted {
            count: weight,
            lines: 1,
            first: at,
        };
        keys.extend_from_slice(&Head { counted, length }.write());
        keys.extend_from_slice(key);
        let place = Place { at: place, hash };
        table.insert_unique(Place::spread(hash), place, |place| {
            Place::spread(place.hash)
        });
        true
    }

    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.keys.len() + self.table.allocation_size()
    }

    /// What was counted, in the order in which the keys were met.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&[u8], Counted)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let (head, key) = read(&self.keys, at)?;
            at += Head::BYTES + key.len();
            Some((key, head.counted))
        })
    }

    /// Begins anew.
    pub(crate) fn clear(&mut self) {
        self.table.clear();
        self.keys.clear();
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
            assert!(counter.add(key, weight, at));
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
