//! What a refusal tells a program, over the wire. (Each row of the table: `src/service/refusal/tests.rs`.)

use stoke_proto::v1::upload_entries_request::Part;
use stoke_proto::v1::{self, JobState};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::cluster::{Cluster, Served, batch, fault, header, named, reason, spec, uploaded, work};

#[tokio::test]
async fn all_faults_of_a_request_are_told_at_once_each_with_its_field() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let mut wrong = spec(vec![named()]);
    wrong.priority = 1001;
    wrong.labels = [("a b".into(), "x".into()), ("team".into(), "shop\n".into())].into();
    work(&mut wrong).cache = "ma in".into();
    work(&mut wrong).mode = 99;
    work(&mut wrong).sources[0].from = None;
    work(&mut wrong).sources[0].merge = 7;
    work(&mut wrong).loaders[0].sql = Some(v1::SqlLoader::default());
    let refused = leader.create_as(&"x".repeat(129), wrong).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(reason(&refused), "INVALID_FIELDS");
    let told = refused.get_details_bad_request().unwrap().field_violations;
    let mut fields: Vec<&str> = told.iter().map(|fault| fault.field.as_str()).collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "request_id",
            "spec.batch.cache",
            "spec.batch.loaders[0].sql.key_template",
            "spec.batch.loaders[0].sql.origin",
            "spec.batch.loaders[0].sql.query",
            "spec.batch.loaders[0].sql.ttl",
            "spec.batch.mode",
            "spec.batch.sources[0].from",
            "spec.batch.sources[0].merge",
            "spec.labels",
            "spec.labels[team]",
            "spec.priority",
        ]
    );
    assert!(told.iter().all(|fault| !fault.description.is_empty()));
}

#[tokio::test]
async fn a_filter_that_is_none_is_refused() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let request = v1::ListJobsRequest {
        labels: [("team shop".into(), String::new())].into(),
        states: vec![77, 0],
        page_token: "../x".into(),
        ..v1::ListJobsRequest::default()
    };
    let refused = leader.jobs.clone().list_jobs(request).await.unwrap_err();
    assert_eq!(
        fault(&refused),
        (
            Code::InvalidArgument,
            "labels, states[0], states[1], page_token".into()
        )
    );
}

#[tokio::test]
async fn a_filter_of_millions_of_states_is_refused_with_few_words() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let request = v1::ListJobsRequest {
        states: vec![99; 4_000_000],
        ..v1::ListJobsRequest::default()
    };
    let refused = leader.jobs.clone().list_jobs(request).await.unwrap_err();
    assert_eq!(reason(&refused), "INVALID_FIELDS");
    let told = refused.get_details_bad_request().unwrap().field_violations;
    assert_eq!(told.len(), 16);
    assert_eq!(told[0].field, "states");
    // The number of states, and each of the first 32.
    assert!(
        refused.message().ends_with("and 29 more faults"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_time_to_live_is_from_a_second_to_ten_years() {
    let (cluster, leader) = Cluster::with_leader().await;
    let generous = stoke_core::records::Member {
        sql_in_jobs: true,
        ..super::cluster::member()
    };
    cluster.join_as("w1", generous).await;
    let with = |seconds, nanos| {
        let mut asked = spec(vec![uploaded()]);
        work(&mut asked).loaders[0].sql = Some(v1::SqlLoader {
            origin: "shop".into(),
            query: "SELECT * FROM product WHERE id IN (:keys)".into(),
            key_template: "product:{id}".into(),
            key_column: "id".into(),
            ttl: Some(prost_types::Duration { seconds, nanos }),
            ..v1::SqlLoader::default()
        });
        asked
    };
    let longest = 10 * 365 * 86_400;
    for (seconds, nanos) in [(0, 1_000_000), (0, 999_999_999), (-1, 0), (longest, 1)] {
        let refused = leader.create(with(seconds, nanos)).await.unwrap_err();
        let field = "spec.batch.loaders[0].sql.ttl";
        assert_eq!(fault(&refused), (Code::InvalidArgument, field.into()));
    }
    for seconds in [1, longest] {
        leader.create(with(seconds, 0)).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let request = v1::GetJobRequest { name: "j1".into() };
    let refused = leader.jobs.clone().get_job(request).await.unwrap_err();
    assert_eq!(reason(&refused), "JOB_NOT_FOUND");
    let resource = refused.get_details_resource_info().unwrap();
    assert_eq!(
        (
            resource.resource_type.as_str(),
            resource.resource_name.as_str()
        ),
        ("stoke.v1.Job", "j1")
    );
    assert!(refused.message().contains("ListJobs"), "{refused}");
}

async fn upload(leader: &Served, batch: v1::EntryBatch) -> (String, Result<u64, Status>) {
    let job = leader.create(spec(vec![uploaded()])).await.unwrap().name;
    let parts = vec![header(&job, 0), Part::Entries(batch)];
    (job, leader.upload(parts).await)
}

/// The limit is the server's: a client that has none is told, and its connection goes on.
#[tokio::test]
async fn a_message_over_the_limit_is_refused_and_says_how_large_it_may_be() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let mut huge = spec(vec![uploaded()]);
    huge.trigger = "x".repeat(5_000_000);
    let refused = leader.create(huge).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    assert!(refused.message().contains("4194304"), "{refused}");

    let huge = v1::EntryBatch {
        keys: vec![vec![b'x'; 60_000].into(); 90],
        arguments: vec![String::new(); 90],
        ..v1::EntryBatch::default()
    };
    let (job, refused) = upload(&leader, huge).await;
    let refused = refused.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused)),
        (Code::OutOfRange, "MESSAGE_TOO_LARGE".into())
    );
    assert!(refused.message().contains("4194304"), "{refused}");
    assert!(refused.message().contains("smaller batches"), "{refused}");
    assert_eq!(leader.get(&job).await.state(), JobState::Pending);
}

#[tokio::test]
async fn uploaded_priorities_that_are_none_are_refused_and_the_job_waits_for_better_ones() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let with = |priorities: Vec<u64>| v1::EntryBatch {
        priorities,
        ..batch(0..2)
    };
    let max = 1_000_000_000_000_000;
    for (priorities, field) in [
        (vec![1, max + 1], "entries.priorities[1]"),
        (vec![u64::MAX, 0], "entries.priorities[0]"),
        // A signed -1, as a caller may send it.
        (vec![(-1i64).cast_unsigned(), 0], "entries.priorities[0]"),
        (vec![1], "entries"),
    ] {
        let (job, refused) = upload(&leader, with(priorities)).await;
        let refused = refused.unwrap_err();
        assert_eq!(fault(&refused), (Code::InvalidArgument, field.into()));
        assert_eq!(leader.get(&job).await.state(), JobState::Pending);
        let parts = vec![header(&job, 0), Part::Entries(with(vec![max, 0]))];
        assert_eq!(leader.upload(parts).await.unwrap(), 2);
    }
}
