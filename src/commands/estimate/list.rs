//! A list of keys, as a file: the columns of key files, and `count` in the place of `priority`.

use std::path::Path;

use anyhow::{Context, anyhow};
use stoke_core::estimate::{Later, key_hash};
use stoke_core::job::{Merge, OnBadLine};
use stoke_core::plan::Entry;
use stoke_core::units::Priority;
use stoke_worker::source::{Gathered, PRIORITY_COLUMN, Rules, SourceRow, file};
use tokio::sync::mpsc;

use super::input::{CHUNKS_WAITING, Entries, Input};
use crate::args::OnBadLineArg;
use crate::exit::{Exit, Failure, OrExit};
use crate::print::say;
use crate::show::estimate::{About, Source};

/// What people's lists call how often a key was asked for.
const COUNT_COLUMN: &str = "count";

/// Reads a list as a plan.
pub(super) async fn read(path: &Path, on_bad_line: Option<OnBadLineArg>) -> Result<Input, Failure> {
    // Of a key that comes twice the higher priority counts, as in key files.
    let entries = Entries::new(Merge::Max)?;
    let (rows, gathered, counts) = rows(path, on_bad_line, async |received| {
        let mut counts = Counts::new(on_bad_line);
        let entries = entries.add_rows(received, |row| counts.entry(row)).await?;
        Ok((entries, counts))
    })
    .await
    .map(|((entries, counts), gathered)| (entries, gathered, counts))?;
    counts.say_what_is_missing(path);
    let bad_lines = gathered.bad_lines + counts.bad;
    let mut examples = gathered.examples;
    examples.extend(counts.example);
    let about = About {
        source: Source::List,
        name: path.display().to_string(),
        bad_lines,
        bad_line_examples: examples,
        log: None,
    };
    Ok(Input::of(rows, about))
}

/// Reads a list as what was asked for later.
pub(super) async fn later(
    path: &Path,
    on_bad_line: Option<OnBadLineArg>,
) -> Result<Later, Failure> {
    let (later, _) = rows(
        path,
        on_bad_line,
        async |mut received: mpsc::Receiver<Vec<SourceRow>>| {
            let (mut later, mut counts) = (Later::default(), Counts::new(on_bad_line));
            while let Some(chunk) = received.recv().await {
                for row in chunk {
                    if let Some(entry) = counts.entry(row)? {
                        later.add(key_hash(&entry.key), entry.priority.as_milli());
                    }
                }
            }
            Ok(later)
        },
    )
    .await?;
    Ok(later)
}

/// Reads a file's rows, and gives them to `take` meanwhile.
async fn rows<T>(
    path: &Path,
    on_bad_line: Option<OnBadLineArg>,
    take: impl AsyncFnOnce(mpsc::Receiver<Vec<SourceRow>>) -> Result<T, Failure>,
) -> Result<(T, Gathered), Failure> {
    let rules = Rules {
        on_bad_line: match on_bad_line {
            Some(OnBadLineArg::Skip) => OnBadLine::Skip,
            Some(OnBadLineArg::Fail) | None => OnBadLine::Fail,
        },
        ..Rules::default()
    };
    let (sink, received) = mpsc::channel(CHUNKS_WAITING);
    let (read, taken) = tokio::join!(file::read(path, None, &rules, sink), take(received));
    // Whoever does not take them stops the reading: what kept it from that comes first.
    let taken = taken?;
    Ok((taken, read.or_exit(Exit::Usage)?))
}

/// Makes entries of rows, by their priorities or counts.
#[derive(Default)]
struct Counts {
    skips: bool,
    bad: u64,
    example: Option<String>,
    /// How many rows say how often their key was asked for, and how many do not.
    counted: u64,
    uncounted: u64,
}

impl Counts {
    fn new(on_bad_line: Option<OnBadLineArg>) -> Self {
        Self {
            skips: on_bad_line == Some(OnBadLineArg::Skip),
            ..Self::default()
        }
    }

    fn entry(&mut self, row: SourceRow) -> Result<Option<Entry>, Failure> {
        let priority = match self.priority(&row) {
            Ok(priority) => priority,
            Err(error) if self.skips => {
                self.bad += 1;
                self.example.get_or_insert(error.to_string());
                return Ok(None);
            }
            Err(error) => {
                let how = "correct it, or let bad lines be skipped (--on-bad-line skip)";
                return Err(anyhow!("{error}; {how}")).or_exit(Exit::Usage);
            }
        };
        let (_, key) = row.into_keys();
        Ok(Some(Entry {
            key: key.into_bytes().into(),
            loader: 0,
            argument: "".into(),
            priority,
        }))
    }

    fn priority(&mut self, row: &SourceRow) -> anyhow::Result<Priority> {
        let count = match row.columns.iter().any(|column| column == PRIORITY_COLUMN) {
            true => None,
            false => row.get(COUNT_COLUMN).filter(|count| !count.is_empty()),
        };
        let Some(count) = count else {
            let says = row.get(PRIORITY_COLUMN).is_some();
            self.counted += u64::from(says);
            self.uncounted += u64::from(!says);
            return Ok(row.priority);
        };
        self.counted += 1;
        let requests = count.trim().parse().ok();
        requests
            .and_then(|requests| Priority::from_requests(requests).ok())
            .with_context(|| {
                format!(
                    "the count {count:?} of key {:?} is not a number from 0 to {}",
                    row.key(),
                    Priority::REQUESTS_MAX
                )
            })
    }

    fn say_what_is_missing(&self, path: &Path) {
        if self.counted == 0 && self.uncounted > 0 {
            say(format!(
                "{}: there is no column priority or count, so that each key counts as one request",
                path.display()
            ));
        }
    }
}
