//! A world of jobs, leaders and workers, in which sweeps look at old lists and remove late, and nothing that any record
//! names, or will name, is ever missing.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use stoke_core::job::{Batch, Mode, Spec, Work};
use stoke_core::plan::PlanSummary;
use stoke_core::progress::Effort;
use stoke_core::records::{JobResult, Upload};
use stoke_core::slot::Partitioning;

use super::*;

/// A job that was just created.
pub(in crate::retention) fn record() -> Job {
    Job {
        spec: Spec {
            labels: BTreeMap::new(),
            trigger: String::new(),
            requester: String::new(),
            priority: 0,
            dry_run: false,
            work: Work::Batch(Batch {
                sources: Vec::new(),
                loaders: Vec::new(),
                cache: "main".parse().unwrap(),
                also: Vec::new(),
                mode: Mode::Add,
                allowed_failures: 0,
                attempts_max: 1,
                section: Default::default(),
                fit: Default::default(),
            }),
        },
        created_ms: 1,
        started_ms: None,
        ended_ms: None,
        uploads: BTreeMap::new(),
        attempt: 0,
        plan: None,
        planning: Effort::default(),
        result: None,
        sources: Vec::new(),
        terms: Vec::new(),
        room: None,
        samples: Vec::new(),
        trace: String::new(),
    }
}

fn plan(name: &str, bands: u32) -> PlanSummary {
    PlanSummary {
        name: name.into(),
        entries: 1,
        priority_milli: 0,
        bands,
        partitioning: Partitioning::for_workers(1),
        entries_by_loader: vec![1],
        left_out: 0,
        cut: 0,
        worth: None,
    }
}

#[test]
fn names_say_what_an_object_is_and_strangers_say_nothing() {
    let of = |name: &'static str| parse(name).map(|(job, object)| (job.to_string(), object));
    let j = || "1795423882384-f53387".to_owned();
    assert_eq!(
        of("plans/1795423882384-f53387/12-3/band-000007"),
        Some((
            j(),
            Object::Plan {
                name: "plans/1795423882384-f53387/12-3",
                attempt: 3
            }
        ))
    );
    let upload = "uploads/1795423882384-f53387/0-00000000000000aa";
    assert_eq!(of(upload), Some((j(), Object::Upload(upload))));
    assert_eq!(
        of("failures/1795423882384-f53387/w1.ab-7/00000012"),
        Some((
            j(),
            Object::Failures {
                log: "w1.ab-7",
                chunk: 12
            }
        ))
    );
    for strange in [
        "id",
        "cluster",
        "plans/j",
        "plans/j/2-1",
        "plans/j/two-1/band-000000",
        "plans/j/2-1/more/band-000000",
        "plans/-/2-1/band-000000",
        "uploads/j/0-aa/part",
        "failures/j/w.1/last",
        "backups/j/2-1/band-000000",
    ] {
        assert_eq!(parse(strange), None, "{strange}");
    }
}

/// What happens, with numbers of which the job and all else is chosen.
#[derive(Clone, Copy, Debug)]
enum Event {
    Create,
    BeginUpload(u8),
    TakeUpload(u8),
    BeginAttempt(u8),
    WriteBand(u8, u8),
    Seal(u8),
    StoreFailures(u8),
    CountFailures(u8),
    End(u8, bool),
    CleanUp(u8),
    Forget(u8),
    ChangeLeader,
    List,
    Decide,
    Remove,
}

fn event() -> impl Strategy<Value = Event> {
    use Event::*;
    prop_oneof![
        2 => Just(Create),
        2 => any::<u8>().prop_map(BeginUpload),
        2 => any::<u8>().prop_map(TakeUpload),
        4 => any::<u8>().prop_map(BeginAttempt),
        6 => any::<(u8, u8)>().prop_map(|(job, attempt)| WriteBand(job, attempt)),
        2 => any::<u8>().prop_map(Seal),
        3 => any::<u8>().prop_map(StoreFailures),
        2 => any::<u8>().prop_map(CountFailures),
        1 => any::<(u8, bool)>().prop_map(|(job, well)| End(job, well)),
        1 => any::<u8>().prop_map(CleanUp),
        1 => any::<u8>().prop_map(Forget),
        1 => Just(ChangeLeader),
        4 => Just(List),
        4 => Just(Decide),
        4 => Just(Remove),
    ]
}

#[derive(Debug, Default)]
struct World {
    jobs: BTreeMap<JobName, InWorld>,
    objects: BTreeSet<String>,
    epoch: u64,
    counted: u64,
    listed: Vec<String>,
    doomed: Vec<String>,
}

#[derive(Debug)]
struct InWorld {
    record: Job,
    phase: Phase,
    is_past: bool,
    /// Attempts that were begun, under whichever leader, whose writers may still write: by name, with their bands.
    attempts: BTreeMap<String, u32>,
    /// Uploads on their way.
    uploads: Vec<String>,
    /// Chunks of failures that checkpoints name, of the one log, and those that are stored.
    chunks: u64,
    chunks_stored: u64,
}

const LOG: &str = "w.1-1";

fn chunk(job: &JobName, chunk: u64) -> String {
    format!("failures/{job}/{LOG}/{chunk:08}")
}

impl World {
    fn pick(&mut self, n: u8) -> Option<(JobName, &mut InWorld)> {
        let count = self.jobs.len().max(1);
        let picked = self.jobs.iter_mut().nth(usize::from(n) % count);
        picked.map(|(name, job)| (name.clone(), job))
    }

    fn happen(&mut self, event: Event) {
        let epoch = self.epoch;
        match event {
            Event::Create => {
                self.counted += 1;
                let name = format!("j{}", self.counted).parse().unwrap();
                let job = InWorld {
                    record: record(),
                    phase: Phase::Pending,
                    is_past: false,
                    attempts: BTreeMap::new(),
                    uploads: Vec::new(),
                    chunks: 0,
                    chunks_stored: 0,
                };
                self.jobs.insert(name, job);
            }
            Event::ChangeLeader => self.epoch += 1,
            Event::List => self.listed = self.objects.iter().cloned().collect(),
            Event::Decide => {
                let listed = std::mem::take(&mut self.listed);
                self.doomed = listed.into_iter().filter(|o| !self.keeps(o)).collect();
            }
            Event::Remove => {
                for object in std::mem::take(&mut self.doomed) {
                    self.objects.remove(&object);
                }
            }
            Event::Forget(n) => {
                if let Some((name, job)) = self.pick(n)
                    && job.is_past
                {
                    self.jobs.remove(&name);
                }
            }
            Event::BeginUpload(n)
            | Event::TakeUpload(n)
            | Event::BeginAttempt(n)
            | Event::WriteBand(n, _)
            | Event::Seal(n)
            | Event::StoreFailures(n)
            | Event::CountFailures(n)
            | Event::End(n, _)
            | Event::CleanUp(n) => {
                self.counted += 1;
                let fresh = self.counted;
                let Some((name, job)) = self.pick(n) else {
                    return;
                };
                let written = job.go_on(&name, event, epoch, fresh);
                self.objects.extend(written);
            }
        }
    }

    fn keeps(&self, object: &str) -> bool {
        let Some((job, object)) = parse(object) else {
            return true;
        };
        let owner = match self.jobs.get(&job) {
            None => Owner::Nobody,
            Some(job) if job.is_past => Owner::Past(Box::new(job.record.clone())),
            Some(job) => Owner::UnderWay(Box::new(job.record.clone()), job.phase),
        };
        keeps(&owner, &object)
    }

    /// All objects that records name.
    fn named(&self) -> BTreeSet<String> {
        let of = |(name, job): (&JobName, &InWorld)| job.named(name);
        self.jobs.iter().flat_map(of).collect()
    }
}

impl InWorld {
    /// What is written to the plan store.
    fn go_on(&mut self, name: &JobName, event: Event, epoch: u64, fresh: u64) -> Option<String> {
        let record = &mut self.record;
        match (event, self.phase) {
            (Event::BeginUpload(_), Phase::Pending) => {
                let object = format!("uploads/{name}/0-{fresh:016x}");
                self.uploads.push(object.clone());
                return Some(object);
            }
            (Event::TakeUpload(_), Phase::Pending) if record.uploads.is_empty() => {
                let object = self.uploads.pop()?;
                let upload = Upload {
                    object,
                    entries: 1,
                    digest: String::new(),
                };
                record.uploads.insert(0, upload);
            }
            (Event::BeginAttempt(_), Phase::Pending | Phase::Planning) => {
                record.attempt += 1;
                self.phase = Phase::Planning;
                let plan = format!("plans/{name}/{epoch}-{}", record.attempt);
                self.attempts.insert(plan, 0);
            }
            // Whoever led before may not know yet that it does no more, and the job may be over.
            (Event::WriteBand(_, which), _) => {
                let count = self.attempts.len().max(1);
                let nth = count - 1 - usize::from(which) % count;
                let (plan, bands) = self.attempts.iter_mut().nth(nth)?;
                if record
                    .plan
                    .as_ref()
                    .is_some_and(|sealed| sealed.name == *plan)
                {
                    return None;
                }
                let band = format!("{plan}/band-{bands:06}");
                *bands += 1;
                return Some(band);
            }
            (Event::Seal(_), Phase::Planning) => {
                // Only what this leader began, under the newest attempt.
                let name = format!("plans/{name}/{epoch}-{}", record.attempt);
                let bands = *self.attempts.get(&name)?;
                if bands > 0 {
                    record.plan = Some(plan(&name, bands));
                    self.phase = Phase::Running;
                }
            }
            (Event::StoreFailures(_), Phase::Running) => {
                self.chunks_stored += 1;
                return Some(chunk(name, self.chunks_stored - 1));
            }
            (Event::CountFailures(_), Phase::Running) => self.chunks = self.chunks_stored,
            (Event::End(_, well), phase) if !phase.is_over() => {
                let log = FailureLog {
                    log: LOG.into(),
                    chunks: self.chunks,
                };
                record.result = Some(JobResult {
                    failures: vec![log],
                    ..JobResult::default()
                });
                self.phase = match (well, phase) {
                    (true, Phase::Running) => Phase::Succeeded,
                    _ => Phase::Aborted,
                };
            }
            (Event::CleanUp(_), phase) if phase.is_over() => self.is_past = true,
            _ => {}
        }
        None
    }
}

impl InWorld {
    fn named(&self, job: &JobName) -> BTreeSet<String> {
        let plan = self.record.plan.iter();
        let bands = plan
            .flat_map(|plan| (0..plan.bands).map(|band| format!("{}/band-{band:06}", plan.name)));
        let uploads = self.record.uploads.values();
        let chunks = (0..self.chunks).map(|n| chunk(job, n));
        bands
            .chain(uploads.map(|upload| upload.object.clone()))
            .chain(chunks)
            .collect()
    }

    fn end(&mut self, name: &JobName) {
        self.go_on(name, Event::End(0, true), 0, 0);
        self.go_on(name, Event::CleanUp(0), 0, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn nothing_that_a_record_names_or_will_name_is_removed_whatever_happens_between_looking_and_removing(
        events in proptest::collection::vec(event(), 1..150),
    ) {
        let mut world = World::default();
        for event in events {
            world.happen(event);
            let missing: Vec<String> = world.named().difference(&world.objects).cloned().collect();
            prop_assert!(missing.is_empty(), "{event:?} left records that name {missing:?}");
        }
    }

    #[test]
    fn of_jobs_that_are_over_all_goes_that_no_record_names_and_nothing_else(
        events in proptest::collection::vec(event(), 1..150),
    ) {
        let mut world = World::default();
        for event in events {
            world.happen(event);
        }
        for (name, job) in &mut world.jobs {
            job.end(name);
        }
        for event in [Event::List, Event::Decide, Event::Remove] {
            world.happen(event);
        }
        prop_assert_eq!(&world.objects, &world.named());
    }
}

#[test]
fn while_a_job_is_planned_the_newest_attempt_stays_and_older_ones_go() {
    let mut job = record();
    job.attempt = 3;
    for (phase, attempt, is_kept) in [
        (Phase::Pending, 3, true),
        (Phase::Planning, 2, false),
        (Phase::Planning, 3, true),
        // It is just about to be counted, or this look is older than the other.
        (Phase::Planning, 4, true),
        (Phase::Running, 3, false),
        (Phase::Aborting, 3, false),
    ] {
        let owner = Owner::UnderWay(Box::new(job.clone()), phase);
        let name = format!("plans/j/2-{attempt}/band-000000");
        let (_, object) = parse(&name).unwrap();
        assert_eq!(keeps(&owner, &object), is_kept, "{phase:?}, {attempt}");
    }
}

#[test]
fn what_cannot_be_read_loses_nothing() {
    for name in [
        "plans/j/2-1/band-000000",
        "uploads/j/0-aa",
        "failures/j/w.1/00000000",
    ] {
        let (_, object) = parse(name).unwrap();
        assert!(keeps(&Owner::Unreadable, &object));
        assert!(!keeps(&Owner::Nobody, &object));
    }
}
