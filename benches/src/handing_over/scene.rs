//! A job that runs, and the workers that are there for it.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use stoke_coordinator::doors::job_spec;
use stoke_core::job::{Life, Phase};
use stoke_core::names::{JobName, WorkerName};
use stoke_core::plan::PlanSummary;
use stoke_core::records::{Job, Member, keys};
use stoke_core::slot::Partitioning;
use stoke_harness::EtcdCluster;
use stoke_proto::v1;
use stoke_store::{Op, Store, Txn, TxnOutcome, record};

use crate::renewing::connect;

/// How many entries the job's plan has: far more than are settled here.
const ENTRIES: u64 = 10_000_000;

pub(super) struct Scene {
    pub(super) store: Arc<dyn Store>,
    pub(super) job: JobName,
    pub(super) partitions: u16,
}

impl Scene {
    /// The job runs, and nobody is there.
    pub(super) async fn new(etcd: &EtcdCluster, partitions: u16) -> Result<Self> {
        let scene = Self {
            store: connect(etcd).await?,
            job: "bench".parse()?,
            partitions,
        };
        let mut life = Life::new();
        for phase in [Phase::Planning, Phase::Running] {
            life.become_phase(phase, "")?;
        }
        scene
            .commit(vec![
                put(keys::job(&scene.job), &job(partitions)?),
                put(keys::run(&scene.job), &life),
            ])
            .await?;
        Ok(scene)
    }

    /// These workers are members.
    pub(super) async fn join(&self, workers: &[usize]) -> Result<()> {
        let member = Member {
            origins: ["shop".parse()?].into(),
            caches: ["main".parse()?].into(),
            loaders: [("product".parse()?, "shop".parse()?)].into(),
            sources: [("top".parse()?, Some("shop".parse()?))].into(),
            ..Member::default()
        };
        let joins = workers.iter().map(|n| {
            let key = keys::member(&worker(*n)?);
            Ok(put(key, &member))
        });
        self.commit(joins.collect::<Result<_>>()?).await
    }

    /// This worker is none any more.
    pub(super) async fn leave(&self, n: usize) -> Result<()> {
        self.commit(vec![Op::Delete(keys::member(&worker(n)?))])
            .await
    }

    async fn commit(&self, ops: Vec<Op>) -> Result<()> {
        let txn = Txn {
            compares: Vec::new(),
            ops,
        };
        let outcome = self.store.txn(txn).await?;
        ensure!(matches!(outcome, TxnOutcome::Committed(_)), "refused");
        Ok(())
    }
}

/// The name of the nth worker.
pub(super) fn worker(n: usize) -> Result<WorkerName> {
    Ok(format!("w{n}").parse()?)
}

/// How many bytes a transaction puts into the store.
pub(super) fn bytes(txn: &Txn) -> usize {
    let puts = txn.ops.iter().map(|op| match op {
        Op::Put { key, value, .. } => key.len() + value.len(),
        Op::Delete(_) => 0,
    });
    puts.sum()
}

fn put<T: serde::Serialize>(key: String, value: &T) -> Op {
    Op::Put {
        key,
        value: record::encode(value),
        lease: None,
    }
}

fn job(partitions: u16) -> Result<Job> {
    let source = v1::KeySource {
        from: Some(v1::key_source::From::Named("top".into())),
        ..v1::KeySource::default()
    };
    let work = v1::BatchWork {
        sources: vec![source],
        loaders: vec![v1::Loader {
            name: "product".into(),
            ..v1::Loader::default()
        }],
        cache: "main".into(),
        ..v1::BatchWork::default()
    };
    let spec = v1::JobSpec {
        work: Some(v1::job_spec::Work::Batch(work)),
        ..v1::JobSpec::default()
    };
    let plan = PlanSummary {
        name: "plans/bench/1-1".into(),
        entries: ENTRIES,
        priority_milli: ENTRIES * 1_000,
        bands: 77,
        partitioning: Partitioning::new(partitions)?,
        entries_by_loader: vec![ENTRIES],
        left_out: 0,
        cut: 0,
        worth: None,
    };
    Ok(Job {
        spec: job_spec(spec).context("the job's spec")?,
        created_ms: 1,
        started_ms: Some(1),
        ended_ms: None,
        uploads: Default::default(),
        attempt: 1,
        plan: Some(plan),
        planning: Default::default(),
        result: None,
        sources: Vec::new(),
        terms: Vec::new(),
        room: None,
        samples: Vec::new(),
        trace: String::new(),
    })
}
