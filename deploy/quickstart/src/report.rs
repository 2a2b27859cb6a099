//! What the run changed and cost, and whether that is what Stoke promises.

use std::fmt;

use stoke_proto::v1::{JobState, Progress};

use crate::job::Done;
use crate::numbers::{grouped, percent};
use crate::progress::total;
use crate::traffic::REQUESTS;

/// The figures of one run.
pub(crate) struct Report {
    pub(crate) job: Done,
    /// Of the sampled traffic: 0 to 1.
    pub(crate) hit_rate_before: f64,
    pub(crate) hit_rate_after: f64,
    /// Which share of all views the products of the plan have: 0 to 1.
    pub(crate) plan_share: f64,
    /// Keys that the cluster has after the job; it had none before.
    pub(crate) keys_in_redis: u64,
    /// Stoke's statements in PostgreSQL's log.
    pub(crate) statements: usize,
    /// The most of them in any second.
    pub(crate) peak: u32,
    /// Queries a second that were allowed.
    pub(crate) budget: u32,
}

impl Report {
    /// What did not come true; nothing, where all is well.
    pub(crate) fn broken_promises(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let job = &self.job.job;
        if job.state() != JobState::Succeeded {
            let state = job.state().as_str_name();
            broken.push(format!("the job ended as {state}: {}", job.reason));
        }
        let progress = self.progress();
        let accounted = total(&progress.outcomes.unwrap_or_default());
        if accounted != progress.planned {
            let planned = progress.planned;
            broken.push(format!("of {planned} keys, {accounted} have an outcome"));
        }
        let outcomes = progress.outcomes.unwrap_or_default();
        let there = outcomes.warmed + outcomes.present;
        if self.keys_in_redis != there {
            let found = self.keys_in_redis;
            broken.push(format!("Redis has {found} keys, Stoke says {there}"));
        }
        if self.statements == 0 {
            let unseen =
                "PostgreSQL's log has no statement of Stoke's, so its budget was not checked";
            broken.push(unseen.to_owned());
        }
        if self.peak > self.budget {
            let (peak, budget) = (self.peak, self.budget);
            broken.push(format!("{peak} queries in a second, allowed are {budget}"));
        }
        broken
    }

    fn progress(&self) -> Progress {
        self.job.job.progress.unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let progress = self.progress();
        let outcomes = progress.outcomes.unwrap_or_default();
        let effort = progress.effort.unwrap_or_default();
        let seconds = self.job.loading.as_secs_f64();
        let rate = if seconds > 0.0 {
            total(&outcomes) as f64 / seconds
        } else {
            0.0
        };
        writeln!(f)?;
        writeln!(
            f,
            "hit rate    before {}, after {}, of {} requests drawn from the day's views",
            percent(self.hit_rate_before),
            percent(self.hit_rate_after),
            grouped(u64::from(REQUESTS)),
        )?;
        writeln!(
            f,
            "forecast    {}: Stoke's coverage is {} of a plan with {} of all views",
            percent(progress.coverage * self.plan_share),
            percent(progress.coverage),
            percent(self.plan_share),
        )?;
        writeln!(
            f,
            "keys        {} planned = {} warmed + {} present + {} absent + {} skipped + {} failed + {} cancelled",
            grouped(progress.planned),
            grouped(outcomes.warmed),
            grouped(outcomes.present),
            grouped(outcomes.absent),
            grouped(outcomes.skipped),
            grouped(outcomes.failed),
            grouped(outcomes.cancelled),
        )?;
        writeln!(
            f,
            "time        {seconds:.1} s of loading, {} keys a second; {:.1} s before that to read and rank the keys",
            grouped(rate.round() as u64),
            self.job.planning.as_secs_f64(),
        )?;
        writeln!(
            f,
            "values      {:.1} MB written to Redis, which has {} keys now",
            effort.cache_bytes as f64 / 1e6,
            grouped(self.keys_in_redis),
        )?;
        writeln!(
            f,
            "database    PostgreSQL counted {} statements of Stoke's, at most {} in any one second; the budget is {}",
            grouped(self.statements as u64),
            self.peak,
            self.budget,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use stoke_proto::v1::{Job, Outcomes};

    use super::*;

    fn good() -> Report {
        Report {
            job: Done {
                job: Job {
                    state: JobState::Succeeded.into(),
                    progress: Some(Progress {
                        planned: 10,
                        outcomes: Some(Outcomes {
                            warmed: 8,
                            absent: 2,
                            ..Outcomes::default()
                        }),
                        coverage: 1.0,
                        ..Progress::default()
                    }),
                    ..Job::default()
                },
                planning: Duration::from_secs(1),
                loading: Duration::from_secs(4),
            },
            hit_rate_before: 0.0,
            hit_rate_after: 0.9,
            plan_share: 0.9,
            keys_in_redis: 8,
            statements: 30,
            peak: 20,
            budget: 20,
        }
    }

    #[test]
    fn a_run_is_good_only_when_redis_and_postgresql_confirm_what_stoke_says_of_it() {
        assert!(good().broken_promises().is_empty());

        let mut failed = good();
        failed.job.job.state = JobState::Failed.into();
        let mut over = good();
        over.peak = 21;
        let mut lost = good();
        if let Some(progress) = &mut lost.job.job.progress {
            progress.planned = 11;
        }
        let mut missing = good();
        missing.keys_in_redis = 7;
        let mut uncounted = good();
        uncounted.statements = 0;
        for bad in [failed, over, lost, missing, uncounted] {
            assert_eq!(bad.broken_promises().len(), 1);
        }
    }

    #[test]
    fn the_forecast_is_the_coverage_of_what_the_plan_holds() {
        let report = good().to_string();
        assert!(
            report.contains("forecast    90.0 %: Stoke's coverage is 100.0 %"),
            "{report}"
        );
    }
}
