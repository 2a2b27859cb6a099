//! Waiting until what a job warms is warm enough: by its coverage, and by what is measured in the cache itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use stoke_core::draws::Draws;
use stoke_core::hit_rate::{margin, rate};
use stoke_core::job::{From, Work};
use stoke_core::names::{CacheName, JobName, WorkerName};
use stoke_core::plan::PlanSummary;
use stoke_core::units::{BandId, PartitionId, Priority};
use stoke_proto::v1::cache_question::About;
use stoke_proto::v1::{self, GateVerdict, KeysQuestion, Segment};
use stoke_store::wake::Wakeups;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::describe;
use super::super::parse::Gate;
use super::super::refusal::Refusal;
use super::super::streams::Sending;
use crate::Shared;
use crate::plan_store::{BandFileError, PlanStoreError, served_segments, unpack};
use crate::questions::NoAnswer;
use crate::view::{JobView, View, ViewError};

/// How long at least between two looks at a job that changes all the time.
const LOOKS_APART: Duration = Duration::from_millis(100);
/// How long the first look may take, whatever the time that is waited: it may read a large plan, and ask slow workers.
const FIRST_LOOK_WITHIN: Duration = Duration::from_secs(60);
/// How many bytes of keys a sample may have.
const SAMPLE_BYTES_MAX: usize = 16 << 20;
/// How many keys one question has, and about how many bytes of them: well below the limit of a message.
const KEYS_PER_QUESTION: usize = 5000;
const BYTES_PER_QUESTION: usize = 1 << 20;
/// How many workers are asked the same, where the first cannot tell.
const ASKED_MAX: usize = 3;

/// What of a job can be measured: of one that goes over the plan of another, that is known once it has it, too.
///
/// # Errors
/// Where it has no keys to ask after.
pub(super) fn check(job: &JobView, gate: &Gate) -> Result<(), Refusal> {
    let Work::Batch(batch) = &job.record.value.spec.work;
    let scans = batch.sources.iter().any(|source| source.from == From::Scan);
    if gate.hit_rate.is_some() && (scans || job.ranges() > 0) {
        return Err(Refusal::Precondition(
            "the job scans, so its plan has ranges of rows and no keys to draw from: wait for its coverage only".into(),
        ));
    }
    Ok(())
}

/// Sends how the job stands until the gate is open, or will not be.
///
/// # Errors
/// Where this coordinator does not lead any more: no worker tells it anything then.
pub(super) async fn wait(
    shared: &Shared,
    gate: &Gate,
    mut job: JobView,
    send: &Sending<v1::GateJobResponse>,
) -> Result<(), Refusal> {
    let watched = super::show::records(&job.name);
    let stop = CancellationToken::new();
    let _stop_at_the_end = stop.clone().drop_guard();
    let mut wakeups = Wakeups::spawn(Arc::clone(&shared.store), watched, stop);
    let begun = Instant::now();
    let until = begun + gate.timeout;
    let mut measuring = Measuring {
        measured: shared.measurements.of(&job.name, gate.sample),
        at: None,
    };
    let mut told = None;
    loop {
        // The first look is made to its end, however little time there is.
        let latest = until.max(begun + FIRST_LOOK_WITHIN);
        let looked = tokio::time::timeout_at(latest, measuring.look(shared, gate, &job)).await;
        let mut state = match looked {
            Ok(state) => state?,
            Err(_) => v1::GateJobResponse {
                verdict: GateVerdict::Waiting.into(),
                state: describe::state(job.life.value.state()).into(),
                reason: "the hit rate could not be measured in time".into(),
                ..v1::GateJobResponse::default()
            },
        };
        if state.verdict() == GateVerdict::Waiting && Instant::now() >= until {
            state.set_verdict(GateVerdict::NotMet);
            let waited = gate.timeout.as_secs();
            state.reason = format!("not within {waited} s: {}", state.reason);
        }
        // What was seen while somebody else may have led is no verdict.
        shared.fence().await?;
        let is_over = state.verdict() != GateVerdict::Waiting;
        if told.as_ref() != Some(&state) {
            told = Some(state.clone());
            if send.send(Ok(state)).await.is_err() {
                return Ok(());
            }
        }
        if is_over {
            return Ok(());
        }
        tokio::select! {
            () = send.closed() => return Ok(()),
            () = wakeups.changed() => {}
            refusal = shared.deposed() => return Err(refusal),
            () = tokio::time::sleep_until(until.min(measuring.due(gate))) => {}
        }
        tokio::time::sleep(LOOKS_APART).await;
        match View::read_job(&*shared.store, &job.name).await {
            Ok(Some(read)) => {
                check(&read, gate)?;
                job = read;
            }
            Ok(None) => return Err(Refusal::NoSuchJob(job.name.to_string())),
            // It may answer again, before the time is over.
            Err(ViewError::Store(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What is measured for gates, by their jobs and the sizes of their samples: those who wait for the same, as all pods of a deployment do,
/// have one sample, and what was measured for one counts for all.
#[derive(Debug, Default)]
pub(crate) struct Measurements(std::sync::Mutex<BTreeMap<(JobName, u32), Weak<Shareable>>>);

type Shareable = tokio::sync::Mutex<Measured>;

impl Measurements {
    /// Those of a job, with a sample of this size: kept as long as anybody waits at such a gate.
    fn of(&self, job: &JobName, sample: u32) -> Arc<Shareable> {
        let mut known = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        known.retain(|_, one| one.strong_count() > 0);
        let one = known.entry((job.clone(), sample)).or_default();
        one.upgrade().unwrap_or_else(|| {
            let new = Arc::default();
            *one = Arc::downgrade(&new);
            new
        })
    }
}

/// What was measured so far.
#[derive(Debug, Default)]
struct Measured {
    sample: Option<Arc<Sample>>,
    at: Option<Instant>,
    /// Of each cache; or why that could not be found out.
    last: Option<Result<Vec<v1::HitRate>, NoAnswer>>,
}

/// A gate that is waited at.
struct Measuring {
    measured: Arc<Shareable>,
    /// When it was measured last, as far as this gate knows.
    at: Option<Instant>,
}

impl Measuring {
    /// When there is something to measure again.
    fn due(&self, gate: &Gate) -> Instant {
        let every = gate.measure_every;
        self.at
            .map_or_else(|| Instant::now() + every, |at| at + every)
    }

    /// How the gate stands.
    async fn look(
        &mut self,
        shared: &Shared,
        gate: &Gate,
        job: &JobView,
    ) -> Result<v1::GateJobResponse, Refusal> {
        let life = &job.life.value;
        let mut state = v1::GateJobResponse {
            verdict: GateVerdict::Waiting.into(),
            state: describe::state(life.state()).into(),
            ..v1::GateJobResponse::default()
        };
        let Some(plan) = &job.record.value.plan else {
            state.reason = format!("the job is {}, and has no plan yet", life.state());
            if life.phase.is_over() {
                state.set_verdict(GateVerdict::NotMet);
                state.reason = format!("the job is {}: {}", life.state(), life.reason);
            }
            return Ok(state);
        };
        let coverage = describe::progress(job).coverage;
        state.coverage = Some(coverage);
        if let Some(wanted) = gate.coverage.filter(|wanted| coverage < *wanted) {
            state.reason = format!("the coverage is {coverage:.4}, below {wanted}");
            if life.phase.is_over() {
                state.set_verdict(GateVerdict::NotMet);
                state.reason += &format!(", and the job is {}", life.state());
            }
        }
        if let (Some(wanted), true) = (gate.hit_rate, state.reason.is_empty()) {
            let shareable = Arc::clone(&self.measured);
            let mut measured = shareable.lock().await;
            measured.anew(shared, gate, job, plan).await?;
            self.at = measured.at;
            match &measured.last {
                Some(Ok(rates)) if rates.iter().any(|rate| rate.sample == 0) => {
                    state.set_verdict(GateVerdict::NotMet);
                    state.reason =
                        "the plan's priorities are all 0: there are no requests to draw".into();
                }
                Some(Ok(rates)) => {
                    state.hit_rates.clone_from(rates);
                    let worst = rates.iter().min_by(|a, b| a.rate.total_cmp(&b.rate));
                    if let Some(low) = worst.filter(|worst| worst.rate < wanted) {
                        state.reason = format!(
                            "the hit rate of cache {} is {:.4}, below {wanted}",
                            low.cache, low.rate
                        );
                    }
                }
                Some(Err(error)) => {
                    state.reason = format!("the hit rate cannot be measured: {error}");
                }
                None => state.reason = "the hit rate was not measured yet".into(),
            }
        }
        if state.reason.is_empty() {
            state.set_verdict(GateVerdict::Met);
        }
        Ok(state)
    }
}

impl Measured {
    /// Measures, where it is time.
    async fn anew(
        &mut self,
        shared: &Shared,
        gate: &Gate,
        job: &JobView,
        plan: &PlanSummary,
    ) -> Result<(), Refusal> {
        if self
            .at
            .is_some_and(|at| Instant::now() < at + gate.measure_every)
        {
            return Ok(());
        }
        let sample = match &self.sample {
            Some(sample) => Arc::clone(sample),
            None => {
                let drawn = Arc::new(Sample::draw(shared, plan, gate.sample).await?);
                Arc::clone(self.sample.insert(drawn))
            }
        };
        let Work::Batch(batch) = &job.record.value.spec.work;
        let mut rates = Ok(Vec::new());
        for cache in batch.caches() {
            match (sample.measure(shared, cache).await, &mut rates) {
                (Ok(rate), Ok(rates)) => rates.push(rate),
                (Err(error), rates) => *rates = Err(error),
                (Ok(_), Err(_)) => {}
            }
        }
        self.last = Some(rates);
        self.at = Some(Instant::now());
        Ok(())
    }
}

/// Requests that were drawn from a plan.
#[derive(Debug)]
struct Sample {
    /// The keys that are asked for, and how often each.
    keys: Vec<(Bytes, u64)>,
    /// How many requests there are, those of entries included that were cut off: these will miss.
    requests: u64,
}

impl Sample {
    /// Draws so many requests of a plan, one band of it in memory at a time.
    async fn draw(shared: &Shared, plan: &PlanSummary, count: u32) -> Result<Self, Refusal> {
        let chance: u64 = rand::random();
        let mut draws = Draws::new(plan.priority_milli, count, chance);
        let all = (0..plan.partitioning.count()).map(|n| (PartitionId(n), BandId(0)));
        let all = all.collect();
        let mut drawn = Drawn::default();
        for band in (0..plan.bands).map(BandId) {
            let segments = served_segments(&shared.plans, plan, band, &all).await?;
            let drawing = tokio::task::spawn_blocking(move || {
                drawn.draw(segments, &mut draws).map(|()| (drawn, draws))
            });
            let done = drawing.await.unwrap_or(Err(BandFileError::Truncated));
            (drawn, draws) = done.map_err(|source| PlanStoreError::Format {
                object: format!("band {band} of {}", plan.name),
                source,
            })?;
            if drawn.bytes > SAMPLE_BYTES_MAX {
                return Err(Refusal::Precondition(format!(
                    "the keys of such a sample have more than {} MiB: ask for a smaller one",
                    SAMPLE_BYTES_MAX >> 20
                )));
            }
        }
        let keys = drawn.keys;
        Ok(Self {
            requests: keys.iter().map(|(_, drawn)| drawn).sum::<u64>() + draws.left(),
            keys,
        })
    }

    /// How many of the requests would be hits in this cache now.
    async fn measure(&self, shared: &Shared, cache: &CacheName) -> Result<v1::HitRate, NoAnswer> {
        let workers = shared.who_knows(cache).await?;
        let mut hits = 0;
        let mut rest = &self.keys[..];
        while !rest.is_empty() {
            let (these, behind) = rest.split_at(for_one_question(rest));
            hits += hits_of(shared, &workers, cache, these).await?;
            rest = behind;
        }
        Ok(v1::HitRate {
            cache: cache.to_string(),
            rate: rate(hits, self.requests),
            margin: margin(hits, self.requests),
            sample: self.requests,
            keys: self.keys.len() as u64,
            measure_time: Some(SystemTime::now().into()),
        })
    }
}

/// What was drawn so far.
#[derive(Default)]
struct Drawn {
    keys: Vec<(Bytes, u64)>,
    bytes: usize,
}

impl Drawn {
    /// Draws from a band's entries.
    fn draw(&mut self, segments: Vec<Segment>, draws: &mut Draws) -> Result<(), BandFileError> {
        for segment in segments {
            let entries = unpack(segment)?;
            for (key, priority) in entries.keys.iter().zip(entries.priorities) {
                let drawn = draws.of(Priority::from_milli(priority));
                if drawn > 0 {
                    self.bytes += key.len();
                    // It may be a part of all that the segment has.
                    self.keys.push((Bytes::copy_from_slice(key), drawn));
                }
            }
        }
        Ok(())
    }
}

/// How many of the requests for these keys would be hits, by the first worker that can tell.
async fn hits_of(
    shared: &Shared,
    workers: &[WorkerName],
    cache: &CacheName,
    keys: &[(Bytes, u64)],
) -> Result<u64, NoAnswer> {
    let mut failed = NoAnswer::Nobody(cache.clone());
    for worker in workers.iter().take(ASKED_MAX) {
        let about = About::Keys(KeysQuestion {
            keys: keys.iter().map(|(key, _)| key.clone()).collect(),
        });
        match shared.questions.ask(worker, cache, about).await {
            Ok(answer) if answer.present.len() == keys.len() => {
                let there = keys.iter().zip(answer.present);
                let hits = there.filter(|(_, is_there)| *is_there);
                return Ok(hits.map(|((_, drawn), _)| drawn).sum());
            }
            Ok(_) => {
                failed = NoAnswer::Failed {
                    worker: worker.clone(),
                    why: "it has not answered for each key".into(),
                };
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// How many of these keys go into one question.
fn for_one_question(keys: &[(Bytes, u64)]) -> usize {
    let mut bytes = 0;
    let fit = keys.iter().take(KEYS_PER_QUESTION).take_while(|(key, _)| {
        bytes += key.len();
        bytes <= BYTES_PER_QUESTION
    });
    fit.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_that_wait_for_the_same_share_what_is_measured_as_long_as_one_does() {
        let measurements = Measurements::default();
        let (job, other) = ("j1".parse().unwrap(), "j2".parse().unwrap());
        let first = measurements.of(&job, 1000);
        assert!(Arc::ptr_eq(&first, &measurements.of(&job, 1000)));
        assert!(!Arc::ptr_eq(&first, &measurements.of(&job, 10)));
        assert!(!Arc::ptr_eq(&first, &measurements.of(&other, 1000)));
        drop(first);
        let _ = measurements.of(&other, 1);
        let kept = measurements.0.lock().unwrap();
        assert!(
            kept.keys()
                .all(|(job, sample)| job.as_str() == "j2" && *sample == 1)
        );
    }

    #[test]
    fn a_question_has_as_many_keys_as_go_into_one() {
        let keys = |bytes: usize, count: usize| vec![(Bytes::from(vec![0; bytes]), 1); count];
        assert_eq!(for_one_question(&keys(10, 20_000)), KEYS_PER_QUESTION);
        assert_eq!(for_one_question(&keys(300_000, 10)), 3);
        assert_eq!(
            for_one_question(&keys(2_000_000, 2)),
            1,
            "one goes at least"
        );
    }
}
