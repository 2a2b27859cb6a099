//! A scene for tests of what a leader decides: members and one job, whose records lie in a store of their own.
//!
//! The store is the one in memory, which answers at once: it compares, counts revisions and refuses what is too large
//! as etcd does. What workers write here they write as the real ones do.

use std::collections::BTreeMap;

use futures::FutureExt;
use stoke_core::job::{Batch, From, KeySource, Life, Loader, Merge, Mode, Phase, Spec, Work};
use stoke_core::names::{JobName, WorkerName};
use stoke_core::plan::PlanSummary;
use stoke_core::progress::Effort;
use stoke_core::records::{self, Checkpoint, Member, keys};
use stoke_core::slot::Partitioning;
use stoke_store::memory::MemoryStore;
use stoke_store::{Compare, Keys, Op, Revision, Store, Txn, TxnOutcome, record};

use crate::view::{JobView, View};

pub(super) fn worker(name: &str) -> WorkerName {
    name.parse().unwrap()
}

/// A worker that can do the jobs of this scene.
pub(super) fn fit() -> Member {
    Member {
        origins: ["shop".parse().unwrap()].into(),
        caches: ["main".parse().unwrap()].into(),
        loaders: [("product".parse().unwrap(), "shop".parse().unwrap())].into(),
        sources: [("top".parse().unwrap(), Some("shop".parse().unwrap()))].into(),
        ..Member::default()
    }
}

/// Fit workers of these names.
pub(super) fn fleet(names: &[&str]) -> BTreeMap<WorkerName, Member> {
    names.iter().map(|name| (worker(name), fit())).collect()
}

/// The source that every fit worker can read.
pub(super) fn named() -> From {
    From::Named("top".parse().unwrap())
}

/// What a job asks for that takes its keys from these sources.
pub(super) fn spec(sources: Vec<From>) -> Spec {
    let source = |from| KeySource {
        loader: 0,
        from,
        several: Vec::new(),
        merge: Merge::Max,
        on_bad_line: stoke_core::job::OnBadLine::Fail,
        weight: Default::default(),
    };
    let loader = Loader {
        name: "product".parse().unwrap(),
        recipe: None,
    };
    Spec {
        priority: 0,
        dry_run: false,
        labels: BTreeMap::new(),
        trigger: String::new(),
        requester: String::new(),
        work: Work::Batch(Batch {
            sources: sources.into_iter().map(source).collect(),
            loaders: vec![loader],
            cache: "main".parse().unwrap(),
            also: Vec::new(),
            mode: Mode::Add,
            allowed_failures: 0,
            attempts_max: 5,
            section: Default::default(),
            fit: Default::default(),
        }),
    }
}

/// A plan of so many entries in one band.
pub(super) fn plan(entries: u64, partitioning: Partitioning) -> PlanSummary {
    PlanSummary {
        name: "plans/j/2-1".into(),
        entries,
        priority_milli: entries * 1000,
        bands: 1,
        partitioning,
        entries_by_loader: vec![entries],
        left_out: 0,
        cut: 0,
        worth: None,
    }
}

pub(super) fn coarsest() -> Partitioning {
    Partitioning::new(Partitioning::COUNT_MIN).unwrap()
}

/// One job's records.
#[derive(Debug)]
pub(super) struct Scene {
    store: MemoryStore,
    job: JobName,
    fence: Compare,
}

impl Scene {
    /// A job that was just created.
    pub(super) fn new(spec: Spec) -> Self {
        let scene = Self {
            store: MemoryStore::new(),
            job: "j".parse().unwrap(),
            fence: Compare::CreateRevision(keys::LEADER.into(), Revision(2)),
        };
        let job = records::Job {
            spec,
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
        };
        let leads = scene.put(keys::LEADER, &BTreeMap::from([("name", "c")]));
        assert_eq!(leads, Revision(2));
        scene.put(&keys::job(&scene.job), &job);
        scene.put(&keys::run(&scene.job), &Life::new());
        scene
    }

    /// A job that runs by this plan.
    pub(super) fn running(spec: Spec, plan: PlanSummary) -> Self {
        let scene = Self::new(spec);
        scene.change_job(|job| job.plan = Some(plan));
        scene.enter(Phase::Running);
        scene
    }

    pub(super) fn job(&self) -> &JobName {
        &self.job
    }

    /// All records of the job.
    pub(super) fn view(&self) -> JobView {
        View::read_job(&self.store, &self.job)
            .now_or_never()
            .unwrap()
            .unwrap()
            .unwrap()
    }

    /// The keys of all records of jobs that a leader reads.
    pub(super) fn decided_on(&self) -> Vec<String> {
        let read = self.store.read(&View::keys()).now_or_never();
        let entries = read.unwrap().unwrap().entries;
        entries.into_iter().map(|entry| entry.key).collect()
    }

    /// Commits what a step wants, under the leader's fence. The store refuses what etcd would find too large.
    pub(super) fn commit(&self, mut txn: Txn) -> TxnOutcome {
        txn.compares.push(self.fence.clone());
        self.txn(txn)
    }

    pub(super) fn txn(&self, txn: Txn) -> TxnOutcome {
        self.store.txn(txn).now_or_never().unwrap().unwrap()
    }

    /// Puts a record, whatever was there.
    pub(super) fn put<T: serde::Serialize>(&self, key: &str, value: &T) -> Revision {
        let put = Op::Put {
            key: key.to_owned(),
            value: record::encode(value),
            lease: None,
        };
        let outcome = self.txn(Txn {
            compares: Vec::new(),
            ops: vec![put],
        });
        let TxnOutcome::Committed(revision) = outcome else {
            panic!("nothing was compared")
        };
        revision
    }

    pub(super) fn change_job(&self, change: impl FnOnce(&mut records::Job)) {
        let mut job = self.view().record.value;
        change(&mut job);
        self.put(&keys::job(&self.job), &job);
    }

    /// Puts the job into this phase, legal or not.
    pub(super) fn enter(&self, phase: Phase) {
        let life = Life {
            phase,
            ..Life::new()
        };
        self.put(&keys::run(&self.job), &life);
    }

    /// What a worker sends to say how far it has come since it looked: it compares its assignment, and the checkpoint
    /// that it knows.
    pub(super) fn checkpoint_txn(
        &self,
        seen: &JobView,
        worker: &WorkerName,
        value: &Checkpoint,
    ) -> Txn {
        let owner = &seen.owners[worker];
        let (assign, ckpt) = (
            keys::assignment(&self.job, worker),
            keys::checkpoint(&self.job, worker),
        );
        let own = match &owner.checkpoint {
            Some(known) => Compare::ModRevision(ckpt.clone(), Revision(known.revision)),
            None => Compare::Absent(ckpt.clone()),
        };
        Txn {
            compares: vec![
                Compare::ModRevision(assign, Revision(owner.assignment.revision)),
                own,
            ],
            ops: vec![Op::Put {
                key: ckpt,
                value: record::encode(value),
                lease: None,
            }],
        }
    }

    /// A worker says how far it has come.
    pub(super) fn checkpoint(&self, worker: &WorkerName, value: &Checkpoint) {
        let txn = self.checkpoint_txn(&self.view(), worker, value);
        assert!(
            matches!(self.txn(txn), TxnOutcome::Committed(_)),
            "{worker} owns what it says it owns"
        );
    }

    /// How many checkpoints are left of the job without an assignment: a view does not show them.
    pub(super) fn orphans(&self) -> usize {
        let stored = [Keys::Prefix(keys::checkpoints(&self.job))];
        let stored = self.store.read(&stored).now_or_never().unwrap().unwrap();
        let shown = self
            .view()
            .owners
            .into_values()
            .filter_map(|owner| owner.checkpoint);
        stored.entries.len() - shown.count()
    }
}
