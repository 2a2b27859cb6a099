//! Lets guards look, and commits what they do: records, vigils, holds and aborts.
//!
//! Level-triggered like all else: what a look could not commit the next one decides anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use stoke_core::guard::{Around, Said, Vitals, Warden};
use stoke_core::ledger::Ledger;
use stoke_core::names::{JobName, Resource, WorkerName};
use stoke_core::records::keys;
use stoke_core::units::Moment;
use stoke_store::{Compare, Op, Revision, StoreError, Txn, record};
use tokio::time::MissedTickBehavior;
use tracing::Instrument;

use super::{Lead, vigil};
use crate::guarded::Guarded;
use crate::prometheus;
use crate::view::{At, View};

/// How often guards look: as often as workers tell of a window.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The guards of all resources, at work for one leader.
#[derive(Debug, Default)]
pub(super) struct Guards {
    pub(super) wardens: BTreeMap<Resource, Warden>,
    looked: Option<Moment>,
}

/// Who looks after each resource.
pub(super) type Keepers = BTreeMap<Resource, WorkerName>;

impl Lead {
    /// Begins to ask Prometheus what guards want to know.
    pub(super) fn ask_prometheus(&self) {
        for (resource, guarding) in &self.shared.settings.guards {
            for (guard, query) in &guarding.queries {
                let (shared, resource) = (Arc::clone(&self.shared), resource.clone());
                let (guard, query) = (guard.clone(), query.clone());
                let stop = self.stop.clone();
                let asking = async move {
                    let mut next = tokio::time::interval(query.every);
                    next.set_missed_tick_behavior(MissedTickBehavior::Delay);
                    loop {
                        next.tick().await;
                        let answer = prometheus::ask(&query).await;
                        let now = shared.clock.now();
                        let mut vitals =
                            shared.vitals.lock().unwrap_or_else(PoisonError::into_inner);
                        if let Some(vitals) = vitals.get_mut(&resource) {
                            vitals.answer(now, &guard, answer);
                        }
                    }
                };
                let asking = async move {
                    let _: Option<()> = stop.run_until_cancelled(asking).await;
                };
                self.tasks.spawn(asking.in_current_span());
            }
        }
    }

    /// Lets the guards look at what is known, and commits what they do. Says who looks after which resource.
    pub(super) async fn guard(&mut self, view: &View, now: Moment) -> Result<Keepers, StoreError> {
        let shared = Arc::clone(&self.shared);
        let users = vigil::users(view, shared.settings.guards.keys());
        let is_due = (self.guards.looked).is_none_or(|then| now.since(then) >= LOOK_EVERY);
        if is_due {
            self.guards.looked = Some(now);
        }
        for resource in shared.settings.guards.keys() {
            let users = &users[resource];
            // That nobody uses it any more is noticed at once: who comes next is not aborted for what was before.
            if is_due || users.is_empty() {
                self.look_after(resource, users, view, now);
            }
        }
        let keepers = self.keepers(&users, view, now);
        self.record(view, &keepers).await?;
        for job in view.jobs.values() {
            let Some(life) = vigil::life(job, &users, &self.guards.wardens) else {
                continue;
            };
            let run = keys::run(&job.name);
            let txn = Txn {
                compares: vec![Compare::ModRevision(
                    run.clone(),
                    Revision(job.life.revision),
                )],
                ops: vec![put(run, &life)],
            };
            if self.commit(txn).await? {
                let (phase, holds) = (life.phase, life.holds.len());
                tracing::info!(job = %job.name, %phase, holds, reason = life.reason, "guards changed a job's life");
            }
        }
        Ok(keepers)
    }

    fn look_after(
        &mut self,
        resource: &Resource,
        users: &BTreeSet<JobName>,
        view: &View,
        now: Moment,
    ) {
        let Some(asked) = self.asked(resource, view, now).map(|ledger| ledger.asked) else {
            return;
        };
        let settings = &self.shared.settings;
        let Some(guarding) = settings.guards.get(resource) else {
            return;
        };
        let new = || {
            let before = view.guards.get(resource).map(|before| &before.value);
            Warden::new(&guarding.policy, settings.timing.term, now, before)
        };
        let warden = (self.guards.wardens)
            .entry(resource.clone())
            .or_insert_with(new);
        let expected = vigil::sharing(resource, view);
        let around = Around {
            asked_milli: asked.rate_milli,
            // Where nothing may be asked, nothing can be seen.
            in_use: !users.is_empty() && asked.allows_queries(),
            expected: &expected,
        };
        let vitals = self.shared.vitals.lock();
        let vitals = vitals.unwrap_or_else(PoisonError::into_inner);
        let nothing = Vitals::default();
        let said = warden.step(now, vitals.get(resource).unwrap_or(&nothing), around);
        drop(vitals);
        for Said { guard, what, acts } in said {
            let guard = guard.map(|guard| guard.to_string()).unwrap_or_default();
            // A signal may be bad for a moment again and again: only what is done about it is news.
            if acts {
                tracing::warn!(%resource, guard, what, "a guard");
            } else {
                tracing::debug!(%resource, guard, what, "a guard");
            }
        }
        let shown = Guarded::of(warden, users.clone(), asked);
        let mut guarded = (self.shared.guarded.lock()).unwrap_or_else(PoisonError::into_inner);
        guarded.insert(resource.clone(), shown);
    }

    fn keepers(
        &self,
        users: &BTreeMap<Resource, BTreeSet<JobName>>,
        view: &View,
        now: Moment,
    ) -> Keepers {
        let vitals = self.shared.vitals.lock();
        let vitals = vitals.unwrap_or_else(PoisonError::into_inner);
        let keeper = |(resource, users): (&Resource, &BTreeSet<JobName>)| {
            let of_resource = vitals.get(resource);
            let keeper = vigil::keeper(resource, users, view, of_resource, now)?;
            Some((resource.clone(), keeper))
        };
        users.iter().filter_map(keeper).collect()
    }

    /// Puts what the next leader shall go on from, and who looks after what, where either has changed.
    async fn record(&self, view: &View, keepers: &Keepers) -> Result<(), StoreError> {
        let known = view.guards.keys().chain(view.vigils.keys());
        let resources: BTreeSet<&Resource> = known.chain(self.guards.wardens.keys()).collect();
        for resource in resources {
            let warden = self.guards.wardens.get(resource);
            let state = warden
                .map(Warden::record)
                .filter(|state| *state != Default::default());
            let vigil = warden
                .zip(keepers.get(resource))
                .map(|(warden, keeper)| vigil::vigil(keeper.clone(), warden));
            let mut txn = Txn::default();
            change(
                &mut txn,
                keys::guards(resource),
                view.guards.get(resource),
                state,
            );
            change(
                &mut txn,
                keys::vigil(resource),
                view.vigils.get(resource),
                vigil,
            );
            if !txn.ops.is_empty() {
                self.commit(txn).await?;
            }
        }
        Ok(())
    }

    /// What guards leave of what is asked for.
    pub(super) fn held_down(&self, resource: &Resource, ledger: Ledger) -> Ledger {
        let warden = self.guards.wardens.get(resource);
        Ledger {
            target: warden.map_or(ledger.asked, |warden| warden.target(ledger.asked)),
            ..ledger
        }
    }

    /// Whatever guards of this leader do is another's from now on.
    pub(super) fn forget_guards(&self) {
        let guarded = self.shared.guarded.lock();
        guarded.unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Makes a record what it should be.
fn change<T: serde::Serialize + PartialEq>(
    txn: &mut Txn,
    key: String,
    present: Option<&At<T>>,
    wanted: Option<T>,
) {
    if present.map(|present| &present.value) == wanted.as_ref() {
        return;
    }
    txn.compares.push(match present {
        Some(present) => Compare::ModRevision(key.clone(), Revision(present.revision)),
        None => Compare::Absent(key.clone()),
    });
    txn.ops.push(match wanted {
        Some(wanted) => put(key, &wanted),
        None => Op::Delete(key),
    });
}

fn put<T: serde::Serialize>(key: String, value: &T) -> Op {
    Op::Put {
        key,
        value: record::encode(value),
        lease: None,
    }
}
