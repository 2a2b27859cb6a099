//! Which node owns which hash slot: a cluster's answer to `CLUSTER SLOTS`, parsed.
//!
//! A map is what one node believed at one moment. It is never proof of ownership: the answers to commands correct it.

use std::ops::RangeInclusive;

use redis::Value;
use stoke_core::slot::Slot;

use super::addr::NodeAddr;

/// How many hash slots a cluster has.
const SLOTS: usize = Slot::COUNT as usize;

/// An answer to `CLUSTER SLOTS` that does not look like one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Slots that no node owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Uncovered {
    pub(crate) count: usize,
    pub(crate) first: u16,
    /// The last slot of the range that begins at `first`.
    pub(crate) last: u16,
}

/// Which node owns which slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotMap {
    /// Each owner once.
    nodes: Vec<NodeAddr>,
    /// For each slot its owner's index in `nodes`.
    owners: Vec<Option<u16>>,
    /// Each replica of an owner once.
    replicas: Vec<NodeAddr>,
}

impl SlotMap {
    /// All slots on one node: a standalone server, or the master behind sentinels.
    pub(crate) fn of_one(node: NodeAddr) -> Self {
        Self {
            nodes: vec![node],
            owners: vec![Some(0); SLOTS],
            replicas: Vec::new(),
        }
    }

    /// From the answer that `asked` gave to `CLUSTER SLOTS`: an array of `[first, last, owner, replica …]`, where a
    /// node is `[host, port, id, metadata]`. Slots that no range names have no owner.
    pub(crate) fn parse(answer: &Value, asked: &NodeAddr) -> Result<Self, Malformed> {
        let Value::Array(ranges) = answer else {
            return Err(Malformed);
        };
        let mut map = Self {
            nodes: Vec::new(),
            owners: vec![None; SLOTS],
            replicas: Vec::new(),
        };
        for range in ranges {
            let Value::Array(range) = range else {
                return Err(Malformed);
            };
            let [Value::Int(first), Value::Int(last), owner, replicas @ ..] = range.as_slice()
            else {
                return Err(Malformed);
            };
            let first = usize::try_from(*first).map_err(|_| Malformed)?;
            let last = usize::try_from(*last).map_err(|_| Malformed)?;
            let node = map.index_of(node_addr(owner, asked)?)?;
            map.owners
                .get_mut(first..=last)
                .ok_or(Malformed)?
                .fill(Some(node));
            for replica in replicas {
                // Nothing goes there that has to arrive: one that cannot be read is none.
                match node_addr(replica, asked) {
                    Ok(replica) if !map.replicas.contains(&replica) => map.replicas.push(replica),
                    _ => {}
                }
            }
        }
        Ok(map)
    }

    fn index_of(&mut self, node: NodeAddr) -> Result<u16, Malformed> {
        let index = self
            .nodes
            .iter()
            .position(|known| *known == node)
            .unwrap_or_else(|| {
                self.nodes.push(node);
                self.nodes.len() - 1
            });
        u16::try_from(index).map_err(|_| Malformed)
    }

    /// The node that owns the slot, as far as this map knows.
    pub(crate) fn owner(&self, slot: Slot) -> Option<&NodeAddr> {
        self.nodes.get(self.owner_index(slot)?)
    }

    /// Which of [`SlotMap::nodes`] that is.
    pub(crate) fn owner_index(&self, slot: Slot) -> Option<usize> {
        (*self.owners.get(usize::from(slot.0))?).map(usize::from)
    }

    /// The slots that a node owns, one by one, in order.
    pub(crate) fn slots_of(&self, node: &NodeAddr) -> impl Iterator<Item = RangeInclusive<Slot>> {
        let index = self.nodes.iter().position(|known| known == node);
        let index = index.and_then(|index| u16::try_from(index).ok());
        let owned = (0..).map(Slot).zip(&self.owners);
        owned
            .filter(move |(_, owner)| owner.is_some() && **owner == index)
            .map(|(slot, _)| slot..=slot)
    }

    /// All nodes that own slots.
    pub(crate) fn nodes(&self) -> &[NodeAddr] {
        &self.nodes
    }

    /// All replicas of nodes that own slots, as far as this map knows.
    pub(crate) fn replicas(&self) -> &[NodeAddr] {
        &self.replicas
    }

    /// The slots that no node owns; `None` where there are none.
    pub(crate) fn uncovered(&self) -> Option<Uncovered> {
        let first = self.owners.iter().position(Option::is_none)?;
        let length = self.owners[first..]
            .iter()
            .take_while(|owner| owner.is_none())
            .count();
        let number = |slot: usize| u16::try_from(slot).unwrap_or(u16::MAX);
        Some(Uncovered {
            count: self.owners.iter().filter(|owner| owner.is_none()).count(),
            first: number(first),
            last: number(first + length - 1),
        })
    }
}

/// The address in `[host, port, id, metadata]`. The host is null where the cluster does not know by which name we
/// reach it, and `?` where it should tell a name and has none: then the metadata has the address.
fn node_addr(node: &Value, asked: &NodeAddr) -> Result<NodeAddr, Malformed> {
    let Value::Array(node) = node else {
        return Err(Malformed);
    };
    let [host, Value::Int(port), more @ ..] = node.as_slice() else {
        return Err(Malformed);
    };
    let host = match host {
        Value::Nil => "",
        host => text(host).ok_or(Malformed)?,
    };
    let host = match host {
        "?" => {
            let ip = more.iter().find_map(ip_of_metadata);
            ip.filter(|ip| !ip.is_empty()).unwrap_or(asked.host())
        }
        "" => asked.host(),
        host => host,
    };
    Ok(NodeAddr::new(
        host,
        u16::try_from(*port).map_err(|_| Malformed)?,
    ))
}

/// The value of `ip` in an array (or, with RESP3, a map) of names and values.
fn ip_of_metadata(metadata: &Value) -> Option<&str> {
    match metadata {
        Value::Array(pairs) => {
            let pair = pairs
                .chunks_exact(2)
                .find(|pair| text(&pair[0]) == Some("ip"))?;
            text(&pair[1])
        }
        Value::Map(pairs) => {
            let (_, ip) = pairs.iter().find(|(name, _)| text(name) == Some("ip"))?;
            text(ip)
        }
        _ => None,
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn range(first: i64, last: i64, host: Value, port: i64) -> Value {
        let metadata = Value::Array(vec![bulk("ip"), bulk("10.0.0.9")]);
        let owner = Value::Array(vec![host, Value::Int(port), bulk("id"), metadata]);
        let replica = Value::Array(vec![
            bulk("10.9.9.9"),
            Value::Int(1),
            bulk("id"),
            Value::Array(vec![]),
        ]);
        Value::Array(vec![Value::Int(first), Value::Int(last), owner, replica])
    }

    fn asked() -> NodeAddr {
        NodeAddr::new("seed.example", 7000)
    }

    #[test]
    fn each_slot_goes_to_the_owner_of_its_range() {
        let answer = Value::Array(vec![
            range(0, 99, bulk("10.0.0.1"), 7001),
            range(100, 16_383, bulk("10.0.0.2"), 7002),
        ]);
        let map = SlotMap::parse(&answer, &asked()).unwrap();
        let owner = |slot| map.owner(Slot(slot)).unwrap().to_string();
        assert_eq!(owner(0), "10.0.0.1:7001");
        assert_eq!(owner(99), "10.0.0.1:7001");
        assert_eq!(owner(100), "10.0.0.2:7002");
        assert_eq!(owner(16_383), "10.0.0.2:7002");
        assert_eq!(map.owner(Slot(16_384)), None);
        assert_eq!(map.nodes().len(), 2);
        assert_eq!(map.replicas(), [NodeAddr::new("10.9.9.9", 1)]);
        assert_eq!(map.uncovered(), None);
    }

    #[test]
    fn a_node_without_a_host_is_found_where_we_asked() {
        for (host, expected) in [
            (Value::Nil, "seed.example:7001"),
            (bulk(""), "seed.example:7001"),
            (bulk("?"), "10.0.0.9:7001"),
            (bulk("cache-1.example"), "cache-1.example:7001"),
            (bulk("fd00::1"), "[fd00::1]:7001"),
        ] {
            let answer = Value::Array(vec![range(0, 16_383, host.clone(), 7001)]);
            let map = SlotMap::parse(&answer, &asked()).unwrap();
            assert_eq!(
                map.owner(Slot(5)).unwrap().to_string(),
                expected,
                "{host:?}"
            );
        }
        let nameless = Value::Array(vec![bulk("?"), Value::Int(7001)]);
        let metadata = Value::Array(vec![bulk("ip"), bulk("")]);
        let without_ip = Value::Array(vec![bulk("?"), Value::Int(7001), bulk("id"), metadata]);
        for node in [nameless, without_ip] {
            assert_eq!(
                node_addr(&node, &asked()),
                Ok(NodeAddr::new("seed.example", 7001))
            );
        }
    }

    #[test]
    fn gaps_are_told() {
        let answer = Value::Array(vec![
            range(0, 9, bulk("a"), 1),
            range(20, 99, bulk("b"), 2),
            range(101, 16_383, bulk("a"), 1),
        ]);
        let map = SlotMap::parse(&answer, &asked()).unwrap();
        assert_eq!(map.owner(Slot(10)), None);
        assert_eq!(
            map.uncovered(),
            Some(Uncovered {
                count: 11,
                first: 10,
                last: 19
            })
        );
        let empty = SlotMap::parse(&Value::Array(vec![]), &asked()).unwrap();
        assert_eq!(
            empty.uncovered(),
            Some(Uncovered {
                count: SLOTS,
                first: 0,
                last: 16_383
            })
        );
    }

    #[test]
    fn what_is_no_slot_map_is_refused() {
        for answer in [
            Value::Nil,
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![Value::Array(vec![Value::Int(0), Value::Int(5)])]),
            Value::Array(vec![range(0, 16_384, bulk("a"), 1)]),
            Value::Array(vec![range(9, 3, bulk("a"), 1)]),
            Value::Array(vec![range(-1, 3, bulk("a"), 1)]),
            Value::Array(vec![range(0, 3, bulk("a"), 65_536)]),
            Value::Array(vec![range(0, 3, Value::Int(1), 1)]),
        ] {
            assert_eq!(
                SlotMap::parse(&answer, &asked()),
                Err(Malformed),
                "{answer:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_cut_of_the_slots_into_ranges_covers_all_of_them(
            cuts in proptest::collection::btree_set(1_i64..16_384, 0..50),
        ) {
            let mut first = 0;
            let mut ranges = Vec::new();
            for (node, &cut) in cuts.iter().chain([&16_384]).enumerate() {
                ranges.push(range(first, cut - 1, bulk("n"), i64::try_from(node).unwrap() + 1));
                first = cut;
            }
            let map = SlotMap::parse(&Value::Array(ranges), &asked()).unwrap();
            prop_assert_eq!(map.uncovered(), None);
            let mut node = 1;
            for slot in 0..16_384_u16 {
                node += u16::from(cuts.contains(&i64::from(slot)));
                prop_assert_eq!(map.owner(Slot(slot)).unwrap().port(), node);
            }
        }
    }
}
