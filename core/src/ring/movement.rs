//! How much moves when a worker joins. (When one leaves it is the same, backwards: tables know no history.)
//!
//! The measure is the partitions that change hands in multiples of the fair share of one of the workers, the joining one
//! included: 1 is what no even assignment can avoid on average. This was measured over eight ways of naming, three of which
//! the tests below repeat, with a little room; it is no proof for other names:
//!
//! | partitions a worker | workers | mean | max |
//! |---|---|---|---|
//! | 256 to 512 | 1 to 64 | 1.03 | 1.11 |
//! | 128 to 256 | 1 to 64 | 1.09 | 1.22 |
//! | 128 to 256 | 65 to 128 | 1.11 | 1.39 |
//! | 64 to 128 | 1 to 32 | 1.09 | 1.27 |
//! | 64 to 128 | 33 to 64 | 1.16 | 1.41 |
//! | 64 to 128 | 65 to 200 | 1.30 | 1.74 |
//!
//! Why: with 64 partitions each, what a worker wins by chance scatters by 1/√(2·64) = 9%, so that 105% keep three workers
//! in ten full, and what comes to a full one pushes something out. More moves where the capacity itself changes by one
//! for all workers at once: 1.48 on average from 126 to 127 workers, 1.31 from 127 to 128. What was tried besides: ranking
//! by free hashes instead of shuffles moves more (1.43 from 127 to 128); capacities rounded differently for each worker,
//! full workers that prefer those who were turned away less often, and digital nets instead of shuffles gain nothing.

use proptest::prelude::*;

use super::*;

/// How many ways of naming are measured with many workers: tables without optimisation take a tenth of a second each.
const NAME_SETS: usize = if cfg!(debug_assertions) { 1 } else { 3 };

/// Some ways in which people name workers.
fn fleet(set: usize, workers: usize) -> Vec<Member> {
    let name = |number: usize| match set {
        0 => format!("worker-{number}"),
        1 => format!(
            "stoke-{number}.{:08x}",
            (number as u32).wrapping_mul(0x9e37_79b1)
        ),
        _ => format!("10.0.{}.{}", number / 250, number % 250),
    };
    let member = |number| Member {
        name: name(number).parse().unwrap(),
        weight: Weight::default(),
    };
    (0..workers).map(member).collect()
}

/// How much moved over many joins, in fair shares.
#[derive(Debug)]
struct Movement {
    mean: f64,
    max: f64,
}

/// Lets fleets of some ways of naming grow one by one from `smallest` workers to `largest`, with `partitions_each` for
/// every worker or more.
fn growing(name_sets: usize, smallest: usize, largest: usize, partitions_each: usize) -> Movement {
    let mut moved = Vec::new();
    for set in 0..name_sets {
        let fleet = fleet(set, largest);
        let mut last: Option<(Partitioning, Table)> = None;
        for workers in smallest..=largest {
            let finer = partitions_each / Partitioning::PER_WORKER_MIN;
            let partitioning = Partitioning::for_workers(workers * finer);
            let before = match last {
                Some((same, table)) if same == partitioning => table,
                _ => assign(partitioning, &fleet[..workers - 1]),
            };
            let after = assign(partitioning, &fleet[..workers]);
            let share = f64::from(partitioning.count()) / workers as f64;
            moved.push(moves(&before, &after).len() as f64 / share);
            last = Some((partitioning, after));
        }
    }
    Movement {
        mean: moved.iter().sum::<f64>() / moved.len() as f64,
        max: moved.into_iter().fold(0.0, f64::max),
    }
}

#[test]
fn with_256_partitions_each_a_join_moves_at_most_1_25_fair_shares() {
    let movement = growing(3, 1, 64, 256);
    assert!(
        movement.max <= 1.25 && movement.mean <= 1.05,
        "{movement:?}"
    );
}

#[test]
fn with_128_partitions_each_a_join_moves_at_most_1_25_fair_shares_up_to_64_workers() {
    let movement = growing(3, 1, 64, 128);
    assert!(movement.max <= 1.25 && movement.mean <= 1.1, "{movement:?}");
}

#[test]
fn with_64_partitions_each_a_join_moves_at_most_1_5_fair_shares_up_to_64_workers() {
    let movement = growing(3, 1, 64, 64);
    assert!(movement.max <= 1.5 && movement.mean <= 1.2, "{movement:?}");
}

#[test]
fn with_64_partitions_each_a_join_moves_at_most_1_8_fair_shares_up_to_128_workers() {
    let movement = growing(NAME_SETS, 65, 128, 64);
    assert!(movement.max <= 1.8 && movement.mean <= 1.35, "{movement:?}");
}

#[test]
fn with_64_partitions_each_a_join_moves_at_most_1_8_fair_shares_up_to_200_workers() {
    let movement = growing(NAME_SETS, 129, 200, 64);
    assert!(movement.max <= 1.8 && movement.mean <= 1.4, "{movement:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A heavy worker moves its own share; what moves besides is measured in the fair share of an average one.
    #[test]
    fn a_worker_of_any_weight_that_leaves_moves_its_share_and_little_more(
        (names, weights) in (2_usize..=64).prop_flat_map(|workers| (
            prop::collection::btree_set("[a-z0-9]{8}", workers),
            prop::collection::vec(25_u32..=400, workers),
        )),
        gone in any::<prop::sample::Index>(),
    ) {
        let members: Vec<Member> = names.iter().zip(&weights).map(|(name, weight)| Member {
            name: name.parse().unwrap(),
            weight: Weight::new(*weight).unwrap(),
        }).collect();
        let gone = gone.index(members.len());
        let left: Vec<Member> = [&members[..gone], &members[gone + 1..]].concat();
        let partitioning = Partitioning::for_workers(members.len() * 4);

        let moved = moves(&assign(partitioning, &members), &assign(partitioning, &left)).len();

        let total: u32 = weights.iter().sum();
        let count = f64::from(partitioning.count());
        let own = f64::from(weights[gone]) / f64::from(total) * count;
        let average = count / members.len() as f64;
        prop_assert!(moved as f64 <= (own + 0.25 * average).ceil(), "{moved} moved for {own}, {average} on average");
    }
}
