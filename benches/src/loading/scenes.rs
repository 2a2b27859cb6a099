//! Scenes of Stoke alone: under a budget, in which order several workers go, and whether memory grows with the keys.

use std::fmt;

use anyhow::Result;

use super::Stage;
use super::contest::{Seen, Target, median};
use super::embedded::Asked;
use stoke_core::batch_keys::BatchKeys;

use super::{IN_FLIGHT, QPS_UNBOUND};
use crate::table::Table;

/// The budget of the scene with one.
const QPS: u32 = 200;
/// The fleets whose order is looked at.
const FLEETS: [u32; 3] = [1, 3, 8];
/// Of the keys, one in so many: a part of a band, several bands, and all. From some bands on a worker has all under way that it
/// ever has at one time, so it is the last two that tell whether its memory grows with the keys.
const PARTS: [u64; 3] = [10, 2, 1];

/// Loading under a budget of queries.
pub(super) struct Budget {
    runs: Vec<(Seen, u64)>,
}

pub(super) fn budget(stage: &Stage, rounds: usize) -> Result<Budget> {
    let mut runs = Vec::new();
    for _ in 0..rounds {
        let seen = stage.warm(
            Target::Standalone,
            Asked {
                qps: QPS,
                batch_keys: BatchKeys::AUTO,
                ..Asked::as_fast_as_it_can(stage.origin.rows)
            },
        )?;
        let loads = stage.origin.loads()?;
        println!("{QPS} queries a second: {loads} loads, {seen:?}");
        runs.push((seen, loads));
    }
    Ok(Budget { runs })
}

impl Budget {
    /// Which part of the budget loading uses while it loads.
    pub(super) fn used(&self) -> f64 {
        median(
            self.runs
                .iter()
                .map(|(seen, loads)| *loads as f64 / (f64::from(QPS) * seen.writing.as_secs_f64())),
        )
    }

    pub(super) fn pace(&self) -> f64 {
        median(self.runs.iter().map(|(seen, _)| seen.writing_pace()))
    }

    fn whole_pace(&self) -> f64 {
        median(self.runs.iter().map(|(seen, _)| seen.pace()))
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&[
            "queries a second, at most",
            "keys in a query",
            "of the budget used",
            "keys/s from the first write",
            "keys/s",
        ]);
        table.row([
            QPS.to_string(),
            BatchKeys::AUTO.to_string(),
            format!("{:.1} %", 100.0 * self.used()),
            format!("{:.0}", self.pace()),
            format!("{:.0}", self.whole_pace()),
        ]);
        writeln!(
            f,
            "### Under a budget of {QPS} queries a second\n\n\
             `stoke warm` into the standalone Redis, with {usual} keys in a query, as many as it begins with by itself. Used: the queries for \
             its loader that PostgreSQL counted, between the first write and the last.\n\n{table}",
            usual = BatchKeys::AUTO,
        )
    }
}

/// The order of fleets.
pub(super) struct Orders(Vec<(u32, Vec<Seen>)>);

pub(super) fn orders(stage: &Stage, rounds: usize) -> Result<Orders> {
    let mut orders = FLEETS.map(|workers| (workers, Vec::new()));
    for _ in 0..rounds {
        for (workers, runs) in &mut orders {
            let seen = stage.warm(
                Target::Cluster,
                Asked {
                    workers: *workers,
                    qps: QPS_UNBOUND,
                    in_flight: IN_FLIGHT.max(*workers * 2),
                    ..Asked::as_fast_as_it_can(stage.origin.rows)
                },
            )?;
            println!("order of {workers} workers: {:.4}, {seen:?}", seen.order);
            runs.push(seen);
        }
    }
    Ok(Orders(orders.into()))
}

impl Orders {
    /// The order of the fleet that keeps it least.
    pub(super) fn least(&self) -> f64 {
        let medians = self
            .0
            .iter()
            .map(|(_, runs)| median(runs.iter().map(|seen| seen.order)));
        medians.fold(1.0, f64::min)
    }
}

impl fmt::Display for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&[
            "workers",
            "order",
            "lowest",
            "keys/s",
            "CPU of the loader, µs a key",
            "peak memory, MiB",
        ]);
        for (workers, runs) in &self.0 {
            let of = |of: fn(&Seen) -> f64| median(runs.iter().map(of));
            let lowest = runs.iter().map(|seen| seen.order).fold(1.0, f64::min);
            table.row([
                workers.to_string(),
                format!("{:.4}", of(|seen| seen.order)),
                format!("{lowest:.4}"),
                format!("{:.0}", of(Seen::pace)),
                format!("{:.2}", of(Seen::loader_micros)),
                format!("{:.0}", of(Seen::peak_mib)),
            ]);
        }
        writeln!(
            f,
            "### In which order workers go\n\n\
             `stoke warm` into the cluster, as fast as it can, priorities after Zipf's law (1/rank). Order: the area under coverage \
             over time, from the first write to the last, as a part of that of one list in perfect order that is written at the same \
             moments.\n\n{table}"
        )
    }
}

/// The memory of three workers' largest, with ever more keys.
pub(super) struct Memory([Seen; PARTS.len()]);

pub(super) fn memory(stage: &Stage) -> Result<Memory> {
    let [tenth, half, all] = PARTS.map(|part| {
        let keys = stage.origin.rows.div_ceil(part);
        stage.deploy(Target::Cluster, keys)
    });
    Ok(Memory([tenth?, half?, all?]))
}

impl Memory {
    /// Of the largest worker, with all keys, as a multiple of that with half of them.
    pub(super) fn growth(&self) -> f64 {
        let [_, half, all] = &self.0;
        all.peak_mib() / half.peak_mib()
    }

    /// Of the largest worker, with all keys, in MiB.
    pub(super) fn peak_mib(&self) -> f64 {
        let [.., all] = &self.0;
        all.peak_mib()
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&["keys", "the largest worker, MiB", "the coordinator, MiB"]);
        for seen in &self.0 {
            let coordinator = seen
                .coordinator
                .map_or(f64::NAN, |(_, kib)| kib as f64 / 1024.0);
            table.row([
                seen.keys.to_string(),
                format!("{:.0}", seen.peak_mib()),
                format!("{coordinator:.0}"),
            ]);
        }
        writeln!(
            f,
            "### Memory\n\nThe most that processes of a cluster with three workers had (VmHWM) during a job. A plan is cut into \
             bands of 131,072 keys: with a tenth of the keys no worker has as much under way as it may.\n\n{table}"
        )
    }
}
