//! Loading a cache, beside what people do today: the same rows from the same PostgreSQL into the same Redis, in the order of
//! their rank, by each contestant in turn, on one machine, several times.
//!
//! What is counted is not Stoke's to say: times of the processors are the kernel's and Redis' own, statements PostgreSQL's
//! (`pg_stat_statements`), and when each key was written follows from what Redis says it has left to live. After each run it is
//! looked that all keys are there and, for some of them, that the value is the origin's.

mod aims;
mod cache;
mod contest;
mod embedded;
mod fleet;
mod order;
mod origin;
mod pipe;
pub(crate) mod process;
mod scenes;
mod textbook;

pub(crate) use self::contest::median;
pub(crate) use self::process::{Running, Took};
pub(crate) use self::textbook::{TEXTBOOK, run as textbook};

use std::path::PathBuf;

use anyhow::{Result, ensure};

use self::cache::Cache;
use self::contest::Contest;
use self::origin::Origin;
use crate::machine;

/// Queries a second that bind nobody.
const QPS_UNBOUND: u32 = 100_000;
/// Queries in flight at one time.
const IN_FLIGHT: u32 = 8;
/// Keys in one of Stoke's queries, but where it is to keep a budget.
const BATCH_KEYS: u32 = 1_000;

/// What is measured.
#[derive(Debug)]
pub(crate) struct Options {
    /// How many products the shop has.
    pub(crate) rows: u64,
    /// How many times each contestant runs.
    pub(crate) rounds: usize,
    /// The program.
    pub(crate) stoke: PathBuf,
}

/// Where it is measured.
struct Stage {
    stoke: PathBuf,
    origin: Origin,
    standalone: Cache,
    cluster: Cache,
}

/// Measures, and gives the tables.
pub(crate) fn run(options: &Options) -> Result<String> {
    ensure!(
        options.stoke.is_file(),
        "there is no program {}: build it with `cargo build --release -p stoke` (`make bench` does), or say --stoke PATH",
        options.stoke.display()
    );
    let moment = machine::moment()?;
    println!("Making {} products", options.rows);
    let stage = Stage {
        stoke: options.stoke.clone(),
        origin: Origin::start(options.rows)?,
        standalone: Cache::standalone()?,
        cluster: Cache::cluster()?,
    };
    let (row, json) = stage.origin.row_bytes()?;
    let contest = Contest::hold(&stage, options.rounds)?;
    let budget = scenes::budget(&stage, options.rounds)?;
    let orders = scenes::orders(&stage, options.rounds)?;
    let memory = scenes::memory(&stage)?;
    let aims = aims::table(&contest, &budget, &orders, &memory);
    let versions = [
        machine::said_by(
            &stage.origin.psql_program().to_string_lossy(),
            &["--version"],
        )?,
        machine::said_by("redis-server", &["--version"])?,
    ];
    let servers = versions
        .map(|said| said.split(" sha=").next().unwrap_or_default().to_owned())
        .join("; ");
    Ok(format!(
        "## Loading\n\n\
         - {moment}\n\
         - {servers}; all servers and clients share this machine\n\n\
         {rows} rows of {row:.0} bytes (as text; {json:.0} as JSON) from PostgreSQL, in the order of their rank, which is not that \
         of the table. The median of {rounds} rounds, in each of which all run in turn. \
         Before a run the cache is emptied; PostgreSQL has everything in memory. After each it was looked that the cache has \
         exactly these keys and, for {compared} of them, the origin's values.\n\n\
         ### What is aimed at\n\n{aims}\n\
         {contest}\n{budget}\n{orders}\n{memory}",
        rows = options.rows,
        rounds = options.rounds,
        compared = cache::COMPARED,
    ))
}
