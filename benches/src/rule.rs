//! How the term is chosen for a fleet: from how many renewals a second it makes, and how many etcd takes.

use std::time::Duration;

use stoke_core::ledger::Timing;

/// Of what etcd sustains, the part that renewals may take: the rest is for checkpoints, for leaders that divide, and for
/// catching up after a member of etcd was lost.
pub(crate) const RENEWALS_PART: f64 = 0.5;
/// How late 99 of 100 answers may be for a rate to count as sustained, as a part of a renewal's deadline.
pub(crate) const LATE_PART: u32 = 10;
/// How many times a grant is renewed in its term: as many as by default.
const RENEWALS_PER_TERM: u32 = 5;

/// The times for so many workers with so many budgeted resources each, on an etcd that sustains so many writes a second.
pub(crate) fn timing(workers: u32, resources: u32, sustained: f64) -> Timing {
    let default = Timing::default();
    let renewals = f64::from(workers) * f64::from(resources);
    let seconds = renewals / (sustained * RENEWALS_PART);
    // In whole halves of a second, as people write it.
    let renew_every = Duration::from_millis((seconds * 2.0).ceil() as u64 * 500);
    let renew_every = renew_every.max(default.renew_every);
    let term = renew_every * RENEWALS_PER_TERM;
    Timing {
        term,
        renew_every,
        quarantine: Timing::least_quarantine(term, default.drift_permille),
        ..default
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_fleet_has_the_defaults_and_a_large_one_a_term_that_etcd_bears() {
        for (workers, resources, sustained, term_s) in [
            (3, 1, 2000.0, 5.0),
            (1000, 1, 2000.0, 5.0),
            (1000, 1, 1000.0, 10.0),
            (1000, 10, 2000.0, 50.0),
            (1000, 3, 2400.0, 12.5),
        ] {
            let timing = timing(workers, resources, sustained);
            assert_eq!(timing.check(), Ok(()));
            assert_eq!(
                timing.term,
                Duration::from_secs_f64(term_s),
                "{workers} workers"
            );
        }
    }
}
