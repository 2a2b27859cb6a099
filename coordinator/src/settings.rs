//! What a coordinator is told at its start.

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry::metrics::Meter;
use stoke_core::guard::Policy;
use stoke_core::ledger::{Share, Timing};
use stoke_core::names::{GuardName, Resource};

use crate::Retention;
use crate::accesses::AccessSettings;
use crate::prometheus::Query;
use crate::ranking::RankingSettings;

/// A coordinator's settings, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name among the coordinators.
    pub name: String,
    /// Where others can call it: `http://HOST:PORT`.
    pub address: String,
    /// The budgets. An origin without one gets no grant; a cache without one is not limited.
    pub budgets: BTreeMap<Resource, Share>,
    /// The guards of resources that have budgets.
    pub guards: BTreeMap<Resource, Guarding>,
    /// The protocol's times: the workers' must be the same.
    pub timing: Timing,
    /// How long what nobody needs any more is kept.
    pub retention: Retention,
    /// How long a leader that vanished keeps its place.
    pub leader_ttl: Duration,
    /// How reported accesses are counted.
    pub accesses: AccessSettings,
    /// What ranking plans may use.
    pub ranking: RankingSettings,
    /// What its metrics are made with: [`metrics::none`](crate::metrics::none) where nobody asks for them.
    pub meter: Meter,
}

/// A resource's guards.
#[derive(Clone, Debug, PartialEq)]
pub struct Guarding {
    /// The rules.
    pub policy: Policy,
    /// What those ask that look at Prometheus.
    pub queries: BTreeMap<GuardName, Query>,
}
