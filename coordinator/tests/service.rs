//! A coordinator as callers and workers see it: over gRPC, its records in a store that the tests read and write as
//! workers do.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

#[path = "service/accesses.rs"]
mod accesses;
#[path = "service/again.rs"]
mod again;
#[path = "service/attaching.rs"]
mod attaching;
#[path = "service/bounds.rs"]
mod bounds;
#[path = "service/budgets.rs"]
mod budgets;
#[path = "service/cluster.rs"]
mod cluster;
#[path = "service/creating.rs"]
mod creating;
#[path = "service/exporting.rs"]
mod exporting;
#[path = "service/fleet.rs"]
mod fleet;
#[path = "service/guards.rs"]
mod guards;
#[path = "service/life.rs"]
mod life;
#[path = "service/named_sources.rs"]
mod named_sources;
#[path = "service/past.rs"]
mod past;
#[path = "service/popularity.rs"]
mod popularity;
#[path = "service/refusing.rs"]
mod refusing;
#[path = "service/retention.rs"]
mod retention;
#[path = "service/several.rs"]
mod several;
#[path = "service/sources.rs"]
mod sources;
#[path = "service/spilling.rs"]
mod spilling;
#[path = "service/spy.rs"]
mod spy;
#[path = "service/streaming.rs"]
mod streaming;
#[path = "service/troubles.rs"]
mod troubles;
#[path = "service/turns.rs"]
mod turns;
#[path = "service/uploading.rs"]
mod uploading;
#[path = "service/versions.rs"]
mod versions;
#[path = "service/waiting.rs"]
mod waiting;
