//! Big plans: ranking and banding ten million entries, streaming them, and a thousand workers that tell how they get on; on a
//! coordinator in a process of its own, with a real etcd, over gRPC.

mod attached;
mod feed;
mod process;
mod streams;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use stoke_core::plan::PlanSummary;
use stoke_harness::EtcdCluster;
use stoke_store::Store;

pub(crate) use self::process::{SERVE, serve};

use self::process::Served;
use crate::renewing::connect;
use crate::table::{Table, time};

/// How many entries the plan has.
const ENTRIES: u64 = 10_000_000;
/// How much memory the coordinator may take while it plans and streams.
const PEAK_MIB_MAX: u64 = 1024;
/// How many workers take a plan together.
const WORKERS: u32 = 8;

/// Measures, and gives the tables.
pub(crate) fn run() -> Result<String> {
    let runtime = tokio::runtime::Runtime::new().context("starting tokio")?;
    runtime.block_on(measure())
}

async fn measure() -> Result<String> {
    let etcd = EtcdCluster::start(1)?;
    let store = connect(&etcd).await?;
    let folder = tempfile::tempdir().context("making a folder")?;
    let served = Served::start(&etcd.endpoints(), folder.path())?;
    let load = std::fs::read_to_string("/proc/loadavg").context("reading the load")?;
    let load = load.split(' ').next().unwrap_or_default();
    let mut report = format!(
        "## Big plans\n\n\
         A coordinator in a process of its own, with the default `ranking-memory` and its plan store on a disk; its worker, \
         which makes up the entries, its etcd and those who take the plan share the machine with it. Load average before: \
         {load}. Peak memory is the coordinator's VmHWM in that phase, of which at most {PEAK_MIB_MAX} MiB are wanted.\n\n"
    );
    let (plan, table) = planned(&store, &served).await?;
    println!("{table}");
    report += &format!("### Planning {ENTRIES} entries\n\n{table}\n");
    let table = streamed(&served, &plan).await?;
    println!("{table}");
    report += &format!(
        "### Streaming them\n\n\
         Taken: messages are read and counted. Unpacked: segments are decompressed and decoded, too, as workers do, on the same \
         cores.\n\n{table}\n"
    );
    let table = attached::measure(&served).await?;
    println!("{table}");
    report += &format!(
        "### {} workers attached\n\n\
         Each has a connection of its own, and sends reports as fast as they are taken; none counts that the coordinator did \
         not read.\n\n{table}\n",
        attached::WORKERS,
    );
    Ok(report)
}

async fn planned(store: &Arc<dyn Store>, served: &Served) -> Result<(PlanSummary, Table)> {
    served.reset_peak()?;
    let cpu = served.processor_time()?;
    let begun = Instant::now();
    let job = feed::create(&**store, &served.address).await?;
    feed::send(&**store, &served.address, &job, ENTRIES).await?;
    let sent = begun.elapsed();
    let sent_peak = served.peak_mib()?;
    let plan = feed::until_planned(&**store, &job).await?;
    let all = begun.elapsed();
    let mut table = Table::new(&[
        "phase",
        "took",
        "entries/s",
        "peak memory",
        "CPU of the coordinator",
    ]);
    let rate = |took: Duration| format!("{:.0}", ENTRIES as f64 / took.as_secs_f64());
    table.row([
        "collecting what the worker sends (sorting by key, spilling)".into(),
        time(sent),
        rate(sent),
        format!("{sent_peak} MiB"),
        String::new(),
    ]);
    table.row([
        "merging, ranking, cutting into bands, storing".into(),
        time(all - sent),
        rate(all - sent),
        String::new(),
        String::new(),
    ]);
    table.row([
        format!("in all, {} bands", plan.bands),
        time(all),
        rate(all),
        format!("{} MiB", served.peak_mib()?),
        time(served.processor_time()? - cpu),
    ]);
    Ok((plan, table))
}

async fn streamed(served: &Served, plan: &PlanSummary) -> Result<Table> {
    let mut table = Table::new(&["to", "", "took", "entries/s", "peak memory"]);
    for (workers, unpack) in [(1, false), (1, true), (WORKERS, false), (WORKERS, true)] {
        served.reset_peak()?;
        let begun = Instant::now();
        let entries = streams::take(&served.address, plan, workers, unpack).await?;
        let took = begun.elapsed();
        anyhow::ensure!(entries == ENTRIES, "{entries} of {ENTRIES} came");
        table.row([
            format!("{workers}"),
            if unpack { "unpacked" } else { "taken" }.into(),
            time(took),
            format!("{:.0}", entries as f64 / took.as_secs_f64()),
            format!("{} MiB", served.peak_mib()?),
        ]);
    }
    Ok(table)
}
