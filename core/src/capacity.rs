//! Whether a plan fits into what the cache has free, and where it is cut where it does not.
//!
//! Warming more than fits makes the cache evict what was warmed first, or refuse what comes last. So a plan ends at the first
//! rank for which some node has no room: what is above is warmed as a whole, what is below is skipped. One cut for all nodes
//! keeps the plan's order, and hash slots spread entries evenly; the price is that room is left on nodes that have more.
//!
//! What an entry takes is known of a sample only. Of each node some entries were looked for, evenly over the ranks: each
//! stands for all entries of its node from its own rank to the next one's. What is there already takes nothing, so that a job
//! that is run again is not cut for what it wrote before.

/// What a key takes in Redis beside its own bytes and its value's: the entries of both dictionaries (keys, and when they
/// expire), the object, and a doubling of their tables. Measured on Redis 7.0 (jemalloc): `used_memory` of 20,000 to 140,000
/// strings with a time to live, less the bytes of keys and values: 112 to 158 bytes a key for values of 10 bytes, the more the
/// sooner after the tables were doubled, and 16 more in a cluster; values of 100 to 2,000 bytes took 0 to 45 bytes more.
pub const KEY_OVERHEAD_BYTES: u64 = 176;
/// Allocations are rounded up to sizes that lie a quarter of a power of two apart: by an eighth on average, of this part.
const ROUNDING_PART: u64 = 8;
/// A hash of more fields, or with longer ones, is stored as a table (Redis' `hash-max-listpack-*`, as they come).
const LIST_FIELDS_MAX: usize = 128;
/// In bytes, of a field or its value.
const LIST_FIELD_BYTES_MAX: usize = 64;
/// What a field of a short hash takes beside its bytes.
const LIST_FIELD_OVERHEAD_BYTES: u64 = 16;
/// What a field of a long one does.
const TABLE_FIELD_OVERHEAD_BYTES: u64 = 112;

/// How many bytes a string takes in Redis, about, with its key.
#[must_use]
pub const fn string_bytes(key_bytes: usize, value_bytes: usize) -> u64 {
    let value = value_bytes as u64;
    key_bytes as u64 + value + value / ROUNDING_PART + KEY_OVERHEAD_BYTES
}

/// How many bytes a hash takes in Redis, about, with its key, whose fields and their values are so long.
pub fn hash_bytes(key_bytes: usize, fields: impl Iterator<Item = (usize, usize)> + Clone) -> u64 {
    let is_long = |(field, value): (usize, usize)| field.max(value) > LIST_FIELD_BYTES_MAX;
    let (count, bytes) = fields
        .clone()
        .fold((0, 0), |(count, bytes), (field, value)| {
            (count + 1, bytes + field + value)
        });
    let each = if count > LIST_FIELDS_MAX || fields.clone().any(is_long) {
        TABLE_FIELD_OVERHEAD_BYTES
    } else {
        LIST_FIELD_OVERHEAD_BYTES
    };
    string_bytes(key_bytes, bytes) + count as u64 * each
}

/// A node of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its address.
    pub address: String,
    /// How many slots it owns of those that are warmed.
    pub slots: u64,
    /// How many bytes it has room for; `None`: any number.
    pub free_bytes: Option<u64>,
    /// The entries that were looked for on it, in the order of their ranks.
    pub looked_for: Vec<LookedFor>,
}

/// An entry that was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookedFor {
    /// Its place in the plan.
    pub rank: u64,
    /// How many bytes it is going to take, about: 0 where it is there already.
    pub takes_bytes: u64,
}

/// How much of a plan fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fit {
    /// So many entries, from the first on.
    pub entries: u64,
    /// The node that has no room for the next; `None`: all fit.
    pub full: Option<String>,
}

/// How much of a plan of so many entries fits into these nodes.
#[must_use]
pub fn fit(entries: u64, nodes: &[Node]) -> Fit {
    let slots: u64 = nodes.iter().map(|node| node.slots).sum();
    let mut fit = Fit {
        entries,
        full: None,
    };
    for node in nodes {
        if let Some(fits) = fits_on(node, slots, entries)
            && fits < fit.entries
        {
            fit = Fit {
                entries: fits,
                full: Some(node.address.clone()),
            };
        }
    }
    fit
}

/// How many entries of the plan come before the first for which this node has no room; `None`: it has room for its part of
/// all of them.
fn fits_on(node: &Node, slots: u64, entries: u64) -> Option<u64> {
    // All in bytes × slots, so that a node's part of the entries is no fraction.
    let mut free = u128::from(node.free_bytes?) * u128::from(slots);
    let mut ends = node
        .looked_for
        .iter()
        .skip(1)
        .map(|next| next.rank.min(entries));
    let mut begin = 0;
    for seen in &node.looked_for {
        let end = ends.next().unwrap_or(entries).max(begin);
        let each = u128::from(seen.takes_bytes) * u128::from(node.slots);
        let takes = each * u128::from(end - begin);
        if takes > free {
            // `each` is not zero: it takes more than there is.
            let fits = u64::try_from(free / each).unwrap_or(u64::MAX);
            return Some(begin + fits);
        }
        free -= takes;
        begin = end;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(slots: u64, free_bytes: Option<u64>, looked_for: &[(u64, u64)]) -> Node {
        let looked_for = looked_for.iter().map(|(rank, takes_bytes)| LookedFor {
            rank: *rank,
            takes_bytes: *takes_bytes,
        });
        Node {
            address: format!("n{slots}"),
            slots,
            free_bytes,
            looked_for: looked_for.collect(),
        }
    }

    #[test]
    fn a_plan_ends_where_the_first_node_has_no_room_for_its_part() {
        let even = [(0, 100), (500, 100)];
        let gone_by = [(0, 0), (500, 100)];
        for (nodes, expected, full, why) in [
            (vec![node(1, None, &even)], 1000, None, "there is no limit"),
            (vec![node(1, Some(100_000), &even)], 1000, None, "exactly"),
            (
                vec![node(1, Some(99_999), &even)],
                999,
                Some("n1"),
                "one less",
            ),
            (vec![node(1, Some(0), &even)], 0, Some("n1"), "it is full"),
            (
                vec![node(1, Some(0), &[(0, 0), (500, 0)])],
                1000,
                None,
                "it is full of what the plan has",
            ),
            (
                vec![node(1, Some(10_000), &gone_by)],
                600,
                Some("n1"),
                "the first half is there already",
            ),
            (
                vec![node(3, Some(60_000), &even), node(1, Some(10_000), &even)],
                400,
                Some("n1"),
                "a quarter of the entries is the small node's",
            ),
            (
                vec![node(3, Some(60_000), &even), node(1, Some(30_000), &even)],
                800,
                Some("n3"),
                "three quarters are the other's",
            ),
            (vec![node(2, Some(0), &[])], 1000, None, "nothing is known"),
        ] {
            let fit = fit(1000, &nodes);
            assert_eq!(
                (fit.entries, fit.full.as_deref()),
                (expected, full),
                "{why}"
            );
        }
    }

    #[test]
    fn the_longer_the_value_the_more_it_takes_and_more_than_redis_was_seen_to_take() {
        // Key, value, and the most that Redis took in all.
        for (key, value, took) in [
            (20, 10, 188),
            (20, 45, 236),
            (20, 400, 620),
            (40, 400, 636),
            (60, 2000, 2252),
            (20, 10_000, 10_394),
        ] {
            let told = string_bytes(key, value);
            assert!(told >= took && told < took * 5 / 4, "{key} {value}: {told}");
        }
        let few = hash_bytes(20, [(5, 10); 3].into_iter());
        assert_eq!(few, string_bytes(20, 45) + 48);
        let long = hash_bytes(20, [(5, 10), (5, 65)].into_iter());
        assert_eq!(long, string_bytes(20, 85) + 224);
    }

    proptest! {
        #[test]
        fn what_fits_takes_no_more_than_there_is_and_one_more_would(
            free in 0u64..2_000_000, takes in proptest::collection::vec(0u64..5000, 1..20), entries in 1u64..1000
        ) {
            let step = entries.div_ceil(takes.len() as u64);
            let looked: Vec<(u64, u64)> = takes.iter().enumerate().map(|(n, takes)| (n as u64 * step, *takes)).collect();
            let fit = fit(entries, &[node(1, Some(free), &looked)]);
            let takes = |upto: u64| -> u64 {
                (0..upto).map(|rank| takes[usize::try_from(rank / step).unwrap()]).sum()
            };
            prop_assert!(takes(fit.entries) <= free);
            prop_assert_eq!(fit.full.is_none(), fit.entries == entries);
            if fit.full.is_some() {
                prop_assert!(takes(fit.entries + 1) > free);
            }
        }
    }
}
