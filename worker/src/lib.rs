//! Stoke's worker: reads key sources, loads from origins, encodes, writes to caches, and never faster than granted.
//!
//! The only crate that names sqlx, redis and governor. It computes no ownership: the store's table is the truth.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")
)]

mod attach;
pub mod cache;
pub mod catalog;
pub mod doors;
pub mod gate;
mod health;
mod heart;
mod job;
pub mod link;
pub mod metrics;
pub mod origin;
pub mod permit;
mod reach;
pub mod source;
pub mod trace;
mod trouble;
pub mod value;
mod vigil;
mod vitals;
mod worker;

pub use health::Health;
pub use heart::Unfinished;
pub use reach::{ReachError, Unreached, reach};
pub use worker::{Settings, StartError, Worker};
