//! Real servers for tests and the quickstart: etcd, PostgreSQL, MariaDB, Redis, Redis Cluster, Redis
//! behind Sentinel, Prometheus, and the program under test.
//!
//! Each server is started by one call that returns when it is usable, listens on 127.0.0.1 only, and keeps all it
//! writes in a temporary folder of its own.
//!
//! What holds:
//! - A server that is dropped is dead, and its folder is gone, when the drop returns.
//! - No server outlives the process that started it, however that ended, be it by SIGKILL; its folder is removed
//!   soon after. (Servers in a `static` are never dropped: this is what ends them.) [`keep_servers`] turns both off.
//! - Nothing sleeps for a fixed time: whatever is waited for is asked for until a named bound has passed.
//!
//! The calls block, so that they serve tests with and without an async runtime. Absent here: anything of Stoke.
//! Servers and their client programs come from the system: `deploy/install-dependencies run`. Linux only.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")
)]

mod certificates;
mod dir;
mod etcd;
mod forwarder;
mod mariadb;
mod pgbouncer;
mod ports;
mod postgres;
mod process;
mod program;
mod prometheus;
mod redis;
mod redis_cluster;
mod redis_sentinel;
mod service;
mod spawner;
mod tools;
mod wait;

pub use certificates::{Authority, Pair, ServerTls};
pub use dir::{ServerDir, keep_servers};
pub use etcd::{Etcd, EtcdCluster};
pub use forwarder::{Forwarder, Line};
pub use mariadb::MariaDb;
pub use mariadb::statements::Sent;
pub use pgbouncer::PgBouncer;
pub use ports::free_port;
pub use postgres::Postgres;
pub use postgres::statements::{Statement, peak_in_a_second};
pub use program::{Launch, Program};
pub use prometheus::{Prometheus, http_get, promtool};
pub use redis::Redis;
pub use redis_cluster::RedisCluster;
pub use redis_sentinel::RedisSentinel;
pub use wait::wait_for;
