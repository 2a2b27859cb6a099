//! W2 and W3 over fleets whose members come, go and write checkpoints while partitions are handed over.
//!
//! The oracle knows nothing of steps: it is the sum of the checkpoints that the store accepted.

use proptest::prelude::*;
use proptest::sample::Index;
use stoke_core::progress::{Effort, RETRIES_MAX, Retry};
use stoke_core::records::{Checkpoint, FailureLog};
use stoke_core::ring::{self, Member};
use stoke_core::slot::Partitioning;
use stoke_store::{TXN_OPS_MAX, TxnOutcome};

use super::super::scene::{self, Scene};
use super::*;

/// What else the driver and the caller of a step compare: who leads, and that the job still runs.
const OTHER_COMPARES: usize = 2;

#[derive(Clone, Debug)]
enum Event {
    /// From now on these are members, as far as there are so many: the others left or crashed.
    Members(Vec<bool>),
    /// An owner says that it has come further by so many entries, partition after partition, and that some failed.
    Checkpoint {
        owner: Index,
        entries: Vec<u8>,
        fails: bool,
    },
    /// The leader takes a step.
    Step,
    /// The leader decides on a step, of which it does not hear again.
    Decide,
    /// Such a step arrives at the store after all: the last decided, or one of those before.
    Arrive(usize),
}

fn event(workers: usize) -> impl Strategy<Value = Event> {
    let members = prop_oneof![
        prop::collection::vec(any::<bool>(), workers),
        prop::collection::vec(prop::bool::weighted(0.95), workers),
    ];
    let checkpoint = (
        any::<Index>(),
        prop::collection::vec(0u8..30, 1..20),
        any::<bool>(),
    );
    prop_oneof![
        2 => members.prop_map(Event::Members),
        4 => checkpoint.prop_map(|(owner, entries, fails)| Event::Checkpoint { owner, entries, fails }),
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
            members: fleet.clone(),
            fleet,
            underway: Vec::new(),
            truth: Truth::default(),
        }
    }

    fn wanted(&self) -> Table {
        ring::assign(self.partitioning, &self.members)
    }

    fn decide(&self, view: &JobView) -> Option<Txn> {
        let txn = next_step(view, self.partitioning.count(), &self.wanted())?;
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
                let there = self.fleet.iter().zip(there).filter(|(_, there)| *there);
                self.members = there.map(|(member, _)| member.clone()).collect();
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
            Event::Step => {
                self.step();
            }
            Event::Decide => self.underway.extend(self.decide(&self.scene.view())),
            Event::Arrive(nth) => {
                // It stays under way: the network may repeat it.
                if let Some(late) = self.underway.iter().rev().nth(nth) {
                    self.scene.commit(late.clone());
                }
            }
        }
        self.check();
    }

    /// The `nth` owner writes a checkpoint.
    fn work(&mut self, nth: usize, entries: &[u8], fails: bool) {
        let view = self.scene.view();
        let (worker, owner) = view.owners.iter().nth(nth).unwrap();
        let before = owner.folded();
        let mut entries = entries.iter().cycle();
        let mut checkpoint = Checkpoint {
            partitions: before.partitions.clone(),
            effort: before.effort,
            failures: owner
                .checkpoint
                .as_ref()
                .and_then(|c| c.value.failures.clone()),
            stopped: false,
        };
        for state in checkpoint.partitions.values_mut() {
            advance(state, u64::from(*entries.next().unwrap()));
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
        self.check();
        let after = self.scene.view();
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

    /// Takes steps until none is left. They end because each puts at least one partition where it belongs for good.
    fn settle(&mut self) {
        let wanted = self.wanted();
        let misplaced = |view: &JobView| {
            let held = holders(&view.owners);
            let wrong = wanted
                .iter()
                .filter(|(partition, to)| held.get(partition) != Some(to));
            wrong.count()
        };
        let mut left = misplaced(&self.scene.view());
        while self.step() {
            let now = misplaced(&self.scene.view());
            assert!(
                now < left,
                "{now} of {left} partitions are misplaced after a step"
            );
            left = now;
        }
        assert_eq!(left, 0);
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
        let mut found = BTreeMap::new();
        for (worker, owner) in &view.owners {
            assert!(
                !owner.assignment.value.partitions.is_empty(),
                "{worker} owns nothing"
            );
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
    world.members = world.fleet.clone();
    world.settle();
    // What was decided long ago and arrives now finds other records.
    for late in std::mem::take(&mut world.underway) {
        world.scene.commit(late);
        world.check();
    }
}

#[test]
fn a_step_that_arrives_after_its_successor_counts_nowhere() {
    let mut world = World::new(2, scene::coarsest());
    let [first, second] = [0, 1].map(|n| world.fleet[n].clone());
    world.members = vec![first];
    let lost = world.decide(&world.scene.view()).unwrap();
    world.members = vec![second];
    world.settle();
    assert_eq!(world.scene.commit(lost), TxnOutcome::Refused);
    world.check();
}

#[test]
fn a_step_that_was_decided_before_a_checkpoint_is_decided_anew() {
    let mut world = World::new(2, scene::coarsest());
    world.members.truncate(1);
    world.settle();
    world.members = world.fleet.clone();
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
    world.members.clear();
    assert!(!world.step());
}

/// Where 64 partitions a worker or more carry as many entries to retry as they may, 16 workers' assignments are more
/// than one transaction takes.
#[test]
fn after_an_outage_of_the_origin_long_lists_of_retries_are_handed_over_in_steps_that_fit() {
    let mut world = World::new(16, Partitioning::for_workers(16));
    world.settle();
    let view = world.scene.view();
    for (worker, owner) in &view.owners {
        let mut partitions = owner.folded().partitions;
        for state in partitions.values_mut() {
            let retry = |n| (70, 9_000_000 + n, 3).into();
            state.position = (76, 9_999_999).into();
            state.retries = (0..RETRIES_MAX as u64).map(retry).collect();
        }
        let checkpoint = Checkpoint {
            partitions,
            ..Checkpoint::default()
        };
        world.scene.checkpoint(worker, &checkpoint);
        world.truth.states.extend(checkpoint.partitions);
    }
    world.members.drain(..4);
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
        world.members.drain(..3);
        world.settle();
        world.members = world.fleet.clone();
        world.settle();
    }
}
