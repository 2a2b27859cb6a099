//! A job: what it wants to be warmed, and what is true of each of its entries.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use stoke_core::job::{Batch, From, KeySource, Life, Loader, Merge, Mode, OnBadLine, Spec, Work};
use stoke_core::names::JobName;
use stoke_core::plan::PlanSummary;
use stoke_core::progress::{Effort, Position};
use stoke_core::records;
use stoke_core::slot::Partitioning;
use stoke_core::units::{BandId, PartitionId, Priority, Rank};
use stoke_worker::doors::{Lacking, Task};

use crate::simulation::machine::Nanos;

/// How many ranks a band has here: few, so that small plans have several.
pub(in crate::simulation) const BAND_RANKS: u64 = 16;
/// How many partitions every plan has: as few as there may be.
pub(in crate::simulation) const PARTITIONS: u16 = Partitioning::COUNT_MIN;
/// How often an entry is tried.
pub(in crate::simulation) const ATTEMPTS_MAX: u32 = 4;
/// How often a flaky one fails: less often than it is tried, so it never fails for good.
const FLAKY_MAX: u32 = 3;
/// How many entries a plan has at most.
const ENTRIES_MAX: u64 = 120;

/// What the origin does when it is asked for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulation) enum Kind {
    /// It has it.
    Found,
    /// It does not have it.
    Absent,
    /// It fails, for a reason that stays.
    Bad,
    /// It fails each time, for a reason that may pass.
    Poison,
    /// It fails so many times more, and then has it.
    Flaky(u32),
}

/// An entry of a plan.
#[derive(Clone, Debug)]
pub(in crate::simulation) struct Entry {
    pub(in crate::simulation) key: Bytes,
    pub(in crate::simulation) partition: PartitionId,
    pub(in crate::simulation) kind: Kind,
}

/// One job.
#[derive(Clone, Debug)]
pub(in crate::simulation) struct Job {
    pub(in crate::simulation) name: JobName,
    /// Since when it may not query.
    pub(in crate::simulation) stopped: Option<Nanos>,
    pub(in crate::simulation) mode: Mode,
    /// By rank.
    pub(in crate::simulation) entries: Vec<Entry>,
    /// The ranks of each partition.
    pub(in crate::simulation) ranks: BTreeMap<PartitionId, Vec<u64>>,
    pub(in crate::simulation) seen: Seen,
}

/// What the checks saw of a job before.
#[derive(Clone, Debug, Default)]
pub(in crate::simulation) struct Seen {
    pub(in crate::simulation) life: Option<Life>,
    /// How far each partition has come, and how many of its entries have an outcome.
    pub(in crate::simulation) standing: BTreeMap<PartitionId, (Position, u64)>,
    /// Its operator's hold was acknowledged.
    pub(in crate::simulation) is_held: bool,
    /// Its abort was acknowledged.
    pub(in crate::simulation) is_aborted: bool,
}

impl Job {
    /// One with a plan of some entries.
    pub(in crate::simulation) fn any(name: JobName, rng: &mut StdRng) -> Self {
        let count = rng.random_range(1..=ENTRIES_MAX);
        let trouble = rng.random_bool(0.5);
        let entry = |rank| {
            let key = Bytes::from(format!("{name}:{rank}"));
            let partition = partitioning().of_key(&key);
            let kind = match rng.random_range(0..20) {
                0 | 1 => Kind::Absent,
                2 if trouble => Kind::Bad,
                3 if trouble => Kind::Poison,
                4 | 5 => Kind::Flaky(rng.random_range(1..=FLAKY_MAX)),
                _ => Kind::Found,
            };
            Entry {
                key,
                partition,
                kind,
            }
        };
        let entries: Vec<Entry> = (0..count).map(entry).collect();
        let mut ranks: BTreeMap<PartitionId, Vec<u64>> = BTreeMap::new();
        for (rank, entry) in (0..).zip(&entries) {
            ranks.entry(entry.partition).or_default().push(rank);
        }
        let modes = [Mode::Add, Mode::Add, Mode::Refresh, Mode::Overwrite];
        Self {
            name,
            stopped: None,
            mode: modes[rng.random_range(0..modes.len())],
            entries,
            ranks,
            seen: Seen::default(),
        }
    }

    /// Nothing but a life: as far as permits go.
    pub(in crate::simulation) fn bare(name: JobName) -> Self {
        Self {
            name,
            stopped: None,
            mode: Mode::Add,
            entries: Vec::new(),
            ranks: BTreeMap::new(),
            seen: Seen::default(),
        }
    }

    pub(in crate::simulation) fn is_bare(&self) -> bool {
        self.entries.is_empty()
    }

    pub(in crate::simulation) fn bands(&self) -> u32 {
        let bands = (self.entries.len() as u64).div_ceil(BAND_RANKS);
        u32::try_from(bands).unwrap_or(u32::MAX)
    }

    /// Its plan, under this name in the plan store.
    pub(in crate::simulation) fn plan(&self, name: String) -> PlanSummary {
        let entries = self.entries.len() as u64;
        PlanSummary {
            name,
            entries,
            priority_milli: entries * Priority::ONE.as_milli(),
            bands: self.bands(),
            partitioning: partitioning(),
            entries_by_loader: vec![entries],
            left_out: 0,
            cut: 0,
            worth: None,
        }
    }

    /// What a stream brings of a band, of these partitions.
    pub(in crate::simulation) fn tasks(
        &self,
        band: BandId,
        wanted: impl Fn(PartitionId) -> bool,
    ) -> Vec<Task> {
        let first = u64::from(band.0) * BAND_RANKS;
        let ranks = first..(first + BAND_RANKS).min(self.entries.len() as u64);
        let task = |rank: u64| {
            let entry = self.entry(rank)?;
            wanted(entry.partition).then(|| Task {
                partition: entry.partition,
                band,
                rank: Rank(rank),
                key: entry.key.clone(),
                loader: 0,
                argument: String::new(),
                priority: Priority::ONE,
                attempts: 0,
                lacking: Lacking::EVERYWHERE,
            })
        };
        ranks.filter_map(task).collect()
    }

    pub(in crate::simulation) fn entry(&self, rank: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(rank).ok()?)
    }

    /// The record with which it is created.
    pub(in crate::simulation) fn record(&self) -> records::Job {
        records::Job {
            spec: self.spec(),
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

    fn spec(&self) -> Spec {
        Spec {
            priority: 0,
            dry_run: false,
            labels: BTreeMap::new(),
            trigger: String::new(),
            requester: String::new(),
            work: Work::Batch(Batch {
                sources: vec![KeySource {
                    several: Vec::new(),
                    loader: 0,
                    from: From::Named(named("top")),
                    merge: Merge::Max,
                    on_bad_line: OnBadLine::Fail,
                    weight: Default::default(),
                }],
                loaders: vec![Loader {
                    name: named("product"),
                    recipe: None,
                }],
                cache: named("main"),
                also: Vec::new(),
                mode: self.mode,
                allowed_failures: self.entries.len() as u64,
                attempts_max: ATTEMPTS_MAX,
                section: Default::default(),
                fit: Default::default(),
            }),
        }
    }
}

/// What every worker can serve.
pub(in crate::simulation) fn member() -> records::Member {
    records::Member {
        origins: [named("db")].into(),
        caches: [named("main")].into(),
        loaders: [(named("product"), named("db"))].into(),
        sources: [(named("top"), Some(named("db")))].into(),
        ..records::Member::default()
    }
}

fn named<T: std::str::FromStr<Err: std::fmt::Debug>>(name: &str) -> T {
    #[expect(clippy::expect_used, reason = "letters")]
    name.parse().expect("a name")
}

fn partitioning() -> Partitioning {
    #[expect(clippy::expect_used, reason = "the least there may be")]
    Partitioning::new(PARTITIONS).expect("a partitioning")
}
