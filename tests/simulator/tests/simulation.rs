//! The simulation holds what is promised, and finds each mistake that would break it.

use std::thread::available_parallelism;

use stoke_simulator::simulation::{Seeds, run, simulate};

/// How many seeds a run of the tests tries.
const SEEDS: u64 = 300;
/// And from which on: the same each time, so that a change is to blame for what fails. `make simulate` draws by lot.
const FIRST: u64 = 1000;

#[test]
fn b1_to_b5_and_w1_to_w5_hold_for_every_seed() {
    let seeds =
        Seeds::from_environment(SEEDS, Some(FIRST)).unwrap_or_else(|error| panic!("{error}"));
    println!("{seeds}");
    let threads = available_parallelism().map_or(1, usize::from);
    match run(seeds, threads) {
        Ok(total) => println!("no violation: {total}"),
        Err(failure) => panic!("{failure}"),
    }
}

/// This one showed that a worker, told to stop, began anew on records older than its last checkpoint.
#[test]
fn a_worker_that_has_confirmed_its_stop_does_not_begin_anew_on_what_it_read_before() {
    if let Err(failure) = simulate(3_628_699_935) {
        panic!("{failure}");
    }
}

/// This one showed that the dismissal from a task of planning, sent under one attempt and arriving under the next, took that
/// one's task from its worker, and nobody did it.
#[test]
fn a_dismissal_that_arrives_late_takes_no_task_of_the_next_attempt() {
    if let Err(failure) = simulate(1448) {
        panic!("{failure}");
    }
}

/// This one showed that a worker which began anew, and was told to stop, confirmed that while a statement of its run before ran.
#[test]
fn a_stop_is_not_confirmed_while_a_statement_of_the_run_before_may_run() {
    if let Err(failure) = simulate(882) {
        panic!("{failure}");
    }
}

/// What transactions compare, left out in turn.
mod fences {
    use std::collections::BTreeSet;
    use std::thread::available_parallelism;

    use stoke_core::records::keys;
    use stoke_simulator::simulation::{Fence, Seeds, run, simulate_without};

    /// Each with a seed that misses it.
    const NEEDED: [(Fence, u64); 10] = [
        (Fence::coordinators(keys::LEDGERS), 13),
        (Fence::coordinators(keys::ACKS), 1303),
        (Fence::coordinators(keys::JOBS), 26),
        (Fence::coordinators(keys::RUNS), 105),
        (Fence::coordinators(keys::CHECKPOINTS), 2),
        (Fence::workers(keys::CAPS), 160),
        (Fence::workers(keys::ACKS), 605),
        (Fence::workers(keys::RUNS), 174),
        (Fence::workers(keys::ASSIGNMENTS), 3),
        (Fence::workers(keys::CHECKPOINTS), 109),
    ];
    /// Those that no seed misses, for in one store's history another comparison refuses the same.
    const SECOND: [Fence; 3] = [
        // Whatever a step was decided on, it compares: what a leader does late that leads no more is refused for that.
        Fence::coordinators(keys::LEADER),
        // An assignment changes together with its job's record only, which is compared and put.
        Fence::coordinators(keys::ASSIGNMENTS),
        // Whoever aborts a job gives its tasks to nobody any more: the record that is deleted is the one that was read.
        Fence::workers(keys::READS),
    ];
    /// How many seeds a needed one may go unmissed: a change may move it to others.
    const SEEDS_MAX: u64 = 3000;

    #[test]
    fn without_what_is_compared_something_is_violated_but_for_what_is_compared_twice() {
        for (fence, first) in NEEDED {
            let missed = (first..first + SEEDS_MAX)
                .find_map(|seed| simulate_without(Some(fence), seed).err());
            let failure = missed.unwrap_or_else(|| panic!("nothing shows what {fence} is for"));
            println!("{fence}: seed {}: {}", failure.seed, failure.what);
            if let Err(failure) = simulate_without(None, failure.seed) {
                panic!("so it is with it: {failure}");
            }
        }
    }

    #[test]
    fn each_comparison_that_is_made_is_one_of_these() {
        let seeds = Seeds {
            first: 0,
            count: 100,
        };
        let threads = available_parallelism().map_or(1, usize::from);
        let made = run(seeds, threads)
            .unwrap_or_else(|failure| panic!("{failure}"))
            .compared;
        let needed = NEEDED.into_iter().map(|(fence, _)| fence);
        let known: BTreeSet<Option<Fence>> = needed.chain(SECOND).map(Some).collect();
        assert_eq!(made, known);
        assert_eq!(known.len(), Fence::ALL.len());
    }
}

#[cfg(feature = "mutants")]
mod mutants {
    use std::collections::BTreeMap;

    use stoke_core::mutant::Mutant;
    use stoke_core::progress::{Effort, Followed, PartitionState, Tracker};
    use stoke_core::records::Assignment;
    use stoke_core::units::PartitionId;
    use stoke_simulator::simulation::simulate;

    /// How many seeds one may go unfound: less than a minute's.
    const SEEDS_MAX: u64 = 3000;

    /// Looks from this seed on, which found it before.
    fn finds(mutant: Mutant, first: u64) {
        Mutant::on_this_thread(Some(mutant));
        let found = (first..first + SEEDS_MAX).find_map(|seed| simulate(seed).err());
        let Some(failure) = found else {
            panic!("{mutant} is not found by {SEEDS_MAX} seeds")
        };
        println!("{mutant}: found by seed {}: {}", failure.seed, failure.what);
        Mutant::on_this_thread(None);
        if let Err(failure) = simulate(failure.seed) {
            panic!("so it is without {mutant}: {failure}");
        }
    }

    /// Hardly a history leads to where it matters: another must have had a partition, done some of it, and given it back, before its
    /// owner looked again. So it is shown on what decides.
    #[test]
    fn following_whatever_an_assignment_says() {
        let follow = |mutant| {
            Mutant::on_this_thread(mutant);
            let fresh = BTreeMap::from([(PartitionId(3), PartitionState::default())]);
            let moved_on = PartitionState {
                position: (1, 200_000).into(),
                ..PartitionState::default()
            };
            let given = Assignment {
                partitions: [(PartitionId(3), moved_on)].into(),
                ..Assignment::default()
            };
            let mut tracker = Tracker::new(fresh.clone(), Effort::default(), 256);
            tracker.follow(&fresh, &given)
        };
        assert_eq!(follow(Some(Mutant::FollowAnything)), Followed::On);
        assert_eq!(follow(None), Followed::Anew);
    }

    macro_rules! finds_mutants {
        ($($test:ident: $mutant:ident from $seed:literal,)*) => {$(
            #[test]
            fn $test() {
                finds(Mutant::$mutant, $seed);
            }
        )*};
    }

    finds_mutants! {
        a_quarantine_that_is_too_short: QuarantineTooShort from 0,
        a_deadline_that_counts_from_the_response: DeadlineFromResponse from 29,
        slowing_down_after_the_commit: SlowDownAfterCommit from 0,
        freeing_before_the_ack: FreeBeforeAck from 0,
        reclaiming_without_comparing_the_ack: ReclaimWithoutAck from 1303,
        caps_on_leases: CapsOnLeases from 0,
        renewing_without_comparing_the_cap: RenewWithoutCap from 223,
        dropping_the_ceiling_at_once: DropCeilingAtOnce from 0,
        reusing_a_snapshot: ReuseSnapshot from 0,
        comparing_nothing: NothingCompared from 13,
        a_checkpoint_under_another_assignment: CheckpointOfAnother from 3,
        a_checkpoint_over_a_newer_one: CheckpointOverNewer from 109,
        a_position_that_moves_past_what_is_not_done: PositionPastOpen from 1,
        forgetting_what_is_to_be_tried_again: RetriesForgotten from 1,
        listing_failures_after_counting_them: FailuresListedLate from 1,
        confirming_a_stop_early: StopConfirmedEarly from 680,
        taking_back_a_confirmed_stop: StopTakenBack from 321,
        ignoring_checkpoints: CheckpointIgnored from 2,
        taking_over_without_comparing_the_checkpoint: CheckpointNotCompared from 2,
        giving_out_without_comparing_the_job: JobNotCompared from 26,
        putting_a_life_without_comparing_it: LifeNotCompared from 105,
        counting_as_aborted_at_once: AbortedAtOnce from 212,
        writing_over_what_is_there: WriteOver from 1,
    }
}
