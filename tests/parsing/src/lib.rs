//! What must hold of whatever parses bytes from outside: one function a parser, which panics where it does not.
//!
//! `make fuzz` calls them with bytes that it thinks out (`tests/fuzz`), `tests/corpora.rs` with those that are kept in
//! `tests/fuzz/corpus`, and what once broke one stays there. None of them does more than parse: no file is opened, no
//! variable read.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")
)]

mod access_log;
mod cluster_slots;
mod jobs;
mod key_file;
mod monitor_line;
mod pattern;
mod plan_segments;
mod prometheus_series;
mod sentinel_master;
mod store_log;
mod store_record;
mod template;

pub use access_log::access_log;
pub use cluster_slots::cluster_slots;
pub use jobs::job_file;
pub use key_file::key_file;
pub use monitor_line::monitor_line;
pub use pattern::pattern;
pub use plan_segments::plan_segments;
pub use prometheus_series::prometheus_series;
pub use sentinel_master::sentinel_master;
pub use store_log::store_log;
pub use store_record::store_record;
pub use template::template;

/// What must hold of a parser, whatever bytes it is given: it panics where that does not hold.
pub type Holds = fn(&[u8]);

/// All of them, by the names of their corpora.
pub const ALL: [(&str, Holds); 12] = [
    ("access_log", access_log),
    ("cluster_slots", cluster_slots),
    ("job_file", job_file),
    ("key_file", key_file),
    ("monitor_line", monitor_line),
    ("pattern", pattern),
    ("plan_segments", plan_segments),
    ("prometheus_series", prometheus_series),
    ("sentinel_master", sentinel_master),
    ("store_log", store_log),
    ("store_record", store_record),
    ("template", template),
];
