//! Stoke's pure domain: units, plan, ring, ledger, job states, accounting.
//!
//! Absent here: async, I/O, clocks (time is an argument), hidden randomness, tonic, prost. Whatever decides in Stoke
//! is a function or a state machine of this crate or stands beside its driver in `coordinator` or `worker`.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")
)]

pub mod access_log;
pub mod advice;
pub mod batch_keys;
pub mod calendar;
pub mod capacity;
pub mod copy;
pub mod draws;
pub mod estimate;
pub mod expiry;
pub mod explain;
pub mod glob;
pub mod guard;
pub mod heavy_hitters;
pub mod hit_rate;
pub mod job;
pub mod key_hash;
pub mod ledger;
pub mod metric;
pub mod mutant;
pub mod names;
pub mod pattern;
pub mod place;
pub mod plan;
pub mod progress;
pub mod records;
pub mod ring;
pub mod scan;
pub mod slot;
pub mod template;
pub mod units;
pub mod url_pattern;
pub mod usage;
pub mod value;
