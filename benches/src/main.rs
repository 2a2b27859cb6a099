//! What sharing a budget costs: dividing it among a thousand workers, and renewing their shares in a real etcd. What big
//! plans cost: ranking, banding and streaming them. How long partitions take to be handed over. And how fast a cache is
//! loaded, or copied from another Redis, and a log ranked, beside what people do today. And how well an estimate foretells hit rates on a
//! trace, which has to be given.
//!
//! Without names of parts it measures everything, prints the tables and writes them to `benches/RESULTS.md`; with the names of
//! parts (`dividing`, `renewing`, `planning`, `handing-over`, `loading`, `copying`, `ranking`, `estimating`) only those, and writes nothing
//! but with `--write`, which puts them in the place of theirs. `estimating` is measured only where `--trace FILE` names keys in the order of
//! access, one a line. Build it with `--release`.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")
)]

mod copying;
mod dividing;
mod estimating;
mod handing_over;
mod loading;
mod machine;
mod planning;
mod ranking;
mod renewing;
mod results;
mod rule;
mod table;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};

const PARTS: [&str; 8] = [
    "dividing",
    "renewing",
    "planning",
    "handing-over",
    "loading",
    "copying",
    "ranking",
    "estimating",
];

/// How many rows are loaded, and how often.
const ROWS: u64 = 1_000_000;
const ROUNDS: usize = 3;

/// How many lines a log has that is ranked, and how many keys it may ask for.
const LINES: u64 = 10_000_000;
const KEYS: u64 = 1_000_000;

/// What is asked for.
struct Asked {
    parts: Vec<String>,
    loading: loading::Options,
    lines: u64,
    keys: u64,
    estimating: estimating::Options,
    write: bool,
}

impl Asked {
    /// What loads also copies, as many keys as rows.
    fn copying(&self) -> copying::Options {
        copying::Options {
            keys: self.loading.rows,
            rounds: self.loading.rounds,
            stoke: self.loading.stoke.clone(),
        }
    }

    fn ranking(&self) -> ranking::Options {
        ranking::Options {
            lines: self.lines,
            keys: self.keys,
            stoke: self.loading.stoke.clone(),
        }
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [first, rest @ ..] if first == planning::SERVE => return planning::serve(rest),
        [first, rest @ ..] if first == loading::TEXTBOOK => return loading::textbook(rest),
        [first, rest @ ..] if first == copying::REFERENCE => return copying::reference(rest),
        _ => {}
    }
    let asked = asked(arguments)?;
    let is_wanted = |part: &str| match asked.parts.is_empty() {
        // Without a trace there is nothing to estimate.
        true => part != "estimating" || asked.estimating.trace.is_some(),
        false => asked.parts.iter().any(|name| name == part),
    };
    if cfg!(debug_assertions) {
        eprintln!("This is no release build: what it measures says little.");
    }
    let all = asked.parts.is_empty();
    let mut report = if all {
        machine::describe()?
    } else {
        String::new()
    };
    let parts: [fn(&Asked) -> Result<String>; 8] = [
        |_| dividing::run(),
        |_| renewing::run(),
        |_| planning::run(),
        |_| handing_over::run(),
        |asked| loading::run(&asked.loading),
        |asked| copying::run(&asked.copying()),
        |asked| ranking::run(&asked.ranking()),
        |asked| estimating::run(&asked.estimating),
    ];
    for (name, run) in PARTS.into_iter().zip(parts) {
        if is_wanted(name) {
            let part = run(&asked)?;
            println!("{part}");
            report += &format!("\n{part}\n");
        }
    }
    if all || asked.write {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("RESULTS.md");
        let old = std::fs::read_to_string(&file).unwrap_or_default();
        std::fs::write(&file, results::merged(&old, &report))
            .with_context(|| format!("writing {}", file.display()))?;
        println!("Written to {}", file.display());
    }
    Ok(())
}

fn asked(arguments: Vec<String>) -> Result<Asked> {
    let beside = std::env::current_exe().context("finding this program")?;
    let mut asked = Asked {
        parts: Vec::new(),
        loading: loading::Options {
            rows: ROWS,
            rounds: ROUNDS,
            stoke: beside.with_file_name("stoke"),
        },
        lines: LINES,
        keys: KEYS,
        estimating: estimating::Options::default(),
        write: false,
    };
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--rows" => asked.loading.rows = number(&argument, arguments.next())?,
            "--rounds" => asked.loading.rounds = number(&argument, arguments.next())?,
            "--lines" => asked.lines = number(&argument, arguments.next())?,
            "--keys" => asked.keys = number(&argument, arguments.next())?,
            "--stoke" => {
                let path = arguments.next().context("--stoke: say which program")?;
                asked.loading.stoke = std::path::absolute(PathBuf::from(path))?;
            }
            "--trace" => {
                let path = arguments.next().context("--trace: say which file")?;
                asked.estimating.trace = Some(path.into());
            }
            "--write" => asked.write = true,
            part if PARTS.contains(&part) => asked.parts.push(argument),
            unknown => bail!(
                "there is no part {unknown:?}: there are {}, and --rows N, --rounds N, --lines N, --keys N, --stoke PATH, --trace FILE, --write",
                PARTS.join(", ")
            ),
        }
    }
    ensure!(asked.loading.rounds > 0, "--rounds: one at least");
    Ok(asked)
}

fn number<N: FromStr>(flag: &str, value: Option<String>) -> Result<N> {
    let number = value.and_then(|value| value.parse().ok());
    number.with_context(|| format!("{flag}: say a number"))
}
