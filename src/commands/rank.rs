//! `stoke rank`: which keys logs ask for, the most requested first. What a list warms is what its log warms.
//!
//! One thread reads and counts, another ranks what was counted and writes; both in bounded memory.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context, anyhow};
use stoke_coordinator::ranking::{List, RankingSettings};
use stoke_core::access_log::AccessLog;
use stoke_core::job::{Merge, OnBadLine};
use stoke_core::plan::Entry;
use stoke_proto::v1;
use stoke_worker::source::{Gathered, PRIORITY_COLUMN, Rules, SourceRow, file, log};
use tokio::sync::mpsc;

use crate::Outcome;
use crate::args::{ExportFormat, OnBadLineArg, RankArgs};
use crate::exit::{Exit, Failure, OrExit};
use crate::print::{Reader, Sink, say};
use crate::show::number::grouped;
use crate::show::plain;
use crate::show::ranked::{Columns, Lines};
use crate::show::status::of_log;

/// How many chunks of rows wait to be ranked.
const CHUNKS_MAX: usize = 4;
/// How many keys are written at once.
const KEYS_AT_ONCE: usize = 1000;

/// Ranks, and prints the list.
pub async fn rank(args: &RankArgs) -> Outcome {
    let source = Source::of(args)?;
    let listing = Listing {
        columns: source.columns()?,
        format: args.output,
        top: args.top.unwrap_or(u64::MAX),
        sink: Sink::new(args.file.as_deref())?,
        settings: settings(args),
    };
    let (rows, chunks) = mpsc::channel(CHUNKS_MAX);
    // A part of the memory counts, the rest ranks.
    let reading = source.read(args.memory / 2, rows);
    let listing = tokio::task::spawn_blocking(move || listing.collect(chunks));
    let (read, collected) = tokio::join!(reading, listing);
    let collected = collected
        .context("ranking was cut off")
        .or_exit(Exit::Unreachable)?;
    // Where ranking fails, reading ends for that reason.
    let (list, listing) = collected?;
    read?.say();
    let writing = tokio::task::spawn_blocking(move || listing.write(list));
    let listed = writing
        .await
        .context("writing was cut off")
        .or_exit(Exit::Unreachable)??;
    say(format!("{} keys", grouped(listed)));
    Ok(Exit::Succeeded)
}

fn settings(args: &RankArgs) -> RankingSettings {
    let default = RankingSettings::default();
    RankingSettings {
        memory_bytes: usize::try_from(args.memory / 2).unwrap_or(usize::MAX),
        spill_dir: args.spill_dir.clone().unwrap_or(default.spill_dir),
    }
}

/// What is ranked.
enum Source {
    Log(Box<AccessLog>, OnBadLine),
    Keys(PathBuf, Box<Rules>),
}

impl Source {
    fn of(args: &RankArgs) -> Result<Self, Failure> {
        let asked = args.on_bad_line.map(|what| match what {
            OnBadLineArg::Fail => OnBadLine::Fail,
            OnBadLineArg::Skip => OnBadLine::Skip,
        });
        if let Some(path) = &args.keys {
            let rules = Rules {
                on_bad_line: asked.unwrap_or(OnBadLine::Fail),
                key_parts: args.key_column.clone(),
                ..Rules::default()
            };
            return Ok(Self::Keys(path.clone(), Box::new(rules)));
        }
        let log = args.log.access_log().or_exit(Exit::Usage)?;
        Ok(Self::Log(Box::new(log), asked.unwrap_or(OnBadLine::Skip)))
    }

    /// The columns of the keys; `None`: those that the first row has.
    ///
    /// # Errors
    /// Where the patterns of a log name different ones.
    fn columns(&self) -> Result<Option<Columns>, Failure> {
        let log = match self {
            Self::Log(log, _) => log,
            Self::Keys(_, rules) if rules.key_parts.is_empty() => return Ok(None),
            Self::Keys(_, rules) => return of_parts(&rules.key_parts).map(Some),
        };
        let mut patterns = log.urls.iter().map(|rule| &rule.pattern);
        let Some(first) = patterns.next() else {
            return Ok(Some(key_alone()));
        };
        let is_alike = |names: &[String]| {
            let of_first = first.names();
            names.len() == of_first.len()
                && (names.len() == 1 || of_first.iter().all(|name| names.contains(name)))
        };
        if let Some(other) = patterns.find(|other| !is_alike(other.names())) {
            let (first, other) = (first.to_string(), other.to_string());
            return Err(anyhow!(
                "--url: {first} and {other} give keys of different columns, which are no one list: rank one after the other"
            ))
            .or_exit(Exit::Usage);
        }
        Ok(Some(match first.names() {
            [_] => key_alone(),
            names => Columns::new(names.iter().cloned()),
        }))
    }

    /// Reads all of it.
    async fn read(
        self,
        counts_bytes_max: u64,
        rows: mpsc::Sender<Vec<SourceRow>>,
    ) -> Result<Told, Failure> {
        match self {
            Self::Log(log, on_bad_line) => {
                let rules = rules(&log, on_bad_line);
                let counts_bytes_max = usize::try_from(counts_bytes_max).unwrap_or(usize::MAX);
                let read = log::read(*log, rules, SystemTime::now(), counts_bytes_max, rows).await;
                let read = read.or_exit(Exit::Usage)?;
                let report = v1::LogReport {
                    drift: None,
                    lines: read.lines,
                    filtered: read.filtered,
                    unmatched: read.unmatched,
                    unmatched_example: read.unmatched_example.unwrap_or_default(),
                };
                Ok(Told {
                    gathered: read.gathered,
                    log: Some(report),
                })
            }
            Self::Keys(path, rules) => {
                let read = file::read(&path, None, &rules, rows).await;
                Ok(Told {
                    gathered: read.or_exit(Exit::Usage)?,
                    log: None,
                })
            }
        }
    }
}

/// The columns that make a key, as they were named.
///
/// # Errors
/// Where one of them cannot be.
fn of_parts(names: &[String]) -> Result<Columns, Failure> {
    for (n, name) in names.iter().enumerate() {
        if name == PRIORITY_COLUMN || names[..n].contains(name) {
            let why = match name.as_str() {
                PRIORITY_COLUMN => "is how often a key is asked for, and no part of it",
                _ => "is named twice",
            };
            return Err(anyhow!("--key-column: the column {name:?} {why}")).or_exit(Exit::Usage);
        }
    }
    Ok(Columns::new(names.iter().cloned()))
}

fn key_alone() -> Columns {
    Columns::new(["key".to_owned()])
}

/// The columns of a list's row that are of its key: all but the one that says how often it was asked for.
fn key_column(row: &SourceRow) -> Columns {
    let priority = Rules::default().priority_among(&row.columns);
    let columns = row.columns.iter().enumerate();
    let of_key = columns.filter(|(place, _)| Some(*place) != priority);
    Columns::new(of_key.map(|(_, name)| name.clone()))
}

/// The rules of a log's patterns, in their order. A key of several columns has them for its parts.
fn rules(log: &AccessLog, on_bad_line: OnBadLine) -> Vec<Rules> {
    let of_names = |names: &[String]| Rules {
        on_bad_line,
        key_parts: match names {
            [_] => Vec::new(),
            names => names.to_vec(),
        },
        ..Rules::default()
    };
    if log.urls.is_empty() {
        return vec![of_names(&["key".to_owned()])];
    }
    let patterns = log.urls.iter().map(|rule| rule.pattern.names());
    patterns.map(of_names).collect()
}

/// What there is to tell of what was read.
struct Told {
    gathered: Gathered,
    log: Option<v1::LogReport>,
}

impl Told {
    fn say(&self) {
        if let Some(log) = &self.log {
            say(of_log("", log));
        }
        if self.gathered.bad_lines > 0 {
            let bad_lines = grouped(self.gathered.bad_lines);
            say(format!("left out as bad lines: {bad_lines}, among them"));
            self.gathered
                .examples
                .iter()
                .for_each(|example| say(plain(example)));
        }
    }
}

/// The list in the making, and what becomes of it.
struct Listing {
    columns: Option<Columns>,
    format: ExportFormat,
    top: u64,
    sink: Sink,
    settings: RankingSettings,
}

impl Listing {
    /// Takes all rows.
    fn collect(
        mut self,
        mut chunks: mpsc::Receiver<Vec<SourceRow>>,
    ) -> Result<(List, Self), Failure> {
        let mut list = List::new(&self.settings, Merge::Sum).or_exit(Exit::Usage)?;
        let mut key = Vec::new();
        while let Some(rows) = chunks.blocking_recv() {
            for row in rows {
                let columns = self.columns.get_or_insert_with(|| key_column(&row));
                // What is NULL is written as what is empty.
                let value = |name: &str| {
                    let place = row.columns.iter().position(|column| column == name)?;
                    Some(row.values[place].as_deref().unwrap_or_default())
                };
                if let Err(column) = columns.pack(value, &mut key) {
                    return Err(anyhow!(
                        "the key {} has no column {column:?}: a list has one set of them, those of its first key or of --key-column; give all keys one, be it empty",
                        plain(row.key())
                    ))
                    .or_exit(Exit::Usage);
                }
                list.offer(&key, row.priority).or_exit(Exit::Unreachable)?;
            }
        }
        Ok((list, self))
    }

    /// Ranks and writes; how many keys.
    fn write(self, list: List) -> Result<u64, Failure> {
        let Self {
            columns,
            format,
            top,
            mut sink,
            ..
        } = self;
        let columns = columns.unwrap_or_else(key_alone);
        let lines = Lines::new(format, columns);
        let mut ranked = list.rank().or_exit(Exit::Unreachable)?;
        let mut wanted = top;
        let mut head = Some(lines.head());
        loop {
            let at_once = usize::try_from(wanted)
                .unwrap_or(usize::MAX)
                .min(KEYS_AT_ONCE);
            let some = ranked
                .by_ref()
                .take(at_once)
                .collect::<Result<Vec<Entry>, _>>();
            let some =
                some.map_err(|_| anyhow!("what was spilled of the list cannot be read again"));
            let some = some.or_exit(Exit::Unreachable)?;
            if head.is_some() && some.is_empty() && top > 0 {
                return Err(anyhow!("it asks for no keys")).or_exit(Exit::Usage);
            }
            let keys = some.iter().map(|entry| (&*entry.key, entry.priority));
            let text = [head.take().unwrap_or_default(), lines.keys(keys)].concat();
            wanted -= some.len() as u64;
            if sink.write(&text)? == Reader::Gone {
                return Ok(top - wanted);
            }
            if some.is_empty() {
                sink.finish().or_exit(Exit::Unreachable)?;
                return Ok(top - wanted);
            }
        }
    }
}
