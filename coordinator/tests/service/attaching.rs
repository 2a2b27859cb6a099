//! Attached workers are told to look again, however many they are, by watches of the store that do not grow with them.

use std::sync::Arc;
use std::time::Duration;

use stoke_core::records::{SourceTask, keys};
use stoke_proto::v1;
use stoke_store::Keys;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::cluster::{Cluster, Served, job_name, settings, worker};
use super::spy::Spy;

/// An attached worker.
struct Attached {
    _reports: mpsc::Sender<v1::AttachRequest>,
    hints: Streaming<v1::AttachResponse>,
}

impl Attached {
    async fn to(coordinator: &Served) -> Self {
        let (reports, receive) = mpsc::channel(1);
        let mut workers = coordinator.workers.clone();
        let hints = workers.attach(ReceiverStream::new(receive)).await.unwrap();
        Self {
            _reports: reports,
            hints: hints.into_inner(),
        }
    }

    /// Waits until it is told to look.
    async fn is_woken(&mut self) {
        let woken = async { while !self.hints.message().await.unwrap().unwrap().wake {} };
        let woken = tokio::time::timeout(Duration::from_secs(30), woken).await;
        woken.expect("it should have been told to look");
    }
}

#[tokio::test]
async fn a_hundred_attached_workers_are_woken_by_the_watches_of_one() {
    const FORWARDED: [&str; 5] = [
        keys::CAPS,
        keys::RUNS,
        keys::READS,
        keys::ASSIGNMENTS,
        keys::VIGILS,
    ];
    let cluster = Cluster::new();
    let store = Arc::new(Spy::before(cluster.store.clone()));
    let leader = cluster
        .start_on(Arc::clone(&store) as _, settings("c1"))
        .await;
    let leader = leader.unwrap();
    leader.until_it_leads().await;
    let given = SourceTask {
        worker: worker("w1"),
        attempt: 1,
    };
    let change = async || cluster.put(&keys::read(&job_name("j"), 0), &given).await;
    let mut attached = Vec::new();
    for n in 0..100 {
        let mut late = Attached::to(&leader).await;
        late.is_woken().await;
        attached.push(late);
        // Some come before a change, some after it.
        if n % 20 == 0 {
            change().await;
        }
    }
    change().await;
    for attached in &mut attached {
        attached.is_woken().await;
    }
    let watched = store.watched();
    for prefix in FORWARDED {
        let of_prefix = Keys::Prefix(prefix.to_owned());
        let count = watched.iter().filter(|keys| **keys == of_prefix).count();
        // The leader's own, and one for all who are attached.
        assert_eq!(count, 2, "{prefix}");
    }
}
