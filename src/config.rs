//! The configuration of coordinators and workers: one TOML file for each process.
//!
//! Keys are kebab-case; unknown ones are refused, with their line. What is read here becomes checked settings of the
//! crates; no raw value goes further.

mod coordinator;
mod shared;
mod worker;

pub use coordinator::{CoordinatorConfig, share};
pub use worker::WorkerConfig;

use std::path::Path;

use anyhow::{Context, anyhow};
use serde::de::DeserializeOwned;

/// Reads a configuration file.
fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration {}", path.display()))
}

/// Parses a configuration. The error has the line, but not its text: that may have a password in it.
fn parse<T: DeserializeOwned>(text: &str) -> anyhow::Result<T> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = 1 + text.as_bytes()[..at]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        anyhow!("line {line}: {}", error.message())
    })
}
