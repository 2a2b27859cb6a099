//! How often each key was asked for, in bounded memory.

use std::collections::HashMap;

/// What a key takes beside its bytes, about: its entry in the table, which is up to half empty, and the allocation.
const KEY_BYTES: usize = 112;

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Counted {
    /// How often, each time by its weight.
    pub(super) count: f64,
    /// In how many lines.
    pub(super) lines: u64,
    /// Where it was met first: the number of the file, and of the line in it.
    pub(super) first: (u32, u64),
}

/// Counts until it has as many different keys as it may hold.
#[derive(Debug, Default)]
pub(super) struct Counter {
    counts: HashMap<Box<[u8]>, Counted>,
    bytes: usize,
}

impl Counter {
    /// Counts a key once more.
    pub(super) fn add(&mut self, key: &[u8], weight: f64, at: (u32, u64)) {
        if let Some(known) = self.counts.get_mut(key) {
            known.count += weight;
            known.lines += 1;
            return;
        }
        self.bytes += KEY_BYTES + key.len();
        let counted = Counted {
            count: weight,
            lines: 1,
            first: at,
        };
        self.counts.insert(key.into(), counted);
    }

    /// About how many bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// All that was counted; it begins anew.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (Box<[u8]>, Counted)> + use<> {
        std::mem::take(self).counts.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_add_up_until_they_are_taken() {
        let mut counter = Counter::default();
        counter.add(b"a", 1.0, (0, 1));
        counter.add(b"b", 0.5, (0, 2));
        counter.add(b"a", 0.25, (1, 7));
        assert_eq!(counter.bytes(), 2 * (KEY_BYTES + 1));
        let mut taken: Vec<_> = counter.take().collect();
        taken.sort_by(|a, b| a.0.cmp(&b.0));
        let of = |count, lines, first| Counted {
            count,
            lines,
            first,
        };
        let expected = [(b"a", of(1.25, 2, (0, 1))), (b"b", of(0.5, 1, (0, 2)))];
        assert_eq!(
            taken,
            expected.map(|(key, counted)| (key.as_slice().into(), counted))
        );
        assert_eq!((counter.bytes(), counter.take().count()), (0, 0));
    }
}
