//! Copying from one Redis to another, beside the loop that people write: SCAN, then DUMP and PTTL of what it gave, then RESTORE, a
//! thousand keys at a time. Each by turns, the same small keys with ends of their own, on one machine, several times.
//!
//! Times of the processors are the kernel's. After each run it is looked that the other Redis has as many keys, and for some of
//! them the value and the end.

mod reference;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use stoke_harness::Redis;

use crate::loading::{Running, Took, median};
use crate::machine;
use crate::table::Table;

pub(crate) use self::reference::{REFERENCE, run as reference};

/// Commands a second that bind nobody.
const QPS_UNBOUND: &str = "100000000";
/// Keys that are asked for together, by either.
const BATCH_KEYS: &str = "1000";
/// How many keys are compared, evenly over all.
const COMPARED: u64 = 500;
/// How many bytes a value has.
const VALUE_BYTES: usize = 64;
/// Keys a second a core of Stoke's own: what is aimed at.
const AIM: f64 = 100_000.0;

/// What is measured.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) keys: u64,
    pub(crate) rounds: usize,
    pub(crate) stoke: PathBuf,
}

/// Who copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contestant {
    Stoke,
    Typed,
    Loop,
}

impl Contestant {
    const ALL: [Self; 3] = [Self::Stoke, Self::Typed, Self::Loop];

    const fn name(self) -> &'static str {
        match self {
            Self::Stoke => "`stoke warm`, all of it",
            Self::Typed => "`stoke warm --copy typed`",
            Self::Loop => "SCAN, DUMP, PTTL, RESTORE in a loop",
        }
    }
}

/// Measures, and gives the tables.
pub(crate) fn run(options: &Options) -> Result<String> {
    ensure!(
        options.stoke.is_file(),
        "there is no program {}: build it with `cargo build --release -p stoke` (`make bench` does), or say --stoke PATH",
        options.stoke.display()
    );
    let moment = machine::moment()?;
    let (from, to) = (Redis::start()?, Redis::start()?);
    println!("Making {} keys", options.keys);
    fill(&from, options.keys)?;
    let mut runs: Vec<(Contestant, Vec<Took>)> =
        Contestant::ALL.map(|who| (who, Vec::new())).into();
    for round in 0..options.rounds {
        for (who, runs) in &mut runs {
            to.cli(&["FLUSHALL"])?;
            let took = Running::start([command(*who, options, &from, &to)?])?.wait()?;
            compare(&from, &to, options.keys)?;
            println!("round {round}: {who:?} {took:?}");
            runs.push(took);
        }
    }
    let micros = |took: &Took| took.cpu.as_secs_f64() * 1e6 / options.keys as f64;
    let pace = |took: &Took| options.keys as f64 / took.time.as_secs_f64();
    let of = |who: Contestant, of: &dyn Fn(&Took) -> f64| {
        let found = runs.iter().filter(|(other, _)| *other == who);
        median(found.flat_map(|(_, runs)| runs).map(of))
    };
    let mut table = Table::new(&[
        "",
        "keys/s",
        "× the loop",
        "CPU, µs a key",
        "keys/s a core of its own",
        "peak memory, MiB",
    ]);
    for who in Contestant::ALL {
        let micros = of(who, &micros);
        table.row([
            who.name().to_owned(),
            format!("{:.0}", of(who, &pace)),
            format!("{:.2}", of(who, &pace) / of(Contestant::Loop, &pace)),
            format!("{micros:.2}"),
            format!("{:.0}", 1e6 / micros),
            format!("{:.0}", of(who, &|took| took.peak_kib as f64 / 1024.0)),
        ]);
    }
    let reached = 1e6 / of(Contestant::Stoke, &micros);
    let mut report = String::new();
    write!(
        report,
        "## Copying\n\n\
         - {moment}\n\
         - {redis}; both servers and who copies share this machine\n\n\
         {keys} keys with values of {VALUE_BYTES} bytes and ends of their own, from one Redis to another. The median of {rounds} rounds, in \
         each of which all run in turn. Stoke finds the keys by SCAN, ranks and stores its plan, looks which keys are there, and copies in \
         the mode add, in one process; the loop does the least that copies. After each run the other Redis has as many keys and, for \
         {COMPARED} of them, the value and the end to the millisecond (of the loop within two seconds: PTTL is what was left).\n\n\
         {table}\n\
         Aimed at: {AIM:.0} keys a second a core of Stoke's own; {reached:.0}, {verdict}.\n",
        redis = machine::said_by("redis-server", &["--version"])?
            .split(" sha=")
            .next()
            .unwrap_or_default(),
        keys = options.keys,
        rounds = options.rounds,
        verdict = if reached >= AIM {
            "reached"
        } else {
            "not reached"
        },
    )?;
    Ok(report)
}

fn command(who: Contestant, options: &Options, from: &Redis, to: &Redis) -> Result<Command> {
    if who == Contestant::Loop {
        return reference::command(&from.url(), &to.url());
    }
    let mut command = stoke(&options.stoke, from, to);
    if who == Contestant::Typed {
        command.args(["--copy", "typed"]);
    }
    Ok(command)
}

fn stoke(program: &Path, from: &Redis, to: &Redis) -> Command {
    let mut command = Command::new(program);
    command
        .args(["warm", "--origin", &from.url(), "--cache", &to.url()])
        .args(["--match", "*", "--workers", "1", "--qps", QPS_UNBOUND])
        .args(["--batch-keys", BATCH_KEYS, "--output", "json"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn key(n: u64) -> String {
    format!("key:{n}")
}

fn connection(redis: &Redis) -> Result<redis::Connection> {
    Ok(redis::Client::open(redis.url())?.get_connection()?)
}

fn fill(redis: &Redis, keys: u64) -> Result<()> {
    const AT_ONCE: u64 = 10_000;
    let mut connection = connection(redis)?;
    let value = "v".repeat(VALUE_BYTES - 8);
    for begin in (0..keys).step_by(AT_ONCE as usize) {
        let mut pipe = redis::pipe();
        for n in begin..keys.min(begin + AT_ONCE) {
            let ends = 3_600_000 + n;
            pipe.cmd("SET")
                .arg(key(n))
                .arg(format!("{n:08}{value}"))
                .arg("PX")
                .arg(ends)
                .ignore();
        }
        pipe.exec(&mut connection)?;
    }
    Ok(())
}

fn compare(from: &Redis, to: &Redis, keys: u64) -> Result<()> {
    const APART_MS: u64 = 2_000;
    let (mut from, mut to) = (connection(from)?, connection(to)?);
    let found: u64 = redis::cmd("DBSIZE").query(&mut to)?;
    ensure!(found == keys, "{found} keys in place of {keys}");
    for n in (0..keys).step_by(usize::try_from(keys.div_ceil(COMPARED))?) {
        let ask = |of: &mut redis::Connection| -> Result<(String, i64)> {
            let mut pipe = redis::pipe();
            pipe.cmd("GET").arg(key(n)).cmd("PEXPIRETIME").arg(key(n));
            pipe.query(of).context("asking for a key")
        };
        let ((theirs, end), (ours, ours_end)) = (ask(&mut from)?, ask(&mut to)?);
        ensure!(theirs == ours, "{} has another value", key(n));
        ensure!(
            end.abs_diff(ours_end) < APART_MS,
            "{} ends at another time",
            key(n)
        );
    }
    Ok(())
}
