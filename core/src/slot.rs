//! Where a cache key lives: Redis' hash slot, and the partition that the slot falls into.
//!
//! Every key has one slot, also where the cache is a standalone Redis, so that a plan can be cut the same way for every
//! deployment. A [`Partitioning`] cuts the slots into contiguous ranges of equal length. Which worker owns a partition
//! is not decided here but in [`crate::ring`]; which node of a cluster serves a slot is the cache writer's matter.

mod ranges;

pub use ranges::{NotASlotRange, Slots, parse_slot_range, slot_range};

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::units::PartitionId;

/// A hash slot of Redis Cluster: 0 to [`Slot::COUNT`] − 1.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Slot(pub u16);

impl Slot {
    /// How many slots there are.
    pub const COUNT: u16 = 16_384;

    /// The slot of `key`: CRC16 of its hash tag, or of the whole key where it has none, modulo [`Slot::COUNT`].
    ///
    /// The rule is that of the Redis Cluster specification ("Key distribution model", "Hash tags").
    #[must_use]
    pub const fn of(key: &[u8]) -> Self {
        Self(crc16(hashed_part(key)) % Self::COUNT)
    }
}

/// What of `key` is hashed: the bytes between the first `{` and the first `}` after it, unless there are none.
const fn hashed_part(key: &[u8]) -> &[u8] {
    let Some(open) = position(key, b'{') else {
        return key;
    };
    let (_, tail) = key.split_at(open + 1);
    match position(tail, b'}') {
        None | Some(0) => key,
        Some(close) => tail.split_at(close).0,
    }
}

/// The place of the first `wanted` in `bytes`.
const fn position(bytes: &[u8], wanted: u8) -> Option<usize> {
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == wanted {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// CRC-16/XMODEM (polynomial 0x1021, initial value 0, nothing reflected), the one that Redis uses.
const fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0_u16;
    let mut at = 0;
    while at < bytes.len() {
        crc = (crc << 8) ^ CRC16[((crc >> 8) as u8 ^ bytes[at]) as usize];
        at += 1;
    }
    crc
}

/// What one byte does to the remainder.
const CRC16: [u16; 256] = {
    let mut table = [0_u16; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// How the slots are cut into partitions: a power of two of contiguous ranges, all of the same length.
///
/// Chosen once per plan, and stored with it as the bare count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Partitioning(u16);

/// A number that slots cannot be cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a number of partitions: it must be a power of two from {min} to {max}", min = Partitioning::COUNT_MIN, max = Partitioning::COUNT_MAX)]
pub struct NotAPartitioning(pub u16);

impl Partitioning {
    /// The fewest partitions: a plan for few workers may still meet more of them later.
    pub const COUNT_MIN: u16 = 256;
    /// The most partitions: one for each slot.
    pub const COUNT_MAX: u16 = Slot::COUNT;
    /// How many partitions a worker should own at least, so that they can be shared out evenly.
    pub const PER_WORKER_MIN: usize = 64;

    /// A partitioning into `count` partitions.
    ///
    /// # Errors
    /// Where `count` is no power of two from [`Self::COUNT_MIN`] to [`Self::COUNT_MAX`].
    pub const fn new(count: u16) -> Result<Self, NotAPartitioning> {
        if count.is_power_of_two() && Self::COUNT_MIN <= count && count <= Self::COUNT_MAX {
            Ok(Self(count))
        } else {
            Err(NotAPartitioning(count))
        }
    }

    /// The coarsest partitioning that gives each of `expected` workers [`Self::PER_WORKER_MIN`] partitions; the finest
    /// there is where even that gives them fewer (above 256 workers).
    #[must_use]
    pub fn for_workers(expected: usize) -> Self {
        let wanted = expected.saturating_mul(Self::PER_WORKER_MIN);
        let mut count = Self::COUNT_MIN;
        while usize::from(count) < wanted && count < Self::COUNT_MAX {
            count *= 2;
        }
        Self(count)
    }

    /// How many partitions there are.
    #[must_use]
    pub const fn count(self) -> u16 {
        self.0
    }

    /// How many slots each partition holds: 1 to 64.
    #[must_use]
    pub const fn slots_each(self) -> u16 {
        Slot::COUNT / self.0
    }

    /// All partitions, ascending.
    pub fn ids(self) -> impl ExactSizeIterator<Item = PartitionId> + DoubleEndedIterator {
        (0..self.0).map(PartitionId)
    }

    /// Whether `partition` is one of these: what comes from outside must be asked this before anything else.
    #[must_use]
    pub const fn contains(self, partition: PartitionId) -> bool {
        partition.0 < self.0
    }

    /// The partition that `slot` falls into.
    ///
    /// # Panics
    /// Where `slot` is none: [`Slot::of`] gives no such value.
    #[must_use]
    pub const fn partition(self, slot: Slot) -> PartitionId {
        assert!(slot.0 < Slot::COUNT, "a slot is below Slot::COUNT");
        PartitionId(slot.0 / self.slots_each())
    }

    /// The partition of a cache key.
    #[must_use]
    pub const fn of_key(self, key: &[u8]) -> PartitionId {
        self.partition(Slot::of(key))
    }

    /// The slots of `partition`.
    ///
    /// # Panics
    /// Where there is no such partition: see [`Self::contains`].
    #[must_use]
    pub const fn slots(self, partition: PartitionId) -> RangeInclusive<Slot> {
        assert!(
            self.contains(partition),
            "a partition's id is below the number of partitions"
        );
        let first = partition.0 * self.slots_each();
        RangeInclusive::new(Slot(first), Slot(first + (self.slots_each() - 1)))
    }
}

impl TryFrom<u16> for Partitioning {
    type Error = NotAPartitioning;

    fn try_from(count: u16) -> Result<Self, NotAPartitioning> {
        Self::new(count)
    }
}

impl From<Partitioning> for u16 {
    fn from(partitioning: Partitioning) -> Self {
        partitioning.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_checksum_is_crc16_xmodem() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(crc16(b""), 0);
    }

    #[test]
    fn slots_are_those_that_redis_tells() {
        // What `CLUSTER KEYSLOT` answers.
        for (key, slot) in [
            ("foo", 12182),
            ("bar", 5061),
            ("hello", 866),
            ("", 0),
            ("123456789", 0x31C3),
        ] {
            assert_eq!(Slot::of(key.as_bytes()), Slot(slot), "{key}");
        }
    }

    #[test]
    fn a_hash_tag_is_what_stands_between_the_first_brace_and_the_next_closing_one() {
        for (key, hashed) in [
            ("{user1000}.following", "user1000"),
            ("{user1000}.followers", "user1000"),
            ("foo{}{bar}", "foo{}{bar}"),
            ("foo{{bar}}zap", "{bar"),
            ("foo{bar}{zap}", "bar"),
            ("foo{bar", "foo{bar"),
            ("foo}bar{", "foo}bar{"),
            ("}{a}", "a"),
            ("{", "{"),
            ("{}", "{}"),
        ] {
            assert_eq!(hashed_part(key.as_bytes()), hashed.as_bytes(), "{key}");
        }
        assert_eq!(
            Slot::of(b"{user1000}.following"),
            Slot::of(b"{user1000}.followers")
        );
    }

    #[test]
    fn only_powers_of_two_in_bounds_are_partitionings() {
        for count in [256, 512, 1024, 2048, 4096, 8192, 16_384] {
            assert_eq!(Partitioning::new(count).map(Partitioning::count), Ok(count));
        }
        for count in [0, 1, 128, 255, 257, 768, 16_383, 32_768, u16::MAX] {
            assert_eq!(Partitioning::new(count), Err(NotAPartitioning(count)));
        }
    }

    #[test]
    fn workers_get_sixty_four_partitions_each_as_long_as_there_are_slots() {
        for (workers, count) in [
            (0, 256),
            (1, 256),
            (4, 256),
            (5, 512),
            (8, 512),
            (9, 1024),
            (128, 8192),
            (129, 16_384),
            (256, 16_384),
            (257, 16_384),
            (usize::MAX, 16_384),
        ] {
            assert_eq!(
                Partitioning::for_workers(workers).count(),
                count,
                "{workers} workers"
            );
        }
    }

    #[test]
    fn the_ranges_of_every_partitioning_follow_each_other_and_cover_all_slots() {
        for count in (8..=14).map(|bits| 1 << bits) {
            let partitioning = Partitioning::new(count).unwrap();
            let mut next = 0;
            for partition in partitioning.ids() {
                let range = partitioning.slots(partition);
                assert_eq!(range.start().0, next);
                assert_eq!(
                    range.end().0 - range.start().0 + 1,
                    partitioning.slots_each()
                );
                next = range.end().0 + 1;
            }
            assert_eq!(next, Slot::COUNT);
        }
    }

    #[test]
    fn a_partitioning_is_written_as_its_bare_count() {
        let partitioning = Partitioning::new(512).unwrap();
        assert_eq!(serde_json::to_string(&partitioning).unwrap(), "512");
        assert_eq!(
            serde_json::from_str::<Partitioning>("512").unwrap(),
            partitioning
        );
        let refused = serde_json::from_str::<Partitioning>("500").unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("500 is not a number of partitions"),
            "{refused}"
        );
    }

    proptest! {
        #[test]
        fn a_key_lies_in_the_range_of_its_partition(key in prop::collection::vec(any::<u8>(), 0..64), bits in 8_u32..=14) {
            let partitioning = Partitioning::new(1 << bits).unwrap();
            let slot = Slot::of(&key);
            prop_assert!(slot.0 < Slot::COUNT);
            prop_assert!(partitioning.slots(partitioning.partition(slot)).contains(&slot));
        }

        #[test]
        fn keys_with_the_same_tag_share_a_slot(
            tag in "[^{}]{1,20}", before in "[^{]{0,10}", left in ".{0,10}", right in ".{0,10}",
        ) {
            let one = format!("{before}{{{tag}}}{left}");
            let other = format!("{{{tag}}}{right}");
            prop_assert_eq!(Slot::of(one.as_bytes()), Slot::of(other.as_bytes()));
            prop_assert_eq!(Slot::of(one.as_bytes()), Slot::of(tag.as_bytes()));
        }
    }
}
