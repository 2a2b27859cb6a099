//! The model check holds what is promised, and finds each mistake that would break it.

use std::thread::available_parallelism;

use stoke_simulator::model::{SMALL, check};

#[test]
fn b1_b2_b3_hold_in_all_small_scopes() {
    let threads = available_parallelism().map_or(1, usize::from);
    for scope in SMALL {
        let checked = check(&scope, threads);
        println!("{checked}");
        assert_eq!(checked.violation, None, "{}", scope.name);
    }
}

#[cfg(feature = "mutants")]
mod mutants {
    use stoke_core::mutant::Mutant;
    use stoke_simulator::model::{Scope, check};

    /// The least that must be able to happen for each to do harm.
    fn scope(mutant: Mutant) -> Scope {
        let quiet = Scope {
            name: mutant.name(),
            mutant: Some(mutant),
            ..Scope::default()
        };
        match mutant {
            Mutant::QuarantineTooShort => quiet,
            Mutant::DeadlineFromResponse | Mutant::ReclaimWithoutAck => Scope {
                messages: 2,
                ..quiet
            },
            Mutant::SlowDownAfterCommit | Mutant::CapsOnLeases => Scope { claims: 1, ..quiet },
            Mutant::FreeBeforeAck | Mutant::ReuseSnapshot => Scope { claims: 2, ..quiet },
            Mutant::RenewWithoutCap => Scope {
                messages: 2,
                claims: 1,
                ..quiet
            },
            Mutant::DropCeilingAtOnce => Scope {
                retargets: 1,
                ..quiet
            },
            Mutant::NothingCompared => Scope {
                messages: 2,
                elections: 1,
                claims: 1,
                ..quiet
            },
            of_work => panic!("the model has no work, and so no place for {of_work}"),
        }
    }

    #[test]
    fn the_model_check_finds_each_mutant_and_nothing_without_it() {
        for mutant in Mutant::OF_BUDGET {
            let scope = scope(mutant);
            let found = check(&scope, 1);
            println!("{found}");
            assert!(found.violation.is_some(), "{mutant} is not found");
            let sound = Scope {
                mutant: None,
                depth: Some(found.depth),
                ..scope
            };
            assert_eq!(check(&sound, 1).violation, None, "without {mutant}");
        }
    }
}
