//! Jobs over the entries of another job: those that failed once more, or a look whether what it warmed is there.
//!
//! They are jobs like all others, so that budget, hand-over, abort, accounting and the list of failures are theirs, too.

use stoke_core::job::{
    Batch, From, IllegalMove, KeySource, Merge, Mode, OnBadLine, Section, Spec, Weight, Which, Work,
};
use stoke_core::names::JobName;
use stoke_proto::v1;

use super::super::parse;
use super::super::refusal::Refusal;
use super::asked::Asked;
use super::{Jobs, export};

impl Jobs {
    /// Creates a job for the entries that failed in another.
    pub(super) async fn retry(
        &self,
        request: v1::RetryJobRequest,
        trace: &str,
    ) -> Result<v1::Job, Refusal> {
        self.shared.fence().await?;
        parse::retry(&request)?;
        let of = self.read(&request.name).await?;
        let spec = retry_of(&of.name, &of.record.value.spec);
        let asked = Asked::like_another(&request.request_id);
        self.create_once(&asked, &spec, trace).await
    }

    /// Creates a job that looks whether what another has warmed is there.
    pub(super) async fn verify(
        &self,
        request: v1::VerifyJobRequest,
        trace: &str,
    ) -> Result<v1::Job, Refusal> {
        self.shared.fence().await?;
        let which = parse::verify(&request)?;
        let of = self.read(&request.name).await?;
        let spec = &of.record.value.spec;
        let Work::Batch(batch) = &spec.work;
        if batch.mode.is_verify() {
            return Err(Refusal::Precondition(format!(
                "the job {} only looked, and warmed nothing: verify the job that it looked at",
                of.name
            )));
        }
        let mode = if request.values {
            Mode::VerifyValues
        } else {
            Mode::Verify
        };
        let spec = verification_of(&of.name, spec, which, mode);
        let asked = Asked::like_another(&request.request_id);
        self.create_once(&asked, &spec, trace).await
    }

    /// Checks that the other jobs whose plans are sources of this spec are over, and have what is asked for.
    pub(super) async fn check_plans(&self, spec: &Spec) -> Result<(), Refusal> {
        let Work::Batch(batch) = &spec.work;
        for source in &batch.sources {
            let From::Plan { job, which } = &source.from else {
                continue;
            };
            let other = self.read(job.as_str()).await?;
            if !other.life.value.phase.is_over() {
                return Err(Refusal::Illegal(IllegalMove {
                    from: other.life.value.state(),
                    verb: "lend its plan to another before it is over",
                }));
            }
            if other.record.value.spec.dry_run {
                return Err(Refusal::Precondition(format!(
                    "the job {job} was a dry run, and warmed nothing: name a real one"
                )));
            }
            let plan = export::plan(&other)?;
            if *which == Which::Failed && other.tally().failed == 0 {
                return Err(Refusal::NothingFailed(job.clone()));
            }
            if !self.shared.plans.has_plan(&plan).await? {
                return Err(Refusal::PlanGone(job.clone()));
            }
        }
        Ok(())
    }
}

/// The same work for the entries that failed.
fn retry_of(job: &JobName, spec: &Spec) -> Spec {
    over_its_plan(job, spec, Which::Failed, "retry", |_| {})
}

/// A look at these entries. Each difference is to be told, so none is allowed.
fn verification_of(job: &JobName, spec: &Spec, which: Which, mode: Mode) -> Spec {
    over_its_plan(job, spec, which, "verify", |batch| {
        batch.mode = mode;
        batch.allowed_failures = 0;
    })
}

fn over_its_plan(
    job: &JobName,
    spec: &Spec,
    which: Which,
    trigger: &str,
    change: impl FnOnce(&mut Batch),
) -> Spec {
    let Work::Batch(batch) = &spec.work;
    let mut batch = batch.clone();
    batch.sources = vec![KeySource {
        // Its entries bring their own.
        loader: 0,
        from: From::Plan {
            job: job.clone(),
            which,
        },
        several: Vec::new(),
        merge: Merge::Max,
        on_bad_line: OnBadLine::Fail,
        weight: Weight::default(),
    }];
    // That plan has what was to be warmed, wherever it lies now.
    batch.section = Section::default();
    change(&mut batch);
    Spec {
        trigger: trigger.into(),
        work: Work::Batch(batch),
        ..spec.clone()
    }
}
