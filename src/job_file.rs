//! Job files: what a job shall do, in TOML, as one hands it to a cluster.
//!
//! They are read as configurations are: all faults together, each with its line and column. What is right here may still
//! be refused when the job is created: which origins, caches, loaders and sources there are, the workers know.
//!
//! Absent: secrets. Nothing in a job file takes one; a job names what the workers' configuration knows.

mod caches;
mod recipe;
mod section;
mod source;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use stoke_core::job::PRIORITY_MAX;
use stoke_proto::v1::{self, WriteMode};

use crate::config::{FileError, Item, Table, read_file};

/// The longest label, trigger or requester, in characters.
const TEXT_MAX: usize = 63;
/// How many sources, loaders or labels a job may have.
const ITEMS_MAX: usize = 32;
/// How often an entry may be tried.
const ATTEMPTS_MAX: u32 = 100;

/// A job as its file says it.
#[derive(Debug)]
pub struct JobFile {
    /// What to create.
    pub spec: v1::JobSpec,
    /// What to send when it is created.
    pub uploads: Vec<Upload>,
}

/// A key file of the caller's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The index of its source among the job's.
    pub source: u32,
    /// The file; it could be opened when the job file was read.
    pub file: PathBuf,
}

/// Reads a job file; `-` is standard input. Files to upload are looked for beside it.
///
/// # Errors
/// Where it cannot be read, or all that is wrong with it.
pub fn read(path: &Path) -> Result<JobFile, FileError> {
    // The parent of "-" is "", which is where this process runs.
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    read_file(path, |file| take(file, &folder))
}

/// What a job file that was parsed asks for; files to upload are looked for in `folder`. `None` where something is wrong with
/// it: the table has noted what.
pub fn take(file: &Table<'_>, folder: &Path) -> Option<JobFile> {
    let trigger = file.optional("trigger").map(|item| item.short(TEXT_MAX));
    let requester = file.optional("requester").map(|item| item.short(TEXT_MAX));
    let priority = file.optional("priority");
    let priority = priority.map(|item| item.small(0..=PRIORITY_MAX));
    let caches = caches::caches(file);
    let mode = file.optional("mode").map(|item| item.one_of(&MODES));
    let allowed_failures = file.optional("allowed-failures");
    let allowed_failures = allowed_failures.map(|item| item.integer(0..=u64::MAX));
    let attempts_max = file.optional("attempts-max");
    let attempts_max = attempts_max.map(|item| item.small(1..=ATTEMPTS_MAX));
    let section = section::section(file);
    let fit = file.optional("fit").map(|item| item.one_of(&FITS));
    let labels = labels(file);
    let loaders = recipe::loaders(file);
    let sources = source::sources(file, folder);
    let (sources, uploads) = sources?;
    let (cache, also) = caches?;
    let work = v1::BatchWork {
        sources,
        loaders: loaders?,
        cache,
        also,
        mode: mode.unwrap_or(Some(WriteMode::Add))?.into(),
        allowed_failures: allowed_failures.unwrap_or(Some(0))?,
        attempts_max: attempts_max.unwrap_or(Some(0))?,
        section: section?,
        fit: fit.unwrap_or(Some(v1::Fit::Cut))?.into(),
    };
    let spec = v1::JobSpec {
        labels: labels?,
        work: Some(v1::job_spec::Work::Batch(work)),
        trigger: trigger.unwrap_or_else(|| Some(String::new()))?,
        requester: requester.unwrap_or_else(|| Some(String::new()))?,
        priority: priority.unwrap_or(Some(0))?,
        dry_run: false,
    };
    Some(JobFile { spec, uploads })
}

const MODES: [(&str, WriteMode); 3] = [
    ("add", WriteMode::Add),
    ("refresh", WriteMode::Refresh),
    ("overwrite", WriteMode::Overwrite),
];

const FITS: [(&str, v1::Fit); 2] = [("cut", v1::Fit::Cut), ("warn", v1::Fit::Warn)];

fn labels(file: &Table<'_>) -> Option<HashMap<String, String>> {
    let found = file.free("labels");
    let mut labels = HashMap::new();
    let mut fine = true;
    for (n, (name, item)) in found.iter().enumerate() {
        if n == ITEMS_MAX {
            item.fault(
                "there are too many",
                format!("use at most {ITEMS_MAX} labels"),
            );
            fine = false;
        }
        if name.text().chars().count() > TEXT_MAX {
            let what = "its name is too long";
            item.fault(what, format!("use at most {TEXT_MAX} characters"));
            fine = false;
        }
        match item.text().and_then(|text| short(item, text)) {
            Some(text) => drop(labels.insert(name.text().to_owned(), text)),
            None => fine = false,
        }
    }
    fine.then_some(labels)
}

/// A label's value may be empty.
fn short(item: &Item<'_>, text: &str) -> Option<String> {
    if text.is_empty() {
        return Some(String::new());
    }
    item.short(TEXT_MAX)
}

/// Checks how many tables `[[key]]` there are.
fn some_but_few(file: &Table<'_>, key: &'static str, add: &str) -> Option<()> {
    let list = file.required(key, add)?;
    let items = list.filled_list(&format!("add {add}"))?;
    if let Some(beyond) = items.get(ITEMS_MAX) {
        beyond.fault("there are too many", format!("use at most {ITEMS_MAX}"));
        return None;
    }
    Some(())
}

#[cfg(test)]
mod tests;
