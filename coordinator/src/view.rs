//! What the coordinator knows: the store's records, parsed, all as they stood at one revision.
//!
//! A record that cannot be read (a newer Stoke wrote it, or it is damaged) is met by what depends on it:
//!
//! | record | written by | what an unreadable one does |
//! |---|---|---|
//! | `member` | worker | that worker counts as absent: it gets no work, and its partitions go to others. What it was granted is decided by caps and acks, not by this |
//! | `ckpt` | worker | its job stands as it is: no step is taken, nothing moves, nothing ends, since what is done is not known (W1, W3) |
//! | `ack` | worker | its resource is frozen: no cap and no ledger changes, since what is reserved is not known (B1) |
//! | `past` | coordinator | that job cannot be shown |
//! | `job`, `run`, `read`, `assign`, `ledger`, `cap`, `guards`, `vigil` | coordinator | an error: another coordinator, a newer one, decides here, and this one must not |

mod past;

pub use past::JobsPage;

use std::collections::{BTreeMap, BTreeSet};

use stoke_core::job::{Batch, From, KeySource, Life, Phase};
use stoke_core::ledger::{Ack, Cap, Ledger, Observed, Share};
use stoke_core::names::{JobName, LoaderName, OriginName, Resource, SourceName, WorkerName};
use stoke_core::progress::{Effort, Tally};
use stoke_core::records::{
    self, Assignment, Checkpoint, FailureLog, Member, PlanningTask, SourceTask, SourceTerms, keys,
};
use stoke_core::units::PartitionId;
use stoke_store::record::{self, RecordError};
use stoke_store::{KeyValue, Keys, Revision, Snapshot, Store, StoreError};

use past::{is_past, past_job};

/// A record with its mod revision.
#[derive(Clone, Debug)]
pub struct At<T> {
    /// The record.
    pub value: T,
    /// When it was last put.
    pub revision: u64,
}

/// Why the store's records could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record is not one of ours, or newer than this program.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// The workers that are there, and what each can serve.
pub type Members = BTreeMap<WorkerName, Member>;

/// One owner of partitions of a job.
#[derive(Clone, Debug)]
pub struct Owner {
    /// What it was given.
    pub assignment: At<Assignment>,
    /// How far it has come since.
    pub checkpoint: Option<At<Checkpoint>>,
}

impl Owner {
    /// How its partitions stand.
    #[must_use]
    pub fn folded(&self) -> Assignment {
        self.assignment
            .value
            .folded(self.checkpoint.as_ref().map(|checkpoint| &checkpoint.value))
    }

    /// Whether it has confirmed that nothing of its is in flight on this partition any more.
    #[must_use]
    pub fn has_released(&self, partition: PartitionId) -> bool {
        self.checkpoint
            .as_ref()
            .is_some_and(|checkpoint| checkpoint.value.has_released(partition))
    }

    /// Whether it has confirmed that nothing of its is in flight for the job any more.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.checkpoint
            .as_ref()
            .is_some_and(|checkpoint| checkpoint.value.stopped)
    }
}

/// One job with all its records.
#[derive(Clone, Debug)]
pub struct JobView {
    /// Its name.
    pub name: JobName,
    /// What rarely changes.
    pub record: At<records::Job>,
    /// Where it is in its life.
    pub life: At<Life>,
    /// Who does which task of its planning.
    pub reads: BTreeMap<PlanningTask, At<SourceTask>>,
    /// Who owns its partitions.
    pub owners: BTreeMap<WorkerName, Owner>,
    /// The budgets' targets of its cache, and of the origins that it loads from, where they have one: for forecasts.
    pub targets: BTreeMap<Resource, Share>,
    /// Checkpoints of its owners that cannot be read, and why: as long as there are any, the job stands as it is.
    pub unread: BTreeMap<WorkerName, String>,
    /// Whether it is over and nothing but its last record is left.
    pub is_past: bool,
}

impl JobView {
    /// What became of its entries so far: the sum of its checkpoints, or the result once it is over.
    #[must_use]
    pub fn tally(&self) -> Tally {
        match &self.record.value.result {
            Some(result) => result.tally,
            None => {
                let of_owners: Tally = self
                    .owners
                    .values()
                    .map(|owner| owner.folded().tally())
                    .sum();
                let cut = Tally {
                    skipped: self.cut(),
                    ..Tally::default()
                };
                of_owners + cut
            }
        }
    }

    /// What it has cost so far, planning included.
    #[must_use]
    pub fn effort(&self) -> Effort {
        match &self.record.value.result {
            Some(result) => result.effort,
            None => {
                self.record.value.planning
                    + self
                        .owners
                        .values()
                        .map(|owner| owner.folded().effort)
                        .sum()
            }
        }
    }

    /// Where its failed entries are listed.
    #[must_use]
    pub fn failures(&self) -> Vec<FailureLog> {
        match &self.record.value.result {
            Some(result) => result.failures.clone(),
            None => self
                .owners
                .values()
                .flat_map(|owner| owner.folded().failures)
                .collect(),
        }
    }

    /// How many entries its plan has, what was cut off included. A range that was read counts as its rows: so it grows.
    #[must_use]
    pub fn planned(&self) -> u64 {
        let plan = self.record.value.plan.as_ref();
        let entries = plan.map_or(0, |plan| plan.entries + plan.cut);
        self.tally().planned_of(entries)
    }

    /// How many of its plan's entries are ranges of a scan, about where it was cut.
    #[must_use]
    pub fn ranges(&self) -> u64 {
        let record = &self.record.value;
        let entries = record.plan.iter().flat_map(|plan| &plan.entries_by_loader);
        let scans = record.terms.iter().map(|terms| terms.scan_rows.is_some());
        let of_each = entries.zip(scans);
        of_each.filter(|(_, scans)| *scans).map(|(n, _)| n).sum()
    }

    /// How many rows those have, about; 0 where that is not known.
    #[must_use]
    pub fn rows_estimated(&self) -> u64 {
        let sources = self.record.value.sources.iter();
        sources.map(|source| source.rows_estimated).sum()
    }

    /// How many entries of its plan were cut off, and are skipped.
    #[must_use]
    pub fn cut(&self) -> u64 {
        self.record.value.plan.as_ref().map_or(0, |plan| plan.cut)
    }
}

/// All that the leader decides on.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The store's id, and the revision of the read.
    pub read_at: (u64, Revision),
    /// The workers that are there.
    pub members: Members,
    /// All jobs.
    pub jobs: BTreeMap<JobName, JobView>,
    /// The records of each resource's budget.
    pub resources: BTreeMap<Resource, Observed>,
    /// What each resource's guards do, as the leader recorded it.
    pub guards: BTreeMap<Resource, At<records::Guards>>,
    /// Who looks after each resource.
    pub vigils: BTreeMap<Resource, At<records::Vigil>>,
    /// Workers whose membership cannot be read, and why.
    pub strangers: BTreeMap<WorkerName, String>,
    /// Resources with acks that cannot be read, and why: their budgets must not be changed.
    pub frozen: BTreeMap<Resource, String>,
}

impl View {
    /// The keys of all that the leader decides on. Absent: jobs that are over, of which there are any number.
    #[must_use]
    pub fn keys() -> Vec<Keys> {
        let prefixes = [
            keys::MEMBERS,
            keys::LEDGERS,
            keys::CAPS,
            keys::ACKS,
            keys::GUARDS,
            keys::VIGILS,
            keys::JOBS,
            keys::RUNS,
            keys::READS,
            keys::ASSIGNMENTS,
            keys::CHECKPOINTS,
        ];
        prefixes
            .map(|prefix| Keys::Prefix(prefix.to_owned()))
            .to_vec()
    }

    /// Reads all records at one revision.
    ///
    /// # Errors
    /// Where the store does not answer, or a record cannot be read.
    pub async fn read(store: &dyn Store) -> Result<Self, ViewError> {
        let snapshot = store.read(&Self::keys()).await?;
        Ok(Self::parse(&snapshot)?)
    }

    /// Reads one job's records at one revision; `None` where there is no such job.
    ///
    /// # Errors
    /// As [`View::read`].
    pub async fn read_job(store: &dyn Store, job: &JobName) -> Result<Option<JobView>, ViewError> {
        let one = [
            Keys::One(keys::job(job)),
            Keys::One(keys::run(job)),
            Keys::Prefix(keys::reads(job)),
            Keys::Prefix(keys::assignments(job)),
            Keys::Prefix(keys::checkpoints(job)),
            Keys::Prefix(keys::LEDGERS.to_owned()),
            Keys::One(keys::past(job)),
        ];
        let snapshot = store.read(&one).await?;
        let mut view = Self::parse(&snapshot)?;
        if let Some(past) = snapshot.entries.iter().find(is_past) {
            return Ok(past_job(past, &view.resources)?);
        }
        Ok(view.jobs.remove(job))
    }

    /// Reads the members and the budgets at one revision.
    ///
    /// # Errors
    /// As [`View::read`].
    pub async fn read_fleet(store: &dyn Store) -> Result<Self, ViewError> {
        let prefixes = [
            keys::MEMBERS,
            keys::LEDGERS,
            keys::CAPS,
            keys::ACKS,
            keys::GUARDS,
        ];
        let snapshot = store
            .read(&prefixes.map(|prefix| Keys::Prefix(prefix.to_owned())))
            .await?;
        Ok(Self::parse(&snapshot)?)
    }

    /// What cannot be read, and what follows from that.
    #[must_use]
    pub fn unreadable(&self) -> Vec<(String, &'static str)> {
        let strangers = self.strangers.values();
        let frozen = self.frozen.values();
        let unread = self.jobs.values().flat_map(|job| job.unread.values());
        let say = |so| move |error: &String| (error.clone(), so);
        strangers
            .map(say("the worker gets no work"))
            .chain(frozen.map(say("its budget stays as it is")))
            .chain(unread.map(say("the job stands as it is")))
            .collect()
    }

    /// Parses all records as they stood at one revision.
    pub(crate) fn parse(snapshot: &Snapshot) -> Result<Self, RecordError> {
        let mut view = Self {
            read_at: (snapshot.cluster_id, snapshot.revision),
            ..Self::default()
        };
        let mut lives = BTreeMap::new();
        let mut reads: BTreeMap<JobName, BTreeMap<PlanningTask, At<SourceTask>>> = BTreeMap::new();
        let mut assignments = Vec::new();
        let mut checkpoints = BTreeMap::new();
        let mut unread: Vec<(JobName, WorkerName, String)> = Vec::new();
        for entry in &snapshot.entries {
            let Some((kind, rest)) = entry.key.split_once('/') else {
                continue;
            };
            match kind {
                "member" => match record::decode(entry) {
                    Ok(member) => insert(&mut view.members, rest.parse().ok(), member),
                    Err(error) => {
                        insert(&mut view.strangers, rest.parse().ok(), error.to_string());
                    }
                },
                "ledger" => {
                    let ledger = at::<Ledger>(entry)?;
                    if let Ok(resource) = rest.parse() {
                        view.resources.entry(resource).or_default().ledger =
                            Some((ledger.value, ledger.revision));
                    }
                }
                "cap" => {
                    let cap = at::<Cap>(entry)?;
                    if let Some((resource, worker)) = keys::resource_and_worker(rest) {
                        view.resources
                            .entry(resource)
                            .or_default()
                            .caps
                            .insert(worker, (cap.value, cap.revision));
                    }
                }
                "ack" => {
                    let Some((resource, worker)) = keys::resource_and_worker(rest) else {
                        continue;
                    };
                    match at::<Ack>(entry) {
                        Ok(ack) => {
                            let observed = view.resources.entry(resource).or_default();
                            observed.acks.insert(worker, (ack.value, ack.revision));
                        }
                        Err(error) => {
                            view.frozen.insert(resource, error.to_string());
                        }
                    }
                }
                "guards" => insert(&mut view.guards, rest.parse().ok(), at(entry)?),
                "vigil" => insert(&mut view.vigils, rest.parse().ok(), at(entry)?),
                "job" => {
                    let record = at::<records::Job>(entry)?;
                    if let Ok(name) = rest.parse::<JobName>() {
                        // Its life is put in the same transaction; the default is never seen.
                        let life = At {
                            value: Life::new(),
                            revision: 0,
                        };
                        let job = JobView {
                            name: name.clone(),
                            record,
                            life,
                            reads: BTreeMap::new(),
                            owners: BTreeMap::new(),
                            targets: BTreeMap::new(),
                            unread: BTreeMap::new(),
                            is_past: false,
                        };
                        view.jobs.insert(name, job);
                    }
                }
                "run" => insert(&mut lives, rest.parse::<JobName>().ok(), at::<Life>(entry)?),
                "read" => {
                    let task = at::<SourceTask>(entry)?;
                    if let Some((job, name)) = job_and::<PlanningTask>(rest) {
                        reads.entry(job).or_default().insert(name, task);
                    }
                }
                "assign" => {
                    assignments
                        .extend(job_and::<WorkerName>(rest).zip(Some(at::<Assignment>(entry)?)))
                }
                "ckpt" => match at::<Checkpoint>(entry) {
                    Ok(checkpoint) => {
                        insert(&mut checkpoints, job_and::<WorkerName>(rest), checkpoint)
                    }
                    Err(error) => unread.extend(
                        job_and::<WorkerName>(rest)
                            .map(|(job, worker)| (job, worker, error.to_string())),
                    ),
                },
                _ => {}
            }
        }
        for ((job, worker), assignment) in assignments {
            let checkpoint = checkpoints.remove(&(job.clone(), worker.clone()));
            if let Some(job) = view.jobs.get_mut(&job) {
                job.owners.insert(
                    worker,
                    Owner {
                        assignment,
                        checkpoint,
                    },
                );
            }
        }
        for (job, worker, why) in unread {
            if let Some(job) = view.jobs.get_mut(&job) {
                job.unread.insert(worker, why);
            }
        }
        for (name, job) in &mut view.jobs {
            if let Some(life) = lives.remove(name) {
                job.life = life;
            }
            job.reads = reads.remove(name).unwrap_or_default();
            job.targets = targets(&job.record.value, &view.resources);
        }
        Ok(view)
    }
}

/// The budgets' targets of what a job takes, as far as its record tells.
fn targets(
    job: &records::Job,
    resources: &BTreeMap<Resource, Observed>,
) -> BTreeMap<Resource, Share> {
    let target = |resource: Resource| {
        let target = resources.get(&resource)?.ledger?.0.target;
        Some((resource, target))
    };
    let stoke_core::job::Work::Batch(batch) = &job.spec.work;
    let of_samples = job.samples.iter().map(|sample| &sample.origin);
    let of_terms = job
        .terms
        .iter()
        .flat_map(|terms| terms.origin.iter().chain(&terms.version_origin));
    let origins = of_samples.chain(of_terms).cloned().map(Resource::Origin);
    let all = origins.chain(batch.caches().cloned().map(Resource::Cache));
    all.filter_map(target).collect()
}

fn insert<K: Ord, V>(map: &mut BTreeMap<K, V>, key: Option<K>, value: V) {
    map.extend(key.map(|key| (key, value)));
}

fn at<T: serde::de::DeserializeOwned>(entry: &KeyValue) -> Result<At<T>, RecordError> {
    Ok(At {
        value: record::decode(entry)?,
        revision: entry.mod_revision.0,
    })
}

/// The two names of a key below a job.
fn job_and<T: std::str::FromStr>(rest: &str) -> Option<(JobName, T)> {
    let (job, other) = rest.split_once('/')?;
    Some((job.parse().ok()?, other.parse().ok()?))
}

/// What of a member matters to a job: whether it can do the job's work, and what of the budgets that takes.
impl JobView {
    /// Why this member cannot work on the job; `None` where it can.
    #[must_use]
    pub fn unfit(&self, member: &Member) -> Option<String> {
        unfit(&self.record.value.spec, member)
    }

    /// The origins that loading takes, where the members' loaders say so.
    #[must_use]
    pub fn load_origins(&self, member: &Member) -> Vec<OriginName> {
        let stoke_core::job::Work::Batch(batch) = &self.record.value.spec.work;
        let origins = batch
            .loaders
            .iter()
            .flat_map(|loader| member.origins_of(loader));
        origins.cloned().collect()
    }

    /// All that loading and writing take.
    pub fn load_resources(&self, member: &Member) -> impl Iterator<Item = Resource> {
        let stoke_core::job::Work::Batch(batch) = &self.record.value.spec.work;
        let origins = self.load_origins(member).into_iter().map(Resource::Origin);
        origins.chain(batch.caches().cloned().map(Resource::Cache))
    }

    /// Whether there is work for owners of partitions.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.life.value.phase == Phase::Running
    }
}

/// Why this member cannot work on a job of this spec; `None` where it can.
#[must_use]
pub fn unfit(spec: &stoke_core::job::Spec, member: &Member) -> Option<String> {
    let mut lacks = lacks(spec, member);
    // One word is enough where something comes up several times.
    let mut told = BTreeSet::new();
    lacks.retain(|lack| told.insert(lack.what.clone()));
    let what: Vec<String> = lacks.into_iter().map(|lack| lack.what).collect();
    (!what.is_empty()).then(|| what.join(", "))
}

/// Something of a spec that a member cannot serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The field, as callers write it.
    pub field: String,
    /// What of it.
    pub what: String,
}

/// The field, as callers write it, of a job's nth cache.
#[must_use]
pub fn cache_field(n: usize) -> String {
    match n.checked_sub(1) {
        None => "spec.batch.cache".into(),
        Some(further) => format!("spec.batch.also[{further}]"),
    }
}

/// All of a spec that this member cannot serve.
#[must_use]
pub fn lacks(spec: &stoke_core::job::Spec, member: &Member) -> Vec<Lack> {
    const NO_SQL: &str = "its configuration does not allow SQL in jobs";
    const NO_FILES: &str = "its configuration does not allow files in jobs";
    let stoke_core::job::Work::Batch(batch) = &spec.work;
    let mut lacks = Vec::new();
    let mut note = |field: String, what: String| lacks.push(Lack { field, what });
    for (n, cache) in batch.caches().enumerate() {
        if !member.caches.contains(cache) {
            let what = format!("it does not know the cache {cache}");
            note(cache_field(n), what);
        }
    }
    if !batch.also.is_empty() && !member.several_caches {
        let what = "it is too old to write to several caches in one job";
        note(cache_field(1), what.into());
    }
    for (n, loader) in batch.loaders.iter().enumerate() {
        let at = format!("spec.batch.loaders[{n}]");
        match &loader.recipe {
            None if !member.loaders.contains_key(&loader.name) => {
                let what = format!("it does not know the loader {}", loader.name);
                note(format!("{at}.name"), what);
            }
            Some(recipe) if !member.sql_in_jobs => {
                note(format!("{at}.{}", kind_of(recipe)), NO_SQL.into());
            }
            Some(recipe) if !member.origins.contains(&recipe.origin) => {
                let what = format!("it does not know the origin {}", recipe.origin);
                note(format!("{at}.{}.origin", kind_of(recipe)), what);
            }
            Some(recipe) => {
                let unknown = |origin: &&OriginName| !member.origins.contains(*origin);
                if let Some(origin) = recipe.origin_of_versions().filter(unknown) {
                    let what = format!("it does not know the origin {origin}");
                    note(format!("{at}.sql.value.version_origin"), what);
                }
            }
            None => {}
        }
    }
    for (n, source) in batch.sources.iter().enumerate() {
        let at = format!("spec.batch.sources[{n}]");
        match &source.from {
            From::Named(name) if !member.sources.contains_key(name) => {
                let what = format!("it does not know the key source {name}");
                note(format!("{at}.named"), what);
            }
            From::Named(name) if !has_keys_of(member, name, batch, source) => {
                let what = format!(
                    "its key source {name} has keys of other loaders than that of other workers: give all the same configuration"
                );
                note(format!("{at}.named"), what);
            }
            from if from.is_of_usage() && !member.usage_sources => {
                note(at, "it is too old to read how much keys are used".into());
            }
            From::File { .. } if !member.files_in_jobs => {
                note(format!("{at}.file"), NO_FILES.into())
            }
            From::Log(_) if !member.files_in_jobs => note(format!("{at}.log"), NO_FILES.into()),
            from => match from.asks() {
                Some((field, _)) if !member.sql_in_jobs => {
                    note(format!("{at}.{field}"), NO_SQL.into());
                }
                Some((field, origin)) if !member.origins.contains(origin) => {
                    let what = format!("it does not know the origin {origin}");
                    note(format!("{at}.{field}.origin"), what);
                }
                _ => {}
            },
        }
    }
    lacks
}

/// Whether a member's source has keys of those loaders that the job was created for. (Workers may differ while a configuration is rolled
/// out.)
fn has_keys_of(member: &Member, name: &SourceName, batch: &Batch, source: &KeySource) -> bool {
    let several = match member.source_terms.get(name).map(|terms| &terms.loaders) {
        Some(loaders) if loaders.len() > 1 => loaders.as_slice(),
        _ => &[],
    };
    let several: BTreeSet<&LoaderName> = several.iter().collect();
    let of_job = source.several.iter().filter_map(|n| {
        let loader = batch.loaders.get(usize::try_from(*n).ok()?)?;
        Some(&loader.name)
    });
    several == of_job.collect()
}

/// The field of a loader that has its recipe.
fn kind_of(recipe: &stoke_core::job::Recipe) -> &'static str {
    match recipe.value.copy {
        Some(_) => "copy",
        None => "sql",
    }
}

/// What this spec brings along that none of these members allows in jobs; `None` where there is no such thing.
#[must_use]
pub fn not_allowed(spec: &stoke_core::job::Spec, members: &Members) -> Option<&'static str> {
    let stoke_core::job::Work::Batch(batch) = &spec.work;
    let from = |wanted: fn(&From) -> bool| batch.sources.iter().any(|s| wanted(&s.from));
    let sql = from(|from| from.asks().is_some())
        || batch.loaders.iter().any(|loader| loader.recipe.is_some());
    let files = from(|from| matches!(from, From::File { .. } | From::Log(_)));
    if sql && !members.values().any(|member| member.sql_in_jobs) {
        Some("SQL")
    } else if files && !members.values().any(|member| member.files_in_jobs) {
        Some("files")
    } else {
        None
    }
}

/// What is not as usual with a key source of the workers' configuration. (They may differ while one is rolled out.)
#[must_use]
pub fn source_terms<'a>(members: &'a Members, name: &SourceName) -> Option<&'a SourceTerms> {
    (members.values()).find_map(|member| member.source_terms.get(name))
}

/// The origin that reading a source takes, where it takes one.
#[must_use]
pub fn source_origin(from: &From, member: &Member) -> Option<OriginName> {
    match from {
        From::Named(name) => member.sources.get(name).cloned().flatten(),
        from => from.asks().map(|(_, origin)| origin.clone()),
    }
}
