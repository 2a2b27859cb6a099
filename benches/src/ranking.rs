//! Ranking an access log: what `stoke rank` takes for a line, beside the pipeline that everybody writes: in the C locale, where
//! `sort` compares bytes, and in one of a language, as most people's shells are, where it compares words.

mod log;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::loading::process::{Running, Took};
use crate::machine::moment;
use crate::table::{Table, time};

/// How many keys at the top must be the same.
const TOP: usize = 10_000;
/// How many times the pipeline's lines a second and core are wanted.
const TIMES_WANTED: f64 = 5.0;
/// The locale that most people's shells are in.
const LANGUAGE: &str = "en_US.UTF-8";
/// The pipeline: what comes before the key is left to it, for it need not look at it.
const PIPELINE: &str =
    "set -o pipefail; zcat \"$0\" | awk '{print $7}' | sort | uniq -c | sort -rn > \"$1\"";

/// What is measured with.
pub(crate) struct Options {
    pub(crate) lines: u64,
    pub(crate) keys: u64,
    pub(crate) stoke: PathBuf,
}

/// Measures, and gives the table.
pub(crate) fn run(options: &Options) -> Result<String> {
    let moment = moment()?;
    let folder = tempfile::tempdir_in("/var/tmp").context("making a folder")?;
    let log = folder.path().join("access.log.gz");
    eprintln!("writing a log of {} lines", options.lines);
    let bytes = log::write(&log, options.lines, options.keys)?;
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
    let stoke = Running::start([stoke(options, &log, &ours)])?.wait()?;
    eprintln!("stoke has ranked it in {}", time(stoke.time));
    let in_bytes = Running::start([pipeline(&log, &theirs, &Locale::C)])?.wait()?;
    let distinct = compare(&ours, &theirs)?;
    eprintln!("the pipeline has ranked it in {}", time(in_bytes.time));
    let in_words = match Locale::of_a_language(folder.path())? {
        Some(locale) => {
            let took = Running::start([pipeline(&log, &theirs, &locale)])?.wait()?;
            compare(&ours, &theirs)?;
            Some(took)
        }
        None => None,
    };
    let mut table = Table::new(&[
        "by",
        "took",
        "CPU",
        "lines/s and core",
        "of which `stoke rank` does",
        "peak memory",
    ]);
    let rate = |took: &Took| options.lines as f64 / took.cpu.as_secs_f64();
    table.row([
        "`stoke rank`".into(),
        time(stoke.time),
        time(stoke.cpu),
        format!("{:.0}", rate(&stoke)),
        String::new(),
        format!("{} MiB", stoke.peak_kib >> 10),
    ]);
    let pipelines = [("LC_ALL=C", Some(&in_bytes)), (LANGUAGE, in_words.as_ref())];
    for (locale, took) in pipelines {
        let Some(took) = took else {
            continue;
        };
        table.row([
            format!("`zcat`, `awk`, `sort`, `uniq -c`, `sort -rn` in {locale}"),
            time(took.time),
            time(took.cpu),
            format!("{:.0}", rate(took)),
            format!(
                "{:.1} × (wanted: {TIMES_WANTED})",
                rate(&stoke) / rate(took)
            ),
            String::new(),
        ]);
    }
    Ok(format!(
        "## Ranking a log\n\n\
         {moment}\n\n\
         A combined log of {} lines, {:.1} GB, gzip; {distinct} different URLs, Zipf's law with the exponent 1. `stoke rank` has its \
         default memory and reads the lines as it always does, with method, status, time and a pattern for the URL; the pipeline \
         (`{PIPELINE}`) takes the seventh word. The keys and counts of the top {TOP} are the same.\n\n{table}",
        options.lines,
        bytes as f64 / 1e9,
    ))
}

fn stoke(options: &Options, log: &Path, list: &Path) -> Command {
    let mut command = Command::new(&options.stoke);
    command.arg("rank").arg("--log").arg(log);
    command.args(["--url", log::PATTERN, "--spill-dir", "/var/tmp", "--file"]);
    command.arg(list);
    command
}

/// In which locale the pipeline runs.
enum Locale {
    C,
    /// [`LANGUAGE`], compiled into this folder.
    OfALanguage(PathBuf),
}

impl Locale {
    /// `None` where its source is not installed (Debian's package locales).
    fn of_a_language(folder: &Path) -> Result<Option<Self>> {
        let compiling = Command::new("localedef")
            .args(["-i", "en_US", "-f", "UTF-8"])
            .arg(folder.join(LANGUAGE))
            .output();
        let compiled = compiling.context("running localedef")?.status.success();
        Ok(compiled.then(|| Self::OfALanguage(folder.to_owned())))
    }
}

fn pipeline(log: &Path, list: &Path, locale: &Locale) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", PIPELINE]).args([log, list]);
    command.env("TMPDIR", "/var/tmp");
    match locale {
        Locale::C => command.env("LC_ALL", "C"),
        Locale::OfALanguage(folder) => command.env("LC_ALL", LANGUAGE).env("LOCPATH", folder),
    };
    command
}

/// Whether both have the same keys with the same counts at the top, but for the order of those that come equally often; how many
/// keys there are.
fn compare(ours: &Path, theirs: &Path) -> Result<u64> {
    let of_stoke = |line: &str| {
        let (key, count) = line.split_once(',')?;
        Some((count.parse().ok()?, format!("/product/{key}")))
    };
    let of_pipeline = |line: &str| {
        let (count, key) = line.trim_start().split_once(' ')?;
        Some((count.parse().ok()?, key.to_owned()))
    };
    let (ours, count) = top(ours, 1, of_stoke)?;
    let (theirs, count_of_theirs) = top(theirs, 0, of_pipeline)?;
    ensure!(
        count == count_of_theirs,
        "{count} keys, but the pipeline has {count_of_theirs}"
    );
    if let Some((one, other)) = ours.iter().zip(&theirs).find(|(one, other)| one != other) {
        bail!("{one:?} where the pipeline has {other:?}");
    }
    Ok(count)
}

/// The top of a list, with all that come as often as the last, in one order; and how long the list is.
fn top(
    list: &Path,
    head: usize,
    read: impl Fn(&str) -> Option<(u64, String)>,
) -> Result<(Vec<(u64, String)>, u64)> {
    let file = File::open(list).with_context(|| format!("opening {}", list.display()))?;
    let mut top: Vec<(u64, String)> = Vec::new();
    let mut count = 0;
    for line in BufReader::new(file).lines().skip(head) {
        let line = line?;
        count += 1;
        let (requests, key) = read(&line).with_context(|| format!("no line of a list: {line}"))?;
        if top.len() < TOP || top.last().is_some_and(|(least, _)| *least == requests) {
            top.push((requests, key));
        }
    }
    top.sort_unstable_by(|a, b| b.cmp(a));
    Ok((top, count))
}
