//! Jobs that are over and whose entries another job is yet to read: they stay, however old they are.

use stoke_core::job::{From, Phase, Work};
use stoke_core::names::JobName;
use stoke_core::records::keys;
use stoke_store::{Keys, Store};

use crate::view::{JobView, View, ViewError};

/// Whether another job is yet to read this one's plan, or its lists of failures. Only while nobody creates a job
/// ([`Shared::creating`](crate::Shared)) does the answer stay what it is.
///
/// # Errors
/// Where that is not known.
pub(crate) async fn is_lent(store: &dyn Store, job: &JobName) -> Result<bool, ViewError> {
    let records = [keys::JOBS, keys::RUNS].map(|prefix| Keys::Prefix(prefix.to_owned()));
    let view = View::parse(&store.read(&records).await?)?;
    Ok(view.jobs.values().any(|other| is_to_read(other, job)))
}

/// Whether `job` makes its plan of another's, and has not made it yet.
fn is_to_read(job: &JobView, other: &JobName) -> bool {
    let Work::Batch(batch) = &job.record.value.spec.work;
    let mut sources = batch.sources.iter().map(|source| &source.from);
    matches!(job.life.value.phase, Phase::Pending | Phase::Planning)
        && job.record.value.plan.is_none()
        && sources.any(|from| matches!(from, From::Plan { job, .. } if job == other))
}

#[cfg(test)]
mod tests {
    use stoke_core::job::{KeySource, Life, Merge, OnBadLine, Which};
    use stoke_core::plan::PlanSummary;
    use stoke_core::slot::Partitioning;
    use stoke_store::memory::MemoryStore;
    use stoke_store::{Op, Txn, record};

    use super::super::keep::tests::record;
    use super::*;

    fn source(from: From) -> KeySource {
        KeySource {
            loader: 0,
            from,
            several: Vec::new(),
            merge: Merge::Max,
            on_bad_line: OnBadLine::Fail,
            weight: Default::default(),
        }
    }

    fn plan_of(job: &str) -> From {
        From::Plan {
            job: job.parse().unwrap(),
            which: Which::All,
        }
    }

    /// Whether `over` is lent to a job with these sources, in this phase, that has a plan or not.
    async fn lends(phase: Phase, has_plan: bool, sources: Vec<From>) -> bool {
        let (store, job) = (MemoryStore::new(), "j".parse().unwrap());
        let mut made = record();
        let Work::Batch(batch) = &mut made.spec.work;
        batch.sources = sources.into_iter().map(source).collect();
        made.plan = has_plan.then(|| PlanSummary {
            name: "plans/j/1-1".into(),
            entries: 1,
            priority_milli: 0,
            bands: 1,
            partitioning: Partitioning::for_workers(1),
            entries_by_loader: vec![1],
            left_out: 0,
            cut: 0,
            worth: None,
        });
        let life = Life {
            phase,
            ..Life::new()
        };
        let put = |key, value| Op::Put {
            key,
            value,
            lease: None,
        };
        let txn = Txn {
            compares: Vec::new(),
            ops: vec![
                put(keys::job(&job), record::encode(&made)),
                put(keys::run(&job), record::encode(&life)),
            ],
        };
        store.txn(txn).await.unwrap();
        is_lent(&store, &"over".parse().unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn a_job_is_lent_to_all_that_are_yet_to_make_their_plans_of_it_and_to_no_others() {
        for (phase, has_plan, is_lent) in [
            (Phase::Pending, false, true),
            (Phase::Planning, false, true),
            // It tries its loaders, and then is over.
            (Phase::Planning, true, false),
            (Phase::Running, true, false),
            (Phase::Aborting, false, false),
            (Phase::Failed, false, false),
        ] {
            let lends = |sources| lends(phase, has_plan, sources);
            let is = [
                lends(vec![plan_of("over")]).await,
                lends(vec![From::Upload, plan_of("other"), plan_of("over")]).await,
            ];
            assert_eq!(is, [is_lent; 2], "{phase:?}, a plan: {has_plan}");
            assert!(!lends(vec![plan_of("other"), From::Upload]).await);
        }
    }
}
