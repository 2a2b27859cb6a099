//! How much a worker wants a partition: the time at which it comes for it in a race that the earliest wins.
//!
//! Plain weighted rendezvous hashing gives worker *w* the time −ln(u)/weight for a uniform hash u of (*w*, partition):
//! exponential times, of which each worker's is the earliest with a probability in proportion to its weight (Schindler
//! and Schomaker, "Weighted distributed hash tables", 2005). Here u is not a free hash of each pair. Each worker
//! shuffles all P partitions, seeded by its name alone, and u is the partition's place in that order, counted from the
//! end, divided by P. So every worker hands out every place once, which halves the variance of how many partitions it wins
//! and costs no movement, as no worker's order depends on any other worker.
//!
//! All arithmetic is on integers: the floating-point logarithm may differ between platforms in its last bit, and with it
//! the owner of a partition.

use std::sync::Arc;

use crate::ring::Member;
use crate::slot::Partitioning;

/// When a worker comes for a partition: −log₂(u), in units of 2^−[`FRACTION_BITS`], times [`WEIGHT_SCALE`], divided by
/// the worker's weight.
pub(super) type Score = u64;

/// Fractional bits of a logarithm.
const FRACTION_BITS: u32 = 26;
/// Times are divided by weights of up to 32 bits: this many units more keep something of them.
const WEIGHT_SCALE: u64 = 1 << 32;

/// All partitions in the order in which one worker comes for them, each with the time.
///
/// They are drawn as they are asked for: a race is over long before a worker has come to its last.
pub(super) struct Favourites {
    weight: u64,
    times: Arc<[u64]>,
    /// Those before `drawn` are drawn, those from there on are still to be.
    partitions: Vec<u16>,
    drawn: usize,
    state: u64,
}

impl Favourites {
    /// The favourites of every member, in the order of the members.
    pub(super) fn of(partitioning: Partitioning, members: &[Member]) -> Vec<Self> {
        let times: Arc<[u64]> = times(partitioning).into();
        members
            .iter()
            .map(|member| Self::new(partitioning, member, Arc::clone(&times)))
            .collect()
    }

    fn new(partitioning: Partitioning, member: &Member, times: Arc<[u64]>) -> Self {
        Self {
            weight: member.weight.get().into(),
            times,
            partitions: (0..partitioning.count()).collect(),
            drawn: 0,
            state: finish(fnv_1a(member.name.as_str().as_bytes())),
        }
    }
}

impl Iterator for Favourites {
    type Item = (Score, u16);

    /// One step of Fisher and Yates' shuffle (Knuth, volume 2, algorithm P), with SplitMix64 for the dice.
    fn next(&mut self) -> Option<(Score, u16)> {
        let place = self.partitions.len().checked_sub(self.drawn + 1)?;
        self.state = self.state.wrapping_add(GOLDEN);
        let random = finish(self.state);
        // High bits choose one of the `place + 1` that are left. With 2^64 values for at most 16,384 the bias is nothing.
        let chosen = (u128::from(random) * (place as u128 + 1)) >> 64;
        self.partitions
            .swap(self.drawn, self.drawn + chosen as usize);
        let partition = self.partitions[self.drawn];
        self.drawn += 1;
        // Low bits move the time within the place, lest equal places of two workers mean equal times.
        let (slow, fast) = (self.times[place], self.times[place + 1]);
        let time = fast + (((slow - fast) * (random & 0xffff)) >> 16);
        Some((time * WEIGHT_SCALE / self.weight, partition))
    }
}

/// −log₂(place / P) for the places 0 to P. That of 0 would be infinite: it is the time of half a place instead.
fn times(partitioning: Partitioning) -> Vec<u64> {
    let bits = partitioning.count().trailing_zeros();
    let longest = u64::from(bits + 1) << FRACTION_BITS;
    let rest =
        (1..=partitioning.count()).map(|place| (u64::from(bits) << FRACTION_BITS) - log2(place));
    std::iter::once(longest).chain(rest).collect()
}

/// log₂ of `number`, which is not 0, in units of 2^−[`FRACTION_BITS`], rounded down: the classical algorithm that squares
/// the mantissa and reads off one bit of the logarithm each time.
fn log2(number: u16) -> u64 {
    let whole = number.ilog2();
    // A mantissa from 1 to below 2, with 31 fractional bits.
    let mut mantissa = u64::from(number) << (31 - whole);
    let mut log = u64::from(whole);
    for _ in 0..FRACTION_BITS {
        mantissa = (mantissa * mantissa) >> 31;
        let passed_two = mantissa >> 32;
        mantissa >>= passed_two;
        log = (log << 1) | passed_two;
    }
    log
}

/// FNV-1a, 64 bits (Fowler, Noll and Vo).
fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What SplitMix64 adds for each number it draws: 2^64 divided by the golden ratio, made odd.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output function of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014;
/// constants as in Vigna's splitmix64.c): a bijection in which every bit depends on every other.
fn finish(state: u64) -> u64 {
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::Weight;

    #[test]
    fn the_hashes_are_the_published_ones() {
        // From the FNV reference's test vectors, and the first numbers of splitmix64.c for the seeds 0 and 1234567.
        assert_eq!(fnv_1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv_1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv_1a(b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(finish(GOLDEN), 0xe220_a839_7b1d_cdaf);
        assert_eq!(finish(GOLDEN + 1_234_567), 6_457_827_717_110_365_317);
    }

    #[test]
    fn the_logarithm_is_right_to_the_last_bits() {
        for number in 1..=16_384_u16 {
            let exact = f64::from(number).log2() * f64::from(1 << FRACTION_BITS);
            let error = exact - log2(number) as f64;
            assert!(
                (-0.1..3.0).contains(&error),
                "log2({number}) is off by {error} units"
            );
        }
    }

    #[test]
    fn every_partition_is_somewhere_among_the_favourites_and_times_only_grow() {
        for weight in [1, 100, u32::MAX] {
            let partitioning = Partitioning::new(16_384).unwrap();
            let member = Member {
                name: "w1".parse().unwrap(),
                weight: Weight::new(weight).unwrap(),
            };
            let [favourites] = Favourites::of(partitioning, &[member])
                .try_into()
                .ok()
                .unwrap();
            let (times, mut partitions): (Vec<_>, Vec<_>) = favourites.unzip();
            partitions.sort_unstable();
            assert!(times.is_sorted());
            assert!(partitions.into_iter().eq(0..16_384));
        }
    }
}
