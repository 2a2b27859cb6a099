//! What workers get and give while a job runs: entries, and lists of failures.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use stoke_core::progress::Tally;
use stoke_core::records::{FailureLog, Job, keys};
use stoke_core::slot::{Partitioning, Slot};
use stoke_core::units::BandId;
use stoke_proto::v1::upload_entries_request::Part;
use stoke_proto::v1::{self, JobState};
use tonic::{Code, Status};

use super::cluster::{
    Cluster, Served, assert_precondition, batch, fault, header, job_name, outcomes, spec, uploaded,
};

/// An entry, as it came over a stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Streamed {
    rank: u64,
    key: String,
    argument: String,
    priority: u64,
}

/// All that a stream brings, by band and partition.
async fn stream(
    served: &Served,
    job: &str,
    plan: &str,
    starts: &[(u32, u32)],
) -> Result<BTreeMap<(u32, u32), Vec<Streamed>>, Status> {
    let start = |&(partition, band): &(u32, u32)| v1::PartitionStart { partition, band };
    let request = v1::StreamEntriesRequest {
        job: job.into(),
        plan: plan.into(),
        partitions: starts.iter().map(start).collect(),
    };
    let mut stream = served
        .workers
        .clone()
        .stream_entries(request)
        .await?
        .into_inner();
    let (mut brought, mut band) = (BTreeMap::new(), None);
    while let Some(message) = stream.message().await? {
        assert!(band <= Some(message.band), "bands come in their order");
        band = Some(message.band);
        for segment in message.segments {
            let entries = unpack(&segment);
            assert_eq!(entries.len(), usize::try_from(segment.entries).unwrap());
            let place = (message.band, segment.partition);
            brought
                .entry(place)
                .or_insert_with(Vec::new)
                .extend(entries);
        }
        if message.band_complete {
            band = Some(message.band + 1);
        }
    }
    Ok(brought)
}

fn unpack(segment: &v1::Segment) -> Vec<Streamed> {
    let body = match segment.encoding() {
        v1::Encoding::Zstd => zstd::stream::decode_all(&segment.body[..]).unwrap(),
        _ => segment.body.to_vec(),
    };
    let batch = v1::EntryBatch::decode(&body[..]).unwrap();
    let entry = |n: usize| Streamed {
        rank: batch.ranks[n],
        key: String::from_utf8(batch.keys[n].to_vec()).unwrap(),
        argument: batch.arguments[n].clone(),
        priority: batch.priorities[n],
    };
    (0..batch.keys.len()).map(entry).collect()
}

/// The name of a job's plan.
async fn plan_of(cluster: &Cluster, job: &str) -> String {
    let (job, _) = cluster
        .read::<Job>(&keys::job(&job_name(job)))
        .await
        .unwrap();
    job.plan.unwrap().name
}

#[tokio::test]
async fn a_stream_brings_exactly_the_entries_of_the_partitions_asked_for() {
    let (cluster, leader) = Cluster::with_leader().await;
    let job = leader.running(&cluster, 5000).await;
    let plan = plan_of(&cluster, &job.name).await;
    let asked = BTreeSet::from([0, 7, 8, 200, 255]);
    let starts: Vec<(u32, u32)> = asked.iter().map(|partition| (*partition, 0)).collect();
    let brought = stream(&leader, &job.name, &plan, &starts).await.unwrap();

    // The most requested key has the highest number, and rank 0.
    let partitioning = Partitioning::new(256).unwrap();
    let mut expected: BTreeMap<(u32, u32), Vec<Streamed>> = BTreeMap::new();
    for n in (0..5000u64).rev() {
        let key = format!("product:{n}");
        let partition = u32::from(partitioning.partition(Slot::of(key.as_bytes())).0);
        if asked.contains(&partition) {
            expected.entry((0, partition)).or_default().push(Streamed {
                rank: 4999 - n,
                key,
                argument: n.to_string(),
                priority: 1000 * (n + 1),
            });
        }
    }
    assert_eq!(brought, expected);
}

#[tokio::test]
async fn a_partition_is_streamed_from_the_band_that_its_owner_names() {
    let (cluster, leader) = Cluster::with_leader().await;
    let job = leader.create(spec(vec![uploaded()])).await.unwrap();
    let entries = usize::try_from(BandId::RANKS).unwrap() + 1000;
    let numbers: Vec<usize> = (0..entries).collect();
    let batches = numbers
        .chunks(20_000)
        .map(|some| Part::Entries(batch(some.iter().copied())));
    let parts = std::iter::once(header(&job.name, 0)).chain(batches);
    leader.upload(parts.collect()).await.unwrap();
    leader.until_it_is(&job.name, JobState::Running).await;
    let plan = plan_of(&cluster, &job.name).await;

    let all: Vec<(u32, u32)> = (0..256)
        .map(|partition| (partition, partition % 2))
        .collect();
    let brought = stream(&leader, &job.name, &plan, &all).await.unwrap();
    let bands_of = |partition: u32| {
        let places = brought.keys().filter(move |(_, p)| *p == partition);
        places.map(|(band, _)| *band).collect::<BTreeSet<_>>()
    };
    assert_eq!((bands_of(0), bands_of(1)), ([0, 1].into(), [1].into()));
    assert!(
        brought
            .iter()
            .all(|((band, partition), _)| *band >= partition % 2)
    );
    let last: usize = brought
        .iter()
        .filter(|((band, _), _)| *band == 1)
        .map(|(_, entries)| entries.len())
        .sum();
    assert_eq!(last, 1000, "the second band is streamed as a whole");

    // Whoever has come to the plan's end gets nothing more.
    assert!(
        stream(&leader, &job.name, &plan, &[(0, 2)])
            .await
            .unwrap()
            .is_empty()
    );
}

/// A hash tag that all keys share puts a whole band into one partition: more than a message may carry.
#[tokio::test]
async fn a_partition_of_any_size_is_streamed_in_messages_that_fit() {
    let (cluster, leader) = Cluster::with_leader().await;
    let job = leader.create(spec(vec![uploaded()])).await.unwrap();
    let mut noise = 1u64;
    let mut long_key = |n: usize| {
        let byte = |_| {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            char::from(b'!' + u8::try_from(noise >> 58).unwrap())
        };
        let noise: String = (0..60_000).map(byte).collect();
        format!("{{tenant}}:{n}:{noise}")
    };
    let mut parts = vec![header(&job.name, 0)];
    let mut expected = Vec::new();
    for numbers in [0..50, 50..100, 100..150] {
        let mut batch = batch(numbers);
        for (n, key) in batch.keys.iter_mut().enumerate() {
            let long = long_key(n);
            *key = long.clone().into();
            expected.push(long);
        }
        parts.push(Part::Entries(batch));
    }
    leader.upload(parts).await.unwrap();
    leader.until_it_is(&job.name, JobState::Running).await;
    let plan = plan_of(&cluster, &job.name).await;
    let all: Vec<(u32, u32)> = (0..256).map(|partition| (partition, 0)).collect();
    let brought = stream(&leader, &job.name, &plan, &all).await.unwrap();
    assert_eq!(brought.len(), 1);
    let keys = brought.into_values().flatten().map(|entry| entry.key);
    assert!(keys.eq(expected.into_iter().rev()));
}

#[tokio::test]
async fn only_the_jobs_own_plan_and_its_partitions_are_streamed() {
    let (cluster, leader) = Cluster::with_leader().await;
    let job = leader.running(&cluster, 10).await;
    let plan = plan_of(&cluster, &job.name).await;
    let refused = stream(&leader, &job.name, "plans/other/2-1", &[(0, 0)]).await;
    assert_precondition(refused, "this is not the job's plan");
    let refused = stream(&leader, &job.name, &plan, &[(256, 0)])
        .await
        .unwrap_err();
    assert_eq!(
        fault(&refused),
        (Code::InvalidArgument, "partitions".into())
    );
    let refused = stream(&leader, "nobody", &plan, &[(0, 0)])
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let unplanned = leader.create(spec(vec![uploaded()])).await.unwrap();
    let refused = stream(&leader, &unplanned.name, "", &[(0, 0)]).await;
    assert_precondition(refused, "this is not the job's plan");
}

fn failed(rank: u64, reason: &str) -> v1::FailedEntry {
    v1::FailedEntry {
        key: format!("product:{rank}").into(),
        rank,
        loader: "product".into(),
        reason: reason.into(),
        attempts: 5,
    }
}

async fn record_failures(
    served: &Served,
    job: &str,
    log: &str,
    chunk: u64,
    failures: Vec<v1::FailedEntry>,
) -> Result<(), Status> {
    let request = v1::RecordFailuresRequest {
        job: job.into(),
        log: log.into(),
        chunk,
        failures,
    };
    served
        .workers
        .clone()
        .record_failures(request)
        .await
        .map(drop)
}

/// The name of `w1`'s list, under its present assignment.
async fn log_of(cluster: &Cluster, job: &str) -> String {
    let (_, revision) = cluster.assignment(job, "w1").await.unwrap();
    format!("ab12-{}", revision.0)
}

async fn list_failures(served: &Served, job: &str) -> Vec<v1::FailedEntry> {
    let request = v1::ListFailuresRequest { name: job.into() };
    let mut stream = served
        .jobs
        .clone()
        .list_failures(request)
        .await
        .unwrap()
        .into_inner();
    let mut listed = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        listed.extend(message.failures);
    }
    listed
}

#[tokio::test]
async fn failures_are_listed_once_a_checkpoint_counts_them() {
    let (cluster, leader) = Cluster::with_leader().await;
    let job = leader.running(&cluster, 2000).await.name;
    let log_name = log_of(&cluster, &job).await;
    let many: Vec<v1::FailedEntry> = (0..1200)
        .map(|rank| failed(rank, "a row too many"))
        .collect();
    let late = vec![failed(1200, "deadlock")];
    record_failures(
        &leader,
        &job,
        &log_name,
        0,
        vec![failed(7, "an attempt whose answer was lost")],
    )
    .await
    .unwrap();
    record_failures(&leader, &job, &log_name, 0, many.clone())
        .await
        .unwrap();
    record_failures(&leader, &job, &log_name, 1, late.clone())
        .await
        .unwrap();
    assert!(list_failures(&leader, &job).await.is_empty());

    let count = async |failed: u64, chunks| {
        let tally = Tally {
            failed,
            ..Tally::default()
        };
        let log = FailureLog {
            log: log_name.clone(),
            chunks,
        };
        cluster
            .checkpoint(&job, "w1", tally, |checkpoint| {
                checkpoint.failures = Some(log)
            })
            .await;
    };
    count(1200, 1).await;
    assert_eq!(list_failures(&leader, &job).await, many);
    count(1201, 2).await;
    assert_eq!(
        list_failures(&leader, &job).await,
        [many.clone(), late.clone()].concat()
    );

    // They outlive the job's end.
    let rest = Tally {
        warmed: 799,
        failed: 1201,
        ..Tally::default()
    };
    let log = FailureLog {
        log: log_name.clone(),
        chunks: 2,
    };
    cluster
        .checkpoint(&job, "w1", rest, |checkpoint| {
            checkpoint.failures = Some(log)
        })
        .await;
    let ended = leader.until_it_is(&job, JobState::Failed).await;
    assert_eq!(
        (outcomes(&ended).failed, ended.reason.as_str()),
        (1201, "1201 entries failed; 0 were allowed")
    );
    assert_eq!(list_failures(&leader, &job).await, [many, late].concat());
}

#[tokio::test]
async fn a_list_of_failures_has_a_name_and_nothing_else() {
    let (_cluster, leader) = Cluster::with_leader().await;
    for (job, log, field) in [
        ("j", "../plans", "log"),
        ("j", "", "log"),
        ("../j", "log", "job"),
    ] {
        let refused = record_failures(&leader, job, log, 0, Vec::new())
            .await
            .unwrap_err();
        assert_eq!(fault(&refused), (Code::InvalidArgument, field.into()));
    }
}

#[tokio::test]
async fn only_an_owner_of_the_jobs_partitions_records_failures() {
    let (cluster, leader) = Cluster::with_leader().await;
    let job = leader.running(&cluster, 10).await.name;
    let log = log_of(&cluster, &job).await;
    let others = ["ab12", "ab12-1", "ab12-", &format!("{log}0")];
    for other in others {
        let refused = record_failures(&leader, &job, other, 0, vec![failed(1, "no")]);
        assert_precondition(refused.await, "of no owner");
    }
    record_failures(&leader, &job, &log, 0, vec![failed(1, "no")])
        .await
        .unwrap();
}
