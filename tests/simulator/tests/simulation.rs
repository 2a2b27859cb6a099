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

#[cfg(feature = "mutants")]
mod mutants {
    use stoke_core::mutant::Mutant;
    use stoke_simulator::simulation::simulate;

    /// How many seeds one may go unfound: less than a minute's.
    const SEEDS_MAX: u64 = 3000;

    fn finds(mutant: Mutant) {
        Mutant::on_this_thread(Some(mutant));
        let found = (0..SEEDS_MAX).find_map(|seed| simulate(seed).err());
        let Some(failure) = found else {
            panic!("{mutant} is not found by {SEEDS_MAX} seeds")
        };
        println!("{mutant}: found by seed {}: {}", failure.seed, failure.what);
    }

    macro_rules! finds_mutants {
        ($($test:ident: $mutant:ident,)*) => {$(
            #[test]
            fn $test() {
                finds(Mutant::$mutant);
            }
        )*};
    }

    finds_mutants! {
        a_quarantine_that_is_too_short: QuarantineTooShort,
        a_deadline_that_counts_from_the_response: DeadlineFromResponse,
        slowing_down_after_the_commit: SlowDownAfterCommit,
        freeing_before_the_ack: FreeBeforeAck,
        reclaiming_without_comparing_the_ack: ReclaimWithoutAck,
        caps_on_leases: CapsOnLeases,
        renewing_without_comparing_the_cap: RenewWithoutCap,
        dropping_the_ceiling_at_once: DropCeilingAtOnce,
        reusing_a_snapshot: ReuseSnapshot,
        comparing_nothing: NothingCompared,
        a_checkpoint_under_another_assignment: CheckpointOfAnother,
        a_checkpoint_over_a_newer_one: CheckpointOverNewer,
        following_whatever_an_assignment_says: FollowAnything,
        a_position_that_moves_past_what_is_not_done: PositionPastOpen,
        forgetting_what_is_to_be_tried_again: RetriesForgotten,
        listing_failures_after_counting_them: FailuresListedLate,
        confirming_a_stop_early: StopConfirmedEarly,
        ignoring_checkpoints: CheckpointIgnored,
        taking_over_without_comparing_the_checkpoint: CheckpointNotCompared,
        giving_out_without_comparing_the_job: JobNotCompared,
        putting_a_life_without_comparing_it: LifeNotCompared,
        counting_as_aborted_at_once: AbortedAtOnce,
        writing_over_what_is_there: WriteOver,
    }
}
