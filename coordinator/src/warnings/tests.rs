use stoke_core::job::{Life, Loader, Spec};
use stoke_core::ledger::Share;
use stoke_core::plan::PlanSummary;
use stoke_core::progress::{Effort, Tally};
use stoke_core::records::{self, JobResult, Member};
use stoke_core::slot::Partitioning;

use super::*;
use crate::view::At;

const HOUR_MS: u64 = 3_600_000;

fn at<T>(value: T) -> At<T> {
    At { value, revision: 1 }
}

fn loader(name: &str) -> Loader {
    Loader {
        name: name.parse().unwrap(),
        recipe: None,
    }
}

/// A running job of 1,000,000 entries of `product`, 500 keys a query at 1 query a second: 2,000 s. Nothing is known of how
/// long its entries live but these.
fn job(lives_ms: &[Option<u64>], entries: &[u64]) -> JobView {
    let terms = |lives_ms: &Option<u64>| LoaderTerms {
        origin: Some("shop".parse().unwrap()),
        version_origin: None,
        batch_keys: Some(500),
        copies: false,
        lives_ms: *lives_ms,
        scan_rows: None,
    };
    let names = ["product", "price"];
    let record = records::Job {
        spec: Spec {
            priority: 0,
            dry_run: false,
            labels: BTreeMap::new(),
            trigger: String::new(),
            requester: String::new(),
            work: Work::Batch(Batch {
                sources: Vec::new(),
                loaders: names
                    .iter()
                    .take(lives_ms.len())
                    .map(|n| loader(n))
                    .collect(),
                cache: "main".parse().unwrap(),
                also: Vec::new(),
                mode: stoke_core::job::Mode::Add,
                allowed_failures: 0,
                attempts_max: 5,
                section: Default::default(),
                fit: Default::default(),
            }),
        },
        created_ms: 0,
        started_ms: Some(0),
        ended_ms: None,
        uploads: BTreeMap::new(),
        attempt: 1,
        plan: Some(PlanSummary {
            name: "plans/j/2-1".into(),
            entries: entries.iter().sum(),
            priority_milli: 1,
            bands: 8,
            partitioning: Partitioning::new(256).unwrap(),
            entries_by_loader: entries.to_vec(),
            left_out: 0,
            cut: 0,
            worth: None,
        }),
        planning: Effort::default(),
        result: None,
        sources: Vec::new(),
        terms: lives_ms.iter().map(terms).collect(),
        room: None,
        samples: Vec::new(),
        trace: String::new(),
    };
    let mut life = Life::new();
    life.phase = Phase::Running;
    JobView {
        name: "j".parse().unwrap(),
        record: at(record),
        life: at(life),
        reads: BTreeMap::new(),
        owners: BTreeMap::new(),
        targets: [(resource("origin/shop"), share(1000))].into(),
        unread: BTreeMap::new(),
        is_past: false,
    }
}

#[test]
fn of_several_caches_the_slowest_decides_how_long_it_takes() {
    let with = |budgets: &[(&str, u64)]| {
        let mut job = job(&[Some(2_000_000)], &[1_000_000]);
        let Work::Batch(batch) = &mut job.record.value.spec.work;
        batch.also = vec!["spare".parse().unwrap()];
        let shares = budgets.iter();
        job.targets
            .extend(shares.map(|(cache, per_second)| (resource(cache), share(per_second * 1000))));
        told(&job, 0).is_some()
    };
    assert!(
        !with(&[]),
        "caches without a budget are as fast as they are"
    );
    assert!(!with(&[("cache/main", 2000), ("cache/spare", 2000)]));
    assert!(with(&[("cache/main", 250)]));
    assert!(with(&[("cache/main", 2000), ("cache/spare", 250)]));
}

fn resource(name: &str) -> Resource {
    name.parse().unwrap()
}

fn share(rate_milli: u64) -> Share {
    Share {
        rate_milli,
        ..Share::default()
    }
}

/// The job with so many of its entries warmed.
fn having(mut job: JobView, warmed: u64) -> JobView {
    job.record.value.result = Some(JobResult {
        tally: Tally {
            warmed,
            ..Tally::default()
        },
        ..JobResult::default()
    });
    job
}

fn told(job: &JobView, now_ms: u64) -> Option<String> {
    of(job, now_ms).pop().map(|warning| warning.what)
}

#[test]
fn reading_versions_again_takes_as_many_queries_and_settling_as_many_writes() {
    let lives_ms = [Some(2_000_000)];
    let versioned = |origin: &str| {
        let mut job = job(&lives_ms, &[1_000_000]);
        job.record.value.terms[0].version_origin = Some(origin.parse().unwrap());
        job
    };
    let takes = |job: &JobView| told(job, 0).unwrap_or_default();
    assert_eq!(takes(&job(&lives_ms, &[1_000_000])), "");
    let of_one = versioned("shop");
    assert!(
        takes(&of_one).contains("about 1h 6m at the present budgets"),
        "{}",
        takes(&of_one)
    );
    let mut of_two = versioned("primary");
    assert_eq!(
        takes(&of_two),
        "",
        "the primary has no budget that is known"
    );
    of_two
        .targets
        .insert(resource("origin/primary"), share(1000));
    assert_eq!(takes(&of_two), "", "side by side");
    of_two
        .targets
        .insert(resource("cache/main"), share(900_000));
    assert!(takes(&of_two).contains("about 37m"), "{}", takes(&of_two));
}

#[test]
fn a_job_that_takes_longer_than_its_shortest_lived_entries_live_says_so() {
    for (lives_ms, entries, warns, why) in [
        (
            vec![Some(2_000_000)],
            vec![1_000_000],
            false,
            "just as long",
        ),
        (vec![Some(1_999_000)], vec![1_000_000], true, "longer"),
        (vec![None], vec![1_000_000], false, "nobody knows"),
        (
            vec![Some(HOUR_MS), Some(1_999_000)],
            vec![500_000, 500_000],
            true,
            "the shortest counts",
        ),
        (
            vec![Some(HOUR_MS), Some(1000)],
            vec![1_000_000, 0],
            false,
            "a loader without entries counts for nothing",
        ),
        (
            vec![Some(HOUR_MS), Some(1000)],
            vec![1_000_000],
            false,
            "nor one behind the last that has some",
        ),
    ] {
        let told = told(&job(&lives_ms, &entries), 0);
        assert_eq!(told.is_some(), warns, "{why}: {told:?}");
    }
    let text = told(&job(&[Some(1_860_000)], &[1_000_000]), 0).unwrap();
    assert_eq!(
        text,
        "it takes about 33m 20s at the present budgets, and the entries of loader product live for 31m (their time to live \
         less its jitter): the first expire before the last are loaded; raise the budget or the time to live, or warm fewer keys"
    );
}

#[test]
fn the_budget_of_the_cache_counts_where_there_is_one_and_an_origin_without_one_tells_nothing() {
    let mut slow = job(&[Some(HOUR_MS)], &[1_000_000]);
    assert_eq!(told(&slow, 0), None);
    slow.targets.insert(resource("cache/main"), share(200_000));
    assert!(told(&slow, 0).unwrap().contains("about 1h 23m"));
    slow.targets.remove(&resource("origin/shop"));
    assert_eq!(told(&slow, 0), None);
}

#[test]
fn the_pace_so_far_goes_before_the_budgets_and_takes_the_warning_back() {
    let lives = [Some(1_860_000)];
    let fast = having(job(&lives, &[1_000_000]), 500_000);
    assert_eq!(told(&fast, 60_000), None, "half of it in a minute");
    let slow = told(&fast, 1_000_000).unwrap();
    assert!(slow.contains("33m 20s at its pace so far"), "{slow}");
}

#[test]
fn a_job_that_is_over_says_how_long_it_took_and_one_that_wrote_nothing_says_nothing() {
    let mut over = having(job(&[Some(1_000_000)], &[1_000_000]), 1_000_000);
    over.life.value.phase = Phase::Succeeded;
    over.record.value.ended_ms = Some(1_000_000);
    assert_eq!(told(&over, HOUR_MS), None, "it took as long as that");
    over.record.value.ended_ms = Some(1_200_000);
    let text = told(&over, HOUR_MS).unwrap();
    assert!(text.starts_with("it took 20m, and"), "{text}");
    assert_eq!(told(&having(over, 0), HOUR_MS), None);
}

#[test]
fn a_dry_run_tells_it_for_the_job_that_it_stands_for() {
    let mut dry = having(job(&[Some(1_000_000)], &[1_000_000]), 0);
    dry.record.value.spec.dry_run = true;
    dry.record.value.started_ms = None;
    dry.life.value.phase = Phase::Succeeded;
    dry.record.value.ended_ms = Some(5000);
    let text = told(&dry, HOUR_MS).unwrap();
    assert!(text.contains("33m 20s at the present budgets"), "{text}");
}

#[test]
fn what_was_cut_is_told_and_counts_in_no_pace() {
    let mut cut = job(&[Some(HOUR_MS)], &[1_000_000]);
    let record = &mut cut.record.value;
    record.plan = record.plan.take().map(|plan| plan.cut_to(400_000));
    record.room = Some(Room::Fits {
        entries: 400_000,
        full: Some("h:1".into()),
    });
    assert_eq!(cut.tally().skipped, 600_000);
    assert_eq!(
        told(&cut, 1_000).unwrap(),
        "cut: the cache has room for 400000 of 1000000 keys, for node h:1 has no more; the other 600000, of the lowest \
         priority, are skipped; give it more memory, or warm fewer keys"
    );
    cut.record.value.terms[0].lives_ms = Some(790_000);
    let kinds: Vec<&str> = of(&cut, 0).iter().map(|warning| warning.kind).collect();
    assert_eq!(kinds, ["expiry", "capacity"], "400,000 keys take 800 s");
    cut.record.value.room = Some(Room::Unknown("cache: down".into()));
    assert!(
        told(&cut, 0)
            .unwrap()
            .ends_with("is not known: cache: down")
    );
}

#[test]
fn who_only_looks_is_not_warned() {
    let mut looks = job(&[Some(1000)], &[1_000_000]);
    let Work::Batch(batch) = &mut looks.record.value.spec.work;
    batch.mode = stoke_core::job::Mode::Verify;
    assert_eq!(told(&looks, 0), None);
}

#[test]
fn loaders_live_as_the_workers_announce_and_by_those_who_say_less_where_they_differ() {
    let name: LoaderName = "product".parse().unwrap();
    let member = |lives_ms: Option<u64>| Member {
        loaders: [(name.clone(), "shop".parse().unwrap())].into(),
        lives_ms: lives_ms.map(|ms| (name.clone(), ms)).into_iter().collect(),
        ..Member::default()
    };
    let view = job(&[None], &[1]);
    let Work::Batch(batch) = &view.record.value.spec.work;
    let lives = |members: &[Member]| terms(batch, &[], members.iter())[0].lives_ms;
    assert_eq!(lives(&[member(None)]), None, "an older version");
    let differing = [member(None), member(Some(5000)), member(Some(3000))];
    assert_eq!(lives(&differing), Some(3000));
}

#[test]
fn spans_are_told_in_two_units() {
    for (seconds, text) in [
        (45, "45s"),
        (200, "3m 20s"),
        (3600, "1h"),
        (3605, "1h"),
        (7500, "2h 5m"),
        (273_600, "3d 4h"),
    ] {
        assert_eq!(about(Duration::from_secs(seconds)), text);
    }
    assert_eq!(about(Duration::from_millis(300)), "300ms");
}
