//! Whole-system tests: the program as it is shipped, against real etcd, PostgreSQL and Redis.
//!
//! Each test is a claim of the README's. They run one after another: each fills a machine of its own.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test that cannot go on should panic"
)]

mod abort;
mod access_logs;
mod again;
mod cache_budget;
mod capacity;
mod command_line;
mod copying;
mod estimate;
mod expiry;
mod fail_over;
mod fresh;
mod gate;
mod guarded_etcd;
mod guards;
mod handover;
mod main_job;
mod one_liner;
mod planning;
mod prometheus_answers;
mod python;
mod ranking;
mod reported;
mod restored_etcd;
mod resumed;
mod retention;
mod scans;
mod scene;
mod section;
mod sentinel;
mod several_caches;
mod several_jobs;
mod shop;
mod telemetry;
mod unreachable;
mod usage;
mod values;
mod warm_command;
