use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn member(name: &str, weight: u32) -> Member {
    Member {
        name: name.parse().unwrap(),
        weight: Weight::new(weight).unwrap(),
    }
}

/// 1 to 200 members of different names and weights, and a partitioning that gives each 64 partitions or more.
fn fleets() -> impl Strategy<Value = (Partitioning, Vec<Member>)> {
    let names = prop::collection::btree_set("[a-z0-9][a-z0-9.-]{0,20}", 1..=200);
    let weights = prop_oneof![
        Just(vec![100; 200]),
        prop::collection::vec(50_u32..=200, 200),
        prop::collection::vec(any::<u32>().prop_map(|weight| weight.max(1)), 200),
    ];
    (names, weights, 0_u32..=2).prop_map(|(names, weights, finer)| {
        let partitioning = Partitioning::for_workers(names.len() << finer);
        let members = names.iter().zip(weights);
        let members = members.map(|(name, weight)| member(name, weight)).collect();
        (partitioning, members)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_partition_has_one_owner_who_is_a_member((partitioning, members) in fleets()) {
        let table = assign(partitioning, &members);
        let names: BTreeSet<_> = members.iter().map(|member| &member.name).collect();
        prop_assert!(table.iter().map(|(partition, _)| partition).eq(partitioning.ids()));
        prop_assert!(table.iter().all(|(_, owner)| names.contains(owner)));
    }

    #[test]
    fn nobody_owns_more_than_105_percent_of_its_fair_share_rounded_up((partitioning, members) in fleets()) {
        let table = assign(partitioning, &members);
        let total: f64 = members.iter().map(|member| f64::from(member.weight.get())).sum();
        for member in &members {
            let fair = f64::from(member.weight.get()) / total * f64::from(partitioning.count());
            let owned = table.of(&member.name).count();
            // The tolerance is for the rounding of this very computation.
            prop_assert!(owned as f64 <= (1.05 * fair + 1e-6).ceil(), "{owned} of {fair} by {member:?}");
        }
    }

    #[test]
    fn the_order_in_which_members_come_does_not_matter(
        ((partitioning, members), shuffled) in fleets().prop_flat_map(|(partitioning, members)| {
            (Just((partitioning, members.clone())), Just(members).prop_shuffle())
        })
    ) {
        prop_assert_eq!(in_order(&members), in_order(&shuffled));
        prop_assert_eq!(assign(partitioning, &members), assign(partitioning, &shuffled));
    }

    #[test]
    fn moves_turn_the_old_table_into_the_new_one(
        (partitioning, members) in fleets(), gone in any::<prop::sample::Index>(), both in any::<bool>(),
    ) {
        let old = assign(partitioning, &members);
        let mut left = members.clone();
        left.remove(gone.index(members.len()));
        let new = if both { assign(partitioning, &left) } else { Table::default() };
        let mut owners: BTreeMap<_, _> = old.iter().collect();
        for step in moves(&old, &new) {
            prop_assert_ne!(step.from, step.to);
            prop_assert_eq!(owners.remove(&step.partition), step.from);
            owners.extend(step.to.map(|to| (step.partition, to)));
        }
        prop_assert!(owners.into_iter().eq(new.iter()));
    }
}

#[test]
fn without_members_nobody_owns_anything() {
    let table = assign(Partitioning::new(256).unwrap(), &[]);
    assert!(table.is_empty());
    assert_eq!(table.owner(PartitionId(0)), None);
}

#[test]
fn a_single_member_owns_everything() {
    let only = member("w1", 1);
    let table = assign(Partitioning::new(256).unwrap(), std::slice::from_ref(&only));
    assert_eq!(table.of(&only.name).count(), 256);
}

#[test]
fn of_a_name_that_comes_twice_the_larger_weight_counts() {
    let partitioning = Partitioning::new(256).unwrap();
    let twice = [member("a", 100), member("b", 100), member("a", 50)];
    assert_eq!(
        assign(partitioning, &twice),
        assign(partitioning, &twice[..2])
    );
}

#[test]
fn members_beyond_the_bound_stand_by() {
    let fleet: Vec<_> = (0..=MEMBERS_MAX)
        .map(|number| member(&format!("w{number:04}"), 100))
        .collect();
    let table = assign(Partitioning::new(16_384).unwrap(), &fleet);
    assert_eq!(table.of(&fleet[MEMBERS_MAX].name).count(), 0);
    assert_eq!(table.len(), 16_384);
}

#[test]
fn weights_are_followed() {
    let members = [member("a", 100), member("b", 100), member("c", 200)];
    let table = assign(Partitioning::new(16_384).unwrap(), &members);
    for (member, percent) in members.iter().zip([25.0, 25.0, 50.0]) {
        let owned = table.of(&member.name).count() as f64 / 163.84;
        assert!(
            (percent * 0.95..=percent * 1.05).contains(&owned),
            "{member:?} owns {owned}%"
        );
    }
}

#[test]
fn a_table_survives_the_store() {
    let table = assign(
        Partitioning::new(256).unwrap(),
        &[member("a", 1), member("b", 2)],
    );
    let stored = table
        .iter()
        .map(|(partition, owner)| (partition, owner.clone()));
    assert_eq!(stored.collect::<Table>(), table);
    let by_worker = table.by_worker();
    assert_eq!(by_worker.values().map(Vec::len).sum::<usize>(), table.len());
    for (worker, partitions) in by_worker {
        assert!(table.of(worker).eq(partitions));
    }
}

/// A new version or another platform that assigns differently would move nearly everything at its roll-out, and two
/// coordinators of different versions would disagree. Whoever changes this number does so knowingly.
#[test]
fn the_answer_is_the_same_in_every_version_and_on_every_platform() {
    let fleet: Vec<_> = (1..=50)
        .map(|number| member(&format!("w{number}"), 50 + number))
        .collect();
    let table = assign(Partitioning::new(4096).unwrap(), &fleet);
    let fingerprint = table.iter().fold(0_u64, |sum, (_, owner)| {
        let number: u64 = owner.as_str()[1..].parse().unwrap();
        sum.wrapping_mul(0x0100_0000_01b3).wrapping_add(number)
    });
    assert_eq!(fingerprint, 3_309_610_766_594_880_309);
}
