//! The protocol's times, and what must hold between them.

use std::time::Duration;

/// The times that coordinator and workers must agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// T: how long a grant lasts from the clock that the worker noted before it sent the renewal.
    pub term: Duration,
    /// How often a worker renews.
    pub renew_every: Duration,
    /// How long a worker waits for a renewal's answer.
    pub renew_deadline: Duration,
    /// Q: how long an ack must stand unchanged, on the coordinator's clock, before its grant is certainly over.
    pub quarantine: Duration,
    /// ρ: how much two clocks may drift apart, in thousandths.
    pub drift_permille: u32,
    /// S: how long the database lets a statement run, at most, after whoever sent it is gone.
    pub statement_timeout: Duration,
}

/// Times that contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// A grant could be in force when it is given to somebody else.
    #[error(
        "a quarantine of {quarantine:?} is too short for a term of {term:?} and a drift of {drift_permille}‰: at least {least:?} is needed"
    )]
    QuarantineTooShort {
        /// As configured.
        quarantine: Duration,
        /// As configured.
        term: Duration,
        /// As configured.
        drift_permille: u32,
        /// What would do.
        least: Duration,
    },
    /// One lost renewal would end the grant.
    #[error(
        "a term of {term:?} leaves no room for a second renewal: it must be at least twice the {renew_every:?} between renewals and the {renew_deadline:?} that one may take"
    )]
    TermTooShort {
        /// As configured.
        term: Duration,
        /// As configured.
        renew_every: Duration,
        /// As configured.
        renew_deadline: Duration,
    },
    /// Drift beyond all reason.
    #[error("a drift of {0}‰ is not a clock's: at most 100")]
    Drift(u32),
    /// A time is zero.
    #[error("{0} must be more than zero")]
    Zero(&'static str),
}

impl Default for Timing {
    fn default() -> Self {
        let term = Duration::from_secs(5);
        Self {
            term,
            renew_every: Duration::from_secs(1),
            renew_deadline: Duration::from_secs(1),
            quarantine: Self::least_quarantine(term, 10),
            drift_permille: 10,
            statement_timeout: Duration::from_secs(5),
        }
    }
}

impl Timing {
    /// The shortest quarantine: T·(1+ρ)/(1−ρ) + 250 ms.
    #[must_use]
    pub fn least_quarantine(term: Duration, drift_permille: u32) -> Duration {
        let drift = drift_permille.min(100);
        term * (1000 + drift) / (1000 - drift) + Duration::from_millis(250)
    }

    /// How long `time` may last on another clock than this one.
    #[must_use]
    pub fn drifted(&self, time: Duration) -> Duration {
        time * (1000 + self.drift_permille) / (1000 - self.drift_permille.min(100))
    }

    /// Checks that the times fit together.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn check(&self) -> Result<(), Contradiction> {
        let zero = [
            ("the term", self.term),
            ("the time between renewals", self.renew_every),
            ("the deadline of a renewal", self.renew_deadline),
            ("the statement timeout", self.statement_timeout),
        ];
        if let Some((name, _)) = zero.into_iter().find(|(_, time)| time.is_zero()) {
            return Err(Contradiction::Zero(name));
        }
        if self.drift_permille > 100 {
            return Err(Contradiction::Drift(self.drift_permille));
        }
        if self.term < (self.renew_every + self.renew_deadline) * 2 {
            return Err(Contradiction::TermTooShort {
                term: self.term,
                renew_every: self.renew_every,
                renew_deadline: self.renew_deadline,
            });
        }
        let least = Self::least_quarantine(self.term, self.drift_permille);
        if self.quarantine < least {
            return Err(Contradiction::QuarantineTooShort {
                quarantine: self.quarantine,
                term: self.term,
                drift_permille: self.drift_permille,
                least,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_together() {
        assert_eq!(Timing::default().check(), Ok(()));
    }

    #[test]
    fn a_statement_may_last_longer_than_its_timeout_on_a_fast_clock() {
        let timing = Timing::default();
        let minute = Duration::from_secs(60);
        assert!(timing.drifted(minute) > minute * 102 / 100);
    }

    #[test]
    fn a_quarantine_shorter_than_a_drifting_term_is_refused() {
        let timing = Timing {
            quarantine: Duration::from_secs(5),
            ..Timing::default()
        };
        assert!(matches!(
            timing.check(),
            Err(Contradiction::QuarantineTooShort { .. })
        ));
    }

    #[test]
    fn a_term_that_one_lost_renewal_ends_is_refused() {
        let timing = Timing {
            renew_every: Duration::from_secs(3),
            ..Timing::default()
        };
        assert!(matches!(
            timing.check(),
            Err(Contradiction::TermTooShort { .. })
        ));
    }
}
