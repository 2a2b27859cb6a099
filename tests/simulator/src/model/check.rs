//! Running a check.

use std::fmt;
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model};

use super::Scope;

/// How a check went.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The scope's name.
    pub name: &'static str,
    /// Different states found.
    pub states: usize,
    /// Steps tried.
    pub steps: usize,
    /// Steps to the farthest state.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
    /// What was violated, with the steps that lead there.
    pub violation: Option<String>,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} states, {} steps, to depth {}, in {:.1} s",
            self.name,
            self.states,
            self.steps,
            self.depth,
            self.took.as_secs_f64()
        )?;
        match &self.violation {
            Some(violation) => write!(f, ": {violation}"),
            None => write!(f, ": no violation"),
        }
    }
}

/// Tries everything in the scope, nearest first, until something is violated.
#[must_use]
pub fn check(scope: &Scope, threads: usize) -> Checked {
    let begun = Instant::now();
    let mut builder = (*scope)
        .checker()
        .threads(threads)
        .finish_when(HasDiscoveries::AnyFailures);
    if let Some(depth) = scope.depth {
        builder = builder.target_max_depth(depth);
    }
    let checker = builder.spawn_bfs().join();
    let mut discoveries = checker.discoveries().into_iter();
    let violation = discoveries.next().map(|(property, path)| {
        let steps: Vec<String> = path
            .into_actions()
            .iter()
            .map(|action| format!("{action:?}"))
            .collect();
        format!("{property}, is violated by {}", steps.join(", "))
    });
    Checked {
        name: scope.name,
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        took: begun.elapsed(),
        violation,
    }
}
