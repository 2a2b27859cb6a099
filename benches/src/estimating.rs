//! How well an estimate foretells: plans of a part of a trace, tried on the part behind it.
//!
//! The trace is a file of keys, one a line, in the order in which they were asked for; it is no part of the project. For each split the
//! first part is what `stoke estimate` sees of a log: counts make the plan, their order its history. What it expects of the plan's top
//! is put beside what this top then gets of the second part. No part of it measures time.

use std::collections::HashMap;
use std::io::BufRead;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use stoke_core::estimate::{Curve, History, Later, Popularity, TopShare, key_hash};

use crate::machine::moment;
use crate::table::Table;

/// Splits of a trace: where the plan's part begins and ends, and where the part ends on which it is tried, in 240ths.
const SPLITS: [(usize, usize, usize); 17] = [
    (0, 120, 240),
    (0, 80, 160),
    (40, 120, 200),
    (80, 160, 240),
    (0, 60, 120),
    (30, 90, 150),
    (60, 120, 180),
    (90, 150, 210),
    (120, 180, 240),
    (0, 24, 48),
    (24, 48, 72),
    (48, 72, 96),
    (72, 96, 120),
    (96, 120, 144),
    (120, 144, 168),
    (144, 168, 192),
    (168, 192, 216),
];
const WHOLE: usize = 240;
/// How far what is expected of the first half may be from what it gets, in percent of all requests.
const POINTS_AIM: f64 = 2.0;

/// Which trace; none: there is nothing to try.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) trace: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<String> {
    let title = "## Estimating: what is expected of a plan, and what it gets\n\n";
    let Some(path) = &options.trace else {
        bail!(
            "estimating: name a trace, with one key a line in the order of access, by --trace FILE"
        );
    };
    let file = std::fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let keys = std::io::BufReader::new(file).split(b'\n');
    let keys = keys.map(|key| Ok(key_hash(&key?)));
    let keys: Vec<u64> = keys.collect::<Result<_>>()?;
    ensure!(
        keys.len() >= WHOLE * 10,
        "the trace has {} lines only",
        keys.len()
    );
    let mut table = Table::new(&["plan of", "top 0.1 %", "1 %", "5 %", "10 %", "25 %", "all"]);
    let mut worst = 0.0_f64;
    for (begin, middle, end) in SPLITS {
        let at = |part: usize| part * keys.len() / WHOLE;
        let (past, future) = (&keys[at(begin)..at(middle)], &keys[at(middle)..at(end)]);
        let (tops, got) = tried(past, future)?;
        let mut row = vec![format!(
            "{:.0}–{:.0} %",
            100.0 * begin as f64 / WHOLE as f64,
            100.0 * middle as f64 / WHOLE as f64
        )];
        for (top, got) in tops.iter().zip(got) {
            let expected = top.expected.context("a trace has a history")?;
            if (begin, middle) == (0, 120) && (0.01..1.0).contains(&top.top) {
                worst = worst.max((expected - got).abs() * 100.0);
            }
            row.push(format!(
                "{:.1} → {:.1} ({:.1})",
                expected * 100.0,
                got * 100.0,
                top.as_planned * 100.0
            ));
        }
        table.row(row);
    }
    let reached = if worst <= POINTS_AIM {
        "reached"
    } else {
        "missed"
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(format!(
        "{title}{}\n\n{name}: {} requests. Hit rates in percent: expected → replayed (what the priorities alone say). Each plan is tried on as much \
         of the trace behind it.\n\n{table}\nAimed at: of the first half of the trace, the tops of 1, 5, 10 and 25 % within \
         {POINTS_AIM} points; {worst:.1} at most, {reached}.\n",
        moment()?,
        keys.len(),
    ))
}

/// What is expected of the tops of a plan of the past, and what each then gets.
fn tried(past: &[u64], future: &[u64]) -> Result<(Vec<TopShare>, Vec<f64>)> {
    let mut history = History::default();
    let mut counts: HashMap<u64, (u64, usize)> = HashMap::new();
    for (n, key) in past.iter().enumerate() {
        history.observe(*key);
        counts.entry(*key).or_insert((0, n)).0 += 1;
    }
    // As plans are ranked: among equals the one that came first is first.
    let mut plan: Vec<(u64, (u64, usize))> = counts.into_iter().collect();
    plan.sort_unstable_by_key(|(_, (count, first))| (std::cmp::Reverse(*count), *first));
    let mut later = Later::default();
    future.iter().for_each(|key| later.add(*key, 1000));
    let (mut curve, mut replayed) = (Curve::new(), Vec::new());
    let mut hits = 0;
    for (key, (count, _)) in &plan {
        curve.push(count * 1000);
        hits += later.take(*key);
        replayed.push(hits as f64 / 1000.0 / future.len() as f64);
    }
    let drift = history.drift().context("the trace is too short")?;
    let popularity = Popularity::of(&curve, Some(&drift)).context("the trace is empty")?;
    let got = popularity
        .tops
        .iter()
        .map(|top| replayed[top.entries as usize - 1]);
    Ok((popularity.tops.clone(), got.collect()))
}
