//! A list of keys, as a file: the columns of key files.

use std::path::Path;

use stoke_core::estimate::{Later, key_hash};
use stoke_core::job::{Merge, OnBadLine};
use stoke_core::names::LoaderName;
use stoke_core::plan::Entry;
use stoke_core::template::Template;
use stoke_worker::source::{Gathered, Rules, SourceRow, file};
use tokio::sync::mpsc;

use super::input::{CHUNKS_WAITING, Entries, Input};
use crate::args::{EstimateArgs, OnBadLineArg};
use crate::exit::{Exit, Failure, OrExit};
use crate::print::say;
use crate::show::estimate::{About, Source};

/// How lists are read.
pub(super) fn rules(args: &EstimateArgs) -> Rules {
    Rules {
        on_bad_line: match args.on_bad_line {
            Some(OnBadLineArg::Skip) => OnBadLine::Skip,
            Some(OnBadLineArg::Fail) | None => OnBadLine::Fail,
        },
        key_parts: args.key_column.clone(),
        template: whole_key(),
        ..Rules::default()
    }
}

/// A key that is made of nothing but itself: so other columns need not be read, nor be such as can be.
fn whole_key() -> Option<(LoaderName, Template)> {
    Some(("list".parse().ok()?, Template::parse("{key}").ok()?))
}

/// Reads a list as a plan.
pub(super) async fn read(path: &Path, rules: &Rules) -> Result<Input, Failure> {
    // Of a key that comes twice the higher priority counts, as in key files.
    let entries = Entries::new(Merge::Max)?;
    let mut counts = Counts::default();
    let (rows, gathered) = rows(path, rules, async |received| {
        let entry = |row| counts.entry(row, rules);
        entries.add_rows(received, entry).await
    })
    .await?;
    counts.say_what_is_missing(path);
    let about = About {
        source: Source::List,
        name: path.display().to_string(),
        bad_lines: gathered.bad_lines,
        bad_line_examples: gathered.examples,
        log: None,
    };
    Ok(Input::of(rows, about))
}

/// Reads a list as what was asked for later.
pub(super) async fn later(path: &Path, rules: &Rules) -> Result<Later, Failure> {
    let (later, _) = rows(
        path,
        rules,
        async |mut received: mpsc::Receiver<Vec<SourceRow>>| {
            let (mut later, mut counts) = (Later::default(), Counts::default());
            while let Some(chunk) = received.recv().await {
                for entry in chunk.into_iter().map(|row| counts.entry(row, rules)) {
                    later.add(key_hash(&entry.key), entry.priority.as_milli());
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
    rules: &Rules,
    take: impl AsyncFnOnce(mpsc::Receiver<Vec<SourceRow>>) -> Result<T, Failure>,
) -> Result<(T, Gathered), Failure> {
    let (sink, received) = mpsc::channel(CHUNKS_WAITING);
    let (read, taken) = tokio::join!(file::read(path, None, rules, sink), take(received));
    // Whoever does not take them stops the reading: what kept it from that comes first.
    let taken = taken?;
    Ok((taken, read.or_exit(Exit::Usage)?))
}

/// Makes entries of rows, and knows whether any said how often its key was asked for.
#[derive(Default)]
struct Counts {
    said: bool,
    unsaid: bool,
}

impl Counts {
    fn entry(&mut self, row: SourceRow, rules: &Rules) -> Entry {
        let says = rules
            .priority_among(&row.columns)
            .is_some_and(|place| row.values[place].is_some());
        self.said |= says;
        self.unsaid |= !says;
        let priority = row.priority;
        let (_, key) = row.into_keys();
        Entry {
            key: key.into_bytes().into(),
            loader: 0,
            argument: "".into(),
            priority,
        }
    }

    fn say_what_is_missing(&self, path: &Path) {
        if self.unsaid && !self.said {
            say(format!(
                "{}: there is no column priority or count, so that each key counts as one request",
                path.display()
            ));
        }
    }
}
