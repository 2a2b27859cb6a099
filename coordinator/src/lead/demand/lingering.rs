//! Demand that has just gone: between a job's stages, and between jobs, nobody claims a resource for a moment.
//!
//! Whoever had a share then keeps it that long, unless somebody else claims one. Else each stage would begin with a second in
//! which nothing may be sent, because a share counts from a second after it was raised (the worker's `gate::window`).

use std::collections::BTreeMap;
use std::time::Duration;

use stoke_core::ledger::Claim;
use stoke_core::names::{Resource, WorkerName};
use stoke_core::units::Moment;

use super::Claims;

/// How long a share is kept for nobody: a few of the leader's looks, which are 50 to 500 ms apart.
const LINGERS: Duration = Duration::from_secs(1);

/// The last claims on each resource.
#[derive(Debug, Default)]
pub(in crate::lead) struct Lingering {
    last: BTreeMap<Resource, (Moment, BTreeMap<WorkerName, Claim>)>,
}

impl Lingering {
    /// The claims that count: these, and where there are none on a resource, the last ones that there were, for a moment;
    /// those of workers that are still there.
    pub(in crate::lead) fn step(
        &mut self,
        now: Moment,
        mut claims: Claims,
        is_there: impl Fn(&WorkerName) -> bool,
    ) -> Claims {
        for (resource, of_workers) in &claims {
            self.last
                .insert(resource.clone(), (now, of_workers.clone()));
        }
        self.last.retain(|_, (then, _)| now.since(*then) < LINGERS);
        for (resource, (_, of_workers)) in &self.last {
            if !claims.contains_key(resource) {
                let there = of_workers.iter().filter(|(worker, _)| is_there(worker));
                let there: BTreeMap<_, _> =
                    there.map(|(w, claim)| (w.clone(), claim.clone())).collect();
                claims.insert(resource.clone(), there);
            }
        }
        claims
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    fn claims(workers: &[&str]) -> Claims {
        let claim = |worker: &&str| (worker.parse().unwrap(), Claim::unknown());
        let of_workers: BTreeMap<WorkerName, Claim> = workers.iter().map(claim).collect();
        let shop = ("origin/shop".parse().unwrap(), of_workers);
        [shop]
            .into_iter()
            .filter(|(_, all)| !all.is_empty())
            .collect()
    }

    #[test]
    fn a_claim_that_is_gone_counts_for_a_moment_unless_another_comes() {
        let mut lingering = Lingering::default();
        let everyone = |_: &WorkerName| true;
        let mut step =
            |millis, workers: &[&str]| lingering.step(at(millis), claims(workers), everyone);
        assert_eq!(step(0, &["w1"]), claims(&["w1"]));
        assert_eq!(step(900, &[]), claims(&["w1"]));
        assert_eq!(
            step(1000, &[]),
            claims(&[]),
            "a second after it was last heard of"
        );
        assert_eq!(step(2000, &["w1", "w2"]), claims(&["w1", "w2"]));
        assert_eq!(
            step(2100, &["w3"]),
            claims(&["w3"]),
            "whoever works goes before"
        );
        assert_eq!(step(2500, &[]), claims(&["w3"]));
    }

    #[test]
    fn nobody_claims_for_a_worker_that_has_gone() {
        let mut lingering = Lingering::default();
        lingering.step(at(0), claims(&["w1", "w2"]), |_| true);
        let left = lingering.step(at(100), claims(&[]), |worker| worker.as_str() == "w2");
        assert_eq!(left, claims(&["w2"]));
    }
}
