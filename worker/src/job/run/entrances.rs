//! The origins that a run loads from, and the gates before them.

use std::collections::BTreeMap;
use std::sync::Arc;

use stoke_core::names::{JobName, OriginName, Resource};

use crate::gate::Gate;
use crate::job::load::Goer;
use crate::origin::Origin;
use crate::worker::Shared;

/// An origin that is loaded from, and the gate before it.
pub(super) struct Entrance {
    pub(super) gate: Arc<Gate>,
    origin: Arc<Origin>,
}

/// Those of a job: at least one, or nothing could be loaded.
pub(super) type Entrances = BTreeMap<OriginName, Entrance>;

/// Those of a run's job.
pub(super) fn entrances(shared: &Shared, goer: &Goer) -> Entrances {
    let entrance = |name: &OriginName| {
        let gate = shared.gates.get(&Resource::Origin(name.clone()))?;
        let (gate, origin) = (Arc::clone(gate), Arc::clone(shared.origins.get(name)?));
        Some((name.clone(), Entrance { gate, origin }))
    };
    goer.loaders
        .iter()
        .filter_map(|loader| entrance(&loader.origin))
        .collect()
}

impl Entrance {
    /// Whether a load may begin here, beside so many of the run: the gate is open, the grant has a place for it, neither this
    /// job nor a higher one waits, and no other load sets anything up. Then the next query finds the last one's connection
    /// free again, and another connection is made only where queries take longer than tokens.
    pub(super) fn may_load(&self, job: &JobName, priority: u32, loads: usize) -> bool {
        self.gate.is_open(job)
            && !self.gate.is_behind(job, priority)
            && !self.origin.is_setting_up()
            && (loads == 0 || self.gate.in_flight() < self.gate.in_flight_max())
    }
}
