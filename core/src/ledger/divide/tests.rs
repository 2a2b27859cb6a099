use super::*;
use proptest::prelude::*;

const TERM: Duration = Duration::from_secs(5);

fn share(rate_milli: u64, burst: u64, in_flight: u64) -> Share {
    Share {
        rate_milli,
        burst,
        in_flight,
        rows: Share::ANY_ROWS,
    }
}

fn claim(weight: u32, queued: &[(u32, u64)]) -> Claim {
    Claim {
        weight,
        queued: queued.iter().copied().collect(),
    }
}

fn named(claims: Vec<Claim>) -> BTreeMap<WorkerName, Claim> {
    let name = |n: usize| format!("w{n:03}").parse().unwrap();
    claims
        .into_iter()
        .enumerate()
        .map(|(n, claim)| (name(n), claim))
        .collect()
}

fn shares(target: Share, claims: Vec<Claim>) -> Vec<Share> {
    divide(target, &named(claims), TERM).into_values().collect()
}

fn rates_of(target: Share, claims: Vec<Claim>) -> Vec<u64> {
    let shares = shares(target, claims).into_iter();
    shares.map(|share| share.rate_milli).collect()
}

fn alike(workers: usize) -> Vec<Claim> {
    vec![Claim::unknown(); workers]
}

#[test]
fn whole_queries_a_second_where_there_is_one_for_each() {
    assert_eq!(rates_of(share(10_000, 3, 16), alike(3)), [4000, 3000, 3000]);
    assert_eq!(rates_of(share(1000, 4, 16), alike(4)), [250; 4]);
    assert_eq!(rates_of(share(3500, 4, 16), alike(2)), [2000, 1500]);
}

#[test]
fn shares_go_down_to_thousandths_of_a_query_a_second() {
    assert_eq!(rates_of(share(3, 3, 3), alike(3)), [1, 1, 1]);
    assert_eq!(rates_of(share(2, 3, 3), alike(3)), [1, 1, 0]);
}

#[test]
fn workers_that_could_have_nothing_in_flight_stand_by() {
    let shares = shares(share(100_000, 200, 16), alike(200));
    assert_eq!(shares.iter().filter(|s| s.allows_queries()).count(), 16);
    assert!(shares[16..].iter().all(|s| *s == Share::NONE));
}

#[test]
fn weights_are_parts() {
    let claims = vec![
        claim(100, &[(0, Claim::UNKNOWN)]),
        claim(300, &[(0, Claim::UNKNOWN)]),
    ];
    assert_eq!(rates_of(share(40_000, 9, 9), claims), [10_000, 30_000]);
}

#[test]
fn nobody_gets_more_than_lasts_a_term_while_another_can_use_it() {
    // 25 queries last five seconds at five a second.
    let claims = vec![
        claim(100, &[(0, 25)]),
        claim(100, &[(0, 1_000_000)]),
        claim(100, &[(0, Claim::UNKNOWN)]),
    ];
    assert_eq!(
        rates_of(share(45_000, 9, 9), claims),
        [5000, 20_000, 20_000]
    );
}

#[test]
fn what_nobody_could_use_is_divided_all_the_same_by_what_is_queued() {
    let claims = vec![claim(100, &[(0, 5)]), claim(300, &[(0, 15)])];
    assert_eq!(rates_of(share(20_000, 9, 9), claims), [5000, 15_000]);
    // Who has but a probe to send has little of it, who has nothing yet can begin.
    let claims = vec![
        claim(100, &[(0, 2)]),
        claim(100, &[(0, 90)]),
        claim(100, &[(0, 0)]),
    ];
    assert_eq!(rates_of(share(40_000, 9, 9), claims), [2000, 37_000, 1000]);
}

#[test]
fn higher_priorities_go_first_and_lower_ones_keep_a_twentieth() {
    let claims = vec![
        claim(100, &[(0, Claim::UNKNOWN)]),
        claim(100, &[(7, Claim::UNKNOWN)]),
    ];
    assert_eq!(rates_of(share(202_000, 9, 9), claims), [10_000, 192_000]);
    // What the higher one cannot use, the lower one has.
    let claims = vec![claim(100, &[(0, Claim::UNKNOWN)]), claim(100, &[(7, 50)])];
    assert_eq!(rates_of(share(202_000, 9, 9), claims), [192_000, 10_000]);
}

#[test]
fn places_that_do_not_suffice_go_to_the_highest_priority() {
    let claims = vec![
        claim(100, &[(0, Claim::UNKNOWN)]),
        claim(100, &[(0, Claim::UNKNOWN)]),
        claim(100, &[(7, 1)]),
    ];
    let shares = shares(share(20_000, 2, 2), claims);
    let has: Vec<bool> = shares.iter().map(|share| share.allows_queries()).collect();
    assert_eq!(has, [true, false, true]);
}

#[test]
fn what_goes_with_queries_follows_their_rates() {
    let claims = vec![
        claim(100, &[(0, Claim::UNKNOWN)]),
        claim(300, &[(0, Claim::UNKNOWN)]),
    ];
    let target = Share {
        rows: 4000,
        ..share(40_000, 40, 8)
    };
    let shares = shares(target, claims);
    let second = Share {
        rate_milli: 30_000,
        burst: 30,
        in_flight: 6,
        rows: 3000,
    };
    assert_eq!((shares[1], shares[0].plus(second)), (second, target));
}

proptest! {
    #[test]
    fn parts_never_add_up_to_more_than_the_whole_and_lose_nothing(
        rate in 0u64..2_000_000, burst in 0u64..300, in_flight in 0u64..300,
        rows in prop_oneof![Just(Share::ANY_ROWS), 0u64..1000],
        claims in prop::collection::vec(
            (0u32..500, prop::collection::btree_map(0u32..3, prop_oneof![Just(Claim::UNKNOWN), 0u64..1000], 0..3)),
            1..200,
        ),
    ) {
        let target = Share { rows, ..share(rate, burst, in_flight) };
        let workers = claims.len();
        let claims = claims.into_iter().map(|(weight, queued)| Claim { weight, queued }).collect();
        let shares = shares(target, claims);
        let sum: Share = shares.iter().copied().sum();
        prop_assert!(sum.fits(target), "{sum:?} of {target:?}");
        let sharing = shares.iter().filter(|share| share.allows_queries()).count();
        prop_assert_eq!(sharing, sharers(target, workers), "each of them can send");
        if sharing > 0 {
            prop_assert_eq!(sum, target);
        }
        // No second sees more queries than the target allows, where the target is one a second and worker or more.
        if rate >= 1000 * workers as u64 {
            let most: u64 = shares.iter().map(|s| s.rate_milli.div_ceil(1000)).sum();
            prop_assert!(most <= rate.div_ceil(1000));
        }
    }

    #[test]
    fn shares_are_max_min_fair(
        rate in 100u64..2_000,
        queued in prop::collection::vec(0u64..3_000, 2..20),
    ) {
        let claims = queued.iter().map(|queries| claim(100, &[(0, *queries)])).collect();
        let rates = rates_of(share(rate * 1000, 1_000, 1_000), claims);
        let satisfied = |nth: usize| rates[nth] >= queued[nth] * 1000 / 5;
        for (a, rate) in rates.iter().enumerate().filter(|(nth, _)| !satisfied(*nth)) {
            let more = rates.iter().max().unwrap();
            prop_assert!(rate + 1000 >= *more, "{a} wants more than {rate}, another has {more}");
        }
    }
}
