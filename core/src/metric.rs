//! Metrics as a table: what a process tells of itself, from which instruments and documents are made.
//!
//! Absent: measuring, and any library for it.

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from 0 when the process starts.
    Counter,
    /// Is as it is now.
    Gauge,
    /// How often which values came.
    Histogram,
}

/// A metric: one row of a crate's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name in OpenTelemetry.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// Its unit in UCUM; what is counted, in braces, where that is no unit of measure.
    pub unit: &'static str,
    /// What it says.
    pub meaning: &'static str,
    /// The attributes of its series. What bounds the number of their values, the table says.
    pub attributes: &'static [&'static str],
}

impl Metric {
    /// The row of this name.
    ///
    /// # Panics
    /// Where the table has no such row of this kind: no instrument exists outside the table.
    #[must_use]
    pub fn find(table: &[Self], name: &str, kind: Kind) -> Self {
        let found = table
            .iter()
            .find(|metric| metric.name == name && metric.kind == kind);
        *found.unwrap_or_else(|| panic!("the table of metrics has no {kind:?} {name}"))
    }

    /// Its name in Prometheus, to which OpenTelemetry's rules add the unit, and `_total` to counters.
    #[must_use]
    pub fn prometheus_name(&self) -> String {
        let unit = match self.unit {
            "s" => "_seconds",
            "By" => "_bytes",
            "1" => "_ratio",
            unit if unit.ends_with("/s") => "_per_second",
            _ => "",
        };
        let total = if self.kind == Kind::Counter {
            "_total"
        } else {
            ""
        };
        format!("{}{unit}{total}", self.name.replace('.', "_"))
    }
}

/// The boundaries of the buckets of durations, in seconds: from a probe of a cache near by to a plan of millions.
pub const SECONDS_BUCKETS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_names_carry_the_unit_and_say_what_is_counted() {
        let name = |name, kind, unit| {
            let metric = Metric {
                name,
                kind,
                unit,
                meaning: "",
                attributes: &[],
            };
            metric.prometheus_name()
        };
        assert_eq!(
            name("stoke.cache.written", Kind::Counter, "By"),
            "stoke_cache_written_bytes_total"
        );
        assert_eq!(
            name("stoke.look", Kind::Histogram, "s"),
            "stoke_look_seconds"
        );
        assert_eq!(
            name("stoke.rate", Kind::Gauge, "{query}/s"),
            "stoke_rate_per_second"
        );
        assert_eq!(
            name("stoke.job.coverage", Kind::Gauge, "1"),
            "stoke_job_coverage_ratio"
        );
        assert_eq!(name("stoke.jobs", Kind::Gauge, "{job}"), "stoke_jobs");
    }
}
