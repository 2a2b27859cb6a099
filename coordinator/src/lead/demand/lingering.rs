//! Demand that has just gone: between a job's stages, and between jobs, nobody claims a resource for a moment.
//!
//! The only worker then keeps its share that long. Else each stage would begin with a second in which nothing may be sent, because
//! a share counts from a second after it was raised (the worker's `gate::window`). Of several, none does, so that all begin
//! together: one that kept what it had for planning could run ahead of the others, and entries would be done out of order.

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
    /// The claims that count: these, and where there are none on a resource, the last that the `only` worker made, for a moment.
    pub(in crate::lead) fn step(
        &mut self,
        now: Moment,
        mut claims: Claims,
        only: Option<&WorkerName>,
    ) -> Claims {
        for (resource, of_workers) in &claims {
            self.last
                .insert(resource.clone(), (now, of_workers.clone()));
        }
        self.last.retain(|_, (then, _)| now.since(*then) < LINGERS);
        let Some(only) = only else {
            return claims;
        };
        for (resource, (_, of_workers)) in &self.last {
            if let (false, Some(claim)) = (claims.contains_key(resource), of_workers.get(only)) {
                let alone = BTreeMap::from([(only.clone(), claim.clone())]);
                claims.insert(resource.clone(), alone);
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
    fn a_claim_of_the_only_worker_that_is_gone_counts_for_a_moment() {
        let mut lingering = Lingering::default();
        let only: WorkerName = "w1".parse().unwrap();
        let mut step =
            |millis, workers: &[&str]| lingering.step(at(millis), claims(workers), Some(&only));
        assert_eq!(step(0, &["w1"]), claims(&["w1"]));
        assert_eq!(step(900, &[]), claims(&["w1"]));
        assert_eq!(
            step(1000, &[]),
            claims(&[]),
            "a second after it was last heard of"
        );
        assert_eq!(step(2000, &["w2"]), claims(&["w2"]));
        assert_eq!(step(2100, &[]), claims(&[]), "it is another's");
    }

    #[test]
    fn of_several_workers_none_keeps_anything() {
        let mut lingering = Lingering::default();
        lingering.step(at(0), claims(&["w1", "w2"]), None);
        assert_eq!(lingering.step(at(100), claims(&[]), None), claims(&[]));
    }
}
