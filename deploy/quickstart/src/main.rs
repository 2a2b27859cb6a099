//! `make quickstart`: Stoke's main job on real servers, all on this machine, and what it changed.
//!
//! Starts etcd, PostgreSQL, a Redis Cluster, one coordinator and three workers; fills a shop; has the products that
//! are viewed most warmed over gRPC, as any caller would; and measures before and after with means that are not
//! Stoke's: keys that Redis has, statements that PostgreSQL logged. Everything is stopped and removed at the end,
//! however that comes; with `KEEP=1` it is left running once the job is over, to be played with.
//!
//! What is said on the way goes to standard error, the result to standard output. The status is 0 only where the job
//! succeeded, Redis has the keys that Stoke says it warmed, and PostgreSQL counted no second with more queries than
//! the budget allows.

mod fleet;
mod folder;
mod job;
mod keep;
mod numbers;
mod progress;
mod report;
mod servers;
mod shop;
mod signals;
mod traffic;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use tokio::runtime::Runtime;

use fleet::Fleet;
use folder::Folder;
use report::Report;
use servers::Servers;
use traffic::Traffic;

/// How many products are warmed: the most viewed.
const WARMED: usize = 100_000;

/// Queries a second that Stoke may ask of the shop's database.
const BUDGET_QPS: u32 = 20;

fn main() -> ExitCode {
    let keep = std::env::var("KEEP").is_ok_and(|keep| !matches!(keep.as_str(), "" | "0" | "no"));
    match run(keep) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("quickstart failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Does it all; whether what was promised held.
fn run(keep: bool) -> Result<bool> {
    let binary = binary()?;
    let runtime = Runtime::new().context("starting the async runtime")?;
    let folder = Folder::new(keep)?;
    signals::stop_everything_on_a_signal(&runtime, &folder)?;
    let outcome = play(&binary, &runtime, &folder, keep);
    if let (true, Err(error)) = (keep, &outcome) {
        bail!(
            "{error:#}\nWhat was started still runs. To stop and remove it: {}",
            folder.stop_line()
        );
    }
    outcome
}

/// The play in its acts. It blocks between its calls over gRPC: signals are seen by the runtime's own threads.
fn play(binary: &Path, runtime: &Runtime, folder: &Folder, keep: bool) -> Result<bool> {
    eprintln!(
        "Starting etcd, PostgreSQL and a Redis Cluster of {} nodes in {}",
        servers::REDIS_NODES,
        folder.path().display()
    );
    let servers = Servers::start()?;
    eprintln!(
        "Filling a shop: {} products, and a day of views that follow Zipf's law",
        numbers::grouped(shop::PRODUCTS as u64)
    );
    shop::fill(&servers.postgres)?;
    let views = shop::views(&servers.postgres)?;
    let traffic = Traffic::sample(&views)?;

    eprintln!(
        "Starting a coordinator and {} workers: together they may ask the database {BUDGET_QPS} queries a second",
        fleet::WORKERS
    );
    let fleet = Fleet::start(binary, folder, &servers)?;
    let (hit_rate_before, done, hit_rate_after) =
        warm(runtime, &servers, &fleet, &traffic).with_context(|| fleet.last_words())?;

    let statements = servers.postgres.statements(servers::STOKE_APPLICATION)?;
    let report = Report {
        job: done,
        hit_rate_before,
        hit_rate_after,
        plan_share: shop::share_of_most_viewed(&views, WARMED),
        keys_in_redis: servers.redis.key_count()?,
        statements: statements.len(),
        peak: stoke_harness::peak_in_a_second(&statements),
        budget: BUDGET_QPS,
    };
    print!("{report}");
    for broken in report.broken_promises() {
        eprintln!("NOT AS PROMISED: {broken}");
    }
    if keep {
        print!("{}", keep::what_to_do_with(&servers, &fleet, folder));
    }
    Ok(report.broken_promises().is_empty())
}

/// Measures, runs the job, and measures again.
fn warm(
    runtime: &Runtime,
    servers: &Servers,
    fleet: &Fleet,
    traffic: &Traffic,
) -> Result<(f64, job::Done, f64)> {
    runtime.block_on(fleet.wait_until_usable(&servers.etcd))?;
    let before = traffic.hit_rate(&servers.redis)?;
    eprintln!(
        "Warming the {} products that are viewed most, at {BUDGET_QPS} queries a second",
        numbers::grouped(WARMED as u64)
    );
    let done = runtime.block_on(job::run(&fleet.address(), WARMED))?;
    let after = traffic.hit_rate(&servers.redis)?;
    Ok((before, done, after))
}

/// The program `stoke`, from the arguments.
fn binary() -> Result<PathBuf> {
    let usage = "usage: stoke-quickstart PATH-OF-STOKE (`make quickstart` builds both)";
    let path = std::env::args_os().nth(1).context(usage)?;
    let path = PathBuf::from(path);
    ensure!(path.is_file(), "there is no program {}", path.display());
    // The fleet runs in folders of its own.
    std::path::absolute(&path).with_context(|| format!("resolving {}", path.display()))
}
