use stoke_core::job::{Batch, Mode, Spec, Work};
use stoke_core::progress::Effort;
use stoke_core::records;

use super::*;
use crate::view::At;

fn at<T>(value: T) -> At<T> {
    At { value, revision: 1 }
}

/// A job in this phase.
fn job(name: &str, phase: Phase) -> JobView {
    let spec = Spec {
        priority: 0,
        dry_run: false,
        labels: BTreeMap::new(),
        trigger: String::new(),
        requester: String::new(),
        work: Work::Batch(Batch {
            sources: Vec::new(),
            loaders: Vec::new(),
            cache: "main".parse().unwrap(),
            also: Vec::new(),
            mode: Mode::Add,
            allowed_failures: 0,
            attempts_max: 5,
            section: Default::default(),
            fit: Default::default(),
        }),
    };
    let record = records::Job {
        spec,
        created_ms: 1,
        started_ms: None,
        ended_ms: None,
        uploads: BTreeMap::new(),
        attempt: 0,
        plan: None,
        planning: Effort::default(),
        result: None,
        sources: Vec::new(),
        terms: Vec::new(),
        room: None,
        samples: Vec::new(),
        trace: String::new(),
    };
    let mut life = Life::new();
    life.phase = phase;
    JobView {
        name: name.parse().unwrap(),
        record: at(record),
        life: at(life),
        reads: BTreeMap::new(),
        owners: BTreeMap::new(),
        targets: BTreeMap::new(),
        unread: BTreeMap::new(),
        is_past: false,
    }
}

fn view(jobs: &[(&str, Phase)]) -> View {
    let jobs = jobs.iter().map(|(name, phase)| job(name, *phase));
    View {
        jobs: jobs.map(|job| (job.name.clone(), job)).collect(),
        ..View::default()
    }
}

/// The ends that looks tell of, one after the other.
fn ends(looks: &[&[(&str, Phase)]]) -> Vec<Vec<&'static str>> {
    let mut watcher = Watcher::default();
    let now = Moment::from_nanos(1);
    let looks = looks.iter().map(|jobs| watcher.look(&view(jobs), now));
    looks.map(|told| told.ended).collect()
}

#[test]
fn the_end_of_a_job_is_told_by_the_first_look_that_shows_it_and_by_no_other() {
    let told = ends(&[
        &[("a", Phase::Running), ("b", Phase::Planning)],
        &[("a", Phase::Succeeded), ("b", Phase::Failed)],
        // Some of what it left has been deleted, not all.
        &[("a", Phase::Succeeded), ("c", Phase::Aborting)],
        &[("c", Phase::Aborted)],
        &[],
    ]);
    let expected: [&[&str]; 5] = [&[], &["SUCCEEDED", "FAILED"], &[], &["ABORTED"], &[]];
    assert_eq!(told, expected);
}

#[test]
fn what_ended_before_a_leaders_first_look_is_told_of_too() {
    let told = ends(&[&[("a", Phase::Failed)], &[("a", Phase::Failed)]]);
    assert_eq!(told, [vec!["FAILED"], vec![]]);
}

#[test]
fn only_jobs_under_way_are_on_the_board() {
    let board = Board::of(
        &view(&[("a", Phase::Running), ("b", Phase::Succeeded)]),
        &BTreeMap::new(),
    );
    assert_eq!(board.jobs.len(), 1);
    let expected = [
        ("ABORTING", 0),
        ("PAUSED", 0),
        ("PENDING", 0),
        ("PLANNING", 0),
        ("RUNNING", 1),
    ];
    assert_eq!(board.states, expected.into());
}
