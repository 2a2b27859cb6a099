//! What is to be expected of a job's plan, as its callers are told.

use stoke_core::records::Member;
use stoke_proto::v1;
use stoke_proto::v1::send_source_request::Part;
use stoke_proto::v1::upload_entries_request::Part as UploadPart;

use super::cluster::{Cluster, Served, batch, header, member, named, spec, uploaded, work};
use super::sources::{send, source, until_given};

fn top(job: &v1::Job, part: f64) -> v1::TopShare {
    let popularity = job.popularity.as_ref().unwrap();
    let top = popularity
        .tops
        .iter()
        .find(|top| (top.top - part).abs() < 1e-9);
    *top.unwrap()
}

#[tokio::test]
async fn the_queries_of_a_top_are_those_of_the_loaders_that_are_there() {
    let (cluster, leader) = Cluster::with_leader().await;
    let name = |name: &str| name.parse().unwrap();
    let origin = || "shop".parse().unwrap();
    let able = Member {
        loaders: [(name("product"), origin()), (name("page"), origin())].into(),
        batch_keys: [(name("product"), 10), (name("page"), 1000)].into(),
        ..member()
    };
    cluster.join_as("w1", able).await;
    let mut asked = spec(vec![uploaded()]);
    let batch_of = work(&mut asked);
    batch_of.loaders.push(v1::Loader {
        name: "page".into(),
        ..v1::Loader::default()
    });
    batch_of.sources[0].loader = "product".into();
    let job = leader.create(asked).await.unwrap();
    // The first half of the plan is products, the other pages: the higher its number, the more a key is asked for.
    let mut entries = batch(0..100);
    entries.loaders = (0..100).map(|n| u32::from(n < 50)).collect();
    let parts = vec![header(&job.name, 0), UploadPart::Entries(entries)];
    leader.upload(parts).await.unwrap();
    cluster.until_it_owns_all(&job.name, "w1").await;
    let job = leader.get(&job.name).await;
    assert_eq!(
        top(&job, 0.25).origin_queries,
        3,
        "25 products, ten in a query"
    );
    assert_eq!(top(&job, 1.0).origin_queries, 6, "and 50 pages in one");
    assert_eq!(job.popularity.unwrap().drift, None);
}

/// Sends a source's entries, and how its traffic drifts.
async fn read(served: &Served, job: &str, n: u32, drift: Option<v1::Drift>) {
    let log = v1::LogReport {
        lines: 100,
        drift,
        ..v1::LogReport::default()
    };
    let verdict = v1::SourceVerdict {
        log: Some(log),
        ..v1::SourceVerdict::default()
    };
    let parts = vec![
        source(job, n, 1),
        Part::Entries(batch(0..100)),
        Part::Verdict(verdict),
    ];
    send(served, parts).await.unwrap();
}

fn drift(requests: u64, kept: f64) -> v1::Drift {
    let of_top = |top| v1::KeptOfTop {
        top,
        kept,
        deviation: f64::NAN,
    };
    v1::Drift {
        requests,
        sampled: 1.0,
        fading: None,
        // Out of order, and more than there can be.
        tops: [1.0, 7.0, 0.001].map(of_top).into(),
    }
}

#[tokio::test]
async fn what_all_sources_say_of_their_drift_makes_the_hit_rate_to_expect() {
    let (cluster, leader) = Cluster::with_leader().await;
    for (second, expected) in [(Some(drift(3000, 0.8)), Some(0.65)), (None, None)] {
        let job = leader.create(spec(vec![named(), named()])).await.unwrap();
        for (n, told) in [(0, Some(drift(u64::MAX, 0.2))), (1, second)] {
            until_given(&cluster, &leader, &job.name, n, 1).await;
            let told = told.map(|told| v1::Drift {
                requests: if n == 0 { 1000 } else { told.requests },
                ..told
            });
            read(&leader, &job.name, n, told).await;
        }
        let planned = leader.until_it_is(&job.name, v1::JobState::Running).await;
        let all = top(&planned, 1.0);
        assert_eq!(all.hit_rate, 1.0);
        match expected {
            Some(expected) => {
                let told = all.expected_hit_rate.unwrap();
                assert!((told - expected).abs() < 1e-6, "{told}");
                let popularity = planned.popularity.unwrap();
                assert_eq!(popularity.drift.unwrap().requests, 4000);
            }
            None => assert_eq!(
                (all.expected_hit_rate, planned.popularity.unwrap().drift),
                (None, None)
            ),
        }
    }
}
