//! Creating jobs: what is asked for is checked against what the workers can serve, and a request that comes twice makes
//! one job.

use std::collections::{BTreeMap, BTreeSet};

use stoke_core::job::{Life, Spec, Work};
use stoke_core::names::{JobName, Resource};
use stoke_core::progress::Effort;
use stoke_core::records::{self, Request, keys};
use stoke_proto::v1;
use stoke_store::{Compare, Keys, Op, Revision, Txn, record};

use super::super::parse::{self, REQUEST_ID_BYTES_MAX};
use super::super::refusal::{Fault, Refusal};
use super::super::{COMMIT_ATTEMPTS_MAX, describe};
use super::asked::Asked;
use super::{Jobs, scans};
use crate::view::{JobView, Lack, View, lacks, not_allowed, source_origin, unfit};

/// How many jobs may be under way at one time.
const UNFINISHED_MAX: usize = 100;

/// What a request made before.
enum Before {
    /// Nothing, or it has no id to be known by.
    Nothing,
    /// This job.
    Job(Box<JobView>),
    /// One that is forgotten, though not yet the request, which was put then: it may make another.
    Forgotten(Revision),
}

impl Before {
    /// That nobody has made anything of the request since.
    fn compare(&self, request_id: &str) -> Compare {
        let key = keys::request(request_id);
        match self {
            Self::Forgotten(revision) => Compare::ModRevision(key, *revision),
            Self::Nothing | Self::Job(_) => Compare::Absent(key),
        }
    }
}

impl Jobs {
    /// `trace` is what the job's work is to be traced under.
    pub(super) async fn create(
        &self,
        request: v1::CreateJobRequest,
        trace: &str,
    ) -> Result<v1::Job, Refusal> {
        self.shared.fence().await?;
        let asked = Asked::of(&request);
        // Before it is looked what the workers make of it: they may be away, or others, by now.
        if let Some(job) = self.made_of(&asked).await? {
            return Ok(describe::job(&job, &self.shared));
        }
        let fleet = View::read_fleet(&*self.shared.store).await?;
        let spec = parse::create(request, &fleet.members)?;
        let spec = scans::complete(spec, &fleet.members)?;
        self.create_once(&asked, &spec, trace).await
    }

    /// The job that a request made which asked for the very same.
    async fn made_of(&self, asked: &Asked) -> Result<Option<JobView>, Refusal> {
        let request = self.request(asked).await?;
        let request = request.filter(|(request, _)| request.asked == asked.digest);
        match request {
            Some((request, _)) => Ok(View::read_job(&*self.shared.store, &request.job).await?),
            None => Ok(None),
        }
    }

    /// The record of a request, where it has an id, and has come before.
    async fn request(&self, asked: &Asked) -> Result<Option<(Request, Revision)>, Refusal> {
        if asked.id.is_empty() || asked.id.len() > REQUEST_ID_BYTES_MAX {
            return Ok(None);
        }
        let key = Keys::One(keys::request(&asked.id));
        let found = self.shared.store.read(&[key]).await?;
        Ok(match found.entries.first() {
            Some(entry) => Some((record::decode(entry)?, entry.mod_revision)),
            None => None,
        })
    }

    /// Creates a job of this checked spec, unless the same request did so before.
    pub(super) async fn create_once(
        &self,
        asked: &Asked,
        spec: &Spec,
        trace: &str,
    ) -> Result<v1::Job, Refusal> {
        // One after the other, so that two do not find the same last room. Others may not create: they do not lead.
        let _alone = self.shared.creating.lock().await;
        for _ in 0..COMMIT_ATTEMPTS_MAX {
            let before = self.created_before(asked, spec).await?;
            if let Before::Job(job) = before {
                return Ok(describe::job(&job, &self.shared));
            }
            self.check_plans(spec).await?;
            self.check_can_be_served(spec).await?;
            self.check_there_is_room().await?;
            let unchanged = before.compare(&asked.id);
            if let Some(job) = self.try_create(asked, unchanged, spec, trace).await? {
                return Ok(describe::job(&job, &self.shared));
            }
        }
        Err(Refusal::Contended)
    }

    /// What this request made before.
    async fn created_before(&self, asked: &Asked, spec: &Spec) -> Result<Before, Refusal> {
        let Some((request, revision)) = self.request(asked).await? else {
            return Ok(Before::Nothing);
        };
        let Some(job) = View::read_job(&*self.shared.store, &request.job).await? else {
            return Ok(Before::Forgotten(revision));
        };
        let is_same = !asked.digest.is_empty() && asked.digest == request.asked;
        if is_same || job.record.value.spec == *spec {
            Ok(Before::Job(Box::new(job)))
        } else {
            Err(Refusal::RequestIdTaken(request.job))
        }
    }

    /// Checks that not too many jobs are under way: a worker renews the permits of all its jobs in one transaction.
    async fn check_there_is_room(&self) -> Result<(), Refusal> {
        let view = View::read(&*self.shared.store).await?;
        let under_way = view
            .jobs
            .values()
            .filter(|job| !job.life.value.phase.is_over());
        let under_way = under_way.count();
        if under_way >= UNFINISHED_MAX {
            return Err(Refusal::TooManyJobs {
                under_way,
                max: UNFINISHED_MAX,
            });
        }
        Ok(())
    }

    /// Checks that there is a worker that can do the work, and a budget for each origin that it takes.
    async fn check_can_be_served(&self, spec: &Spec) -> Result<(), Refusal> {
        let fleet = View::read_fleet(&*self.shared.store).await?;
        let Work::Batch(batch) = &spec.work;
        let mut reasons: BTreeSet<String> = BTreeSet::new();
        // What the worker lacks that lacks least.
        let mut nearest: Option<Vec<Lack>> = None;
        let Some(member) =
            fleet
                .members
                .iter()
                .find_map(|(worker, member)| match unfit(spec, member) {
                    None => Some(member),
                    Some(reason) => {
                        reasons.insert(format!("{worker}: {reason}"));
                        let lacks = lacks(spec, member);
                        if nearest
                            .as_ref()
                            .is_none_or(|least| lacks.len() < least.len())
                        {
                            nearest = Some(lacks);
                        }
                        None
                    }
                })
        else {
            if reasons.is_empty() && fleet.strangers.is_empty() {
                return Err(Refusal::Precondition(
                    "no worker is there: start one".into(),
                ));
            }
            if let Some(what) = not_allowed(spec, &fleet.members)
                && fleet.strangers.is_empty()
            {
                return Err(Refusal::NotAllowed(format!(
                    "no worker's configuration allows {what} in jobs: name what the workers' configuration has, or allow it there"
                )));
            }
            // It may be the one that could.
            let strangers = fleet.strangers.keys().map(|worker| {
                format!("worker {worker} speaks a newer format: upgrade the coordinators first")
            });
            let few: Vec<String> = strangers.chain(reasons).take(3).collect();
            let lacks = nearest.into_iter().flatten();
            return Err(Refusal::Unserved {
                text: format!("no worker can do this job ({})", few.join("; ")),
                lacks: lacks
                    .map(|lack| Fault::new(lack.field, lack.what))
                    .collect(),
            });
        };
        let loading = batch
            .loaders
            .iter()
            .flat_map(|loader| member.origins_of(loader))
            .cloned();
        let reading = batch
            .sources
            .iter()
            .filter_map(|source| source_origin(&source.from, member));
        for origin in loading.chain(reading) {
            let resource = Resource::Origin(origin);
            let has_budget = self.shared.settings.budgets.contains_key(&resource)
                || fleet
                    .resources
                    .get(&resource)
                    .is_some_and(|observed| observed.ledger.is_some());
            if let Some(why) = fleet.frozen.get(&resource) {
                return Err(Refusal::Precondition(format!(
                    "the budget of {resource} cannot be shared out: {why}"
                )));
            }
            if !has_budget {
                return Err(Refusal::Precondition(format!(
                    "{resource} has no budget: give it one in the coordinator's configuration"
                )));
            }
        }
        Ok(())
    }

    async fn try_create(
        &self,
        asked: &Asked,
        request_unchanged: Compare,
        spec: &Spec,
        trace: &str,
    ) -> Result<Option<JobView>, Refusal> {
        let wall_ms = crate::wall_ms();
        // Names sort by time of creation: lists show the newest first without reading all.
        let job: JobName = format!("{wall_ms:013}-{:06x}", rand::random::<u32>() & 0xff_ffff)
            .parse()
            .map_err(|error| Refusal::Precondition(format!("{error}")))?;
        let record = records::Job {
            spec: spec.clone(),
            created_ms: wall_ms,
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
            trace: trace.to_owned(),
        };
        let mut txn = Txn {
            compares: vec![Compare::Absent(keys::job(&job))],
            ops: vec![
                Op::Put {
                    key: keys::job(&job),
                    value: record::encode(&record),
                    lease: None,
                },
                Op::Put {
                    key: keys::run(&job),
                    value: record::encode(&Life::new()),
                    lease: None,
                },
            ],
        };
        if !asked.id.is_empty() {
            let key = keys::request(&asked.id);
            txn.compares.push(request_unchanged);
            txn.ops.push(Op::Put {
                key,
                value: record::encode(&Request {
                    job: job.clone(),
                    asked: asked.digest.clone(),
                }),
                lease: None,
            });
        }
        if self.shared.commit(txn).await? {
            Ok(Some(self.read(job.as_str()).await?))
        } else {
            Ok(None)
        }
    }
}
