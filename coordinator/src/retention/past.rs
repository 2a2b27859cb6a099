//! Jobs that are over: which of them go, and how their records do.

use std::time::Duration;

use stoke_core::job::Phase;
use stoke_core::names::JobName;
use stoke_core::records::{Past, keys};
use stoke_store::{Compare, Keys, Op, Revision, Store, StoreError, Txn, record};

use super::age::{is_older, over_since_ms};

/// Which jobs that are over are to go.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Those that are over for so long.
    pub(crate) over_for: Duration,
    /// What time it is, in milliseconds since 1970.
    pub(crate) now_ms: u64,
    /// Those that ended so; empty: any.
    pub(crate) phases: Vec<Phase>,
    /// Those whose record has stood since then; `None`: any.
    pub(crate) settled: Option<Revision>,
}

impl Wanted {
    /// Whether this job, whose record was put at this revision, is to go.
    #[must_use]
    pub(crate) fn wants(&self, job: &OverJob) -> bool {
        let phase = job.past.life.phase;
        is_older(over_since_ms(&job.past.job), self.now_ms, self.over_for)
            && (self.phases.is_empty() || self.phases.contains(&phase))
            && self.settled.is_none_or(|settled| job.revision <= settled)
    }

    /// The key behind which all jobs are that can be wanted: none is over before it was created.
    #[must_use]
    pub(crate) fn begin(&self) -> String {
        let over_for = u64::try_from(self.over_for.as_millis()).unwrap_or(u64::MAX);
        keys::past_created_by(self.now_ms.saturating_sub(over_for))
    }
}

/// A job that is over.
#[derive(Clone, Debug)]
pub(crate) struct OverJob {
    pub(crate) name: JobName,
    pub(crate) past: Past,
    pub(crate) revision: Revision,
}

/// Some jobs that are over, the newest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct OverPage {
    pub(crate) jobs: Vec<OverJob>,
    /// The key behind which the next page begins; `None`: there is nothing more.
    pub(crate) next: Option<String>,
}

/// Reads at most `limit` jobs that are over, from those behind the key `after` on. What cannot be read is passed over: it
/// stays.
pub(crate) async fn read_past(
    store: &dyn Store,
    after: &str,
    limit: usize,
) -> Result<OverPage, StoreError> {
    let page = Keys::Page {
        prefix: keys::PAST.to_owned(),
        after: after.to_owned(),
        limit,
    };
    let entries = store.read(&[page]).await?.entries;
    let next = entries.last().filter(|_| entries.len() == limit);
    let next = next.map(|entry| entry.key.clone());
    let jobs = entries.iter().filter_map(|entry| {
        Some(OverJob {
            name: keys::past_job(&entry.key)?,
            past: record::decode(entry).ok()?,
            revision: entry.mod_revision,
        })
    });
    Ok(OverPage {
        jobs: jobs.collect(),
        next,
    })
}

/// Forgets a job. Its record goes first: whoever finds it finds all of it.
pub(crate) fn forget(job: &OverJob) -> Txn {
    let key = keys::past(&job.name);
    Txn {
        compares: vec![Compare::ModRevision(key.clone(), job.revision)],
        ops: vec![Op::Delete(key)],
    }
}

#[cfg(test)]
mod tests {
    use stoke_core::job::Life;

    use super::super::keep::tests::record;
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const DAY_MS: u64 = 86_400_000;

    fn over(created_ms: u64, ended_ms: Option<u64>, phase: Phase) -> OverJob {
        let mut job = record();
        job.created_ms = created_ms;
        job.ended_ms = ended_ms;
        let life = Life {
            phase,
            ..Life::new()
        };
        OverJob {
            name: format!("{created_ms:013}-00000a").parse().unwrap(),
            past: Past { job, life },
            revision: Revision(10),
        }
    }

    fn wanted(now_ms: u64) -> Wanted {
        Wanted {
            over_for: DAY * 30,
            now_ms,
            phases: Vec::new(),
            settled: None,
        }
    }

    #[test]
    fn a_job_goes_when_it_is_over_for_so_long_and_not_before() {
        let job = over(DAY_MS, Some(2 * DAY_MS), Phase::Failed);
        for (now_ms, goes) in [
            (0, false),
            (2 * DAY_MS, false),
            (32 * DAY_MS - 1, false),
            (32 * DAY_MS, true),
        ] {
            assert_eq!(wanted(now_ms).wants(&job), goes, "{now_ms}");
            assert!(!goes || keys::past(&job.name) > wanted(now_ms).begin());
        }
    }

    #[test]
    fn a_clock_that_had_gone_back_when_a_job_ended_does_not_make_it_old() {
        let job = over(40 * DAY_MS, Some(5), Phase::Succeeded);
        assert!(!wanted(41 * DAY_MS).wants(&job));
        assert!(wanted(70 * DAY_MS).wants(&job));
    }

    #[test]
    fn only_the_asked_for_and_the_settled_go() {
        let job = over(0, Some(0), Phase::Failed);
        let now_ms = 100 * DAY_MS;
        let asked = |phases: &[Phase], settled| Wanted {
            phases: phases.to_vec(),
            settled,
            ..wanted(now_ms)
        };
        assert!(asked(&[Phase::Failed, Phase::Aborted], None).wants(&job));
        assert!(!asked(&[Phase::Succeeded], None).wants(&job));
        assert!(asked(&[], Some(Revision(10))).wants(&job));
        assert!(!asked(&[], Some(Revision(9))).wants(&job));
    }
}
