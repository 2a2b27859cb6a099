//! What any process tells of itself: processor time, memory, files. Read from /proc when somebody asks; where there is
//! none, nothing is shown.

use opentelemetry::metrics::Meter;
use stoke_core::metric::Kind::{self, Counter, Gauge};
use stoke_core::metric::Metric;

/// The metrics of a process: their names in Prometheus are those that its own clients use.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "process.cpu",
        kind: Counter,
        unit: "s",
        meaning: "Processor time used, in user and system mode",
        attributes: &[],
    },
    Metric {
        name: "process.resident_memory",
        kind: Gauge,
        unit: "By",
        meaning: "Memory in use",
        attributes: &[],
    },
    Metric {
        name: "process.start_time",
        kind: Gauge,
        unit: "s",
        meaning: "When the process started, since 1970",
        attributes: &[],
    },
    Metric {
        name: "process.open_fds",
        kind: Gauge,
        unit: "{file}",
        meaning: "Open files and connections",
        attributes: &[],
    },
];

/// Linux' unit of processor time and start times in /proc: hundredths of a second on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// Shows the process' metrics.
pub(super) fn observe(meter: &Meter) {
    let cpu = Metric::find(METRICS, "process.cpu", Kind::Counter);
    let builder = meter.f64_observable_counter(cpu.name).with_unit(cpu.unit);
    let _registered = builder
        .with_description(cpu.meaning)
        .with_callback(|to| {
            if let Some(seconds) = cpu_seconds() {
                to.observe(seconds, &[]);
            }
        })
        .build();
    gauge(meter, "process.resident_memory", resident_bytes);
    gauge(meter, "process.start_time", start_seconds);
    gauge(meter, "process.open_fds", open_files);
}

fn gauge(meter: &Meter, name: &'static str, read: fn() -> Option<f64>) {
    let metric = Metric::find(METRICS, name, Kind::Gauge);
    let builder = meter
        .f64_observable_gauge(metric.name)
        .with_unit(metric.unit);
    let _registered = builder
        .with_description(metric.meaning)
        .with_callback(move |to| {
            if let Some(value) = read() {
                to.observe(value, &[]);
            }
        })
        .build();
}

/// A field of /proc/self/stat, counted as proc(5) counts them, from 1. Only those after the name, which may have blanks.
fn stat(field: usize) -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(field - 3)?.parse().ok()
}

fn cpu_seconds() -> Option<f64> {
    Some((stat(14)? + stat(15)?) / TICKS_PER_SECOND)
}

fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

fn start_seconds() -> Option<f64> {
    let machine = std::fs::read_to_string("/proc/stat").ok()?;
    let booted = machine
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?;
    Some(booted.trim().parse::<f64>().ok()? + stat(22)? / TICKS_PER_SECOND)
}

#[expect(clippy::cast_precision_loss, reason = "a number of files")]
fn open_files() -> Option<f64> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count() as f64)
}
