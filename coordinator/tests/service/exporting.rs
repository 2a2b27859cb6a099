//! `ExportPlan`: a plan's entries, by rank.

use stoke_core::units::BandId;
use stoke_proto::MESSAGE_BYTES_MAX;
use stoke_proto::v1::upload_entries_request::Part;
use stoke_proto::v1::{self, JobState};
use tonic::{Code, Status};

use super::cluster::{
    Cluster, Served, assert_precondition, batch, header, settings, spec, uploaded,
};

async fn export(served: &Served, job: &str) -> Result<Vec<v1::EntryBatch>, Status> {
    let request = v1::ExportPlanRequest { name: job.into() };
    let mut jobs = served.jobs.clone();
    let mut stream = jobs.export_plan(request).await?.into_inner();
    let mut batches = Vec::new();
    while let Some(message) = stream.message().await? {
        batches.push(message.entries.unwrap());
    }
    Ok(batches)
}

#[tokio::test]
async fn a_plan_of_several_bands_is_exported_by_rank_by_any_coordinator() {
    let (cluster, leader) = Cluster::with_leader().await;
    let standby = cluster.start(settings("c2")).await.unwrap();
    let mut asked = spec(vec![uploaded()]);
    let work = super::cluster::work(&mut asked);
    work.loaders.push(v1::Loader {
        name: "price".into(),
        ..v1::Loader::default()
    });
    work.sources[0].loader = "product".into();
    let mut knows_both = super::cluster::member();
    let shop = "shop".parse().unwrap();
    knows_both.loaders.insert("price".parse().unwrap(), shop);
    cluster.join_as("w1", knows_both).await;
    let job = leader.create(asked).await.unwrap().name;
    let entries = usize::try_from(BandId::RANKS).unwrap() + 1000;
    let numbers: Vec<usize> = (0..entries).collect();
    let parts = numbers.chunks(20_000).map(|some| {
        let mut batch = batch(some.iter().copied());
        batch.loaders = some.iter().map(|n| u32::from(n % 3 == 0)).collect();
        Part::Entries(batch)
    });
    let parts = std::iter::once(header(&job, 0)).chain(parts);
    leader.upload(parts.collect()).await.unwrap();
    leader.until_it_is(&job, JobState::Running).await;

    let batches = export(&standby, &job).await.unwrap();
    let mut rank = 0;
    for batch in &batches {
        for n in 0..batch.keys.len() {
            // The most requested key has the highest number, and rank 0.
            let number = entries - 1 - rank;
            assert_eq!(batch.ranks[n], rank as u64);
            assert_eq!(batch.keys[n], format!("product:{number}"));
            assert_eq!(batch.arguments[n], number.to_string());
            assert_eq!(batch.priorities[n], 1000 * (number as u64 + 1));
            assert_eq!(batch.loaders[n], u32::from(number % 3 == 0));
            rank += 1;
        }
    }
    assert_eq!(rank, entries);
}

#[tokio::test]
async fn uploaded_entries_that_name_no_loader_are_their_sources() {
    let (cluster, leader) = Cluster::with_leader().await;
    let mut asked = spec(vec![uploaded()]);
    let work = super::cluster::work(&mut asked);
    work.loaders.push(v1::Loader {
        name: "price".into(),
        ..v1::Loader::default()
    });
    work.sources[0].loader = "price".into();
    let mut knows_both = super::cluster::member();
    let shop = "shop".parse().unwrap();
    knows_both.loaders.insert("price".parse().unwrap(), shop);
    cluster.join_as("w1", knows_both).await;
    let job = leader.create(asked).await.unwrap().name;
    let parts = vec![header(&job, 0), Part::Entries(batch(0..3))];
    leader.upload(parts).await.unwrap();
    leader.until_it_is(&job, JobState::Running).await;
    let batches = export(&leader, &job).await.unwrap();
    assert_eq!(batches[0].loaders, [1, 1, 1]);
}

#[tokio::test]
async fn entries_of_any_size_are_exported_in_messages_that_fit() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let job = leader.create(spec(vec![uploaded()])).await.unwrap().name;
    let mut parts = vec![header(&job, 0)];
    for numbers in [0..50, 50..100] {
        let mut batch = batch(numbers);
        for key in &mut batch.keys {
            *key = [&key[..], &[b'x'; 60_000]].concat().into();
        }
        parts.push(Part::Entries(batch));
    }
    leader.upload(parts).await.unwrap();
    leader.until_it_is(&job, JobState::Running).await;
    let batches = export(&leader, &job).await.unwrap();
    assert!(batches.len() > 1);
    let exported: usize = batches.iter().map(|batch| batch.keys.len()).sum();
    assert_eq!(exported, 100);
    let bytes = |batch: &v1::EntryBatch| prost::Message::encoded_len(batch);
    assert!(batches.iter().all(|batch| bytes(batch) < MESSAGE_BYTES_MAX));
}

#[tokio::test]
async fn a_plan_is_exported_once_there_is_one() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let job = leader.create(spec(vec![uploaded()])).await.unwrap().name;
    assert_precondition(export(&leader, &job).await, "has no plan yet");
    leader.upload(vec![header(&job, 0)]).await.unwrap();
    leader.until_it_is(&job, JobState::Failed).await;
    assert_precondition(export(&leader, &job).await, "never had a plan");
    let refused = export(&leader, "nobody").await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
}
