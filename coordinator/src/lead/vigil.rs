//! What guards do to jobs, and who looks after a resource. Pure: from a look's view to what to commit.

use std::collections::{BTreeMap, BTreeSet};

use std::time::Duration;
use stoke_core::guard::{self, Limits, Vitals, Warden};
use stoke_core::job::{Hold, Life, Phase, Work};
use stoke_core::names::{JobName, Resource, WorkerName};
use stoke_core::records::{Member, Vigil};
use stoke_core::units::Moment;

use crate::view::{JobView, View, source_origin};

/// A worker that has reported within this time is one that this leader hears of.
const HEARD_WITHIN: Duration = Duration::from_secs(10);

/// The jobs under way that use each of these resources.
#[must_use]
pub(super) fn users<'a>(
    view: &View,
    resources: impl Iterator<Item = &'a Resource>,
) -> BTreeMap<Resource, BTreeSet<JobName>> {
    let mut users: BTreeMap<Resource, BTreeSet<JobName>> = resources
        .map(|resource| (resource.clone(), BTreeSet::new()))
        .collect();
    if users.is_empty() {
        return users;
    }
    for job in view.jobs.values().filter(|job| is_under_way(job)) {
        for resource in used(job, view) {
            if let Some(users) = users.get_mut(&resource) {
                users.insert(job.name.clone());
            }
        }
    }
    users
}

const fn is_under_way(job: &JobView) -> bool {
    matches!(job.life.value.phase, Phase::Planning | Phase::Running)
}

/// What a job uses, as the first member says that can do its work; without one it uses nothing.
fn used(job: &JobView, view: &View) -> BTreeSet<Resource> {
    let is_fit = |member: &&Member| job.unfit(member).is_none();
    let Some(member) = view.members.values().find(is_fit) else {
        return BTreeSet::new();
    };
    let Work::Batch(batch) = &job.record.value.spec.work;
    let read = batch
        .sources
        .iter()
        .filter(|_| !job.is_running())
        .filter_map(|source| source_origin(&source.from, member));
    let read = read.map(Resource::Origin);
    job.load_resources(member).chain(read).collect()
}

/// Who looks after a resource: of the members that know it and can do the work of a job that uses it, the first by name, if
/// it may be of those whom this leader hears of, and of those that have a share: without one nothing can be asked.
#[must_use]
pub(super) fn keeper(
    resource: &Resource,
    users: &BTreeSet<JobName>,
    view: &View,
    vitals: Option<&Vitals>,
    now: Moment,
) -> Option<WorkerName> {
    let knows = |member: &Member| match resource {
        Resource::Origin(origin) => member.origins.contains(origin),
        Resource::Cache(cache) => member.caches.contains(cache),
    };
    let users: Vec<&JobView> = users.iter().filter_map(|job| view.jobs.get(job)).collect();
    let is_fit = |member: &Member| users.iter().any(|job| job.unfit(member).is_none());
    let fit: Vec<&WorkerName> = view
        .members
        .iter()
        .filter(|(_, member)| knows(member) && is_fit(member))
        .map(|(name, _)| name)
        .collect();
    let is_heard = |worker: &&&WorkerName| {
        let heard = vitals.and_then(|vitals| vitals.heard(worker));
        heard.is_some_and(|heard| now.since(heard) <= HEARD_WITHIN)
    };
    let sharing = sharing(resource, view);
    let has_share = |worker: &&&WorkerName| sharing.contains(**worker);
    let mut heard = fit.iter().filter(is_heard);
    let keeper = heard.clone().find(has_share).or_else(|| heard.next());
    keeper.or(fit.first()).map(|worker| (*worker).clone())
}

/// The vigil that a keeper has.
#[must_use]
pub(super) fn vigil(keeper: WorkerName, warden: &Warden) -> Vigil {
    let Limits {
        latency_max,
        errors_max,
    } = warden.limits();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of 1, in thousandths"
    )]
    let permille = |part: f64| (part.clamp(0.0, 1.0) * 1000.0).round() as u32;
    Vigil {
        keeper,
        canaries: warden.needs_canaries(),
        latency_max_micros: latency_max
            .map(|latency| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)),
        errors_max_permille: errors_max.map(permille),
    }
}

/// The members that may send queries to a resource. (One that has died may hold a share for longer than it is waited for.)
#[must_use]
pub(super) fn sharing(resource: &Resource, view: &View) -> BTreeSet<WorkerName> {
    let Some(observed) = view.resources.get(resource) else {
        return BTreeSet::new();
    };
    let has_share = |worker: &WorkerName| observed.reserved(worker).rate_milli > 0;
    let members = observed.workers().into_iter();
    let members = members.filter(|worker| view.members.contains_key(worker));
    members.filter(has_share).collect()
}

/// What a job's life becomes; `None` where it stays as it is. A guard that no job would be held by any more leaves no hold
/// behind, be it that it is configured no more.
#[must_use]
pub(super) fn life(
    job: &JobView,
    users: &BTreeMap<Resource, BTreeSet<JobName>>,
    wardens: &BTreeMap<Resource, Warden>,
) -> Option<Life> {
    if !is_under_way(job) {
        return None;
    }
    let uses = |resource| {
        users
            .get(resource)
            .is_some_and(|jobs| jobs.contains(&job.name))
    };
    let mut life = job.life.value.clone();
    for (resource, warden) in wardens.iter().filter(|(resource, _)| uses(resource)) {
        if let Some((name, reason)) = warden.aborts().next() {
            let reason = format!("{}: {reason}", guard::holder(resource, name));
            // Whoever is under way can be aborted.
            let _ = life.become_phase(Phase::Aborting, reason);
            return Some(life);
        }
    }
    let is_held_by = |holder: &String| job.life.value.holds.iter().any(|h| h.holder == *holder);
    let mut wanted = BTreeMap::new();
    for (resource, warden) in wardens {
        for (name, reason) in warden.holds() {
            let holder = guard::holder(resource, name);
            // Where nobody knows for now what the job uses, it stays held.
            if uses(resource) || is_held_by(&holder) {
                wanted.insert(holder, reason.to_owned());
            }
        }
    }
    life.holds.retain(|hold| {
        !hold.holder.starts_with(guard::HOLDER_PREFIX) || wanted.contains_key(&hold.holder)
    });
    for (holder, reason) in wanted {
        // One that has as many holders as there may be stands still anyhow.
        let _ = life.hold(Hold { holder, reason });
    }
    (life != job.life.value).then_some(life)
}
