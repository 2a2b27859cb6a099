//! Pruning: jobs that are over are forgotten at an operator's word, as they are by themselves after a while.

use std::time::Duration;

use stoke_core::job::State;
use stoke_core::records::keys;
use stoke_proto::v1;
use tokio::time::Instant;

use super::super::refusal::Refusal;
use super::super::{describe, parse};
use super::Jobs;
use crate::metrics::Retired;
use crate::plan_store::Removed;
use crate::retention::{OverJob, Wanted, forget, is_lent, read_past};

/// How many jobs that are over are read at once.
const READ_AT_ONCE: usize = 100;
/// How many of them are looked at for one page.
const LOOKED_AT_MAX: usize = 2000;
/// How long one page is worked on: callers wait for it.
const PAGE_TIME_MAX: Duration = Duration::from_secs(3);

impl Jobs {
    /// Forgets a page of jobs. It is shorter than asked for where that takes long, or where many jobs had to be looked at.
    pub(super) async fn prune(
        &self,
        request: v1::PruneJobsRequest,
    ) -> Result<v1::PruneJobsResponse, Refusal> {
        self.shared.fence().await?;
        let asked = parse::prune(request, self.shared.settings.retention)?;
        let wanted = Wanted {
            over_for: asked.over_for,
            now_ms: crate::wall_ms(),
            phases: asked.phases,
            // Whoever asks knows what time it is.
            settled: None,
        };
        let begun = Instant::now();
        let mut answer = v1::PruneJobsResponse::default();
        let mut looked_at = 0;
        let mut after = match &asked.after {
            Some(job) => keys::past(job),
            None => wanted.begin(),
        };
        loop {
            let page = read_past(&*self.shared.store, &after, READ_AT_ONCE).await?;
            for job in page.jobs.iter().filter(|job| wanted.wants(job)) {
                if let Some(removed) = self.prune_one(job, asked.dry_run).await? {
                    answer.jobs.push(describe_pruned(job, removed));
                }
                if answer.jobs.len() >= asked.size || begun.elapsed() >= PAGE_TIME_MAX {
                    answer.next_page_token = job.name.to_string();
                    return Ok(answer);
                }
            }
            looked_at += READ_AT_ONCE;
            match page.next {
                None => return Ok(answer),
                Some(next) => after = next,
            }
            if looked_at >= LOOKED_AT_MAX
                && let Some(last) = keys::past_job(&after)
            {
                answer.next_page_token = last.to_string();
                return Ok(answer);
            }
        }
    }

    /// What of the plan store goes with a job; `None` where another job is yet to read of it, or another caller has
    /// pruned it meanwhile.
    async fn prune_one(&self, job: &OverJob, dry_run: bool) -> Result<Option<Removed>, Refusal> {
        let plans = &self.shared.plans;
        let alone = self.shared.creating.lock().await;
        if is_lent(&*self.shared.store, &job.name).await? {
            return Ok(None);
        }
        if dry_run {
            drop(alone);
            return Ok(Some(plans.objects_of(&job.name).await?));
        }
        if !self.shared.commit(forget(job)).await? {
            return Ok(None);
        }
        drop(alone);
        tracing::info!(job = %job.name, "forgot a job at somebody's word");
        self.shared.metrics.retired(Retired::Job, 1);
        // What of this fails is found by the leader's turns: nobody names it any more.
        let removed = plans.remove_job(&job.name).await?;
        self.shared
            .metrics
            .retired(Retired::Object, removed.objects);
        Ok(Some(removed))
    }
}

fn describe_pruned(job: &OverJob, removed: Removed) -> v1::PrunedJob {
    v1::PrunedJob {
        name: job.name.to_string(),
        state: describe::state(State::In(job.past.life.phase)).into(),
        end_time: job.past.job.ended_ms.map(describe::time),
        objects: removed.objects,
        bytes: removed.bytes,
    }
}
