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
