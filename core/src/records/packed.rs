//! How a record has the partitions: as JSON that people can read, or, where they are many, packed into one text.
//!
//! One worker may be left of a hundred and own all 16,384: as JSON they were more than a transaction of the store takes.
//! Packed, each is about 25 bytes: differences to the one before, as variable-length integers, in base64.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserializer, Serialize, Serializer};

use crate::progress::{PartitionState, Position, Retry, Tally};
use crate::units::PartitionId;

type States = BTreeMap<PartitionId, PartitionState>;

/// From so many partitions on they are packed: a worker's share usually is less.
const PACKED_FROM: usize = 1024;
/// What precedes packed tallies that say of ranges, too: no letter of base64, so an older version takes it for damaged.
const WITH_RANGES: &str = "r:";
/// How many numbers a tally has without them.
const PLAIN_NUMBERS: usize = 8;

pub(super) fn serialize<S: Serializer>(states: &States, to: S) -> Result<S::Ok, S::Error> {
    if states.len() < PACKED_FROM {
        states.serialize(to)
    } else {
        to.serialize_str(&pack(states))
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<States, D::Error> {
    // Not an untagged enum: that would lose keys that are numbers.
    from.deserialize_any(Either)
}

struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = States;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("partitions, each with its state, or all of them packed")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<States, A::Error> {
        let mut states = States::new();
        while let Some((partition, state)) = map.next_entry()? {
            states.insert(partition, state);
        }
        Ok(states)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<States, E> {
        let (text, numbers) = match text.strip_prefix(WITH_RANGES) {
            Some(text) => (text, 10),
            None => (text, PLAIN_NUMBERS),
        };
        let bytes = STANDARD_NO_PAD.decode(text).map_err(E::custom)?;
        unpack(&bytes, numbers).ok_or_else(|| E::custom("the packed partitions are damaged"))
    }
}

fn pack(states: &States) -> String {
    let has_ranges = states.values().any(|state| state.tally.ranges > 0);
    let mut out = Vec::with_capacity(states.len() * 20);
    let mut before = (0, Position::default());
    for (partition, state) in states {
        put(&mut out, u64::from(partition.0) - before.0);
        put_position(&mut out, state.position, before.1);
        let tally: [u64; 10] = state.tally.into();
        let numbers = if has_ranges { 10 } else { PLAIN_NUMBERS };
        tally[..numbers].iter().for_each(|n| put(&mut out, *n));
        put(&mut out, state.retries.len() as u64);
        let mut at = state.position;
        for retry in &state.retries {
            let position = Position {
                band: retry.band,
                rank: retry.rank,
            };
            put_position(&mut out, position, at);
            put(&mut out, u64::from(retry.attempts));
            at = position;
        }
        before = (u64::from(partition.0), state.position);
    }
    let packed = STANDARD_NO_PAD.encode(out);
    if has_ranges {
        format!("{WITH_RANGES}{packed}")
    } else {
        packed
    }
}

/// Of tallies of so many numbers. `None`: they are not what [`pack`] makes.
fn unpack(mut from: &[u8], numbers: usize) -> Option<States> {
    let mut states = States::new();
    let mut before = (0u64, Position::default());
    while !from.is_empty() {
        let partition = before.0.checked_add(get(&mut from)?)?;
        let position = get_position(&mut from, before.1)?;
        let mut tally = [0; 10];
        for n in tally.iter_mut().take(numbers) {
            *n = get(&mut from)?;
        }
        let mut retries = Vec::new();
        let mut at = position;
        for _ in 0..get(&mut from)? {
            at = get_position(&mut from, at)?;
            retries.push(Retry {
                band: at.band,
                rank: at.rank,
                attempts: u32::try_from(get(&mut from)?).ok()?,
            });
        }
        let state = PartitionState {
            position,
            tally: Tally::from(tally),
            retries,
        };
        let is_new = states.insert(PartitionId(u16::try_from(partition).ok()?), state);
        if is_new.is_some() {
            return None;
        }
        before = (partition, position);
    }
    Some(states)
}

fn put_position(out: &mut Vec<u8>, position: Position, before: Position) {
    let difference = |to: u64, from: u64| zigzag(to.wrapping_sub(from).cast_signed());
    put(
        out,
        difference(position.band.0.into(), before.band.0.into()),
    );
    put(out, difference(position.rank.0, before.rank.0));
}

fn get_position(from: &mut &[u8], before: Position) -> Option<Position> {
    let (band, rank) = <(u32, u64)>::from(before);
    let band = u64::from(band).wrapping_add(unzigzag(get(from)?));
    let rank = rank.wrapping_add(unzigzag(get(from)?));
    Some((u32::try_from(band).ok()?, rank).into())
}

/// Small numbers of either sign as small ones.
const fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)).cast_unsigned()
}

const fn unzigzag(n: u64) -> u64 {
    (n >> 1) ^ (n & 1).wrapping_neg()
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn put(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(u8::try_from(n & 0x7f).unwrap_or(0) | 0x80);
        n >>= 7;
    }
    out.push(u8::try_from(n).unwrap_or(0));
}

fn get(from: &mut &[u8]) -> Option<u64> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = from.split_first()?;
        *from = rest;
        let bits = u64::from(first & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        n |= bits << shift;
        if first & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::records::Assignment;

    fn state() -> impl Strategy<Value = PartitionState> {
        let number = || prop_oneof![4 => 0u64..300, 2 => 0u64..1 << 40, 1 => any::<u64>()];
        let retry = (any::<u32>(), number(), any::<u32>()).prop_map(Retry::from);
        let tally = prop::array::uniform10(number()).prop_map(Tally::from);
        let position = (any::<u32>(), number()).prop_map(Position::from);
        (position, tally, prop::collection::vec(retry, 0..4)).prop_map(
            |(position, tally, retries)| PartitionState {
                position,
                tally,
                retries,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_packed_is_what_is_unpacked(
            states in prop::collection::btree_map((0u16..16_384).prop_map(PartitionId), state(), 0..40),
        ) {
            let mut states = states;
            // Rows are of ranges.
            states.values_mut().filter(|s| s.tally.ranges == 0).for_each(|s| s.tally.rows = 0);
            let read = Either.visit_str::<serde_json::Error>(&pack(&states));
            prop_assert_eq!(read.unwrap(), states);
        }

        #[test]
        fn any_bytes_are_partitions_or_damaged(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (unpack(&bytes, PLAIN_NUMBERS), unpack(&bytes, 10));
        }
    }

    fn owned(count: u16) -> Assignment {
        let state = PartitionState {
            position: (1, 140_000).into(),
            ..PartitionState::default()
        };
        Assignment {
            partitions: (0..count)
                .map(|n| (PartitionId(n), state.clone()))
                .collect(),
            ..Assignment::default()
        }
    }

    #[test]
    fn few_partitions_can_be_read_by_people_and_many_are_packed_and_both_are_read_again() {
        for (count, form) in [(1023, r#""1022":{"#), (1024, r#"{"partitions":"A"#)] {
            let assignment = owned(count);
            let text = serde_json::to_string(&assignment).unwrap();
            assert!(text.contains(form), "{count}: {}", &text[..80]);
            assert_eq!(
                serde_json::from_str::<Assignment>(&text).unwrap(),
                assignment
            );
        }
    }

    #[test]
    fn what_is_damaged_is_told() {
        for damaged in [
            r#""AA""#,
            r#""///""#,
            r#""-""#,
            r#""r:-""#,
            "7",
            r#"{"70000":{}}"#,
        ] {
            let text = format!(r#"{{"partitions":{damaged}}}"#);
            assert!(
                serde_json::from_str::<Assignment>(&text).is_err(),
                "{damaged}"
            );
        }
    }
}
