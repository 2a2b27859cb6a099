//! When a gate opens, and how a hit rate is watched.

use std::ops::RangeInclusive;
use std::time::Duration;

use stoke_core::hit_rate::{Judge, Steady};
use stoke_core::names::CacheName;
use stoke_proto::v1;

use super::super::refusal::Refusal;
use super::faults::Faults;

/// How many requests are drawn where nothing is said, and at most: for more, the margin is less than anybody's hit rate is steady.
const SAMPLE_DEFAULT: u32 = 10_000;
const SAMPLE_MAX: u32 = 100_000;
/// How many keys a second a gate may ask after, on average.
const KEYS_A_SECOND_MAX: u32 = 10_000;
/// How long is waited where nothing is said, and at most.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);
const TIMEOUT_MAX: Duration = Duration::from_secs(86_400);
/// How often is measured, or how long an interval is, where nothing is said; and from when to when.
const EVERY_DEFAULT: Duration = Duration::from_secs(10);
const EVERY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
/// How near to the steady state is warm, where nothing is said.
const EPSILON_DEFAULT: f64 = 0.02;

/// When a gate opens.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Gate {
    /// The least coverage.
    pub(in super::super) coverage: Option<f64>,
    /// The least hit rate.
    pub(in super::super) hit_rate: Option<f64>,
    pub(in super::super) sample: u32,
    pub(in super::super) measure_every: Duration,
    pub(in super::super) timeout: Duration,
}

/// Parses when a gate opens.
///
/// # Errors
/// With all faults.
pub(in super::super) fn gate(request: &v1::GateJobRequest) -> Result<Gate, Refusal> {
    let mut faults = Faults::default();
    let coverage = share(&mut faults, "coverage", request.coverage);
    let hit_rate = share(&mut faults, "hit_rate", request.hit_rate);
    if (request.coverage, request.hit_rate) == (0.0, 0.0) {
        faults.note(
            "coverage",
            "say which coverage or hit rate is wanted, above 0 and at most 1",
        );
    }
    faults.at_most("sample", request.sample, SAMPLE_MAX);
    let every = time(
        &mut faults,
        "measure_every",
        request.measure_every,
        EVERY,
        EVERY_DEFAULT,
    );
    let within = Duration::ZERO..=TIMEOUT_MAX;
    let timeout = time(
        &mut faults,
        "timeout",
        request.timeout,
        within,
        TIMEOUT_DEFAULT,
    );
    let sample = match request.sample {
        0 => SAMPLE_DEFAULT,
        sample => sample,
    };
    let least = Duration::from_secs(sample.div_ceil(KEYS_A_SECOND_MAX).into());
    if every.is_some_and(|every| every < least) {
        let least = least.as_secs();
        faults.note(
            "measure_every",
            format!("must be {least} s at least for a sample of {sample}: looks are not budgeted"),
        );
    }
    let gate = every.zip(timeout).map(|(measure_every, timeout)| Gate {
        coverage,
        hit_rate,
        sample,
        measure_every,
        timeout,
    });
    faults.end(gate)
}

/// A cache whose hit rate is watched.
#[derive(Clone, Debug)]
pub(in super::super) struct Watched {
    pub(in super::super) cache: CacheName,
    pub(in super::super) reference: Option<CacheName>,
    pub(in super::super) interval: Duration,
    pub(in super::super) judge: Judge,
}

/// Parses which hit rate is watched, and with what it is compared.
///
/// # Errors
/// With all faults.
pub(in super::super) fn watched(request: &v1::WatchHitRateRequest) -> Result<Watched, Refusal> {
    let mut faults = Faults::default();
    let cache = faults.name::<CacheName>("cache", &request.cache);
    let reference = match request.reference.as_str() {
        "" => None,
        name => faults.name::<CacheName>("reference", name),
    };
    if reference.is_some() && reference == cache {
        faults.note(
            "reference",
            "is the cache itself: name one that serves the same requests and is warm",
        );
    }
    let steady = share(&mut faults, "steady_state", request.steady_state);
    if reference.is_some() && steady.is_some() {
        faults.note("steady_state", "stands without a reference only");
    }
    let epsilon = share(&mut faults, "epsilon", request.epsilon).unwrap_or(EPSILON_DEFAULT);
    if epsilon >= 1.0 {
        faults.note("epsilon", "must be below 1");
    }
    let interval = time(
        &mut faults,
        "interval",
        request.interval,
        EVERY,
        EVERY_DEFAULT,
    );
    let steady = match (&reference, steady) {
        (Some(_), _) => Steady::Reference,
        (None, Some(steady)) => Steady::Known(steady),
        (None, None) => Steady::Unknown,
    };
    let watched = cache.zip(interval).map(|(cache, interval)| Watched {
        cache,
        reference,
        interval,
        judge: Judge::new(steady, epsilon),
    });
    faults.end(watched)
}

/// A share above 0, and at most 1; `None` where it is not set.
fn share(faults: &mut Faults, field: &str, share: f64) -> Option<f64> {
    if share == 0.0 {
        return None;
    }
    let is_one = share > 0.0 && share <= 1.0;
    if !is_one {
        faults.note(
            field,
            format!("is {share}: it must be above 0 and at most 1"),
        );
    }
    is_one.then_some(share)
}

/// A time within these bounds.
fn time(
    faults: &mut Faults,
    field: &str,
    time: Option<prost_types::Duration>,
    within: RangeInclusive<Duration>,
    default: Duration,
) -> Option<Duration> {
    let Some(time) = time else {
        return Some(default);
    };
    let time = Duration::try_from(time).ok();
    let time = time.filter(|time| within.contains(time));
    if time.is_none() {
        let (from, to) = (within.start().as_secs(), within.end().as_secs());
        faults.note(field, format!("must be from {from} s to {to} s"));
    }
    time
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T>(parsed: Result<T, Refusal>) -> String {
        match parsed {
            Err(refusal) => refusal.to_string(),
            Ok(_) => String::new(),
        }
    }

    #[test]
    fn a_gate_says_what_it_waits_for() {
        let request = v1::GateJobRequest {
            coverage: 0.9,
            ..v1::GateJobRequest::default()
        };
        let expected = Gate {
            coverage: Some(0.9),
            hit_rate: None,
            sample: 10_000,
            measure_every: Duration::from_secs(10),
            timeout: Duration::from_secs(600),
        };
        assert_eq!(gate(&request).ok(), Some(expected));
        assert!(refused(gate(&v1::GateJobRequest::default())).starts_with("coverage: say which"));
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let wrong = v1::GateJobRequest {
            coverage: 1.5,
            hit_rate: f64::NAN,
            sample: 100_001,
            measure_every: seconds(0),
            timeout: seconds(-1),
            ..v1::GateJobRequest::default()
        };
        let said = refused(gate(&wrong));
        for field in [
            "coverage: is 1.5",
            "hit_rate: is NaN",
            "sample: ",
            "measure_every: must be from 1 s",
        ] {
            assert!(said.contains(field), "{said}");
        }
    }

    #[test]
    fn a_hit_rate_is_compared_with_one_thing_only() {
        let request = v1::WatchHitRateRequest {
            cache: "eu".into(),
            ..v1::WatchHitRateRequest::default()
        };
        assert!(watched(&request).is_ok_and(|watched| watched.interval == EVERY_DEFAULT));
        let both = v1::WatchHitRateRequest {
            reference: "eu".into(),
            steady_state: 0.9,
            epsilon: 1.0,
            ..request
        };
        let said = refused(watched(&both));
        for field in [
            "reference: is the cache itself",
            "steady_state: stands",
            "epsilon: must be below 1",
        ] {
            assert!(said.contains(field), "{said}");
        }
        assert!(refused(watched(&v1::WatchHitRateRequest::default())).contains("cache: "));
    }
}
