//! `RetryJob` and `VerifyJob`: jobs over the plan of another.

use std::collections::BTreeSet;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use stoke_core::records::{self, FailureLog, keys};
use stoke_core::units::BandId;
use stoke_proto::v1::key_source::From;
use stoke_proto::v1::upload_entries_request::Part;
use stoke_proto::v1::{self, JobState, plan_source::Which};
use tonic::{Code, Status};

use super::cluster::{
    Cluster, PREPARED_BY_HAND, Served, assert_precondition, batch, fault, header, job_name, reason,
    settings, spec, until, uploaded, warmed, work,
};
use super::spilling::with_little_memory;

/// The first argument of an entry: its number.
type Numbers = BTreeSet<usize>;

async fn retry(served: &Served, job: &str, request_id: &str) -> Result<v1::Job, Status> {
    let request = v1::RetryJobRequest {
        name: job.into(),
        request_id: request_id.into(),
    };
    let created = served.jobs.clone().retry_job(request).await?;
    Ok(created.into_inner().job.unwrap())
}

async fn verify(served: &Served, job: &str, sample: u32) -> Result<v1::Job, Status> {
    let request = v1::VerifyJobRequest {
        name: job.into(),
        sample,
        values: true,
        ..v1::VerifyJobRequest::default()
    };
    let created = served.jobs.clone().verify_job(request).await?;
    Ok(created.into_inner().job.unwrap())
}

/// Keys, arguments, priorities and loaders of a plan, in the order of ranks.
async fn planned(served: &Served, job: &str) -> v1::EntryBatch {
    let request = v1::ExportPlanRequest { name: job.into() };
    let exported = served.jobs.clone().export_plan(request).await.unwrap();
    let mut exported = exported.into_inner();
    let mut all = v1::EntryBatch::default();
    while let Some(message) = exported.message().await.unwrap() {
        let batch = message.entries.unwrap();
        let loaders = if batch.loaders.is_empty() {
            vec![0; batch.keys.len()]
        } else {
            batch.loaders
        };
        all.loaders.extend(loaders);
        all.ranks.extend(batch.ranks);
        all.keys.extend(batch.keys);
        all.priorities.extend(batch.priorities);
        all.arguments.extend(batch.arguments);
    }
    all
}

fn numbers(plan: &v1::EntryBatch) -> Numbers {
    plan.arguments.iter().map(|n| n.parse().unwrap()).collect()
}

/// A job of so many entries, over, of which those of these ranks have failed.
async fn over(cluster: &Cluster, leader: &Served, entries: usize, failed: &[u64]) -> String {
    let mut asked = spec(vec![uploaded()]);
    asked.priority = 7;
    asked.labels = [("team".to_owned(), "shop".to_owned())].into();
    let work = work(&mut asked);
    work.allowed_failures = 1000;
    work.attempts_max = 9;
    let job = leader.create(asked).await.unwrap().name;
    let all: Vec<usize> = (0..entries).collect();
    let parts = all.chunks(20_000);
    let parts = parts.map(|some| Part::Entries(batch(some.iter().copied())));
    let parts = std::iter::once(header(&job, 0)).chain(parts).collect();
    leader.upload(parts).await.unwrap();
    cluster.until_it_owns_all(&job, "w1").await;
    // In two chunks, as a worker stores them, and one more that does not count.
    let chunks = [
        &failed[..failed.len() / 2],
        &failed[failed.len() / 2..],
        &[3],
    ];
    for (chunk, ranks) in (0..).zip(chunks) {
        let request = v1::RecordFailuresRequest {
            job: job.clone(),
            log: log_of(cluster, &job).await,
            chunk,
            failures: ranks.iter().map(|rank| failure(*rank)).collect(),
        };
        leader
            .workers
            .clone()
            .record_failures(request)
            .await
            .unwrap();
    }
    let mut tally = warmed((entries - failed.len()) as u64);
    tally.failed = failed.len() as u64;
    let log = log_of(cluster, &job).await;
    let listed = |checkpoint: &mut stoke_core::records::Checkpoint| {
        checkpoint.failures = (!failed.is_empty()).then_some(FailureLog { log, chunks: 2 });
    };
    cluster.checkpoint(&job, "w1", tally, listed).await;
    leader.until_it_is(&job, JobState::Succeeded).await;
    job
}

async fn log_of(cluster: &Cluster, job: &str) -> String {
    let (_, revision) = cluster.assignment(job, "w1").await.unwrap();
    format!("w1-{}", revision.0)
}

fn failure(rank: u64) -> v1::FailedEntry {
    v1::FailedEntry {
        rank,
        reason: "NaN".into(),
        attempts: 1,
        ..v1::FailedEntry::default()
    }
}

#[tokio::test]
async fn a_retry_is_a_job_like_the_other_over_exactly_the_entries_that_failed() {
    let (cluster, leader) = Cluster::with_leader().await;
    let entries = usize::try_from(BandId::RANKS).unwrap() + 1000;
    let last = entries as u64 - 1;
    let job = over(&cluster, &leader, entries, &[last, 5, 70_000, 0]).await;

    let again = retry(&leader, &job, "r").await.unwrap();
    let (before, asked) = (leader.get(&job).await.spec.unwrap(), again.spec.unwrap());
    let from = v1::PlanSource {
        job: job.clone(),
        which: Some(Which::Failed(v1::FailedEntries {})),
    };
    let source = v1::KeySource {
        from: Some(From::Plan(from)),
        merge: v1::Merge::Max.into(),
        on_bad_line: v1::OnBadLine::Fail.into(),
        ..v1::KeySource::default()
    };
    let mut expected = before;
    expected.trigger = "retry".into();
    work(&mut expected).sources = vec![source];
    assert_eq!(asked, expected);

    leader.until_it_is(&again.name, JobState::Running).await;
    let plan = planned(&leader, &again.name).await;
    // The most requested key has the highest number, and rank 0.
    let number = |rank: u64| (last - rank).to_string();
    assert_eq!(plan.ranks, [0, 1, 2, 3]);
    assert_eq!(plan.arguments, [0, 5, 70_000, last].map(number));
    assert_eq!(plan.keys[3], "product:0");
    assert_eq!(plan.priorities[0], 1000 * entries as u64);
    assert_eq!(leader.get(&again.name).await.sources[0].entries, 4);

    // Asked for once more, it is the same job; and it can be tried again in its turn once it is over.
    let same = retry(&leader, &job, "r").await.unwrap();
    assert_eq!(same.name, again.name);
    let early = retry(&leader, &again.name, "").await;
    assert_precondition(early, "before it is over");
}

#[tokio::test]
async fn a_verification_is_of_all_that_did_not_fail_or_of_a_sample_that_is_always_the_same() {
    let (cluster, leader) = Cluster::with_leader().await;
    let job = over(&cluster, &leader, 2000, &[1, 1000]).await;
    let warmed: Numbers = (0..2000).filter(|n| ![1998, 999].contains(n)).collect();

    let all = verify(&leader, &job, 0).await.unwrap();
    let mut asked = all.spec.clone().unwrap();
    assert_eq!(asked.trigger, "verify");
    let work = work(&mut asked);
    assert_eq!(work.mode(), v1::WriteMode::VerifyValues);
    assert_eq!(work.allowed_failures, 0, "each difference is one too many");
    leader.until_it_is(&all.name, JobState::Running).await;
    assert_eq!(numbers(&planned(&leader, &all.name).await), warmed);

    let mut samples = Vec::new();
    for _ in 0..2 {
        let sample = verify(&leader, &job, 50).await.unwrap().name;
        leader.until_it_is(&sample, JobState::Running).await;
        samples.push(numbers(&planned(&leader, &sample).await));
    }
    assert_eq!(samples[0], samples[1]);
    assert_eq!(samples[0].len(), 50);
    assert!(samples[0].is_subset(&warmed));
    // A look has warmed nothing that could be looked at.
    let of_a_look = verify(&leader, &all.name, 0).await;
    assert_precondition(of_a_look, "only looked");
}

#[tokio::test]
async fn what_memory_has_no_room_for_of_another_plan_is_spilled() {
    let folder = tempfile::tempdir().unwrap();
    let spill = folder.path().join("spill");
    let (cluster, leader) = Cluster::led_with(with_little_memory(&spill)).await;
    let job = over(&cluster, &leader, 20_000, &[]).await;
    std::fs::remove_dir(&spill).unwrap();
    let all = verify(&leader, &job, 0).await.unwrap().name;
    let sample = verify(&leader, &job, 100).await.unwrap().name;
    leader.until_it_is(&sample, JobState::Running).await;
    let key = keys::job(&job_name(&all));
    until(
        "it is planned again, for nothing can be spilled",
        async || {
            let (record, _) = cluster.read::<records::Job>(&key).await?;
            (record.attempt > 1).then_some(())
        },
    )
    .await;
    std::fs::create_dir(&spill).unwrap();
    let running = leader.until_it_is(&all, JobState::Running).await;
    assert_eq!(running.sources[0].entries, 20_000);
    let (before, after) = (planned(&leader, &job).await, planned(&leader, &all).await);
    assert_eq!(after, before);
}

#[tokio::test]
async fn what_cannot_be_done_again_is_refused_with_its_reason() {
    let (cluster, leader) = Cluster::with_leader().await;
    let standby = cluster.start(settings("c2")).await.unwrap();
    let job = over(&cluster, &leader, 10, &[]).await;

    let none = retry(&leader, &job, "").await.unwrap_err();
    assert_eq!(reason(&none), "NOTHING_FAILED");
    assert_eq!(
        retry(&leader, "nobody", "").await.unwrap_err().code(),
        Code::NotFound
    );
    let elsewhere = verify(&standby, &job, 0).await.unwrap_err();
    assert_eq!(reason(&elsewhere), "NOT_LEADER");
    let long = retry(&leader, &job, &"x".repeat(129)).await.unwrap_err();
    assert_eq!(fault(&long), (Code::InvalidArgument, "request_id".into()));
    let many = verify(&leader, &job, 1_000_001).await.unwrap_err();
    assert_eq!(fault(&many), (Code::InvalidArgument, "sample".into()));

    let running = leader.running(&cluster, 10).await.name;
    assert_precondition(verify(&leader, &running, 0).await, "before it is over");
    let unplanned = leader.create(spec(vec![uploaded()])).await.unwrap().name;
    let abort = v1::AbortJobRequest {
        name: unplanned.clone(),
        ..v1::AbortJobRequest::default()
    };
    leader.jobs.clone().abort_job(abort).await.unwrap();
    leader.until_it_is(&unplanned, JobState::Aborted).await;
    assert_precondition(verify(&leader, &unplanned, 0).await, "never had a plan");

    let long = v1::VerifyJobRequest {
        name: job.clone(),
        request_id: "x".repeat(129),
        ..v1::VerifyJobRequest::default()
    };
    let long = leader.jobs.clone().verify_job(long).await.unwrap_err();
    assert_eq!(fault(&long), (Code::InvalidArgument, "request_id".into()));
    let unknown = verify(&leader, "nobody", 0).await.unwrap_err();
    assert_eq!(reason(&unknown), "JOB_NOT_FOUND");
    let of_unknown = v1::PlanSource {
        job: "nobody".into(),
        which: Some(Which::All(v1::AllEntries {})),
    };
    let refused = leader.create(spec(vec![From::Plan(of_unknown)])).await;
    assert_eq!(reason(&refused.unwrap_err()), "JOB_NOT_FOUND");
    let past = keys::past(&job_name(&job));
    until("it is cleaned up", async || {
        cluster.read::<records::Past>(&past).await
    })
    .await;
    cluster.delete(&past).await;
    for forgotten in [
        retry(&leader, &job, "").await,
        verify(&leader, &job, 0).await,
    ] {
        assert_eq!(reason(&forgotten.unwrap_err()), "JOB_NOT_FOUND");
    }
}

#[tokio::test]
async fn a_dry_run_can_be_neither_tried_again_nor_verified() {
    let (cluster, leader) = Cluster::with_leader().await;
    let job = over(&cluster, &leader, 10, &[1]).await;
    let key = keys::past(&job_name(&job));
    let (mut past, _) = until("it is cleaned up", async || {
        cluster.read::<records::Past>(&key).await
    })
    .await;
    past.job.spec.dry_run = true;
    cluster.put(&key, &past).await;
    for refused in [
        retry(&leader, &job, "").await,
        verify(&leader, &job, 0).await,
    ] {
        assert_precondition(refused, "was a dry run");
    }
}

#[tokio::test]
async fn whoever_verifies_needs_a_worker_that_knows_the_loaders_as_all_jobs_do() {
    let (cluster, leader) = Cluster::with_leader().await;
    let job = over(&cluster, &leader, 10, &[1]).await;
    let mut forgetful = super::cluster::member();
    forgetful.loaders.clear();
    cluster.join_as("w1", forgetful).await;
    for refused in [
        retry(&leader, &job, "").await,
        verify(&leader, &job, 0).await,
    ] {
        assert_precondition(refused, "does not know the loader product");
    }
}

#[tokio::test]
async fn a_request_that_comes_again_is_the_same_job_whatever_has_become_of_the_other_since() {
    let (cluster, leader) = Cluster::with_leader().await;
    let job = over(&cluster, &leader, 10, &[1]).await;
    let asked = |sample, values| v1::VerifyJobRequest {
        name: job.clone(),
        request_id: "v".into(),
        sample,
        values,
    };
    let verify = async |request| {
        let created = leader.jobs.clone().verify_job(request).await?;
        Ok::<_, Status>(created.into_inner().job.unwrap())
    };
    let mut first = verify(asked(5, false)).await.unwrap();
    let mode = work(first.spec.as_mut().unwrap()).mode();
    assert_eq!(mode, v1::WriteMode::Verify, "values were not asked for");
    let retried = retry(&leader, &job, "r").await.unwrap();
    leader.until_it_is(&first.name, JobState::Running).await;
    leader.until_it_is(&retried.name, JobState::Running).await;

    for other in [asked(6, false), asked(5, true)] {
        let refused = verify(other).await.unwrap_err();
        assert_eq!(refused.code(), Code::AlreadyExists);
        assert!(refused.message().contains(&first.name), "{refused}");
    }
    let refused = retry(&leader, &job, "v").await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);

    // Nobody could do it now.
    cluster
        .delete(&keys::member(&super::cluster::worker("w1")))
        .await;
    assert_precondition(retry(&leader, &job, "").await, "no worker is there");
    assert_eq!(verify(asked(5, false)).await.unwrap().name, first.name);
    assert_eq!(retry(&leader, &job, "r").await.unwrap().name, retried.name);
}

#[tokio::test]
async fn a_plan_that_is_gone_is_told_when_the_job_is_created_and_ends_it_where_it_goes_later() {
    let objects = std::sync::Arc::new(object_store::memory::InMemory::new());
    let mut cluster = Cluster::new();
    cluster.plans = stoke_coordinator::plan_store::PlanStore::new(objects.clone());
    cluster.join("w1").await;
    let leader = cluster.start(settings("c1")).await.unwrap();
    leader.until_it_leads().await;
    let job = over(&cluster, &leader, 10, &[2]).await;

    let by_hand = v1::PlanSource {
        job: job.clone(),
        which: Some(Which::All(v1::AllEntries {})),
    };
    let mut asked = spec(vec![From::Plan(by_hand)]);
    asked.trigger = PREPARED_BY_HAND.into();
    let waiting = leader.create(asked).await.unwrap().name;
    leader.until_it_is(&waiting, JobState::Planning).await;
    let plan = Path::from(format!("plans/{job}"));
    let listed = objects.list_with_delimiter(Some(&plan)).await.unwrap();
    let attempt = objects.list_with_delimiter(Some(&listed.common_prefixes[0]));
    for band in attempt.await.unwrap().objects {
        objects.delete(&band.location).await.unwrap();
    }

    for refused in [
        retry(&leader, &job, "").await,
        verify(&leader, &job, 5).await,
    ] {
        assert_eq!(reason(&refused.unwrap_err()), "PLAN_GONE");
    }
    leader.prepare(&cluster, &waiting).await;
    let failed = leader.until_it_is(&waiting, JobState::Failed).await;
    assert!(
        failed.reason.contains(&format!("plan of the job {job}")),
        "{}",
        failed.reason
    );
}

#[tokio::test]
async fn entries_keep_their_loaders_by_name() {
    let (cluster, leader) = Cluster::with_leader().await;
    let mut knows_both = super::cluster::member();
    let shop: stoke_core::names::OriginName = "shop".parse().unwrap();
    knows_both.loaders.insert("price".parse().unwrap(), shop);
    cluster.join_as("w1", knows_both).await;
    let job = over(&cluster, &leader, 10, &[]).await;
    let from = |which| {
        From::Plan(v1::PlanSource {
            job: job.clone(),
            which: Some(which),
        })
    };
    let loader = |name: &str| v1::Loader {
        name: name.into(),
        ..v1::Loader::default()
    };
    let mut asked = spec(vec![from(Which::All(v1::AllEntries {}))]);
    work(&mut asked).loaders = vec![loader("price"), loader("product")];
    let both = leader.create(asked.clone()).await.unwrap().name;
    leader.until_it_is(&both, JobState::Running).await;
    assert_eq!(planned(&leader, &both).await.loaders, [1; 10]);

    work(&mut asked).loaders = vec![loader("price")];
    let without = leader.create(asked).await.unwrap().name;
    let failed = leader.until_it_is(&without, JobState::Failed).await;
    assert!(
        failed.reason.contains("loaded by product"),
        "{}",
        failed.reason
    );

    for (which, field) in [
        (Some(Which::Sample(0)), "spec.batch.sources[0].plan.sample"),
        (None, "spec.batch.sources[0].plan.which"),
    ] {
        let source = v1::PlanSource {
            job: job.clone(),
            which,
        };
        let refused = leader.create(spec(vec![From::Plan(source)])).await;
        assert_eq!(fault(&refused.unwrap_err()).1, field);
    }
}
