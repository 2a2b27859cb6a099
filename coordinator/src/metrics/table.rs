//! The table of a coordinator's metrics.
//!
//! What bounds the series: resources are those that have a budget; methods are those of the API, any other counts as
//! `other`; jobs are named only while they are under way, of which there are 100 at most, and their series end with them.

use stoke_core::metric::Kind::{Counter, Gauge, Histogram};
use stoke_core::metric::Metric;

/// All metrics of a coordinator.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "stoke.coordinator.ready",
        kind: Gauge,
        unit: "{coordinator}",
        meaning: "1 while the coordinator serves gRPC and the coordination store answers it, else 0",
        attributes: &[],
    },
    Metric {
        name: "stoke.coordinator.leads",
        kind: Gauge,
        unit: "{coordinator}",
        meaning: "1 on the coordinator that leads, 0 on the others",
        attributes: &[],
    },
    Metric {
        name: "stoke.coordinator.epoch",
        kind: Gauge,
        unit: "{epoch}",
        meaning: "The leader's epoch: it grows with each change of leader. Only on the leader",
        attributes: &[],
    },
    Metric {
        name: "stoke.coordinator.members",
        kind: Gauge,
        unit: "{worker}",
        meaning: "Workers that are there. Only on the leader, as are all metrics of jobs and budgets",
        attributes: &[],
    },
    Metric {
        name: "stoke.coordinator.look.duration",
        kind: Histogram,
        unit: "s",
        meaning: "How long the leader took to read all records, decide and commit, by result (ok, failed)",
        attributes: &["result"],
    },
    Metric {
        name: "stoke.coordinator.jobs",
        kind: Gauge,
        unit: "{job}",
        meaning: "Jobs by state, those that are over included as long as they are kept",
        attributes: &["state"],
    },
    Metric {
        name: "stoke.coordinator.job.state",
        kind: Gauge,
        unit: "{job}",
        meaning: "1 for the state that a job under way is in",
        attributes: &["stoke.job", "state"],
    },
    Metric {
        name: "stoke.coordinator.job.planned",
        kind: Gauge,
        unit: "{entry}",
        meaning: "Entries in the plan of a job under way; 0 before it is sealed",
        attributes: &["stoke.job"],
    },
    Metric {
        name: "stoke.coordinator.job.entries",
        kind: Gauge,
        unit: "{entry}",
        meaning: "Entries of a job under way that are done, by outcome: exact, as its checkpoints say",
        attributes: &["stoke.job", "outcome"],
    },
    Metric {
        name: "stoke.coordinator.job.coverage",
        kind: Gauge,
        unit: "1",
        meaning: "The hit rate to expect of a job under way, of its plan; from 0 to 1",
        attributes: &["stoke.job"],
    },
    Metric {
        name: "stoke.coordinator.job.holds",
        kind: Gauge,
        unit: "{hold}",
        meaning: "Reasons for a job under way to stand still",
        attributes: &["stoke.job"],
    },
    Metric {
        name: "stoke.coordinator.job.partitions.unowned",
        kind: Gauge,
        unit: "{partition}",
        meaning: "Partitions of a running job that no worker that is there owns",
        attributes: &["stoke.job"],
    },
    Metric {
        name: "stoke.coordinator.takeovers",
        kind: Counter,
        unit: "{partition}",
        meaning: "Partitions of jobs under way that were taken over from workers that left or vanished",
        attributes: &[],
    },
    Metric {
        name: "stoke.coordinator.budget.target",
        kind: Gauge,
        unit: "{query}/s",
        meaning: "What was asked for as a resource's budget",
        attributes: &["resource"],
    },
    Metric {
        name: "stoke.coordinator.budget.ceiling",
        kind: Gauge,
        unit: "{query}/s",
        meaning: "What is promised to hold now; above the target only while workers still hold more",
        attributes: &["resource"],
    },
    Metric {
        name: "stoke.coordinator.budget.reserved",
        kind: Gauge,
        unit: "{query}/s",
        meaning: "What all workers together hold of a resource's budget: never above the ceiling",
        attributes: &["resource"],
    },
    Metric {
        name: "stoke.coordinator.planning.duration",
        kind: Histogram,
        unit: "s",
        meaning: "How long planning a job took, from when this leader first saw it planned, by result (ok, failed)",
        attributes: &["result"],
    },
    Metric {
        name: "stoke.coordinator.plan.entries",
        kind: Counter,
        unit: "{entry}",
        meaning: "Entries in sealed plans",
        attributes: &[],
    },
    Metric {
        name: "stoke.coordinator.plan_store.written",
        kind: Counter,
        unit: "By",
        meaning: "Bytes written to the plan store",
        attributes: &[],
    },
    Metric {
        name: "stoke.coordinator.plan_store.duration",
        kind: Histogram,
        unit: "s",
        meaning: "How long the plan store took, by operation (put, get) and result (ok, failed)",
        attributes: &["operation", "result"],
    },
    Metric {
        name: "stoke.coordinator.rpc.duration",
        kind: Histogram,
        unit: "s",
        meaning: "How long gRPC calls took until their answer began, by method and code; CANCELLED where the caller left before",
        attributes: &["method", "code"],
    },
    Metric {
        name: "stoke.coordinator.rpc.open",
        kind: Gauge,
        unit: "{call}",
        meaning: "gRPC calls that are open now: watches, attached workers, streams of entries, uploads",
        attributes: &["method"],
    },
    Metric {
        name: "stoke.coordinator.uploaded",
        kind: Counter,
        unit: "{entry}",
        meaning: "Entries that callers uploaded",
        attributes: &[],
    },
    Metric {
        name: "stoke.coordinator.store.duration",
        kind: Histogram,
        unit: "s",
        meaning: "How long the coordination store took to answer, by operation and result (ok, unreachable, unknown, lease_gone, rejected)",
        attributes: &["operation", "result"],
    },
];
