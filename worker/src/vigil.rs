//! The vigil: one worker of each resource looks how the resource is, whether jobs use it or not.
//!
//! Whom the leader names keeper runs the resource's probes: an origin's are queries of the configuration, each with its
//! interval; a cache's are its memory and its evictions. While all jobs stand still it also sends canaries, one a second, so
//! that the resource can be seen to recover. All of it goes through the gate as everything does, under the worker's grant and
//! no job's permit. Whoever is not keeper any more stops at once, and forgets what it found.
//!
//! A probe that gives no number is told of as that, with what to do: whoever decides takes it for a bad sign, not for a good
//! one.

mod cache;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use stoke_core::names::{OriginName, Resource};
use stoke_core::records::Vigil;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tracing::Instrument;

use crate::catalog::{OriginVigil, ProbeConfig};
use crate::gate::Gate;
use crate::origin::{Origin, ProbeFault};
use crate::vitals::{Outcome, Vitals};
use crate::worker::Shared;

/// How often a canary is sent.
const CANARY_EVERY: Duration = Duration::from_secs(1);

/// A vigil that this worker keeps, until it is dropped.
pub(crate) struct Keeping {
    shared: Arc<Shared>,
    resource: Resource,
    _probes: JoinSet<()>,
    canary: Option<JoinSet<()>>,
}

impl Keeping {
    /// Begins to probe.
    pub(crate) fn begin(shared: &Arc<Shared>, resource: &Resource) -> Self {
        tracing::info!(%resource, "keeps the vigil");
        let mut probes = JoinSet::new();
        if let Some(vitals) = shared.vitals.get(resource) {
            match resource {
                Resource::Origin(name) => probe_origin(shared, name, vitals, &mut probes),
                Resource::Cache(name) => {
                    let probing = cache::probe(Arc::clone(shared), name.clone(), vitals.vigil());
                    probes.spawn(probing.in_current_span());
                }
            }
        }
        Self {
            shared: Arc::clone(shared),
            resource: resource.clone(),
            _probes: probes,
            canary: None,
        }
    }

    /// Does as the vigil says now.
    pub(crate) fn follow(&mut self, vigil: &Vigil) {
        match (vigil.canaries, &self.canary) {
            (true, None) => self.canary = Some(self.canaries()),
            (false, Some(_)) => self.canary = None,
            _ => {}
        }
    }

    fn canaries(&self) -> JoinSet<()> {
        tracing::info!(resource = %self.resource, "sends canaries");
        let shared = Arc::clone(&self.shared);
        let mut sending = JoinSet::new();
        match &self.resource {
            Resource::Origin(name) => {
                let (name, resource) = (name.clone(), self.resource.clone());
                let again = every(CANARY_EVERY, move || {
                    let (shared, name, resource) =
                        (Arc::clone(&shared), name.clone(), resource.clone());
                    async move { send_to_origin(&shared, &name, &resource).await }
                });
                sending.spawn(again.in_current_span());
            }
            Resource::Cache(name) => {
                let name = name.clone();
                let again = every(CANARY_EVERY, move || {
                    let (shared, name) = (Arc::clone(&shared), name.clone());
                    async move { cache::ping(&shared, &name).await }
                });
                sending.spawn(again.in_current_span());
            }
        }
        sending
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        if let Some(vitals) = self.shared.vitals.get(&self.resource) {
            vitals.forget_probes();
        }
    }
}

/// Does it again and again: so often, or as often as it can be done.
async fn every<F: Future<Output = ()>>(time: Duration, mut again: impl FnMut() -> F) {
    let mut next = tokio::time::interval(time);
    next.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        next.tick().await;
        again().await;
    }
}

/// One canary; what comes of it is seen where all answers are.
async fn send_to_origin(shared: &Shared, name: &OriginName, resource: &Resource) {
    let (Some(origin), Some(gate)) = (shared.origins.get(name), shared.gates.get(resource)) else {
        return;
    };
    let config = shared.catalog.origins.get(name).map(|config| &config.vigil);
    // A Redis is sent a PING.
    let canary = config.map_or("", |config: &OriginVigil| &config.canary);
    let permit = gate.vigil();
    let sent = origin.canary(&permit, canary).await;
    permit.answered();
    if let Err(error) = sent {
        tracing::debug!(%resource, error = error.explain(), "a canary failed");
    }
}

fn probe_origin(
    shared: &Arc<Shared>,
    name: &OriginName,
    vitals: &Arc<Vitals>,
    probes: &mut JoinSet<()>,
) {
    let resource = Resource::Origin(name.clone());
    let (Some(origin), Some(gate), Some(config)) = (
        shared.origins.get(name),
        shared.gates.get(&resource),
        shared.catalog.origins.get(name),
    ) else {
        return;
    };
    let vigil = vitals.vigil();
    for (probe, config) in &config.vigil.probes {
        let (origin, gate, vitals) = (Arc::clone(origin), Arc::clone(gate), Arc::clone(vitals));
        let (probe, config) = (probe.clone(), config.clone());
        let again = every(config.interval, move || {
            let (origin, gate, vitals) =
                (Arc::clone(&origin), Arc::clone(&gate), Arc::clone(&vitals));
            let (probe, config) = (probe.clone(), config.clone());
            async move {
                let outcome = read(&origin, &gate, &config).await;
                if let Err(why) = &outcome {
                    tracing::warn!(resource = %gate.resource(), %probe, why, "a probe gave no number");
                }
                vitals.probed(vigil, probe.as_str(), outcome);
            }
        });
        probes.spawn(again.in_current_span());
    }
}

/// What a probe gives within its interval: a later answer would be about the past.
async fn read(origin: &Origin, gate: &Arc<Gate>, config: &ProbeConfig) -> Outcome {
    let permit = gate.vigil();
    let asking = origin.probe(&permit, &config.query, config.interval);
    let interval = humantime::format_duration(config.interval);
    let read = tokio::time::timeout(config.interval, asking).await;
    if read.is_ok() {
        permit.answered();
    }
    match read {
        Ok(Ok(number)) => Ok(number),
        Ok(Err(ProbeFault::Failed(error))) if error.is_stopped() => Err(format!(
            "this worker has no share of the budget of {} in force: nothing is asked without one",
            gate.resource()
        )),
        Ok(Err(fault)) => Err(fault.explain()),
        Err(_) if permit.taken() == 0 => Err(format!(
            "it had no turn at the gate of {} within its interval of {interval}: raise the budget, or lengthen the interval",
            gate.resource()
        )),
        Err(_) => Err(format!(
            "it is slower than its interval of {interval}: make the query faster, or lengthen the interval"
        )),
    }
}
