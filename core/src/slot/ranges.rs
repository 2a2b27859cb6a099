//! Some of the slots: ranges, in order, with gaps between them.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::Slot;

/// Some of the slots; by default none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(u16, u16)>", into = "Vec<(u16, u16)>")]
pub struct Slots(Vec<(u16, u16)>);

/// No range of slots.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no range of slots: write FIRST-LAST, or one slot, from 0 to {max}", max = Slot::COUNT - 1)]
pub struct NotASlotRange(String);

/// The slots from one to another, both included.
///
/// # Errors
/// Where one of them is no slot, or they are the wrong way round.
pub fn slot_range(first: u64, last: u64) -> Result<RangeInclusive<Slot>, NotASlotRange> {
    let slot = |number: u64| {
        let number = u16::try_from(number).ok()?;
        (number < Slot::COUNT).then_some(Slot(number))
    };
    match (slot(first), slot(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => Err(NotASlotRange(format!("{first}-{last}"))),
    }
}

/// A range as people write it: `0-5460`, or `7`.
///
/// # Errors
/// Where it is none.
pub fn parse_slot_range(text: &str) -> Result<RangeInclusive<Slot>, NotASlotRange> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    // A number as `+7` would parse, too.
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    match (number(first), number(last)) {
        (Some(first), Some(last)) => {
            slot_range(first, last).map_err(|_| NotASlotRange(format!("{text:?}")))
        }
        _ => Err(NotASlotRange(format!("{text:?}"))),
    }
}

impl Slots {
    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u16 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Whether `slot` is one of them.
    #[must_use]
    pub fn contains(&self, slot: Slot) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= slot.0);
        after > 0 && slot.0 <= self.0[after - 1].1
    }

    /// The ranges, in order: no two of them touch.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = RangeInclusive<Slot>> {
        self.0
            .iter()
            .map(|(first, last)| Slot(*first)..=Slot(*last))
    }
}

impl Extend<RangeInclusive<Slot>> for Slots {
    fn extend<I: IntoIterator<Item = RangeInclusive<Slot>>>(&mut self, ranges: I) {
        let new = ranges.into_iter();
        self.0
            .extend(new.map(|range| (range.start().0, range.end().0)));
        self.0.retain(|(first, last)| first <= last);
        self.0.sort_unstable();
        let mut joined: Vec<(u16, u16)> = Vec::with_capacity(self.0.len());
        for (first, last) in self.0.drain(..) {
            match joined.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last);
                }
                _ => joined.push((first, last)),
            }
        }
        self.0 = joined;
    }
}

impl FromIterator<RangeInclusive<Slot>> for Slots {
    fn from_iter<I: IntoIterator<Item = RangeInclusive<Slot>>>(ranges: I) -> Self {
        let mut slots = Self::default();
        slots.extend(ranges);
        slots
    }
}

impl TryFrom<Vec<(u16, u16)>> for Slots {
    type Error = NotASlotRange;

    fn try_from(ranges: Vec<(u16, u16)>) -> Result<Self, NotASlotRange> {
        let range = |(first, last): (u16, u16)| slot_range(first.into(), last.into());
        ranges.into_iter().map(range).collect()
    }
}

impl From<Slots> for Vec<(u16, u16)> {
    fn from(slots: Slots) -> Self {
        slots.0
    }
}

impl fmt::Display for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (first, last)) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_read_as_people_write_them() {
        for (text, first, last) in [
            ("0-5460", 0, 5460),
            ("7", 7, 7),
            ("16383-16383", 16_383, 16_383),
        ] {
            assert_eq!(
                parse_slot_range(text),
                Ok(Slot(first)..=Slot(last)),
                "{text}"
            );
        }
        for text in [
            "",
            "-",
            "1-",
            "-1",
            "2-1",
            "16384",
            "0-16384",
            "+1",
            "1 - 2",
            "1-2-3",
            "x",
            "99999999999999999999999",
        ] {
            let error = parse_slot_range(text).unwrap_err().to_string();
            assert_eq!(
                error,
                format!(
                    "{text:?} is no range of slots: write FIRST-LAST, or one slot, from 0 to 16383"
                )
            );
        }
    }

    #[test]
    fn they_are_shown_as_they_are_written() {
        let slots: Slots = ["5", "0-3", "4", "100-200"]
            .map(|text| parse_slot_range(text).unwrap())
            .into_iter()
            .collect();
        assert_eq!(
            (slots.to_string().as_str(), slots.count()),
            ("0-5, 100-200", 107)
        );
        assert_eq!(Slots::default().to_string(), "");
    }

    #[test]
    fn what_is_stored_is_what_is_read_and_no_slot_beyond_the_last() {
        let slots: Slots = [Slot(3)..=Slot(9), Slot(0)..=Slot(16_383)]
            .into_iter()
            .collect();
        let stored = serde_json::to_string(&slots).unwrap();
        assert_eq!(stored, "[[0,16383]]");
        assert_eq!(serde_json::from_str::<Slots>(&stored).unwrap(), slots);
        assert!(serde_json::from_str::<Slots>("[[0,16384]]").is_err());
        assert!(serde_json::from_str::<Slots>("[[2,1]]").is_err());
    }

    proptest! {
        #[test]
        fn they_are_the_union_of_their_ranges(ranges in prop::collection::vec((0..60u16, 0..60u16), 0..8)) {
            let ranges: Vec<_> = ranges.into_iter().filter(|(first, last)| first <= last).collect();
            let slots: Slots = ranges.iter().map(|(first, last)| Slot(*first)..=Slot(*last)).collect();
            let union: BTreeSet<u16> = ranges.iter().flat_map(|(first, last)| *first..=*last).collect();
            let found: BTreeSet<u16> = (0..Slot::COUNT).filter(|slot| slots.contains(Slot(*slot))).collect();
            prop_assert_eq!(usize::from(slots.count()), union.len());
            prop_assert_eq!(found, union);
            let ends: Vec<_> = slots.ranges().collect();
            prop_assert!(ends.windows(2).all(|two| two[0].end().0 + 1 < two[1].start().0));
        }
    }
}
