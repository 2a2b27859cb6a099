//! Who has a share of a job's budgets, and who stands by; and that a leader's clocks begin with it.

use std::collections::BTreeSet;

use stoke_core::job::From;
use stoke_core::ledger::{Ledger, Observed, Share};
use stoke_core::units::PartitionId;
use stoke_store::TxnOutcome;

use super::super::handover::departures::patience;
use super::super::scene::{self, Scene, fleet, named, worker};
use super::*;

const START: Moment = Moment::from_nanos(1_000_000_000_000);

fn at(now: Moment) -> At {
    At {
        now,
        wall_ms: 77,
        timing: Timing::default(),
    }
}

fn unknown() -> Known {
    Known {
        planning: Planning::Unknown,
        spent: Effort::default(),
    }
}

/// A budget of which so many workers can have a share.
fn budget_for(workers: u32) -> Observed {
    let target = Share {
        rate_milli: 1_000_000,
        burst: 100,
        in_flight: workers.into(),
        rows: Share::ANY_ROWS,
    };
    let ledger = Ledger {
        asked: target,
        target,
        ceiling: target,
        configured: target,
        expiry: None,
    };
    Observed {
        ledger: Some((ledger, 1)),
        ..Observed::default()
    }
}

/// Of which resources there is a budget, and for how many workers.
type Budgets<'a> = &'a [(&'a str, u32)];

/// What a look at this scene shows with these members, and budgets of these resources for so many workers each.
fn look(scene: &Scene, members: &[&str], budgets: Budgets<'_>) -> View {
    let budgets = budgets.iter();
    View {
        members: fleet(members),
        jobs: [(scene.job().clone(), scene.view())].into(),
        resources: budgets
            .map(|(resource, workers)| (resource.parse().unwrap(), budget_for(*workers)))
            .collect(),
        ..View::default()
    }
}

fn running() -> Scene {
    let plan = scene::plan(10, scene::coarsest());
    Scene::running(scene::spec(vec![named()]), plan)
}

/// The job's next step after a look with fresh clocks.
fn next(scene: &Scene, view: &View) -> Option<Step> {
    let mut jobs = Jobs::default();
    jobs.look(view, START, 77);
    jobs.next(&view.jobs[scene.job()], view, unknown(), at(START))
}

fn takes(scene: &Scene, step: Option<Step>) {
    let outcome = scene.commit(step.expect("there is something to do").txn);
    assert!(matches!(outcome, TxnOutcome::Committed(_)));
}

fn owners(scene: &Scene) -> Vec<String> {
    scene
        .view()
        .owners
        .keys()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn as_many_own_partitions_as_can_have_a_share_of_each_budget_and_the_others_stand_by() {
    let cases: [(Budgets, &[&str]); 6] = [
        // An absent budget binds nobody here: it gives no grant.
        (&[], &["w1", "w2", "w3"]),
        (&[("origin/shop", 3)], &["w1", "w2", "w3"]),
        (&[("origin/shop", 2)], &["w1", "w2"]),
        (&[("cache/main", 1)], &["w1"]),
        (&[("origin/shop", 2), ("cache/main", 1)], &["w1"]),
        (&[("origin/other", 1)], &["w1", "w2", "w3"]),
    ];
    for (budgets, expected) in cases {
        let scene = running();
        takes(
            &scene,
            next(&scene, &look(&scene, &["w1", "w2", "w3"], budgets)),
        );
        assert_eq!(owners(&scene), expected, "{budgets:?}");
    }
}

#[test]
fn who_cannot_do_the_job_takes_no_place_of_those_that_can() {
    let scene = running();
    let mut view = look(&scene, &["w1", "w2", "w3"], &[("origin/shop", 2)]);
    let unfit = Member {
        caches: BTreeSet::new(),
        ..scene::fit()
    };
    view.members.insert(worker("w1"), unfit);
    takes(&scene, next(&scene, &view));
    assert_eq!(owners(&scene), ["w2", "w3"]);
}

#[test]
fn of_several_caches_each_must_have_a_place_for_an_owner_who_knows_all_of_them() {
    let scene = running();
    scene.change_job(|job| {
        let stoke_core::job::Work::Batch(batch) = &mut job.spec.work;
        batch.also = vec!["spare".parse().unwrap()];
    });
    let mut view = look(
        &scene,
        &["w1", "w2", "w3", "w4", "w5"],
        &[("cache/main", 5), ("cache/spare", 2)],
    );
    let knows_both = Member {
        caches: ["main", "spare"].map(|name| name.parse().unwrap()).into(),
        several_caches: true,
        ..scene::fit()
    };
    let too_old = Member {
        several_caches: false,
        ..knows_both.clone()
    };
    for (name, member) in [
        ("w1", scene::fit()),
        ("w2", too_old),
        ("w3", knows_both.clone()),
        ("w4", knows_both.clone()),
        ("w5", knows_both),
    ] {
        view.members.insert(worker(name), member);
    }
    takes(&scene, next(&scene, &view));
    assert_eq!(owners(&scene), ["w3", "w4"]);
}

#[test]
fn who_stands_by_is_there_to_release_what_it_has() {
    let scene = running();
    takes(&scene, next(&scene, &look(&scene, &["w1", "w2"], &[])));
    let fewer = look(&scene, &["w1", "w2"], &[("origin/shop", 1)]);
    takes(&scene, next(&scene, &fewer));
    assert_eq!(owners(&scene), ["w1", "w2"], "it is only asked to");
    let marked = |owner: &crate::view::Owner| owner.assignment.value.leaving.len();
    let view = scene.view();
    let asked: Vec<usize> = view.owners.values().map(marked).collect();
    let all = view.owners[&worker("w2")].folded().partitions.len();
    assert_eq!(asked, [0, all]);
}

#[test]
fn a_budget_that_only_a_key_source_takes_counts_while_the_job_is_planned_and_no_longer() {
    let elsewhere = From::Sql {
        origin: "archive".parse().unwrap(),
        query: "select id from hits".into(),
    };
    let scene = Scene::new(scene::spec(vec![elsewhere.clone(), elsewhere.clone()]));
    let budgets = [("origin/archive", 1)];
    let able = |view: &mut View| {
        for member in view.members.values_mut() {
            member.origins.insert("archive".parse().unwrap());
            member.sql_in_jobs = true;
        }
    };
    let mut view = look(&scene, &["w1", "w2"], &budgets);
    able(&mut view);
    takes(&scene, next(&scene, &view));
    let planned = scene.view();
    let readers: BTreeSet<&str> = (planned.reads.values())
        .map(|given| given.value.worker.as_str())
        .collect();
    assert_eq!(readers, ["w1"].into());
    scene.change_job(|job| job.plan = Some(scene::plan(10, scene::coarsest())));
    scene.enter(Phase::Running);
    let mut view = look(&scene, &["w1", "w2"], &budgets);
    able(&mut view);
    takes(&scene, next(&scene, &view));
    assert_eq!(owners(&scene), ["w1", "w2"]);
}

#[test]
fn a_reader_stays_one_though_the_budgets_have_no_share_for_it_any_more() {
    let scene = Scene::new(scene::spec(vec![named()]));
    takes(&scene, next(&scene, &look(&scene, &["w1", "w2"], &[])));
    let planned = scene.view();
    let readers = (planned.reads.iter()).map(|(task, given)| (*task, given.value.worker.clone()));
    let readers: BTreeMap<_, _> = readers.collect();
    assert!(readers.values().any(|reader| *reader == worker("w2")));
    let view = look(&scene, &["w1", "w2"], &[("origin/shop", 1)]);
    let known = Known {
        planning: Planning::Underway {
            attempt: 1,
            awaited: readers.into_keys().collect(),
        },
        spent: Effort::default(),
    };
    let mut jobs = Jobs::default();
    jobs.look(&view, START, 77);
    let job = &view.jobs[scene.job()];
    assert_eq!(jobs.next(job, &view, known, at(START)), None);
}

#[test]
fn an_abort_is_waited_for_from_when_this_leader_first_saw_it_and_from_anew_where_it_was_gone() {
    let timing = Timing::default();
    let over = timing.quarantine + timing.statement_timeout;
    let scene = running();
    takes(&scene, next(&scene, &look(&scene, &["w1"], &[])));
    let before = look(&scene, &["w1"], &[]);
    scene.enter(Phase::Aborting);
    let aborting = look(&scene, &["w1"], &[]);
    let ends = |jobs: &Jobs, now| {
        let step = jobs.next(&aborting.jobs[scene.job()], &aborting, unknown(), at(now));
        // One that says until when it waits puts the life alone; one that ends it, the result, too.
        step.is_some_and(|step| step.txn.ops.len() > 1)
    };
    let mut jobs = Jobs::default();
    jobs.look(&aborting, START, 77);
    jobs.look(&aborting, START + over, 78);
    assert!(ends(&jobs, START + over));
    // Another leader's clock begins when that one first looks, as does one for which the abort was no more.
    let mut other = Jobs::default();
    other.look(&aborting, START + over, 78);
    assert!(!ends(&other, START + over));
    jobs.look(&before, START + over, 78);
    jobs.look(&aborting, START + over, 78);
    assert!(!ends(&jobs, START + over));
}

#[test]
fn an_owner_that_does_not_release_is_overtaken_by_the_leader_that_has_waited_for_it() {
    let scene = running();
    takes(&scene, next(&scene, &look(&scene, &["w1"], &[])));
    takes(&scene, next(&scene, &look(&scene, &["w1", "w2"], &[])));
    let asked = look(&scene, &["w1", "w2"], &[]);
    let job = &asked.jobs[scene.job()];
    let marked: BTreeSet<PartitionId> = job.owners[&worker("w1")].assignment.value.leaving.clone();
    assert!(!marked.is_empty());
    let mut jobs = Jobs::default();
    jobs.look(&asked, START, 77);
    assert_eq!(jobs.next(job, &asked, unknown(), at(START)), None);
    let late = START + patience(Timing::default());
    takes(&scene, jobs.next(job, &asked, unknown(), at(late)));
    let view = scene.view();
    let moved = view.owners[&worker("w2")]
        .assignment
        .value
        .partitions
        .keys();
    assert_eq!(moved.copied().collect::<BTreeSet<_>>(), marked);
}
