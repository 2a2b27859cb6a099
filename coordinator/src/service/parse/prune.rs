//! Which jobs are to be pruned.

use std::time::Duration;

use stoke_core::job::Phase;
use stoke_core::names::JobName;
use stoke_proto::v1;

use super::super::refusal::Refusal;
use super::ITEMS_MAX;
use super::faults::Faults;
use super::filter::after;
use crate::Retention;

/// Jobs on a page at most, and where nothing is said.
const PAGE_MAX: u32 = 100;
/// The longest time that can be asked for: ten years, as in the coordinators' configuration.
const OLDER_THAN_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Which jobs, and how.
#[derive(Debug)]
pub(in super::super) struct Pruning {
    /// Those that are over for so long.
    pub(in super::super) over_for: Duration,
    /// Those that ended so; empty: any.
    pub(in super::super) phases: Vec<Phase>,
    /// They are only told of.
    pub(in super::super) dry_run: bool,
    /// At most so many.
    pub(in super::super) size: usize,
    /// The last job of the page before.
    pub(in super::super) after: Option<JobName>,
}

/// Parses what is to be pruned, where jobs are kept as `retention` says.
///
/// # Errors
/// With all faults.
pub(in super::super) fn prune(
    request: v1::PruneJobsRequest,
    retention: Retention,
) -> Result<Pruning, Refusal> {
    let mut faults = Faults::default();
    let over_for = match request.older_than {
        Some(older_than) => Duration::try_from(older_than)
            .ok()
            .filter(|older_than| *older_than <= OLDER_THAN_MAX),
        None => retention.jobs,
    };
    if over_for.is_none() {
        let problem = match request.older_than {
            Some(_) => "must be from 0 s to ten years (315360000 s)",
            None => "say for how long: these coordinators keep jobs for ever",
        };
        faults.note("older_than", problem);
    }
    faults.few("states", request.states.len());
    let mut phases = Vec::new();
    for (n, number) in request.states.iter().take(ITEMS_MAX).enumerate() {
        let field = format!("states[{n}]");
        match faults.one_of::<v1::JobState>(&field, *number) {
            None => {}
            Some(v1::JobState::Succeeded) => phases.push(Phase::Succeeded),
            Some(v1::JobState::Failed) => phases.push(Phase::Failed),
            Some(v1::JobState::Aborted) => phases.push(Phase::Aborted),
            Some(_) => faults.note(
                field,
                "only jobs that are over can be pruned: SUCCEEDED, FAILED or ABORTED",
            ),
        }
    }
    let after = after(&mut faults, &request.page_token);
    let size = match request.page_size {
        0 => PAGE_MAX,
        size => size.min(PAGE_MAX),
    };
    let pruning = over_for.map(|over_for| Pruning {
        over_for,
        phases,
        dry_run: request.dry_run,
        size: usize::try_from(size).unwrap_or(usize::MAX),
        after,
    });
    faults.end(pruning)
}
