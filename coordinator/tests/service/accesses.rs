//! What applications report of the keys that they ask for.

use std::time::{Duration, SystemTime};

use stoke_proto::v1;
use tonic::Code;

use super::cluster::{Cluster, Served, settings};

fn access(key: &str, count: u64) -> v1::Access {
    v1::Access {
        key: key.into(),
        count,
        when: None,
    }
}

fn report(feed: &str, accesses: Vec<v1::Access>) -> v1::ReportAccessesRequest {
    v1::ReportAccessesRequest {
        feed: feed.into(),
        accesses,
    }
}

async fn list(served: &Served, feed: &str, top: u32) -> Result<Vec<(String, f64)>, tonic::Status> {
    let request = v1::ListAccessesRequest {
        feed: feed.into(),
        top,
    };
    let mut listed = served
        .accesses
        .clone()
        .list_accesses(request)
        .await?
        .into_inner();
    let mut keys = Vec::new();
    while let Some(message) = listed.message().await? {
        for key in message.keys {
            keys.push((String::from_utf8(key.key.to_vec()).unwrap(), key.count));
        }
    }
    Ok(keys)
}

#[tokio::test]
async fn what_is_reported_is_listed_by_how_often_it_was_asked_for_and_old_accesses_count_less() {
    let (cluster, leader) = Cluster::with_leader().await;
    let yesterday = SystemTime::now() - Duration::from_secs(86_400);
    let old = v1::Access {
        when: Some(yesterday.into()),
        ..access("old", 8)
    };
    let reports = vec![
        report("shop", vec![access("7", 0), access("8", 2), old]),
        report(
            "",
            vec![access("7", 2), access("", 1), access(&"x".repeat(1025), 1)],
        ),
        report("other", vec![access("7", 9)]),
    ];
    let mut accesses = leader.accesses.clone();
    let counted = accesses
        .report_accesses(tokio_stream::iter(reports))
        .await
        .unwrap();
    let expected = v1::ReportAccessesResponse {
        accesses: 5,
        refused: 2,
    };
    assert_eq!(counted.into_inner(), expected);
    let found = list(&leader, "shop", 0).await.unwrap();
    let keys: Vec<(&str, u64)> = found
        .iter()
        .map(|(key, count)| (key.as_str(), count.round() as u64))
        .collect();
    assert_eq!(keys, [("old", 4), ("7", 3), ("8", 2)], "{found:?}");
    assert_eq!(list(&leader, "shop", 1).await.unwrap().len(), 1);
    assert_eq!(list(&leader, "other", 0).await.unwrap().len(), 1);
    let standby = cluster.start(settings("c2")).await.unwrap();
    for refused in [
        list(&leader, "nobody", 0).await.unwrap_err(),
        list(&standby, "shop", 0).await.unwrap_err(),
    ] {
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    }
    assert_eq!(
        list(&leader, "no name", 0).await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn a_report_says_what_it_is_of_and_feeds_are_few() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let mut accesses = leader.accesses.clone();
    let mut refused = async |reports: Vec<v1::ReportAccessesRequest>| {
        let told = accesses.report_accesses(tokio_stream::iter(reports)).await;
        told.map(|_| ()).unwrap_err()
    };
    let nameless = refused(vec![report("", vec![access("7", 1)])]).await;
    assert!(
        nameless
            .message()
            .contains("feed: say in the first message"),
        "{nameless}"
    );
    let many = (0..9).map(|n| report(&format!("feed-{n}"), vec![access("7", 1)]));
    let too_many = refused(many.collect()).await;
    assert!(
        too_many.message().contains("there are 8 feeds already"),
        "{too_many}"
    );
    assert_eq!(
        list(&leader, "feed-7", 0).await.unwrap().len(),
        1,
        "what came before counts"
    );
}
