//! The configuration of coordinators and workers: one TOML file for each process.
//!
//! Keys are kebab-case; unknown ones are refused. All faults of a file come together, each with its line and column, what
//! is wrong and what to do, and none shows a secret. What is read here becomes checked settings of the crates; no raw value
//! goes further. Job files are read in the same way, by `job_file`.

mod catalog;
mod coordinator;
#[cfg(test)]
mod examples;
mod fault;
mod reader;
mod shared;
mod surroundings;
mod values;
mod worker;

pub use catalog::{
    LogLoaders, ON_BAD_LINE, access_log, copies, copying, of_redis, recipe, redis_source, series,
};
pub use coordinator::{BURST_MAX, CoordinatorConfig, IN_FLIGHT_MAX, share};
use fault::Fault;
pub use fault::{Faults, FileError};
pub use reader::{Item, Table, read};
#[cfg(test)]
pub use reader::{Known, examine};
pub use surroundings::Surroundings;
pub use values::{parse_rate, parse_size};
pub use worker::WorkerConfig;

use std::io::Read;
use std::path::Path;

/// Reads a file, and takes from it what there is to take. The path `-` is standard input.
///
/// # Errors
/// Where it cannot be read, or all that is wrong with it.
pub fn read_file<T>(
    path: &Path,
    take: impl FnOnce(&Table<'_>) -> Option<T>,
) -> Result<T, FileError> {
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    let bytes = bytes.map_err(|source| FileError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let text = str::from_utf8(&bytes).map_err(|error| not_text(&bytes[..error.valid_up_to()]));
    let taken = text.and_then(|text| read(text, &Surroundings::of_process(), take));
    taken.map_err(|faults| FileError::NotValid {
        path: path.to_owned(),
        faults,
    })
}

/// The fault of bytes that are no UTF-8, after so many that are.
fn not_text(before: &[u8]) -> Faults {
    let before = String::from_utf8_lossy(before);
    let line = before.rsplit('\n').next().unwrap_or_default();
    Faults(vec![Fault {
        line: before.matches('\n').count() + 1,
        column: line.chars().count() + 1,
        place: String::new(),
        what: "that is no UTF-8".to_owned(),
        remedy: "save the file as UTF-8".to_owned(),
    }])
}
