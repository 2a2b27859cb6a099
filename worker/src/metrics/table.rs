//! The table of a worker's metrics.
//!
//! What bounds the series: resources, origins and caches are those of the worker's configuration; all other attributes
//! have the few values that their rows name. No metric of a worker has a job's name.

use stoke_core::metric::Kind::{Counter, Gauge, Histogram};
use stoke_core::metric::Metric;

/// All metrics of a worker.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "stoke.worker.ready",
        kind: Gauge,
        unit: "{worker}",
        meaning: "1 while the worker is a member and its last beat (reading the store, renewing its grants) worked, else 0",
        attributes: &[],
    },
    Metric {
        name: "stoke.worker.jobs",
        kind: Gauge,
        unit: "{job}",
        meaning: "Jobs of which the worker owns partitions",
        attributes: &[],
    },
    Metric {
        name: "stoke.worker.beats",
        kind: Counter,
        unit: "{beat}",
        meaning: "Beats: readings of the store with all renewals, by result (ok, failed)",
        attributes: &["result"],
    },
    Metric {
        name: "stoke.worker.renewals",
        kind: Counter,
        unit: "{renewal}",
        meaning: "Renewals of grants, by result (ok; refused: something had changed, it is decided anew; failed: no answer)",
        attributes: &["resource", "result"],
    },
    Metric {
        name: "stoke.worker.renewal.duration",
        kind: Histogram,
        unit: "s",
        meaning: "How long renewing a grant took",
        attributes: &["resource"],
    },
    Metric {
        name: "stoke.worker.gate.rate.granted",
        kind: Gauge,
        unit: "{query}/s",
        meaning: "What the worker may use of a resource's budget: 0 without a grant in force; absent where there is no budget",
        attributes: &["resource"],
    },
    Metric {
        name: "stoke.worker.gate.tokens",
        kind: Counter,
        unit: "{query}",
        meaning: "Tokens taken: never fewer than queries (writes) sent. Its rate is the rate used",
        attributes: &["resource"],
    },
    Metric {
        name: "stoke.worker.gate.in_flight",
        kind: Gauge,
        unit: "{query}",
        meaning: "Queries (pipelines of writes) in flight",
        attributes: &["resource"],
    },
    Metric {
        name: "stoke.worker.gate.waiting",
        kind: Gauge,
        unit: "{query}",
        meaning: "Queries that wait for a place or a token",
        attributes: &["resource"],
    },
    Metric {
        name: "stoke.worker.gate.deadline",
        kind: Gauge,
        unit: "s",
        meaning: "Time until the grant's deadline, after which nothing goes out; 0 once it has passed",
        attributes: &["resource"],
    },
    Metric {
        name: "stoke.worker.origin.queries",
        kind: Counter,
        unit: "{query}",
        meaning: "Queries sent to an origin, setting up connections included, by the result of the call that sent them (ok, error, outage, stopped, dropped)",
        attributes: &["origin", "result"],
    },
    Metric {
        name: "stoke.worker.origin.duration",
        kind: Histogram,
        unit: "s",
        meaning: "How long a query took, from its token to the next query's or the end of the call, by purpose (load, source, prepare)",
        attributes: &["origin", "purpose"],
    },
    Metric {
        name: "stoke.worker.origin.rows",
        kind: Counter,
        unit: "{row}",
        meaning: "Rows received from an origin",
        attributes: &["origin"],
    },
    Metric {
        name: "stoke.worker.origin.outages",
        kind: Counter,
        unit: "{outage}",
        meaning: "Loads that found the origin out of reach",
        attributes: &["origin"],
    },
    Metric {
        name: "stoke.worker.cache.keys",
        kind: Counter,
        unit: "{key}",
        meaning: "Keys by what was done and came of it: probe (present, missing, failed), write (written, kept, failed), extend (extended, gone, failed)",
        attributes: &["cache", "operation", "result"],
    },
    Metric {
        name: "stoke.worker.cache.written",
        kind: Counter,
        unit: "By",
        meaning: "Bytes of the values written to a cache",
        attributes: &["cache"],
    },
    Metric {
        name: "stoke.worker.cache.duration",
        kind: Histogram,
        unit: "s",
        meaning: "How long a node took to answer a pipeline of commands",
        attributes: &["cache"],
    },
    Metric {
        name: "stoke.worker.cache.retries",
        kind: Counter,
        unit: "{command}",
        meaning: "Commands that were sent again: redirected, or not answered",
        attributes: &["cache"],
    },
    Metric {
        name: "stoke.worker.cache.connections.lost",
        kind: Counter,
        unit: "{connection}",
        meaning: "Connections to nodes that broke or could not be made",
        attributes: &["cache"],
    },
    Metric {
        name: "stoke.worker.entries",
        kind: Counter,
        unit: "{entry}",
        meaning: "Entries settled by this worker, by outcome; work that is repeated after a fault counts again, so a job's sum is the coordinator's to tell",
        attributes: &["outcome"],
    },
    Metric {
        name: "stoke.worker.entries.retried",
        kind: Counter,
        unit: "{entry}",
        meaning: "Entries put off to be tried again",
        attributes: &[],
    },
    Metric {
        name: "stoke.worker.checkpoints",
        kind: Counter,
        unit: "{checkpoint}",
        meaning: "Checkpoints, by result (written, superseded: the assignment is another's, failed: written later)",
        attributes: &["result"],
    },
    Metric {
        name: "stoke.worker.streams.reopened",
        kind: Counter,
        unit: "{stream}",
        meaning: "Streams of entries that broke and were opened again",
        attributes: &[],
    },
    Metric {
        name: "stoke.worker.store.duration",
        kind: Histogram,
        unit: "s",
        meaning: "How long the coordination store took to answer, by operation and result (ok, unreachable, unknown, lease_gone, rejected)",
        attributes: &["operation", "result"],
    },
];
