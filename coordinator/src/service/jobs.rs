//! `JobService`: jobs as callers see them.

mod again;
mod asked;
mod create;
mod digest;
mod export;
mod gate;
mod prune;
mod scans;
mod show;
mod upload;

use std::sync::Arc;

use stoke_core::guard::HOLDER_PREFIX;
use stoke_core::job::{Hold, IllegalMove, Life, Phase};
use stoke_core::names::JobName;
use stoke_core::records::keys;
use stoke_proto::v1::job_service_server::JobService;
use stoke_proto::v1::{self};
use stoke_store::{Compare, Op, Revision, Txn, record};
use tokio_util::sync::CancellationToken;
use tonic::{Request as Call, Response, Status, Streaming};

pub(crate) use self::gate::Measurements;
use super::refusal::{Refusal, invalid};
use super::streams::{Answers, answer, deadline};
use super::{COMMIT_ATTEMPTS_MAX, describe, parse};
use crate::Shared;
use crate::view::{JobView, View};

/// How many messages of a watch wait for a slow caller; further changes are merged into the next.
const WATCH_QUEUE: usize = 1;
/// How many messages of a list wait for a slow caller.
const LIST_QUEUE: usize = 2;

/// Serves jobs.
#[derive(Debug)]
pub(crate) struct Jobs {
    shared: Arc<Shared>,
    cancel: CancellationToken,
}

impl Jobs {
    pub(crate) fn new(shared: Arc<Shared>, cancel: CancellationToken) -> Self {
        Self { shared, cancel }
    }

    async fn read(&self, name: &str) -> Result<JobView, Refusal> {
        read(&self.shared, name).await
    }

    /// Changes a job's life, deciding anew while others change it at the same time.
    async fn live(
        &self,
        name: &str,
        change: impl Fn(&mut Life) -> Result<(), IllegalMove>,
    ) -> Result<v1::Job, Refusal> {
        self.shared.fence().await?;
        for _ in 0..COMMIT_ATTEMPTS_MAX {
            let mut job = self.read(name).await?;
            let mut life = job.life.value.clone();
            change(&mut life)?;
            if life == job.life.value {
                return Ok(describe::job(&job, &self.shared));
            }
            let key = keys::run(&job.name);
            let txn = Txn {
                compares: vec![Compare::ModRevision(
                    key.clone(),
                    Revision(job.life.revision),
                )],
                ops: vec![Op::Put {
                    key,
                    value: record::encode(&life),
                    lease: None,
                }],
            };
            if self.shared.commit(txn).await? {
                job.life.value = life;
                return Ok(describe::job(&job, &self.shared));
            }
        }
        Err(Refusal::Contended)
    }
}

/// A job with all its records, be it under way or long over.
async fn read(shared: &Shared, name: &str) -> Result<JobView, Refusal> {
    let unknown = || Refusal::NoSuchJob(name.chars().take(80).collect());
    let job: JobName = name.parse().map_err(|_| unknown())?;
    View::read_job(&*shared.store, &job)
        .await?
        .ok_or_else(unknown)
}

#[tonic::async_trait]
impl JobService for Jobs {
    type WatchJobStream = Answers<v1::WatchJobResponse>;
    type ListFailuresStream = Answers<v1::ListFailuresResponse>;
    type ExportPlanStream = Answers<v1::ExportPlanResponse>;
    type GateJobStream = Answers<v1::GateJobResponse>;

    async fn create_job(
        &self,
        call: Call<v1::CreateJobRequest>,
    ) -> Result<Response<v1::CreateJobResponse>, Status> {
        let trace = crate::trace::present(call.metadata());
        let job = self.create(call.into_inner(), &trace).await?;
        tracing::info!(job = job.name, "created a job");
        Ok(Response::new(v1::CreateJobResponse { job: Some(job) }))
    }

    async fn upload_entries(
        &self,
        call: Call<Streaming<v1::UploadEntriesRequest>>,
    ) -> Result<Response<v1::UploadEntriesResponse>, Status> {
        let entries = self.upload(call.into_inner()).await?;
        Ok(Response::new(v1::UploadEntriesResponse { entries }))
    }

    async fn get_job(
        &self,
        call: Call<v1::GetJobRequest>,
    ) -> Result<Response<v1::GetJobResponse>, Status> {
        let job = self.read(&call.into_inner().name).await?;
        Ok(Response::new(v1::GetJobResponse {
            job: Some(describe::job(&job, &self.shared)),
        }))
    }

    async fn list_jobs(
        &self,
        call: Call<v1::ListJobsRequest>,
    ) -> Result<Response<v1::ListJobsResponse>, Status> {
        Ok(Response::new(self.list(call.into_inner()).await?))
    }

    async fn watch_job(
        &self,
        call: Call<v1::WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        let until = deadline(call.metadata());
        let open = self.shared.limits.watches.open()?;
        let first = self.read(&call.into_inner().name).await?;
        let shared = Arc::clone(&self.shared);
        let held = shared.calls.hold("/stoke.v1.JobService/WatchJob");
        let watch = |send| async move {
            let _held = held;
            show::watch(&shared, first, &send).await
        };
        Ok(answer(WATCH_QUEUE, open, until, &self.cancel, watch))
    }

    async fn pause_job(
        &self,
        call: Call<v1::PauseJobRequest>,
    ) -> Result<Response<v1::PauseJobResponse>, Status> {
        let request = call.into_inner();
        let hold = Hold {
            holder: holder(request.holder)?,
            reason: reason(request.reason)?,
        };
        let job = self
            .live(&request.name, |life| life.hold(hold.clone()))
            .await?;
        Ok(Response::new(v1::PauseJobResponse { job: Some(job) }))
    }

    async fn resume_job(
        &self,
        call: Call<v1::ResumeJobRequest>,
    ) -> Result<Response<v1::ResumeJobResponse>, Status> {
        let request = call.into_inner();
        let holder = holder(request.holder)?;
        let job = self
            .live(&request.name, |life| life.release(&holder))
            .await?;
        Ok(Response::new(v1::ResumeJobResponse { job: Some(job) }))
    }

    async fn abort_job(
        &self,
        call: Call<v1::AbortJobRequest>,
    ) -> Result<Response<v1::AbortJobResponse>, Status> {
        let request = call.into_inner();
        let reason = reason(request.reason)?;
        let abort = |life: &mut Life| match life.phase {
            Phase::Aborting | Phase::Aborted => Ok(()),
            _ => life.become_phase(Phase::Aborting, reason.clone()),
        };
        let job = self.live(&request.name, abort).await?;
        tracing::info!(job = job.name, "aborting a job");
        Ok(Response::new(v1::AbortJobResponse { job: Some(job) }))
    }

    async fn list_failures(
        &self,
        call: Call<v1::ListFailuresRequest>,
    ) -> Result<Response<Self::ListFailuresStream>, Status> {
        let until = deadline(call.metadata());
        let open = self.shared.limits.lists.open()?;
        let job = self.read(&call.into_inner().name).await?;
        let shared = Arc::clone(&self.shared);
        let list = |send| async move { show::list_failures(&shared, &job, &send).await };
        Ok(answer(LIST_QUEUE, open, until, &self.cancel, list))
    }

    async fn retry_job(
        &self,
        call: Call<v1::RetryJobRequest>,
    ) -> Result<Response<v1::RetryJobResponse>, Status> {
        let trace = crate::trace::present(call.metadata());
        let job = self.retry(call.into_inner(), &trace).await?;
        tracing::info!(job = job.name, "created a job to try failed entries again");
        Ok(Response::new(v1::RetryJobResponse { job: Some(job) }))
    }

    async fn verify_job(
        &self,
        call: Call<v1::VerifyJobRequest>,
    ) -> Result<Response<v1::VerifyJobResponse>, Status> {
        let trace = crate::trace::present(call.metadata());
        let job = self.verify(call.into_inner(), &trace).await?;
        tracing::info!(job = job.name, "created a job to verify another");
        Ok(Response::new(v1::VerifyJobResponse { job: Some(job) }))
    }

    async fn export_plan(
        &self,
        call: Call<v1::ExportPlanRequest>,
    ) -> Result<Response<Self::ExportPlanStream>, Status> {
        let until = deadline(call.metadata());
        let open = self.shared.limits.lists.open()?;
        let job = self.read(&call.into_inner().name).await?;
        let plan = export::plan(&job)?;
        let shared = Arc::clone(&self.shared);
        let export = |send| async move { export::export(&shared, &plan, &send).await };
        Ok(answer(LIST_QUEUE, open, until, &self.cancel, export))
    }

    async fn gate_job(
        &self,
        call: Call<v1::GateJobRequest>,
    ) -> Result<Response<Self::GateJobStream>, Status> {
        let until = deadline(call.metadata());
        let open = self.shared.limits.watches.open()?;
        let request = call.into_inner();
        let wanted = parse::gate(&request)?;
        // Workers are attached to whoever leads: only there can they be asked.
        self.shared.fence().await?;
        let first = self.read(&request.name).await?;
        gate::check(&first, &wanted)?;
        let shared = Arc::clone(&self.shared);
        let held = shared.calls.hold("/stoke.v1.JobService/GateJob");
        let wait = |send| async move {
            let _held = held;
            gate::wait(&shared, &wanted, first, &send).await
        };
        Ok(answer(WATCH_QUEUE, open, until, &self.cancel, wait))
    }

    async fn prune_jobs(
        &self,
        call: Call<v1::PruneJobsRequest>,
    ) -> Result<Response<v1::PruneJobsResponse>, Status> {
        Ok(Response::new(self.prune(call.into_inner()).await?))
    }
}

/// The longest holder or reason, in characters: both are part of the job's record.
const REASON_MAX: usize = 500;

fn holder(holder: String) -> Result<String, Refusal> {
    if holder.chars().count() > REASON_MAX {
        return Err(invalid(
            "holder",
            format!("is longer than {REASON_MAX} characters"),
        ));
    }
    if holder.starts_with(HOLDER_PREFIX) {
        let problem =
            format!("{HOLDER_PREFIX} begins the names of guards: each removes its own hold");
        return Err(invalid("holder", problem));
    }
    Ok(if holder.is_empty() {
        "operator".to_owned()
    } else {
        holder
    })
}

fn reason(reason: String) -> Result<String, Refusal> {
    if reason.chars().count() > REASON_MAX {
        return Err(invalid(
            "reason",
            format!("is longer than {REASON_MAX} characters"),
        ));
    }
    Ok(reason)
}
