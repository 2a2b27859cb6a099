//! Answers to `CLUSTER SLOTS`.

use stoke_worker::cache::NodeAddr;
use stoke_worker::doors;

/// Each slot's owner is one of the nodes, each of which comes once; what is told of slots without owners is so.
///
/// # Panics
/// Where that is not so.
pub fn cluster_slots(bytes: &[u8]) {
    let asked = NodeAddr::new("seed.example", 7000);
    let Some(map) = doors::cluster_slots(bytes, &asked) else {
        return;
    };
    for (n, node) in map.nodes.iter().enumerate() {
        assert!(!map.nodes[..n].contains(node), "{node} comes twice");
        assert!(!node.host().is_empty());
    }
    let owned = map.owners.iter().flatten();
    for owner in owned {
        assert!(map.nodes.contains(owner), "{owner}");
    }
    let lacks = |owner: &Option<NodeAddr>| owner.is_none();
    let count = map.owners.iter().filter(|owner| lacks(owner)).count();
    match map.uncovered {
        None => assert_eq!(count, 0),
        Some((told, first, last)) => {
            assert_eq!(told, count);
            let (first, last) = (usize::from(first), usize::from(last));
            assert!(map.owners[..first].iter().all(Option::is_some));
            assert!(map.owners[first..=last].iter().all(lacks));
            assert!(!map.owners.get(last + 1).is_some_and(lacks));
        }
    }
}
