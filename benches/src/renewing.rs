//! Renewing shares in a real etcd: how many writes a second it sustains, and how fleets of workers fare with the term that
//! follows from it.

mod fleet;
mod leader;
mod load;

pub(crate) use self::load::connect;

use std::time::Duration;

use anyhow::{Context, Result};
use stoke_core::ledger::Timing;
use stoke_harness::EtcdCluster;

use self::fleet::Measured;
use crate::rule;
use crate::table::{Table, percentile, time};

/// The fleets: members of etcd, workers, resources with a budget.
const FLEETS: [(usize, u32, u32); 7] = [
    (1, 3, 1),
    (1, 30, 1),
    (1, 300, 1),
    (1, 1000, 1),
    (1, 1000, 10),
    (3, 300, 1),
    (3, 1000, 1),
];

/// Measures, and gives the tables.
pub(crate) fn run() -> Result<String> {
    let runtime = tokio::runtime::Runtime::new().context("starting tokio")?;
    let mut report = String::from("## Renewing in etcd\n\n");
    let mut table = Table::new(&[
        "members of etcd",
        "workers",
        "resources",
        "renew-every",
        "T",
        "Q",
        "renewals/s asked",
        "writes/s reached",
        "p50",
        "p99",
        "slowest",
        "failed or late",
        "CPU of etcd",
        "CPU of the workers",
    ]);
    let mut unmeasured = String::new();
    for members in [1, 3] {
        let etcd = EtcdCluster::start(members)?;
        let (told, sustained) = runtime.block_on(load::sustained(&etcd, members))?;
        println!("{told}");
        report += &told;
        for (_, workers, resources) in FLEETS.into_iter().filter(|fleet| fleet.0 == members) {
            let timing = rule::timing(workers, resources, sustained);
            // Each has an etcd of its own, so that none inherits another's history.
            let etcd = EtcdCluster::start(members)?;
            match runtime.block_on(fleet::measure(&etcd, workers, resources, timing)) {
                Ok(measured) => {
                    let row = row(members, workers, resources, &timing, &measured);
                    println!("{}", row.join(", "));
                    table.row(row);
                }
                // Too much for this machine is a result, too.
                Err(error) => {
                    let why = format!(
                        "{workers} workers with {resources} resources on {members} member(s) were not measured: {error:#}\n\n"
                    );
                    println!("{why}");
                    unmeasured += &why;
                }
            }
        }
    }
    report += &format!(
        "### Fleets\n\n\
         So many workers as they are shipped (each with its own connection, its watches, its membership and its heart), and \
         a leader that reads all records whenever one has changed, as the coordinator's does, and shares with the shipped \
         allocator. Measured once all hold their shares, for at least {} s. An answer after more than {} is late. CPU: 100 % is \
         one core; etcd and all workers have the same ones.\n\n{table}\n{unmeasured}\
         How T is chosen: renewals a second = workers × resources ÷ renew-every; they may be half of the writes that etcd \
         sustains (the other half is for checkpoints, divisions, and catching up). So renew-every = workers × resources ÷ \
         (sustained ÷ 2), rounded up to half seconds and at least 1 s; T = 5 × renew-every; Q follows from T. The price is T: \
         for so long a worker that cannot be reached goes on after an abort, and Q until its share is given to others.\n",
        fleet::MEASURED_FOR.as_secs(),
        time(Timing::default().renew_deadline),
    );
    Ok(report)
}

fn row(
    members: usize,
    workers: u32,
    resources: u32,
    timing: &Timing,
    measured: &Measured,
) -> Vec<String> {
    let asked = f64::from(workers) * f64::from(resources) / timing.renew_every.as_secs_f64();
    let percent = |time: Duration| {
        let part = time.as_secs_f64() / measured.lasted.as_secs_f64();
        format!("{:.0} %", part * 100.0)
    };
    let writes = measured.revisions as f64 / measured.lasted.as_secs_f64();
    let times = &measured.renewals;
    vec![
        members.to_string(),
        workers.to_string(),
        resources.to_string(),
        time(timing.renew_every),
        time(timing.term),
        time(timing.quarantine),
        format!("{asked:.0}"),
        format!("{writes:.0}"),
        time(percentile(times, 50)),
        time(percentile(times, 99)),
        time(percentile(times, 100)),
        format!("{} of {}", measured.failed, measured.failed + times.len()),
        percent(measured.etcd_cpu),
        percent(measured.own_cpu),
    ]
}
