//! Guards: what the health of a resource does to those who use it.
//!
//! A guard has a signal, two thresholds and an action. Beyond the first threshold for long enough the signal is bad and the
//! guard acts; it ends once the signal has been on the good side of the second for a while; between both nothing
//! changes. What holds:
//!
//! - a signal that fails or is stale is bad, with that as its reason; that nobody asks the resource is neither bad nor
//!   good
//! - what guards that slow leave of a budget is never above what operators ask, nor below the floor, and a bad signal
//!   never raises it
//! - a guard aborts only after a second look on fresh data, and one that pauses only where it was told to
//!
//! [`Vitals`] keep what is told of a resource's health; a [`Warden`] decides on them. Absent here: clocks (time is an
//! argument), the store, and whoever asks Prometheus.

mod reading;
mod vitals;
mod warden;
mod watch;

pub use reading::Reading;
pub use vitals::{Outcome, ProbeReading, Report, Vitals, WINDOW_MAX, Window};
pub use warden::{Around, Limits, Policy, Said, Shown, Warden, rate};
pub use watch::Stage;

use std::time::Duration;

use crate::names::{GuardName, Resource};

/// One guard of a resource, as it is configured.
#[derive(Clone, Debug, PartialEq)]
pub struct GuardSpec {
    /// Its name among the resource's guards.
    pub name: GuardName,
    /// What it looks at.
    pub signal: Signal,
    /// When that is bad, and when it is good again.
    pub threshold: Threshold,
    /// What it does then.
    pub action: Action,
    /// For how long the signal must be bad before the guard acts.
    pub sustained: Duration,
    /// For how long it must be good before the guard ends what it does.
    pub calm: Duration,
    /// After how long without news the signal is missing.
    pub stale_after: Duration,
}

/// What a guard looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// How long Stoke's own queries take, in seconds: a percentile of all workers' together.
    Latency {
        /// Which, in thousandths: 990 is p99. From 1 to 1000.
        permille: u32,
        /// Of the queries that were answered within this time.
        window: Duration,
    },
    /// Which part of Stoke's own queries fails for the resource's sake, from 0 to 1.
    Errors {
        /// Of the queries that were answered within this time.
        window: Duration,
    },
    /// What a probe of the workers' gives.
    Probe {
        /// As the workers' configuration calls it; of a cache, `memory` or `evictions`.
        name: String,
    },
    /// What Prometheus answers to the guard's query.
    Prometheus,
}

/// When a signal is bad, and when it is good again: what lies between leaves everything as it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// Bad above `trigger`, good up to `clear`, which is no more.
    Above {
        /// The last value that is not bad.
        trigger: f64,
        /// The last value that is good.
        clear: f64,
    },
    /// Bad below `trigger`, good from `clear` on, which is no less.
    Below {
        /// The last value that is not bad.
        trigger: f64,
        /// The last value that is good.
        clear: f64,
    },
}

/// What a guard does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// Takes from the budget as long as it is bad, and gives back little by little.
    Slow {
        /// A worker that sees a single query take longer (seconds), or a larger part of a second's queries fail, halves its
        /// own rate at once.
        brake: Option<f64>,
    },
    /// Holds all jobs that use the resource.
    Pause {
        /// Aborts them once it has held them for so long and the signal is still bad; `None`: never.
        abort_after: Option<Duration>,
    },
    /// Aborts all jobs that use the resource, after a second look.
    Abort,
}

/// How the signal stands to its thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Beyond the first, or missing.
    Bad,
    /// Between both.
    Between,
    /// Good.
    Clear,
    /// There is nothing to judge by.
    Neutral,
}

impl Threshold {
    /// How a value stands to it. What is no number is bad.
    #[must_use]
    pub fn judge(self, value: f64) -> Verdict {
        let (is_fine, is_clear) = match self {
            Self::Above { trigger, clear } => (value <= trigger, value <= clear),
            Self::Below { trigger, clear } => (value >= trigger, value >= clear),
        };
        match (is_fine, is_clear) {
            (true, true) => Verdict::Clear,
            (true, false) => Verdict::Between,
            (false, _) => Verdict::Bad,
        }
    }

    /// The last value that is not bad.
    #[must_use]
    pub const fn trigger(self) -> f64 {
        match self {
            Self::Above { trigger, .. } | Self::Below { trigger, .. } => trigger,
        }
    }

    /// The last value that is good.
    #[must_use]
    pub const fn clear(self) -> f64 {
        match self {
            Self::Above { clear, .. } | Self::Below { clear, .. } => clear,
        }
    }
}

impl Action {
    /// As configurations write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slow { .. } => "slow",
            Self::Pause { .. } => "pause",
            Self::Abort => "abort",
        }
    }
}

/// What begins the holders of all guards, and nobody else's.
pub const HOLDER_PREFIX: &str = "guard/";

/// Who a resource's guard is among a job's holders.
#[must_use]
pub fn holder(resource: &Resource, guard: &GuardName) -> String {
    format!("{HOLDER_PREFIX}{resource}/{guard}")
}

#[cfg(test)]
mod tests;
