//! A job's life as its callers steer and watch it.

use std::collections::BTreeMap;

use stoke_core::records::{Assignment, keys};
use stoke_proto::v1::upload_entries_request::Part;
use stoke_proto::v1::{self, JobState};
use tonic::{Code, Status};

use super::cluster::{
    Cluster, Served, all, assert_precondition, batch, fault, header, impatient, job_name, named,
    outcomes, settings, spec, until, uploaded, warmed,
};

async fn pause(served: &Served, name: &str, holder: &str) -> Result<v1::Job, Status> {
    let request = v1::PauseJobRequest {
        name: name.into(),
        holder: holder.into(),
        reason: "lunch".into(),
    };
    Ok(served
        .jobs
        .clone()
        .pause_job(request)
        .await?
        .into_inner()
        .job
        .unwrap())
}

async fn resume(served: &Served, name: &str, holder: &str) -> Result<v1::Job, Status> {
    let request = v1::ResumeJobRequest {
        name: name.into(),
        holder: holder.into(),
    };
    Ok(served
        .jobs
        .clone()
        .resume_job(request)
        .await?
        .into_inner()
        .job
        .unwrap())
}

async fn abort(served: &Served, name: &str) -> Result<v1::Job, Status> {
    let request = v1::AbortJobRequest {
        name: name.into(),
        reason: "rolled back".into(),
    };
    Ok(served
        .jobs
        .clone()
        .abort_job(request)
        .await?
        .into_inner()
        .job
        .unwrap())
}

#[tokio::test]
async fn a_paused_job_goes_on_when_every_holder_has_let_go() {
    let (cluster, leader) = Cluster::with_leader().await;
    let job = leader.running(&cluster, 10).await.name;
    let paused = pause(&leader, &job, "").await.unwrap();
    assert_eq!(paused.state(), JobState::Paused);
    assert_eq!(
        paused.holds,
        [v1::Hold {
            holder: "operator".into(),
            reason: "lunch".into()
        }]
    );
    pause(&leader, &job, "pipeline").await.unwrap();
    let twice = pause(&leader, &job, "operator").await.unwrap();
    assert_eq!(twice.holds.len(), 2, "a holder holds once");

    let half = resume(&leader, &job, "operator").await.unwrap();
    assert_eq!((half.state(), half.holds.len()), (JobState::Paused, 1));
    let stranger = resume(&leader, &job, "somebody").await.unwrap();
    assert_eq!(
        stranger.state(),
        JobState::Paused,
        "nobody removes another's hold"
    );
    let whole = resume(&leader, &job, "pipeline").await.unwrap();
    assert_eq!(whole.state(), JobState::Running);
    assert_eq!(leader.get(&job).await, whole);
}

#[tokio::test]
async fn a_job_that_is_paused_before_it_begins_is_planned_and_stands_still_until_it_is_resumed() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let pending = leader.create(spec(vec![uploaded()])).await.unwrap().name;
    let paused = pause(&leader, &pending, "").await.unwrap();
    assert_eq!(paused.state(), JobState::Paused);
    let resumed = resume(&leader, &pending, "").await.unwrap();
    assert_eq!(resumed.state(), JobState::Pending);
}

#[tokio::test]
async fn illegal_moves_are_refused_and_say_what_the_job_is() {
    let (cluster, leader) = Cluster::with_leader().await;
    let done = leader.running(&cluster, 10).await.name;
    cluster.checkpoint(&done, "w1", warmed(10), |_| ()).await;
    leader.until_it_is(&done, JobState::Succeeded).await;
    assert_precondition(
        pause(&leader, &done, "").await,
        "the job is SUCCEEDED: it cannot be paused",
    );
    assert_precondition(
        resume(&leader, &done, "").await,
        "the job is SUCCEEDED: it cannot be resumed",
    );
    assert_precondition(
        abort(&leader, &done).await,
        "the job is SUCCEEDED: it cannot be aborted",
    );

    assert_eq!(
        abort(&leader, "nobody").await.unwrap_err().code(),
        Code::NotFound
    );
    let too_long = pause(&leader, &done, &"x".repeat(501)).await.unwrap_err();
    assert_eq!(fault(&too_long), (Code::InvalidArgument, "holder".into()));
}

/// The job names when at the latest its abort is over, once the leader has looked.
async fn says_until_when(leader: &Served, job: &str) {
    let mut jobs = leader.jobs.clone();
    let reason = until("it says until when it waits", async || {
        let request = v1::GetJobRequest { name: job.into() };
        let job = jobs.get_job(request).await.unwrap().into_inner().job?;
        job.reason.ends_with(" at most").then_some(job.reason)
    });
    let reason = reason.await;
    let named = reason.split_once(", until 20").unwrap().1;
    assert!(named.ends_with("Z at most"), "{reason}");
}

#[tokio::test]
async fn an_abort_ends_when_every_owner_has_confirmed_with_what_each_had_done() {
    let (cluster, leader) = Cluster::with_leader().await;
    let job = leader.running(&cluster, 10).await.name;
    pause(&leader, &job, "").await.unwrap();
    let aborting = abort(&leader, &job).await.unwrap();
    assert_eq!(aborting.state(), JobState::Aborting);
    assert!(aborting.reason.starts_with("rolled back; waiting for w1"));
    says_until_when(&leader, &job).await;
    assert!(aborting.holds.is_empty());

    let mut tally = warmed(4);
    tally.cancelled = 1;
    cluster
        .checkpoint(&job, "w1", tally, |checkpoint| checkpoint.stopped = true)
        .await;
    let aborted = leader.until_it_is(&job, JobState::Aborted).await;
    assert_eq!(
        (outcomes(&aborted).warmed, outcomes(&aborted).cancelled),
        (4, 6)
    );
    assert_eq!(aborted.progress.unwrap().pending, 0);
    assert_eq!(aborted.reason, "rolled back");
    let again = abort(&leader, &job).await.unwrap();
    assert_eq!(again.state(), JobState::Aborted, "an abort is idempotent");
}

#[tokio::test]
async fn an_abort_that_its_owner_never_confirms_ends_when_its_permit_is_certainly_over() {
    let (cluster, leader) = Cluster::led_with(impatient(settings("c1"))).await;
    let job = leader.running(&cluster, 10).await.name;
    abort(&leader, &job).await.unwrap();
    let aborted = leader.until_it_is(&job, JobState::Aborted).await;
    let progress = aborted.progress.unwrap();
    assert_eq!(
        (
            progress.planned,
            outcomes(&aborted).cancelled,
            progress.pending
        ),
        (10, 10, 0)
    );
    let prefix = keys::assignments(&job_name(&job));
    until("nothing is left of it", async || {
        all::<Assignment>(&cluster, &prefix)
            .await
            .is_empty()
            .then_some(())
    })
    .await;
    assert_eq!(outcomes(&leader.get(&job).await).cancelled, 10);
}

#[tokio::test]
async fn a_job_is_aborted_while_it_waits_for_its_upload_or_is_planned() {
    let (cluster, leader) = Cluster::with_leader().await;
    let pending = leader.create(spec(vec![uploaded()])).await.unwrap().name;
    abort(&leader, &pending).await.unwrap();
    leader.until_it_is(&pending, JobState::Aborted).await;
    let late = leader
        .upload(vec![header(&pending, 0), Part::Entries(batch(0..3))])
        .await;
    assert_precondition(late, "it cannot take uploads");

    let planning = leader.create(spec(vec![named()])).await.unwrap().name;
    leader.until_it_is(&planning, JobState::Planning).await;
    let aborting = abort(&leader, &planning).await.unwrap();
    assert!(aborting.reason.starts_with("rolled back; waiting for w1"));
    cluster.delete(&keys::read(&job_name(&planning), 0)).await;
    let aborted = leader.until_it_is(&planning, JobState::Aborted).await;
    assert_eq!(aborted.progress.unwrap().planned, 0);
}

#[tokio::test]
async fn a_watch_tells_of_every_change_and_ends_with_the_job() {
    let (cluster, leader) = Cluster::with_leader().await;
    let job = leader.create(spec(vec![uploaded()])).await.unwrap().name;
    let request = v1::WatchJobRequest { name: job.clone() };
    let mut watch = leader
        .jobs
        .clone()
        .watch_job(request)
        .await
        .unwrap()
        .into_inner();
    let first = watch.message().await.unwrap().unwrap().job.unwrap();
    assert_eq!(first.state(), JobState::Pending, "it begins at once");

    leader
        .upload(vec![header(&job, 0), Part::Entries(batch(0..10))])
        .await
        .unwrap();
    cluster.until_it_owns_all(&job, "w1").await;
    let mut last = first;
    let mut warmed_so_far = 0;
    let mut told = false;
    while let Some(message) = watch.message().await.unwrap() {
        let now = message.job.unwrap();
        assert_ne!(now, last, "only changes are told");
        let progress = now.progress.unwrap();
        assert!(outcomes(&now).warmed >= warmed_so_far);
        assert_eq!(progress.planned, progress.pending + outcomes(&now).warmed);
        warmed_so_far = outcomes(&now).warmed;
        if now.state() == JobState::Running {
            let next = if told { warmed(10) } else { warmed(4) };
            if warmed_so_far == 0 || warmed_so_far == 4 {
                cluster.checkpoint(&job, "w1", next, |_| ()).await;
                told = true;
            }
        }
        last = now;
    }
    assert_eq!(
        (last.state(), outcomes(&last).warmed),
        (JobState::Succeeded, 10)
    );
    assert!(last.end_time.is_some());

    let request = v1::WatchJobRequest { name: job };
    let mut over = leader
        .jobs
        .clone()
        .watch_job(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(over.message().await.unwrap().unwrap().job, Some(last));
    assert!(over.message().await.unwrap().is_none());
}

async fn list(served: &Served, request: v1::ListJobsRequest) -> (Vec<String>, String) {
    let page = served
        .jobs
        .clone()
        .list_jobs(request)
        .await
        .unwrap()
        .into_inner();
    let names = page.jobs.into_iter().map(|job| job.name);
    (names.collect(), page.next_page_token)
}

#[tokio::test]
async fn lists_filter_by_labels_and_state_and_come_in_pages_the_newest_first() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let mut made: BTreeMap<String, &str> = BTreeMap::new();
    for team in ["shop", "shop", "ads", "shop", "ads"] {
        let mut spec = spec(vec![uploaded()]);
        spec.labels = [
            ("team".to_owned(), team.to_owned()),
            ("env".to_owned(), "test".to_owned()),
        ]
        .into();
        made.insert(leader.create(spec).await.unwrap().name, team);
    }
    let newest_first: Vec<String> = made.keys().rev().cloned().collect();
    let everything = v1::ListJobsRequest::default();
    assert_eq!(
        list(&leader, everything.clone()).await,
        (newest_first.clone(), String::new())
    );

    let labelled = |labels: &[(&str, &str)]| v1::ListJobsRequest {
        labels: labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        ..everything.clone()
    };
    let of = |team: &str| {
        newest_first
            .iter()
            .filter(|name| made[*name] == team)
            .cloned()
            .collect::<Vec<_>>()
    };
    let ads = labelled(&[("team", "ads"), ("env", "test")]);
    assert_eq!(list(&leader, ads.clone()).await.0, of("ads"));
    assert!(
        list(&leader, labelled(&[("team", "ads"), ("env", "live")]))
            .await
            .0
            .is_empty()
    );

    let aborted = &newest_first[1];
    abort(&leader, aborted).await.unwrap();
    leader.until_it_is(aborted, JobState::Aborted).await;
    let in_states = |states: &[JobState]| v1::ListJobsRequest {
        states: states.iter().map(|state| (*state).into()).collect(),
        ..everything.clone()
    };
    assert_eq!(
        list(&leader, in_states(&[JobState::Aborted, JobState::Failed]))
            .await
            .0,
        std::slice::from_ref(aborted)
    );
    assert_eq!(
        list(&leader, in_states(&[JobState::Pending])).await.0.len(),
        4
    );

    let (mut pages, mut token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListJobsRequest {
            page_size: 2,
            page_token: token,
            ..everything.clone()
        };
        let (names, next) = list(&leader, request).await;
        pages.push(names);
        token = next;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(pages.concat(), newest_first);
}

#[tokio::test]
async fn a_list_that_fills_its_last_page_exactly_has_no_page_after_it() {
    let (_cluster, leader) = Cluster::with_leader().await;
    for _ in 0..2 {
        leader.create(spec(vec![uploaded()])).await.unwrap();
    }
    let request = v1::ListJobsRequest {
        page_size: 2,
        ..v1::ListJobsRequest::default()
    };
    let (names, next) = list(&leader, request).await;
    assert_eq!((names.len(), next.as_str()), (2, ""));
}
