//! All contestants, round by round.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::cache::{Cache, Written};
use super::embedded::{self, Asked};
use super::fleet::{Fleet, WORKERS};
use super::order::order;
use super::origin::Origin;
use super::process::Took;
use super::{BATCH_KEYS, IN_FLIGHT, QPS_UNBOUND, Stage, pipe, textbook};
use crate::table::Table;

/// The loop takes so large a part of the ranking only, its head: its pace is the same throughout, and it takes minutes.
const PART_OF_TEXTBOOK: u64 = 10;

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contestant {
    CopyAlone,
    PipedFile,
    Textbook,
    PsqlPipe,
    Embedded,
    Workers,
    /// The whole table, without a list of keys: by the index on the rank.
    RankScan,
    /// The same, in the order of the primary key.
    Scan,
}

use Contestant::{CopyAlone, Embedded, PipedFile, PsqlPipe, RankScan, Scan, Textbook, Workers};

/// What of the stage they load into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Standalone,
    Cluster,
}

/// Who runs in a round, in this order. (Into a cluster `redis-cli --pipe` is wrong: it follows no redirections.)
const LINE_UP: [(Target, Contestant); 13] = [
    (Target::Standalone, CopyAlone),
    (Target::Standalone, PipedFile),
    (Target::Standalone, Textbook),
    (Target::Standalone, PsqlPipe),
    (Target::Standalone, Embedded),
    (Target::Standalone, Workers),
    (Target::Standalone, RankScan),
    (Target::Standalone, Scan),
    (Target::Cluster, Textbook),
    (Target::Cluster, Embedded),
    (Target::Cluster, Workers),
    (Target::Cluster, RankScan),
    (Target::Cluster, Scan),
];

impl Contestant {
    const fn name(self) -> &'static str {
        match self {
            CopyAlone => "limit: COPY … (FORMAT binary), to nobody",
            PipedFile => "limit: redis-cli --pipe of a prepared file",
            Textbook => "the textbook loop, ten at a time",
            PsqlPipe => "psql, redis-cli --pipe",
            Embedded => "Stoke, in one process (stoke warm)",
            Workers => "Stoke, three workers",
            RankScan => "Stoke, in one process, a scan by rank",
            Scan => "Stoke, in one process, a scan by id",
        }
    }

    const fn writes(self) -> bool {
        !matches!(self, CopyAlone)
    }

    /// Whether it goes by rank.
    const fn ranks(self) -> bool {
        !matches!(self, CopyAlone | Scan)
    }

    const fn reads(self) -> bool {
        !matches!(self, PipedFile)
    }

    /// How many keys it loads, of so many.
    const fn keys(self, rows: u64) -> u64 {
        match self {
            Textbook => rows.div_ceil(PART_OF_TEXTBOOK),
            _ => rows,
        }
    }
}

/// What one run was seen to take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) keys: u64,
    pub(super) loader: Took,
    /// From the first value written to the last.
    pub(super) writing: Duration,
    pub(super) origin_cpu: Duration,
    pub(super) queries: u64,
    pub(super) cache_cpu: Duration,
    /// The area under coverage over time, as a part of the ideal.
    pub(super) order: f64,
    /// Of Stoke's coordinator, where that is a process of its own.
    pub(super) coordinator: Option<(Duration, u64)>,
}

impl Seen {
    /// Keys a second, of the whole time.
    pub(super) fn pace(&self) -> f64 {
        self.keys as f64 / self.loader.time.as_secs_f64()
    }

    pub(super) fn writing_pace(&self) -> f64 {
        self.keys as f64 / self.writing.as_secs_f64()
    }

    fn micros_a_key(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / self.keys as f64
    }

    pub(super) fn loader_micros(&self) -> f64 {
        self.micros_a_key(self.loader.cpu)
    }

    pub(super) fn origin_micros(&self) -> f64 {
        self.micros_a_key(self.origin_cpu)
    }

    pub(super) fn cache_micros(&self) -> f64 {
        self.micros_a_key(self.cache_cpu)
    }

    pub(super) fn queries_a_thousand(&self) -> f64 {
        self.queries as f64 * 1000.0 / self.keys as f64
    }

    pub(super) fn peak_mib(&self) -> f64 {
        self.loader.peak_kib as f64 / 1024.0
    }
}

/// What was seen of all.
pub(super) struct Contest {
    seen: Vec<(Target, Contestant, Vec<Seen>)>,
}

impl Contest {
    pub(super) fn hold(stage: &Stage, rounds: usize) -> Result<Self> {
        let folder = tempfile::tempdir().context("making a folder")?;
        let file = folder.path().join("commands");
        println!("Preparing the file of commands");
        pipe::prepare(&stage.origin, &file)?;
        // So that none is the first: pages are in memory, and the caches have had their memory from the system.
        pipe::copy(&stage.origin)?;
        pipe::run_prepared(&file, stage.standalone.ports()[0])?;
        embedded::run(
            &stage.stoke,
            &stage.origin,
            &stage.cluster,
            Asked::as_fast_as_it_can(stage.origin.rows),
        )?;
        let mut seen: Vec<_> = LINE_UP.map(|(into, who)| (into, who, Vec::new())).into();
        for round in 1..=rounds {
            for (into, who, seen) in &mut seen {
                let run = stage.run(*into, *who, &file).with_context(|| who.name())?;
                println!(
                    "round {round}: {} into {into:?}: {:.0} keys/s, {run:?}",
                    who.name(),
                    run.pace()
                );
                seen.push(run);
            }
        }
        Ok(Self { seen })
    }

    /// The median of what was seen of one of them.
    pub(super) fn median(&self, into: Target, who: Contestant, of: impl Fn(&Seen) -> f64) -> f64 {
        let runs = self.seen.iter().find(|(i, w, _)| (*i, *w) == (into, who));
        median(runs.into_iter().flat_map(|(_, _, runs)| runs).map(of))
    }
}

/// The middle one, or the mean of both in the middle.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
    match (sorted.get(low), sorted.get(high)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => f64::NAN,
    }
}

impl Stage {
    pub(super) const fn cache(&self, into: Target) -> &Cache {
        match into {
            Target::Standalone => &self.standalone,
            Target::Cluster => &self.cluster,
        }
    }

    fn run(&self, into: Target, who: Contestant, file: &Path) -> Result<Seen> {
        let (origin, cache) = (&self.origin, self.cache(into));
        let keys = who.keys(origin.rows);
        match who {
            CopyAlone => self.watch(into, keys, who.writes(), || Ok((pipe::copy(origin)?, None))),
            PipedFile => self.watch(into, keys, true, || {
                Ok((pipe::run_prepared(file, cache.ports()[0])?, None))
            }),
            PsqlPipe => self.watch(into, keys, true, || {
                Ok((pipe::run(origin, keys, cache.ports()[0])?, None))
            }),
            Textbook => self.watch(into, keys, true, || {
                let command = textbook::command(&origin.url(), keys, &cache.urls())?;
                Ok((super::process::Running::start([command])?.wait()?, None))
            }),
            Embedded => self.warm(into, Asked::as_fast_as_it_can(keys)),
            Workers => self.deploy(into, keys),
            RankScan => self.watch(into, keys, true, || {
                let by_rank = "views DESC, id DESC";
                Ok((embedded::scan(&self.stoke, origin, cache, by_rank)?, None))
            }),
            Scan => self.watch(into, keys, true, || {
                Ok((embedded::scan(&self.stoke, origin, cache, "id")?, None))
            }),
        }
    }

    /// Has `stoke warm` do it.
    pub(super) fn warm(&self, into: Target, asked: Asked) -> Result<Seen> {
        self.watch(into, asked.keys, true, || {
            Ok((
                embedded::run(&self.stoke, &self.origin, self.cache(into), asked)?,
                None,
            ))
        })
    }

    /// Has a cluster of Stoke do it.
    pub(super) fn deploy(&self, into: Target, keys: u64) -> Result<Seen> {
        let fleet = Fleet::start(&self.stoke, &self.origin, self.cache(into), keys)?;
        self.watch(into, keys, true, || {
            let job = fleet.run()?;
            Ok((
                job.workers,
                Some((job.coordinator_cpu, job.coordinator_peak_kib)),
            ))
        })
    }

    /// Sees what something takes that loads so many keys.
    fn watch(
        &self,
        into: Target,
        keys: u64,
        writes: bool,
        load: impl FnOnce() -> Result<(Took, Option<(Duration, u64)>)>,
    ) -> Result<Seen> {
        let cache = self.cache(into);
        cache.empty()?;
        let (origin_mark, cache_cpu) = (self.origin.mark()?, cache.cpu()?);
        let (loader, coordinator) = load()?;
        let cache_cpu = cache.cpu()? - cache_cpu;
        let (origin_cpu, queries) = self.origin.since(origin_mark)?;
        let written = if writes {
            cache.check(&self.origin, keys)?
        } else {
            Written(Vec::new())
        };
        let views: Vec<u64> = (0..keys).map(Origin::views).collect();
        Ok(Seen {
            keys,
            loader,
            writing: written.lasted(),
            origin_cpu,
            queries,
            cache_cpu,
            order: order(&written.0, &views),
            coordinator,
        })
    }
}

impl fmt::Display for Contest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "### All keys, as fast as each can\n")?;
        for into in [Target::Standalone, Target::Cluster] {
            let title = match into {
                Target::Standalone => "Into a standalone Redis:",
                Target::Cluster => {
                    "Into a Redis Cluster of three nodes, into which `redis-cli --pipe` cannot write (it follows no redirections); \
                     compared with what it does with the standalone one:"
                }
            };
            writeln!(f, "{title}\n\n{}", self.table(into))?;
        }
        writeln!(f, "{}\n", self.notes())
    }
}

impl Contest {
    fn table(&self, into: Target) -> Table {
        let mut table = Table::new(&[
            "",
            "keys/s",
            "lowest–highest",
            "keys/s from the first write",
            "× the pipe",
            "× the loop",
            "CPU of the loader, µs a key",
            "of the origin",
            "of the pipe's",
            "of the cache",
            "queries per 1,000 keys",
            "peak memory, MiB",
            "order",
        ]);
        let pipe = |of: fn(&Seen) -> f64| self.median(Target::Standalone, PsqlPipe, of);
        for (_, who, runs) in self.seen.iter().filter(|(i, _, _)| *i == into) {
            let median = |of: fn(&Seen) -> f64| self.median(into, *who, of);
            let paces = || runs.iter().map(Seen::pace);
            let (pace, loop_pace) = (median(Seen::pace), self.median(into, Textbook, Seen::pace));
            let only = |is: bool, text: String| if is { text } else { "–".to_owned() };
            table.row([
                who.name().to_owned(),
                format!("{pace:.0}"),
                format!(
                    "{:.0}–{:.0}",
                    paces().fold(f64::MAX, f64::min),
                    paces().fold(0.0, f64::max)
                ),
                only(who.writes(), format!("{:.0}", median(Seen::writing_pace))),
                format!("{:.2}", pace / pipe(Seen::pace)),
                format!("{:.1}", pace / loop_pace),
                format!("{:.2}", median(Seen::loader_micros)),
                only(who.reads(), format!("{:.2}", median(Seen::origin_micros))),
                only(
                    who.reads(),
                    format!(
                        "{:.0} %",
                        100.0 * median(Seen::origin_micros) / pipe(Seen::origin_micros)
                    ),
                ),
                only(who.writes(), format!("{:.2}", median(Seen::cache_micros))),
                only(
                    who.reads(),
                    format!("{:.2}", median(Seen::queries_a_thousand)),
                ),
                format!("{:.0}", median(Seen::peak_mib)),
                only(who.ranks(), format!("{:.4}", median(|seen| seen.order))),
            ]);
        }
        table
    }

    fn notes(&self) -> String {
        let coordinators = |of: fn(&Seen) -> f64| self.median(Target::Cluster, Workers, of);
        let cpu = coordinators(|seen| {
            seen.coordinator
                .map_or(f64::NAN, |(cpu, _)| seen.micros_a_key(cpu))
        });
        let peak = coordinators(|seen| {
            seen.coordinator
                .map_or(f64::NAN, |(_, kib)| kib as f64 / 1024.0)
        });
        format!(
            "- keys/s are those of the whole time, from the start of the program to its end: with Stoke, its planning and its last \
               checkpoint included. Of the three workers: from submitting the job until `stoke submit --watch` says it is over; \
               coordinator and workers run already, and their etcd.\n\
             - The textbook loop is a program in Rust (sqlx, the redis crate): `SELECT row_to_json(p)::text … WHERE id = $1` and \
               `SET … EX` for each key, on ten connections to the database and one to each node of the cache. It loads the first \
               {PART_OF_TEXTBOOK}th of the ranking: its pace does not change.\n\
             - `psql | redis-cli --pipe`: one `SELECT` with `concat`, `octet_length` and `row_to_json`, in the order of the ranking's \
               index, fetched by a thousand rows (a statement each). Its loader is psql and redis-cli, its memory that of both.\n\
             - Stoke: mode add (asks the cache first, `SET … NX`), {BATCH_KEYS} keys in a query, {IN_FLIGHT} queries in flight and \
               {QPS_UNBOUND} a second at most, which bind nobody; in one process with one worker, and {WORKERS} workers as processes of \
               their own with a coordinator and etcd. Its queries are all that PostgreSQL executed, those of the ranking and of \
               setting up included.\n\
             - The scans read the whole table in pages of 5,000 rows, and need neither ranking nor list of keys: one by the index of the \
             rank (`--scan-by 'views DESC, id DESC'`), one by the primary key, so that its entries come in no order of demand. \
             The others go by rank.\n\
             - Loader is what reads and writes: with three workers the three of them (their CPU together, the memory of the largest). \
               The coordinator beside them takes {cpu:.2} µs of CPU a key, and {peak:.0} MiB. In one process it is all one.\n\
             - Order: the area under coverage (by views, which follow Zipf's law) over time, of the first write to the last, as a \
               part of that of a list in perfect order.\n\
             - The CPU of the limits' other side is not theirs: COPY writes to no cache, the file asks no origin."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median([]).is_nan());
    }
}
