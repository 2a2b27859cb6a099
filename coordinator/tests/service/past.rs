//! Thousands of jobs: those that are over cost those who decide nothing, and are found by whoever asks.

use std::collections::BTreeMap;

use stoke_coordinator::view::View;
use stoke_core::job::{Life, Phase};
use stoke_core::records::{Job, JobResult, Past, keys};
use stoke_proto::v1::{self, JobState};
use stoke_store::{Keys, Op, Store, Txn, record};
use tonic::Code;
use tonic_types::StatusExt;

use super::cluster::{
    Cluster, Served, assert_precondition, job_name, outcomes, reason, spec, until, uploaded, warmed,
};

/// How many jobs are over.
const OVER: usize = 3000;

/// How a job that is over has ended, by its number.
fn phase(n: usize) -> Phase {
    [
        Phase::Succeeded,
        Phase::Succeeded,
        Phase::Failed,
        Phase::Aborted,
    ][n % 4]
}

fn team(n: usize) -> &'static str {
    if n.is_multiple_of(500) {
        "rare"
    } else {
        "shop"
    }
}

/// A job's record as it is once the job is over.
async fn finished(cluster: &Cluster, leader: &Served) -> Job {
    let job = done(cluster, leader, "").await;
    until("it is cleaned up", async || {
        let (past, _) = cluster
            .read::<Past>(&keys::past(&job_name(&job.name)))
            .await?;
        Some(past.job)
    })
    .await
}

/// A job that was made over the API, and has succeeded.
pub(crate) async fn done(cluster: &Cluster, leader: &Served, request_id: &str) -> v1::Job {
    let job = leader
        .create_as(request_id, spec(vec![uploaded()]))
        .await
        .unwrap();
    let parts = vec![
        super::cluster::header(&job.name, 0),
        v1::upload_entries_request::Part::Entries(super::cluster::batch(0..10)),
    ];
    leader.upload(parts).await.unwrap();
    cluster.until_it_owns_all(&job.name, "w1").await;
    cluster
        .checkpoint(&job.name, "w1", warmed(10), |_| ())
        .await;
    leader.until_it_is(&job.name, JobState::Succeeded).await
}

/// Writes the records of jobs that were over long ago.
async fn fill(cluster: &Cluster, like: &Job) -> Vec<String> {
    let mut names = Vec::new();
    let mut ops = Vec::new();
    for n in 0..OVER {
        // Three in each millisecond.
        let name = format!(
            "{:013}-{:06x}",
            1_700_000_000_000 + n / 3,
            (n * 7919) & 0xff_ffff
        );
        let mut job = like.clone();
        job.spec.labels = BTreeMap::from([("team".into(), team(n).into())]);
        let life = Life {
            phase: phase(n),
            ..Life::new()
        };
        ops.push(Op::Put {
            key: keys::past(&job_name(&name)),
            value: record::encode(&Past { job, life }),
            lease: None,
        });
        names.push(name);
    }
    for ops in ops.chunks(100) {
        let txn = Txn {
            compares: Vec::new(),
            ops: ops.to_vec(),
        };
        cluster.store.txn(txn).await.unwrap();
    }
    names
}

/// All jobs that a list gives, page by page.
async fn list_all(served: &Served, mut request: v1::ListJobsRequest) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        let listed = served.jobs.clone().list_jobs(request.clone()).await;
        let page = listed.unwrap().into_inner();
        assert!(page.jobs.len() <= usize::try_from(request.page_size).unwrap());
        names.extend(page.jobs.into_iter().map(|job| job.name));
        if page.next_page_token.is_empty() {
            return names;
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test]
async fn thousands_of_jobs_are_listed_completely_the_newest_first_and_no_decision_reads_them() {
    let (cluster, leader) = Cluster::with_leader().await;
    let like = finished(&cluster, &leader).await;
    let mut old = fill(&cluster, &like).await;
    let mut new = vec![done(&cluster, &leader, "").await.name];
    for _ in 0..3 {
        new.push(leader.create(spec(vec![uploaded()])).await.unwrap().name);
    }
    let request = |states: &[JobState], labels: &[(&str, &str)], page_size| v1::ListJobsRequest {
        labels: labels
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect(),
        states: states.iter().map(|state| i32::from(*state)).collect(),
        page_size,
        page_token: String::new(),
    };
    let numbers: BTreeMap<String, usize> = old.iter().cloned().zip(0..).collect();
    old.sort_unstable_by(|a, b| b.cmp(a));
    let of = |wanted: &dyn Fn(usize) -> bool| -> Vec<String> {
        let fits = old.iter().filter(|name| wanted(numbers[*name]));
        fits.cloned().collect()
    };

    let everything = list_all(&leader, request(&[], &[], 170)).await;
    let (newest, rest) = everything.split_at(5);
    assert_eq!(rest, old);
    assert!(new.iter().all(|name| newest.contains(name)), "{newest:?}");
    let failed = list_all(&leader, request(&[JobState::Failed], &[], 1000)).await;
    assert_eq!(failed, of(&|n| phase(n) == Phase::Failed));
    // So few that most pages are short.
    let rare = list_all(&leader, request(&[], &[("team", "rare")], 1)).await;
    assert_eq!(rare, of(&|n| team(n) == "rare"));
    let both = request(
        &[JobState::Aborted, JobState::Failed],
        &[("team", "rare")],
        10,
    );
    assert_eq!(
        list_all(&leader, both).await,
        of(&|n| team(n) == "rare" && n % 4 >= 2)
    );

    // What leads, and what creates, reads none of them.
    let past = format!("{}x", keys::PAST);
    let covers = |range: &Keys| match range {
        Keys::One(key) => *key == past,
        Keys::Prefix(prefix) | Keys::Page { prefix, .. } => past.starts_with(prefix.as_str()),
    };
    assert!(!View::keys().iter().any(covers));
    until("all that is over is cleaned up", async || {
        let view = View::read(&cluster.store).await.unwrap();
        (view.jobs.len() == 3).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_job_that_is_over_is_found_as_ever_and_has_one_record() {
    let (cluster, leader) = Cluster::with_leader().await;
    let job = done(&cluster, &leader, "deploy/1").await;
    let name = job_name(&job.name);
    until("it is cleaned up", async || {
        cluster.read::<Past>(&keys::past(&name)).await
    })
    .await;
    assert!(cluster.read::<Job>(&keys::job(&name)).await.is_none());
    assert!(cluster.read::<Life>(&keys::run(&name)).await.is_none());

    assert_eq!(leader.get(&job.name).await, job);
    let again = leader
        .create_as("deploy/1", spec(vec![uploaded()]))
        .await
        .unwrap();
    assert_eq!(again, job);
    let mut other = spec(vec![uploaded()]);
    other.trigger = "other".into();
    let refused = leader.create_as("deploy/1", other).await.unwrap_err();
    assert_eq!(reason(&refused), "REQUEST_ID_TAKEN");
    let watched = leader.until_it_is(&job.name, JobState::Succeeded).await;
    assert_eq!(outcomes(&watched).warmed, 10);
    let abort = v1::AbortJobRequest {
        name: job.name.clone(),
        reason: String::new(),
    };
    let refused = leader.jobs.clone().abort_job(abort).await.map(drop);
    assert_precondition(refused, "the job is SUCCEEDED: it cannot be aborted");
    let failures = v1::ListFailuresRequest {
        name: job.name.clone(),
    };
    let failures = leader.jobs.clone().list_failures(failures).await.unwrap();
    assert!(failures.into_inner().message().await.unwrap().is_none());
}

#[tokio::test]
async fn jobs_that_an_older_version_left_move_the_same_way() {
    let (cluster, leader) = Cluster::with_leader().await;
    let job = finished(&cluster, &leader).await;
    let old = job_name("1600000000000-000001");
    let life = Life {
        phase: Phase::Failed,
        reason: "long ago".into(),
        ..Life::new()
    };
    let mut over = job.clone();
    over.result = Some(JobResult::default());
    let put = |key, value| Op::Put {
        key,
        value,
        lease: None,
    };
    let txn = Txn {
        compares: Vec::new(),
        ops: vec![
            put(keys::job(&old), record::encode(&over)),
            put(keys::run(&old), record::encode(&life)),
        ],
    };
    cluster.store.txn(txn).await.unwrap();
    until("it has moved", async || {
        cluster.read::<Past>(&keys::past(&old)).await
    })
    .await;
    let shown = leader.get(old.as_str()).await;
    assert_eq!(
        (shown.state(), shown.reason.as_str()),
        (JobState::Failed, "long ago")
    );
}

#[tokio::test]
async fn one_job_too_many_is_refused_and_takes_its_place_when_another_is_over() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let asked = || spec(vec![uploaded()]);
    let mut first = None;
    for _ in 0..99 {
        let job = leader.create(asked()).await.unwrap();
        first.get_or_insert(job.name);
    }
    // Of those that come at the same time, one gets the last place.
    let calls = (0..4).map(|_| leader.create(asked()));
    let made = futures::future::join_all(calls).await;
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1);
    let refused = leader.create_as("deploy/7", asked()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(reason(&refused), "TOO_MANY_JOBS");
    let quota = refused.get_details_quota_failure().unwrap();
    assert!(
        quota.violations[0].description.contains("abort some"),
        "{quota:?}"
    );
    let everything = v1::ListJobsRequest {
        page_size: 1000,
        ..v1::ListJobsRequest::default()
    };
    assert_eq!(list_all(&leader, everything).await.len(), 100);

    let abort = v1::AbortJobRequest {
        name: first.unwrap(),
        reason: String::new(),
    };
    let aborted = leader.jobs.clone().abort_job(abort).await.unwrap();
    let name = aborted.into_inner().job.unwrap().name;
    leader.until_it_is(&name, JobState::Aborted).await;
    leader.create_as("deploy/7", asked()).await.unwrap();
}
