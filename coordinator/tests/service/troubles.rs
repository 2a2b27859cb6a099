//! What keeps workers from going on: shown with the job while the worker says so, and to those who watch at once.

use std::time::Duration;

use stoke_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::cluster::{Cluster, spec, uploaded};

fn report(troubles: &[(&str, &str)]) -> v1::AttachRequest {
    let trouble = |(job, what): &(&str, &str)| v1::JobTrouble {
        job: (*job).to_owned(),
        what: (*what).to_owned(),
    };
    v1::AttachRequest {
        worker: "w1".into(),
        uses: Vec::new(),
        troubles: troubles.iter().map(trouble).collect(),
        ..v1::AttachRequest::default()
    }
}

#[tokio::test]
async fn a_trouble_is_shown_with_its_worker_until_it_passes_or_the_worker_is_gone_and_wakes_whoever_watches()
 {
    let (cluster, leader) = Cluster::with_leader().await;
    cluster.join("w1").await;
    // It waits for its entries: no record changes that would wake a watch.
    let job = leader.create(spec(vec![uploaded()])).await.unwrap();
    let watched = v1::WatchJobRequest {
        name: job.name.clone(),
    };
    let watched = leader.jobs.clone().watch_job(watched).await.unwrap();
    let mut watched = watched.into_inner();
    let mut shown = async |wanted: &[&str]| {
        let watching = async {
            loop {
                let job = watched.message().await.unwrap().unwrap().job.unwrap();
                let what: Vec<_> = job.troubles.iter().map(|t| t.what.clone()).collect();
                if what == wanted {
                    break job;
                }
            }
        };
        let watching = tokio::time::timeout(Duration::from_secs(30), watching);
        watching.await.expect("the watch should have told")
    };
    shown(&[]).await;

    let (reports, receive) = mpsc::channel(4);
    let mut workers = leader.workers.clone();
    let hints = workers.attach(ReceiverStream::new(receive)).await.unwrap();
    let long = "x".repeat(10_000);
    let others: [(&str, &str); 2] = [("other-job", "elsewhere"), ("no job's name!", "nothing")];
    let told = [[(job.name.as_str(), "cache main: gone")], [others[0]]].concat();
    reports.send(report(&told)).await.unwrap();
    let troubled = shown(&["cache main: gone"]).await;
    assert_eq!(troubled.troubles[0].worker, "w1");
    assert_eq!(leader.get(&job.name).await.troubles, troubled.troubles);

    reports.send(report(&others)).await.unwrap();
    shown(&[]).await;

    reports.send(report(&[(&job.name, &long)])).await.unwrap();
    shown(&[&long[..600]]).await;
    drop((reports, hints));
    shown(&[]).await;
}
