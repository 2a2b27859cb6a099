//! How a gate stands: for people a line, for scripts an object.

use serde::Serialize;
use stoke_proto::v1;
use v1::GateVerdict;

use super::number::{grouped, percent};
use super::plain;
use super::style::state_name;

/// One JSON object. Its fields are kept as they are from version to version; new ones may come.
#[derive(Debug, Serialize)]
pub struct GateReport<'a> {
    job: &'a str,
    /// WAITING, MET or NOT_MET.
    verdict: &'static str,
    /// PENDING … ABORTED.
    state: &'static str,
    /// Null before the plan is sealed.
    coverage: Option<f64>,
    hit_rates: Vec<RateReport<'a>>,
    reason: &'a str,
}

#[derive(Debug, Serialize)]
struct RateReport<'a> {
    cache: &'a str,
    rate: f64,
    margin: f64,
    sample: u64,
    keys: u64,
}

impl<'a> GateReport<'a> {
    /// Of a job's gate.
    pub fn new(job: &'a str, gate: &'a v1::GateJobResponse) -> Self {
        let rate = |rate: &'a v1::HitRate| RateReport {
            cache: &rate.cache,
            rate: rate.rate,
            margin: rate.margin,
            sample: rate.sample,
            keys: rate.keys,
        };
        Self {
            job,
            verdict: match gate.verdict() {
                GateVerdict::Met => "MET",
                GateVerdict::NotMet => "NOT_MET",
                GateVerdict::Waiting | GateVerdict::Unspecified => "WAITING",
            },
            state: state_name(gate.state()),
            coverage: gate.coverage,
            hit_rates: gate.hit_rates.iter().map(rate).collect(),
            reason: &gate.reason,
        }
    }
}

/// How it stands, as a line.
pub fn text(job: &str, gate: &v1::GateJobResponse) -> String {
    let mut told = format!("job {job}: ");
    told += match gate.verdict() {
        GateVerdict::Met => "the gate is open",
        GateVerdict::NotMet => "the gate is not open",
        GateVerdict::Waiting | GateVerdict::Unspecified => "the gate is not open yet",
    };
    if let Some(coverage) = gate.coverage {
        told += &format!("; coverage {}", percent(coverage));
    }
    for rate in &gate.hit_rates {
        told += &format!(
            "; hit rate {} ± {} of cache {} ({} requests, {} keys)",
            percent(rate.rate),
            percent(rate.margin),
            plain(&rate.cache),
            grouped(rate.sample),
            grouped(rate.keys),
        );
    }
    if !gate.reason.is_empty() {
        told += &format!("; {}", plain(&gate.reason));
    }
    told.push('\n');
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> v1::GateJobResponse {
        v1::GateJobResponse {
            verdict: GateVerdict::Met.into(),
            state: v1::JobState::Running.into(),
            coverage: Some(0.9512),
            hit_rates: vec![v1::HitRate {
                cache: "eu".into(),
                rate: 0.8731,
                margin: 0.0065,
                sample: 10_000,
                keys: 4321,
                measure_time: None,
            }],
            reason: String::new(),
        }
    }

    #[test]
    fn a_gate_is_told_with_what_was_measured() {
        assert_eq!(
            text("j1", &open()),
            "job j1: the gate is open; coverage 95.1 %; hit rate 87.3 % ± 0.7 % of cache eu (10,000 requests, 4,321 keys)\n"
        );
        let shut = v1::GateJobResponse {
            verdict: GateVerdict::NotMet.into(),
            state: v1::JobState::Planning.into(),
            reason: "not within 5 s: no\nplan".into(),
            ..v1::GateJobResponse::default()
        };
        assert_eq!(
            text("j1", &shut),
            "job j1: the gate is not open; not within 5 s: no\\nplan\n"
        );
        assert_eq!(
            crate::print::json(&GateReport::new("j1", &shut)),
            "{\"job\":\"j1\",\"verdict\":\"NOT_MET\",\"state\":\"PLANNING\",\"coverage\":null,\"hit_rates\":[],\"reason\":\"not within 5 s: no\\nplan\"}\n"
        );
        assert!(
            crate::print::json(&GateReport::new("j1", &open()))
                .contains("\"rate\":0.8731,\"margin\":0.0065,\"sample\":10000,\"keys\":4321")
        );
    }
}
