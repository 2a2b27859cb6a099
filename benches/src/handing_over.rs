//! Handing partitions over: how long it takes, on a real etcd, until everybody owns what it should once a worker comes or is
//! gone; and for how long nobody works on a partition that moves.

mod leader;
mod owner;
mod scene;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use stoke_harness::EtcdCluster;

use self::leader::{Handed, Leader};
use self::owner::{Fleet, Notes, Told};
use self::scene::Scene;
use crate::table::{Table, percentile, time};

/// What is handed over: partitions, workers before.
const SCENES: [(u16, usize); 4] = [(1_024, 3), (16_384, 3), (1_024, 100), (16_384, 100)];

/// Measures, and gives the tables.
pub(crate) fn run() -> Result<String> {
    let runtime = tokio::runtime::Runtime::new().context("starting tokio")?;
    let mut table = Table::new(&[
        "partitions",
        "what happens",
        "moved",
        "took",
        "of which a partition rests: p50",
        "most",
        "leader's steps",
        "bytes",
        "workers' checkpoints",
        "bytes",
    ]);
    for (partitions, workers) in SCENES {
        for row in runtime.block_on(measure(partitions, workers))? {
            println!("{}", row.join(", "));
            table.row(row);
        }
    }
    Ok(format!(
        "## Handing over\n\n\
         A leader that decides as it is shipped, on all records, at most every {} ms; so many workers, each with its own \
         connection and watch, that follow, release and checkpoint as they are shipped, and have settled entries of each of \
         their partitions; a real etcd. Took: from the change among the members until everybody owns what it should. A \
         partition rests from when its owner begins nothing more of it until its next owner may go on; where statements are in \
         flight, until they have come back at least. That a worker vanished is noticed when its lease ends (the term T), which is \
         not counted here.\n\n{table}\n",
        leader::LOOK_APART.as_millis(),
    ))
}

/// Some workers begin, one more comes, and one vanishes: a row each.
async fn measure(partitions: u16, workers: usize) -> Result<Vec<Vec<String>>> {
    let etcd = EtcdCluster::start(1)?;
    let scene = Arc::new(Scene::new(&etcd, partitions).await?);
    let told = Arc::new(Notes::default());
    let mut leader = Leader::new(Arc::clone(&scene));
    let mut fleet = Fleet::new(&etcd, Arc::clone(&scene), Arc::clone(&told));
    for n in 0..workers {
        fleet.add(n).await?;
    }
    let members: Vec<usize> = (0..workers).collect();
    scene.join(&members).await?;
    let begun = leader.until_settled().await?;
    fleet.until_quiet().await?;
    let mut rows = vec![row(
        partitions,
        &format!("{workers} workers begin"),
        &begun,
        &told.take(),
    )];

    fleet.add(workers).await?;
    scene.join(&[workers]).await?;
    let joined = leader.until_settled().await?;
    fleet.until_quiet().await?;
    let what = format!("{workers} → {} workers", workers + 1);
    rows.push(row(partitions, &what, &joined, &told.take()));

    fleet.kill(0).await;
    scene.leave(0).await?;
    let vanished = leader.until_settled().await?;
    fleet.until_quiet().await?;
    let what = format!("one of {} vanishes", workers + 1);
    rows.push(row(partitions, &what, &vanished, &told.take()));
    fleet.end().await;
    Ok(rows)
}

fn row(partitions: u16, what: &str, handed: &Handed, told: &Told) -> Vec<String> {
    let rests = |rest: Duration| {
        if told.rests.is_empty() {
            "–".to_owned()
        } else {
            time(rest)
        }
    };
    vec![
        partitions.to_string(),
        what.to_owned(),
        told.gained.to_string(),
        time(handed.took),
        rests(percentile(&told.rests, 50)),
        rests(percentile(&told.rests, 100)),
        handed.steps.to_string(),
        kib(handed.bytes),
        told.checkpoints.to_string(),
        kib(told.bytes),
    ]
}

fn kib(bytes: usize) -> String {
    format!("{} KiB", bytes.div_ceil(1024))
}
