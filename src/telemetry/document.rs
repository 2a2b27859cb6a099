//! The document of all metrics, which is made from the tables.

use std::fmt::Write;
use std::path::Path;

use stoke_core::metric::{Kind, Metric};

/// Set, the test writes the document anew.
const WRITE: &str = "STOKE_WRITE_METRICS";

const HEAD: &str = "# Metrics

All metrics of Stoke's processes. This file is made from the tables in the code and checked against them by a test;
`STOKE_WRITE_METRICS=1 cargo test -p stoke metrics_document` writes it anew.

Coordinators and workers serve them on `/metrics` of their `http-listen`, and send them over OTLP where `otlp-endpoint` is
set. In Prometheus names carry the unit, counters `_total`, and histograms have `_bucket`, `_sum` and `_count`.
`stoke warm` has none.

How many series there are is bounded: resources, origins and caches are those of the configuration; methods those of the
API (others count as `other`); all else has the values that are named here. `stoke.job` (in Prometheus `stoke_job`) stands only on gauges of jobs under way,
of which there are at most 100, and these series end with their job.
";

/// The document, as the tables say.
fn document() -> String {
    let parts = [
        ("Coordinators", stoke_coordinator::metrics::METRICS),
        ("Workers", stoke_worker::metrics::METRICS),
        ("Every process", super::process::METRICS),
    ];
    let mut text = HEAD.to_owned();
    for (title, metrics) in parts {
        let _ = write!(
            text,
            "\n## {title}\n\n| OpenTelemetry | Prometheus | kind | unit | attributes | meaning |\n|---|---|---|---|---|---|\n"
        );
        for metric in metrics {
            row(&mut text, metric);
        }
    }
    text
}

fn row(text: &mut String, metric: &Metric) {
    let kind = match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let attributes: Vec<String> = metric.attributes.iter().map(|a| format!("`{a}`")).collect();
    let _ = writeln!(
        text,
        "| `{}` | `{}` | {kind} | `{}` | {} | {} |",
        metric.name,
        metric.prometheus_name(),
        metric.unit,
        attributes.join(", "),
        metric.meaning
    );
}

#[test]
fn the_metrics_document_says_what_the_tables_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/METRICS.md");
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, document()).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    assert!(
        found == document(),
        "deploy/prometheus/METRICS.md is not what the tables of metrics say: write it anew with \
         {WRITE}=1 cargo test -p stoke metrics_document"
    );
}

#[test]
fn no_two_metrics_have_one_name() {
    let all = [
        stoke_coordinator::metrics::METRICS,
        stoke_worker::metrics::METRICS,
        super::process::METRICS,
    ]
    .concat();
    let names: std::collections::BTreeSet<String> =
        all.iter().map(Metric::prometheus_name).collect();
    assert_eq!(names.len(), all.len());
}
