//! Stoke's coordinator: decides what is warmed, by whom and how fast, and tells whoever asks.
//!
//! It touches no data: it holds no credentials to origins or caches and opens no connection to them. What it decides
//! it writes to the coordination store, fenced by its epoch; plans go to the plan store. Of several coordinators one
//! leads; all serve streams of entries and answer questions.
//!
//! Entry points: [`Coordinator::start`], then `lead` for decisions and `service` for what callers see.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")
)]

mod accesses;
mod calls;
pub mod doors;
mod guarded;
mod health;
mod history;
pub mod intake;
mod lead;
pub mod metrics;
pub mod plan_store;
pub mod prometheus;
mod questions;
pub mod ranking;
mod retention;
mod server;
mod service;
mod settings;
mod sightings;
pub mod trace;
pub mod view;
mod warnings;
pub mod watching;
pub mod wire;

pub use accesses::AccessSettings;
pub use health::Health;
pub use retention::Retention;
pub use server::{Coordinator, StartError};
pub use settings::{Guarding, Settings};

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use stoke_core::guard::Vitals;
use stoke_core::names::{JobName, Resource, WorkerName};
use stoke_core::units::Epoch;
use stoke_store::clock::Clock;
use stoke_store::{Compare, Store};
use tokio::sync::watch;

use crate::calls::Calls;
use crate::guarded::{Guarded, Use};
use crate::intake::Intake;
use crate::metrics::{Board, Metrics};
use crate::plan_store::PlanStore;
use crate::ranking::Ranking;
use crate::sightings::Sightings;

/// Whether this coordinator leads, and what then fences its writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leading(pub(crate) Option<(Epoch, Compare)>);

/// What all parts of one coordinator share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) plans: PlanStore,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) intake: Intake,
    pub(crate) ranking: Ranking,
    pub(crate) limits: service::Limits,
    pub(crate) leading: watch::Sender<Leading>,
    pub(crate) sightings: Mutex<Sightings>,
    /// What attached workers last reported of their queries: by worker, then resource.
    pub(crate) uses: Mutex<BTreeMap<WorkerName, BTreeMap<Resource, Use>>>,
    /// Held by whoever creates a job, or forgets one whose plan a new job may name.
    pub(crate) creating: tokio::sync::Mutex<()>,
    /// What is told of the health of resources that have guards.
    pub(crate) vitals: Mutex<BTreeMap<Resource, Vitals>>,
    /// What the guards of this leader do, while this coordinator leads.
    pub(crate) guarded: Mutex<BTreeMap<Resource, Guarded>>,
    /// What attached workers last said keeps them from going on: by worker, then job.
    pub(crate) troubles: Mutex<BTreeMap<WorkerName, BTreeMap<JobName, String>>>,
    /// Told whenever what they say keeps them has changed.
    pub(crate) troubles_told: watch::Sender<()>,
    /// What applications report of the keys that they ask for, while this coordinator leads.
    pub(crate) accesses: accesses::Accesses,
    /// What workers are asked about caches.
    pub(crate) questions: questions::Questions,
    /// What is measured for those who wait at gates.
    pub(crate) measurements: service::Measurements,
    /// Whether the store's history grows without end.
    pub(crate) grows: Arc<history::Grows>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) calls: Arc<Calls>,
    /// What the last look showed, while this coordinator leads.
    pub(crate) board: Arc<Mutex<Option<Board>>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// The wall clock in milliseconds since 1970: for people, it decides nothing.
pub(crate) fn wall_ms() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
