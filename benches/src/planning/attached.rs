//! Workers that tell how they get on.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use stoke_proto::v1;
use stoke_proto::v1::worker_service_client::WorkerServiceClient;
use tokio::sync::{Barrier, mpsc};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::process::Served;
use crate::table::{Table, time};

/// How many.
pub(super) const WORKERS: usize = 1000;
/// How many reports each sends: HTTP/2 ends a connection that has much more unread in little frames.
const REPORTS: u64 = 500;
/// How long all may take to attach.
const ATTACHED_WITHIN: Duration = Duration::from_secs(300);

pub(super) async fn measure(served: &Served) -> Result<Table> {
    served.reset_peak()?;
    let all_attached = std::sync::Arc::new(Barrier::new(WORKERS + 1));
    let mut workers = JoinSet::new();
    for n in 0..WORKERS {
        // A connection of its own, as a worker has.
        let endpoint = Channel::from_shared(served.address.clone())?;
        let client = WorkerServiceClient::new(endpoint.connect().await?);
        let all_attached = std::sync::Arc::clone(&all_attached);
        workers.spawn(report(client, format!("b{n}"), all_attached));
    }
    tokio::time::timeout(ATTACHED_WITHIN, all_attached.wait())
        .await
        .context("not all workers could attach")?;
    let (begun, cpu) = (Instant::now(), served.processor_time()?);
    while let Some(reported) = workers.join_next().await {
        reported??;
    }
    let took = begun.elapsed();
    let reports = WORKERS as u64 * REPORTS;
    let mut table = Table::new(&[
        "reports",
        "took",
        "reports/s",
        "peak memory",
        "CPU of the coordinator",
    ]);
    table.row([
        reports.to_string(),
        time(took),
        format!("{:.0}", reports as f64 / took.as_secs_f64()),
        format!("{} MiB", served.peak_mib()?),
        time(served.processor_time()? - cpu),
    ]);
    Ok(table)
}

/// Attaches, sends its reports once all are attached, and waits until the coordinator has read the last.
async fn report(
    mut client: WorkerServiceClient<Channel>,
    worker: String,
    all_attached: std::sync::Arc<Barrier>,
) -> Result<()> {
    let (send, receive) = mpsc::channel(1);
    let report = |queries| v1::AttachRequest {
        worker: worker.clone(),
        uses: vec![v1::ResourceUse {
            resource: "origin/shop".into(),
            queries,
            in_flight: 1,
        }],
        ..v1::AttachRequest::default()
    };
    send.send(report(0)).await?;
    let mut hints = client
        .attach(ReceiverStream::new(receive))
        .await?
        .into_inner();
    all_attached.wait().await;
    let sending = async move {
        for n in 1..=REPORTS {
            send.send(report(n)).await?;
        }
        // The coordinator ends the call when it has read the last.
        drop(send);
        anyhow::Ok(())
    };
    let hearing = async move {
        while hints.message().await?.is_some() {}
        anyhow::Ok(())
    };
    let (sent, heard) = tokio::join!(sending, hearing);
    // Where the call broke, what was heard says why.
    heard.and(sent)
}
