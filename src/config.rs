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

pub use catalog::{ON_BAD_LINE, recipe};
pub use coordinator::{CoordinatorConfig, share};
#[cfg(test)]
pub use fault::Faults;
pub use fault::FileError;
pub use reader::{Item, Table, read};
#[cfg(test)]
pub use reader::{Known, examine};
pub use surroundings::Surroundings;
pub use values::parse_rate;
pub use worker::WorkerConfig;

use std::path::Path;

/// Reads a file, and takes from it what there is to take. The path `-` is standard input.
///
/// # Errors
/// Where it cannot be read, or all that is wrong with it.
pub fn read_file<T>(
    path: &Path,
    take: impl FnOnce(&Table<'_>) -> Option<T>,
) -> Result<T, FileError> {
    let text = if path == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(path)
    };
    let text = text.map_err(|source| FileError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    read(&text, &Surroundings::of_process(), take).map_err(|faults| FileError::NotValid {
        path: path.to_owned(),
        faults,
    })
}
