//! W2 and W3 over fleets whose members come, go and write checkpoints while partitions are handed over.
//!
//! The oracle knows nothing of steps: it is the sum of the checkpoints that the store accepted.

use proptest::prelude::*;
use proptest::sample::Index;
use std::time::Duration;

use stoke_core::ledger::Timing;
use stoke_core::progress::{Effort, PartitionState, Retry, Tally, retries_max};
use stoke_core::records::{self, Checkpoint, FailureLog};
use stoke_core::ring::{self, Member};
use stoke_core::slot::Partitioning;
use stoke_core::units::Moment;
use stoke_store::{TXN_OPS_MAX, TxnOutcome};

use super::super::scene::{self, Scene};
use super::*;

/// What else the driver and the caller of a step compare: who leads, and that the job still runs.
const OTHER_COMPARES: usize = 2;

#[derive(Clone, Debug)]
enum Event {
    /// From now on these are members, as far as there are so many, of which some stand by: the others left or crashed.
    Members(Vec<There>),
    /// An owner says that it has come further by so many entries, partition after partition, and that some failed.
    Checkpoint {
        owner: Index,
        entries: Vec<u8>,
        fails: bool,
    },
    /// An owner releases some of what is marked.
    Release { owner: Index, which: u16 },
    /// So many milliseconds pass.
    Time(u64),
    /// Another leader goes on.
    Leader,
    /// The leader takes a step.
    Step,
    /// The leader decides on a step, of which it does not hear again.
    Decide,
    /// Such a step arrives at the store after all: the last decided, or one of those before.
    Arrive(usize),
}

/// Whether a worker is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum There {
    Gone,
    /// It cannot have a share.
    StandsBy,
    Works,
}

fn event(workers: usize) -> impl Strategy<Value = Event> {
    let some = prop_oneof![
        1 => Just(There::Gone),
        1 => Just(There::StandsBy),
        2 => Just(There::Works),
    ];
    let most = prop_oneof![
        1 => Just(There::Gone),
        1 => Just(There::StandsBy),
        38 => Just(There::Works),
    ];
    let members = prop_oneof![
        prop::collection::vec(some, workers),
        prop::collection::vec(most, workers),
    ];
    let checkpoint = (
        any::<Index>(),
        prop::collection::vec(0u8..30, 1..20),
        any::<bool>(),
    );
    prop_oneof![
        2 => members.prop_map(Event::Members),
        4 => checkpoint.prop_map(|(owner, entries, fails)| Event::Checkpoint { owner, entries, fails }),
        3 => (any::<Index>(), any::<u16>()).prop_map(|(owner, which)| Event::Release { owner, which }),
        1 => (0u64..9_000).prop_map(Event::Time),
        1 => Just(Event::Leader),
        3 => Just(Event::Step),
        2 => Just(Event::Decide),
        2 => (0usize..3).prop_map(Event::Arrive),
    ]
}

fn history(workers: usize) -> impl Strategy<Value = (usize, Vec<Event>)> {
    prop::collection::vec(event(workers), 0..40).prop_map(move |events| (workers, events))
}

/// What must be true of the records, whatever steps are taken.
#[derive(Debug, Default)]
struct Truth {
    /// Every partition that was ever given out, as the last accepted checkpoint had it.
    states: BTreeMap<PartitionId, PartitionState>,
    effort: Effort,
    failures: BTreeMap<String, u64>,
}

struct World {
    scene: Scene,
    partitioning: Partitioning,
    fleet: Vec<Member>,
    members: Vec<Member>,
    /// Who is there, those that stand by included.
    present: BTreeMap<WorkerName, records::Member>,
    now: Moment,
    departures: Departures,
    /// Since when each mark has stood.
    marked: BTreeMap<(PartitionId, WorkerName), Moment>,
    underway: Vec<Txn>,
    truth: Truth,
}

impl World {
    fn new(workers: usize, partitioning: Partitioning) -> Self {
        let member = |n| Member {
            name: scene::worker(&format!("w{n}.{n:04x}")),
            weight: ring::Weight::default(),
        };
        let fleet: Vec<Member> = (0..workers).map(member).collect();
        let plan = scene::plan(1_000_000, partitioning);
        Self {
            scene: Scene::running(scene::spec(vec![scene::named()]), plan),
            partitioning,
            present: as_members(&fleet),
            members: fleet.clone(),
            fleet,
            now: Moment::from_nanos(1_000_000_000_000),
            departures: Departures::default(),
            marked: BTreeMap::new(),
            underway: Vec::new(),
            truth: Truth::default(),
        }
    }

    fn wanted(&self) -> Table {
        ring::assign(self.partitioning, &self.members)
    }

    /// From now on these are there, and work.
    fn become_members(&mut self, members: Vec<Member>) {
        self.present = as_members(&members);
        self.members = members;
    }

    /// Takes note of which marks are there.
    fn note_marks(&mut self, view: &JobView) {
        let mut before = std::mem::take(&mut self.marked);
        for (worker, owner) in &view.owners {
            for partition in &owner.assignment.value.leaving {
                let marked = (*partition, worker.clone());
                let since = before.remove(&marked).unwrap_or(self.now);
                self.marked.insert(marked, since);
            }
        }
    }

    fn decide(&mut self, view: &JobView) -> Option<Txn> {
        let timing = Timing::default();
        self.departures.look([view].into_iter(), self.now);
        let overdue = self.departures.overdue(&view.name, self.now, timing);
        let releasing = Releasing {
            present: &self.present,
            overdue: &overdue,
        };
        let txn = next_step(view, self.partitioning.count(), &self.wanted(), releasing)?;
        let workers = |op: &Op| match op {
            Op::Put { key, .. } | Op::Delete(key) => {
                let (kind, rest) = key.split_once('/').unwrap();
                (kind == "assign" || kind == "ckpt").then(|| rest.to_owned())
            }
        };
        let touched: BTreeSet<String> = txn.ops.iter().filter_map(workers).collect();
        assert!(touched.len() <= TOUCHED_MAX, "{} touched", touched.len());
        assert!(txn.compares.len() + OTHER_COMPARES <= TXN_OPS_MAX);
        assert!(txn.ops.len() <= TXN_OPS_MAX);
        Some(txn)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Members(there) => {
                let fleet = self.fleet.iter().zip(there);
                let those = |which: fn(There) -> bool| {
                    let those = fleet.clone().filter(move |(_, there)| which(*there));
                    those.map(|(member, _)| member.clone()).collect::<Vec<_>>()
                };
                self.present = as_members(&those(|there| there != There::Gone));
                self.members = those(|there| there == There::Works);
            }
            Event::Checkpoint {
                owner,
                entries,
                fails,
            } => {
                let owners = self.scene.view().owners.len();
                if owners > 0 {
                    self.work(owner.index(owners), &entries, fails);
                }
            }
            Event::Release { owner, which } => {
                let owners = self.scene.view().owners.len();
                if owners > 0 {
                    self.release(owner.index(owners), which);
                }
            }
            Event::Time(ms) => self.now = self.now + Duration::from_millis(ms),
            Event::Leader => self.departures = Departures::default(),
            Event::Step => {
                self.step();
            }
            Event::Decide => {
                let view = self.scene.view();
                let decided = self.decide(&view);
                self.underway.extend(decided);
            }
            Event::Arrive(nth) => {
                // It stays under way: the network may repeat it.
                if let Some(late) = self.underway.iter().rev().nth(nth) {
                    self.arrive(late);
                }
            }
        }
        self.check();
    }

    /// A step arrives at the store, late. What its comparisons of assignments refuse, that of the job's record refuses,
    /// too: an assignment changes only in steps, which all put that record.
    fn arrive(&self, late: &Txn) {
        let holds = |kind| {
            let of_kind = |compare: &&Compare| compared(compare).starts_with(kind);
            let compares = late.compares.iter().filter(of_kind).cloned().collect();
            let ops = Vec::new();
            self.scene.txn(Txn { compares, ops }) != TxnOutcome::Refused
        };
        assert!(holds(keys::ASSIGNMENTS) || !holds(keys::JOBS), "{late:?}");
        self.scene.commit(late.clone());
    }

    /// The `nth` owner writes a checkpoint.
    fn work(&mut self, nth: usize, entries: &[u8], fails: bool) {
        let view = self.scene.view();
        let (worker, owner) = view.owners.iter().nth(nth).unwrap();
        let before = owner.folded();
        let mut entries = entries.iter().cycle();
        let written = owner.checkpoint.as_ref().map(|c| c.value.clone());
        let written = written.unwrap_or_default();
        let mut checkpoint = Checkpoint {
            partitions: before.partitions.clone(),
            effort: before.effort,
            ..written
        };
        for (partition, state) in &mut checkpoint.partitions {
            let entries = u64::from(*entries.next().unwrap());
            if !checkpoint.released.contains(partition) {
                advance(state, entries);
            }
        }
        let spent = Effort {
            origin_queries: 1,
            origin_rows: 20,
            cache_bytes: 300,
        };
        checkpoint.effort += spent;
        if fails {
            let log = format!("{worker}-{}", owner.assignment.revision);
            let chunks = checkpoint.failures.map_or(0, |log| log.chunks) + 1;
            checkpoint.failures = Some(FailureLog {
                log: log.clone(),
                chunks,
            });
            self.truth.failures.insert(log, chunks);
        }
        self.scene.checkpoint(worker, &checkpoint);
        self.truth.effort += spent;
        self.truth.states.extend(checkpoint.partitions);
    }

    /// The `nth` owner releases some of what it was asked to: every `which`-th.
    fn release(&mut self, nth: usize, which: u16) {
        let view = self.scene.view();
        let (worker, owner) = view.owners.iter().nth(nth).unwrap();
        let before = owner.folded();
        let written = owner.checkpoint.as_ref().map(|c| c.value.clone());
        let mut checkpoint = Checkpoint {
            partitions: before.partitions.clone(),
            effort: before.effort,
            ..written.unwrap_or_default()
        };
        let some = before
            .leaving
            .into_iter()
            .filter(|p| p.0 % (which % 4 + 1) == 0);
        checkpoint.released.extend(some);
        self.scene.checkpoint(worker, &checkpoint);
    }

    /// Takes a step; `false`: there is none left.
    fn step(&mut self) -> bool {
        let before = self.scene.view();
        let Some(txn) = self.decide(&before) else {
            return false;
        };
        let outcome = self.scene.commit(txn);
        assert!(
            matches!(outcome, TxnOutcome::Committed(_)),
            "nothing else happened meanwhile"
        );
        let after = self.scene.view();
        self.check_moves(&before, &after);
        self.check();
        for (worker, owner) in &before.owners {
            let is_touched = after.owners.get(worker).map(|o| o.assignment.revision)
                != Some(owner.assignment.revision);
            if is_touched {
                // W2: whoever was touched has a checkpoint in hand that knows nothing of the step.
                let mut late = self
                    .scene
                    .checkpoint_txn(&before, worker, &Checkpoint::default());
                late.compares.truncate(1);
                assert_eq!(self.scene.txn(late), TxnOutcome::Refused, "{worker}");
            }
        }
        true
    }

    /// Nothing is taken from whoever is there and has not released it, unless that was asked for long enough.
    fn check_moves(&self, before: &JobView, after: &JobView) {
        let (had, has) = (holders(&before.owners), holders(&after.owners));
        for (partition, from) in &had {
            if has[partition] == *from || !self.present.contains_key(from) {
                continue;
            }
            let checkpoint = before.owners[from].checkpoint.as_ref();
            let released =
                checkpoint.is_some_and(|c| c.value.stopped || c.value.released.contains(partition));
            let since = self.marked.get(&(*partition, from.clone()));
            let waited = since.is_some_and(|since| {
                self.now.since(*since) >= departures::patience(Timing::default())
            });
            assert!(released || waited, "{partition} was taken from {from}");
        }
    }

    /// How far the table is from what is wanted: a step must lessen it.
    fn left_to_do(&self, view: &JobView) -> usize {
        let (wanted, held) = (self.wanted(), holders(&view.owners));
        let of = |(partition, to): (PartitionId, &WorkerName)| {
            let from = held.get(&partition);
            let marked = from.is_some_and(|from| {
                view.owners[from]
                    .assignment
                    .value
                    .leaving
                    .contains(&partition)
            });
            match (from == Some(to), marked) {
                (true, false) => 0,
                (_, true) => 1,
                (false, false) => 2,
            }
        };
        wanted.iter().map(of).sum()
    }

    /// Takes steps until none is left, while owners release what they are asked for, or time passes. They end because
    /// each brings the table nearer to what is wanted.
    fn settle(&mut self) {
        let mut left = self.left_to_do(&self.scene.view());
        loop {
            while self.step() {
                let now = self.left_to_do(&self.scene.view());
                assert!(now < left, "{now} of {left} is left to do after a step");
                left = now;
            }
            let owners = self.scene.view().owners.len();
            if left == 0 || self.members.is_empty() {
                break;
            }
            // Some never answer.
            (0..owners)
                .filter(|nth| nth % 3 > 0)
                .for_each(|nth| self.release(nth, 0));
            if !self.step() {
                self.now = self.now + departures::patience(Timing::default());
            }
            left = self.left_to_do(&self.scene.view());
        }
        if !self.members.is_empty() {
            assert_eq!(
                self.truth.states.len(),
                usize::from(self.partitioning.count())
            );
        }
    }

    /// W3: every partition that was given out is in exactly one assignment, as its last accepted checkpoint has it;
    /// what was spent and where failures are listed is known once.
    fn check(&mut self) {
        let view = self.scene.view();
        self.note_marks(&view);
        let mut found = BTreeMap::new();
        for (worker, owner) in &view.owners {
            assert!(
                !owner.assignment.value.partitions.is_empty(),
                "{worker} owns nothing"
            );
            let assignment = &owner.assignment.value;
            let mut leaving = assignment.leaving.iter();
            assert!(leaving.all(|p| assignment.partitions.contains_key(p)));
            for (partition, state) in owner.folded().partitions {
                let other = found.insert(partition, state);
                assert!(
                    other.is_none(),
                    "{partition} has two owners, one is {worker}"
                );
            }
        }
        for partition in found.keys() {
            self.truth.states.entry(*partition).or_default();
        }
        assert!(
            found == self.truth.states,
            "a partition is lost, or went back"
        );
        assert_eq!(view.effort(), self.truth.effort);
        let listed = view.failures().into_iter().map(|log| (log.log, log.chunks));
        let expected: Vec<(String, u64)> = self.truth.failures.clone().into_iter().collect();
        let mut listed: Vec<(String, u64)> = listed.collect();
        listed.sort_unstable();
        assert_eq!(listed, expected);
    }
}

/// The key that is compared.
fn compared(compare: &Compare) -> &str {
    let (Compare::ModRevision(key, _) | Compare::CreateRevision(key, _) | Compare::Absent(key)) =
        compare;
    key
}

/// Members of these names.
fn as_members(members: &[Member]) -> BTreeMap<WorkerName, records::Member> {
    let there = |member: &Member| (member.name.clone(), scene::fit());
    members.iter().map(there).collect()
}

/// A partition comes so many entries further, some of which are to be tried again.
fn advance(state: &mut PartitionState, entries: u64) {
    let retried = entries.min(entries % 4);
    for n in 0..retried {
        state.retries.push(Retry {
            band: state.position.band,
            rank: stoke_core::units::Rank(state.position.rank.0 + n),
            attempts: 1,
        });
    }
    state.position.rank.0 += entries;
    state.tally.warmed += entries - retried;
    if entries % 5 == 1 {
        state.tally.present += state.retries.drain(..).count() as u64;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn in_small_fleets_nothing_is_lost_or_goes_back_and_steps_end(
        (workers, events) in prop_oneof![history(1), history(3)]
    ) {
        play(workers, events);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn in_large_fleets_nothing_is_lost_or_goes_back_and_steps_end(
        (workers, events) in prop_oneof![history(100), history(200)]
    ) {
        play(workers, events);
    }
}

fn play(workers: usize, events: Vec<Event>) {
    let mut world = World::new(workers, scene::coarsest());
    for event in events {
        world.happen(event);
    }
    world.settle();
    world.become_members(world.fleet.clone());
    world.settle();
    // What was decided long ago and arrives now finds other records.
    for late in std::mem::take(&mut world.underway) {
        world.arrive(&late);
        world.check();
    }
}

#[test]
fn a_step_that_arrives_after_its_successor_counts_nowhere() {
    let mut world = World::new(2, scene::coarsest());
    let [first, second] = [0, 1].map(|n| world.fleet[n].clone());
    world.become_members(vec![first]);
    let lost = world.decide(&world.scene.view()).unwrap();
    world.become_members(vec![second]);
    world.settle();
    assert_eq!(world.scene.commit(lost), TxnOutcome::Refused);
    world.check();
}

#[test]
fn a_step_that_was_decided_before_a_checkpoint_is_decided_anew() {
    let mut world = World::new(2, scene::coarsest());
    world.become_members(world.fleet[..1].to_vec());
    world.settle();
    world.become_members(world.fleet.clone());
    // The first checkpoint there is, and one that follows another.
    for _ in 0..2 {
        let overtaken = world.decide(&world.scene.view()).unwrap();
        world.work(0, &[3], true);
        assert_eq!(world.scene.commit(overtaken), TxnOutcome::Refused);
    }
    world.settle();
}

#[test]
fn with_no_member_left_everybody_keeps_what_it_has() {
    let mut world = World::new(3, scene::coarsest());
    world.settle();
    world.become_members(Vec::new());
    assert!(!world.step());
}

/// A partition of a plan of ten million entries, near its end, that carries so many entries to retry.
fn worked(retries: usize) -> PartitionState {
    let retry = |n| (70, 9_000_000 + 131 * n, 3).into();
    let mut tally = Tally::default();
    (tally.warmed, tally.present, tally.absent) = (610, 120, 31);
    (tally.covered_milli, tally.absent_milli) = (123_456_789, 3_000_000);
    PartitionState {
        position: (76, 9_999_999).into(),
        tally,
        retries: (0..retries as u64).map(retry).collect(),
    }
}

/// How large the largest checkpoint is, in KiB, without and with as many entries to retry as there may be. Each worker
/// writes one a second at most for a job, however many partitions it has.
#[test]
fn checkpoints_are_small_and_the_last_worker_of_a_hundred_can_still_write_its_own() {
    let cases = [
        (1024, 3, [23, 345]),
        (1024, 100, [1, 11]),
        (16_384, 3, [136, 257]),
        (16_384, 100, [11, 22]),
        (16_384, 1, [406, 769]),
    ];
    for (partitions, workers, expected) in cases {
        let kib = [0, retries_max(partitions)].map(|retries| {
            let partitions = (0..partitions / workers).map(|p| (PartitionId(p), worked(retries)));
            let checkpoint = Checkpoint {
                partitions: partitions.collect(),
                ..Checkpoint::default()
            };
            record::encode(&checkpoint).len().div_ceil(1024)
        });
        assert_eq!(kib, expected, "{partitions} of {workers}");
        assert!(kib[1] * 1024 < stoke_store::TXN_BYTES_MAX * 4 / 5);
    }
}

#[test]
fn the_last_worker_of_a_hundred_takes_everything_over_though_all_of_it_is_worked() {
    let mut world = World::new(2, Partitioning::for_workers(200));
    world.become_members(world.fleet[..1].to_vec());
    world.settle();
    let view = world.scene.view();
    let (worker, owner) = view.owners.first_key_value().unwrap();
    let mut checkpoint = Checkpoint {
        partitions: owner.folded().partitions,
        ..Checkpoint::default()
    };
    let retries = retries_max(world.partitioning.count());
    let states = checkpoint.partitions.values_mut();
    states.for_each(|state| *state = worked(retries));
    world.scene.checkpoint(worker, &checkpoint);
    world.truth.states.extend(checkpoint.partitions);
    world.become_members(world.fleet[1..].to_vec());
    world.settle();
}

#[test]
fn after_an_outage_of_the_origin_long_lists_of_retries_are_handed_over_in_steps_that_fit() {
    let mut world = World::new(16, Partitioning::for_workers(16));
    world.settle();
    let view = world.scene.view();
    for (worker, owner) in &view.owners {
        let mut partitions = owner.folded().partitions;
        let retries = retries_max(world.partitioning.count());
        partitions
            .values_mut()
            .for_each(|state| *state = worked(retries));
        let checkpoint = Checkpoint {
            partitions,
            ..Checkpoint::default()
        };
        world.scene.checkpoint(worker, &checkpoint);
        world.truth.states.extend(checkpoint.partitions);
    }
    world.become_members(world.fleet[4..].to_vec());
    world.settle();
}

#[test]
fn the_last_worker_of_200_takes_the_whole_plan_in_one_step() {
    let mut world = World::new(1, Partitioning::for_workers(200));
    let steps = std::iter::from_fn(|| world.step().then_some(()));
    assert_eq!(steps.count(), 1);
}

#[test]
fn plans_for_100_and_for_200_workers_are_handed_out_and_on_as_workers_leave_and_come_back() {
    for workers in [100, 200] {
        let mut world = World::new(workers, Partitioning::for_workers(workers));
        world.settle();
        world.work(7, &[5, 0, 29], true);
        world.become_members(world.fleet[3..].to_vec());
        world.settle();
        world.become_members(world.fleet.clone());
        world.settle();
    }
}

/// The owners that have these partitions, and what of those is marked.
fn owned(world: &World) -> Vec<(usize, usize)> {
    let view = world.scene.view();
    let of = |owner: &Owner| {
        let assignment = &owner.assignment.value;
        (assignment.partitions.len(), assignment.leaving.len())
    };
    view.owners.values().map(of).collect()
}

#[test]
fn a_worker_that_joins_gets_what_the_others_release_and_nothing_before() {
    let mut world = World::new(2, scene::coarsest());
    world.become_members(world.fleet[..1].to_vec());
    world.settle();
    world.become_members(world.fleet.clone());
    assert!(world.step(), "what shall go is marked");
    let (all, leaving) = owned(&world)[0];
    assert_eq!((all, owned(&world).len()), (256, 1));
    assert!((128..=140).contains(&leaving), "{leaving}");
    world.work(0, &[3], false);
    assert!(!world.step(), "its owner is waited for");
    world.release(0, 0);
    assert!(world.step());
    assert_eq!(owned(&world), [(256 - leaving, 0), (leaving, 0)]);
    assert!(!world.step());
}

#[test]
fn who_keeps_some_keeps_what_it_has_spent_and_listed_too_and_who_keeps_nothing_leaves_both() {
    let mut world = World::new(2, scene::coarsest());
    let [first, second] = [0, 1].map(|n| world.fleet[n].name.clone());
    world.become_members(world.fleet[..1].to_vec());
    world.settle();
    world.become_members(world.fleet.clone());
    assert!(world.step());
    world.work(0, &[3], true);
    world.release(0, 0);
    let spent = |world: &World, owner: &WorkerName| {
        let folded = world.scene.view().owners[owner].folded();
        (folded.effort, folded.failures)
    };
    let before = spent(&world, &first);
    assert!(before.0 != Effort::default() && !before.1.is_empty());
    assert!(world.step());
    // It tells of both in its next checkpoint, as its own.
    assert_eq!(spent(&world, &first), before);
    assert_eq!(spent(&world, &second), Default::default());
    world.become_members(world.fleet[1..].to_vec());
    world.settle();
    assert_eq!(spent(&world, &second), before);
}

#[test]
fn an_owner_that_does_not_release_in_time_is_not_waited_for() {
    let mut world = World::new(2, scene::coarsest());
    world.become_members(world.fleet[..1].to_vec());
    world.settle();
    world.become_members(world.fleet.clone());
    assert!(world.step() && !world.step());
    world.now = world.now + departures::patience(Timing::default());
    assert!(world.step());
    assert_eq!(owned(&world).len(), 2);
}

#[test]
fn an_owner_that_is_gone_is_not_waited_for_and_one_that_stopped_has_released_all() {
    for stopped in [false, true] {
        let mut world = World::new(2, scene::coarsest());
        world.become_members(world.fleet[..1].to_vec());
        world.settle();
        let [first, second] = [0, 1].map(|n| world.fleet[n].clone());
        if stopped {
            // It is there, but its successor is to have all.
            world.become_members(vec![second]);
            world.present = as_members(&world.fleet);
            assert!(world.step() && !world.step());
            let partitions = world.scene.view().owners[&first.name].folded().partitions;
            let checkpoint = Checkpoint {
                partitions,
                stopped,
                ..Checkpoint::default()
            };
            world.scene.checkpoint(&first.name, &checkpoint);
        } else {
            world.become_members(vec![second]);
        }
        assert!(world.step());
        assert_eq!(owned(&world), [(256, 0)], "stopped: {stopped}");
    }
}

#[test]
fn what_was_marked_and_is_to_stay_after_all_is_given_back_once_it_is_released() {
    let mut world = World::new(2, scene::coarsest());
    world.become_members(world.fleet[..1].to_vec());
    world.settle();
    world.become_members(world.fleet.clone());
    assert!(world.step());
    world.become_members(world.fleet[..1].to_vec());
    assert!(!world.step(), "its owner is still at it");
    world.release(0, 0);
    assert!(world.step());
    assert_eq!(owned(&world), [(256, 0)]);
}
