//! What workers say of the room that a cache has, checked, and what follows from it.

use std::collections::BTreeMap;

use stoke_core::capacity::{self, LookedFor, Node};
use stoke_core::records::{LoaderSample, Room};
use stoke_proto::v1;

use super::super::refusal::{Refusal, invalid};

/// The longest text of a worker's that is kept, in characters.
const CHARS_MAX: usize = 300;

/// What preparing found out.
pub(super) fn limited(told: &v1::CacheRoom) -> Room {
    if told.unknown.is_empty() {
        Room::Limited
    } else {
        Room::Unknown(short(&told.unknown))
    }
}

/// How much of a plan of so many entries fits, by what the loaders gave for a sample.
pub(super) fn room(
    told: v1::CacheRoom,
    samples: &[LoaderSample],
    planned: u64,
) -> Result<Room, Refusal> {
    if !told.unknown.is_empty() {
        return Ok(Room::Unknown(short(&told.unknown)));
    }
    let bytes = entry_bytes(samples);
    let Some(most) = bytes.values().max().copied() else {
        return Ok(Room::Unknown("no loader gave a sample".into()));
    };
    let mut by_cache: BTreeMap<String, Vec<Node>> = BTreeMap::new();
    for node in told.nodes {
        let cache = short(&node.cache);
        by_cache
            .entry(cache)
            .or_default()
            .push(checked(node, &bytes, most)?);
    }
    Ok(smallest(planned, &by_cache))
}

/// What fits into the cache that has the least room: the plan is one for all of them.
fn smallest(planned: u64, by_cache: &BTreeMap<String, Vec<Node>>) -> Room {
    let fits = by_cache.iter().map(|(cache, nodes)| {
        let fit = capacity::fit(planned, nodes);
        let full = fit.full.map(|node| match cache.as_str() {
            "" => node,
            cache => format!("{node} of cache {cache}"),
        });
        (fit.entries, full)
    });
    let (entries, full) = fits.min_by_key(|fit| fit.0).unwrap_or((planned, None));
    Room::Fits { entries, full }
}

/// A node as it was told. An entry of a loader without a sample counts as one of those that take the most.
fn checked(node: v1::NodeRoom, bytes: &BTreeMap<u32, u64>, most: u64) -> Result<Node, Refusal> {
    let count = node.ranks.len();
    let fits = node.loaders.len() == count && node.present.len() == count;
    if !fits || !node.ranks.is_sorted() {
        let problem = "has columns that do not fit together";
        return Err(invalid("verdict.room.nodes", problem));
    }
    let rows = node.ranks.iter().zip(&node.loaders).zip(&node.present);
    let looked_for = rows.map(|((rank, loader), present)| LookedFor {
        rank: *rank,
        takes_bytes: if *present {
            0
        } else {
            bytes.get(loader).copied().unwrap_or(most)
        },
    });
    Ok(Node {
        address: short(&node.address),
        slots: node.slots,
        free_bytes: node.is_limited.then_some(node.free_bytes),
        looked_for: looked_for.collect(),
    })
}

/// What an entry of each loader takes on average, those that the origin does not have included.
fn entry_bytes(samples: &[LoaderSample]) -> BTreeMap<u32, u64> {
    let tried = samples.iter().filter(|sample| sample.entries > 0);
    tried
        .map(|sample| (sample.loader, sample.memory_bytes.div_ceil(sample.entries)))
        .collect()
}

fn short(text: &str) -> String {
    text.chars().take(CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(loader: u32, entries: u64, memory_bytes: u64) -> LoaderSample {
        LoaderSample {
            loader,
            origin: "shop".parse().unwrap(),
            batch_keys: 500,
            entries,
            found: entries,
            bytes: 0,
            memory_bytes,
        }
    }

    fn told(free_bytes: u64) -> v1::CacheRoom {
        v1::CacheRoom {
            limited: true,
            nodes: vec![v1::NodeRoom {
                address: "h:1".into(),
                slots: 16_384,
                is_limited: true,
                free_bytes,
                ranks: vec![0, 250, 500, 750],
                loaders: vec![0, 1, 0, 7],
                present: vec![true, false, false, false],
                cache: String::new(),
            }],
            ..v1::CacheRoom::default()
        }
    }

    #[test]
    fn what_is_there_takes_nothing_and_a_loader_without_sample_as_much_as_the_largest() {
        // 100 bytes and 300 bytes an entry: 0, 75,000, 25,000 and again 75,000 bytes.
        let samples = [sample(0, 10, 1000), sample(1, 10, 3000), sample(2, 0, 0)];
        let fits = |free_bytes| match room(told(free_bytes), &samples, 1000).unwrap() {
            Room::Fits { entries, full } => (entries, full.is_some()),
            other => panic!("{other:?}"),
        };
        assert_eq!(fits(175_000), (1000, false));
        assert_eq!(fits(174_999), (999, true));
        assert_eq!(fits(100_000), (750, true));
        assert_eq!(fits(0), (250, true));
    }

    #[test]
    fn of_several_caches_the_one_with_the_least_room_decides_and_is_named() {
        let samples = [sample(0, 10, 1000), sample(1, 10, 3000)];
        let of = |cache: &str, free_bytes| v1::NodeRoom {
            cache: cache.into(),
            ..told(free_bytes).nodes.remove(0)
        };
        let fits = |nodes: Vec<v1::NodeRoom>| {
            let told = v1::CacheRoom { nodes, ..told(0) };
            match room(told, &samples, 1000).unwrap() {
                Room::Fits { entries, full } => (entries, full),
                other => panic!("{other:?}"),
            }
        };
        let enough = 175_000;
        let both = fits(vec![of("eu", enough), of("us", enough)]);
        assert_eq!(both, (1000, None), "each has all of the plan, not half");
        let smaller = fits(vec![of("eu", enough), of("us", 100_000)]);
        assert_eq!(smaller, (750, Some("h:1 of cache us".into())));
        let smaller = fits(vec![of("eu", 0), of("us", 100_000)]);
        assert_eq!(smaller, (250, Some("h:1 of cache eu".into())));
    }

    #[test]
    fn what_could_not_be_found_out_is_told_and_what_does_not_fit_together_is_refused() {
        let unknown = v1::CacheRoom {
            unknown: "x".repeat(1000),
            ..told(0)
        };
        let found = room(unknown.clone(), &[sample(0, 1, 1)], 1000).unwrap();
        assert_eq!(found, Room::Unknown("x".repeat(300)));
        assert_eq!(limited(&unknown), found);
        assert_eq!(limited(&told(0)), Room::Limited);
        assert!(matches!(room(told(0), &[], 1000), Ok(Room::Unknown(_))));
        let mut crooked = told(0);
        crooked.nodes[0].present.pop();
        assert!(room(crooked, &[sample(0, 1, 1)], 1000).is_err());
        let mut backwards = told(0);
        backwards.nodes[0].ranks.reverse();
        assert!(room(backwards, &[sample(0, 1, 1)], 1000).is_err());
    }
}
