//! One guard at work: from readings to whether it acts.

use super::reading::{Reading, Scope, read};
use super::vitals::Vitals;
use super::{Action, GuardSpec, Signal, Verdict};
use crate::units::Moment;
use std::time::Duration;

/// How far a guard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It does nothing.
    Calm,
    /// Its signal is bad, but not for long enough.
    Bad {
        /// Since when.
        since: Moment,
    },
    /// It would abort, and looks once more, at nothing that came before.
    Looking {
        /// Since when.
        since: Moment,
    },
    /// It slows, pauses or aborts.
    Acting {
        /// Since when.
        since: Moment,
        /// Since when its signal has been good.
        clear_since: Option<Moment>,
        /// It pauses, and would abort by now: since when it looks once more.
        looking: Option<Moment>,
        /// It pauses no longer but aborts.
        aborts: bool,
    },
}

impl Stage {
    /// All names.
    pub const NAMES: [&str; 4] = ["calm", "bad", "looking", "acting"];

    /// In one word, of [`Stage::NAMES`].
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Bad { .. } => "bad",
            Self::Looking { .. } => "looking",
            Self::Acting { .. } => "acting",
        }
    }

    pub(super) const fn acting(now: Moment) -> Self {
        Self::Acting {
            since: now,
            clear_since: None,
            looking: None,
            aborts: false,
        }
    }
}

/// A guard at work.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    pub(super) spec: GuardSpec,
    pub(super) stage: Stage,
    /// What its signal said last.
    pub(super) reading: Reading,
    /// Why it acts, as it was when it began; empty where it does not.
    pub(super) reason: String,
}

impl Watch {
    pub(super) fn new(spec: GuardSpec) -> Self {
        Self {
            spec,
            stage: Stage::Calm,
            reading: Reading::Waiting,
            reason: String::new(),
        }
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.reading.judged(self.spec.threshold)
    }

    pub(super) const fn acts(&self) -> bool {
        matches!(self.stage, Stage::Acting { .. })
    }

    pub(super) const fn slows(&self) -> bool {
        matches!(self.spec.action, Action::Slow { .. })
    }

    /// Whether it holds jobs.
    pub(super) const fn holds(&self) -> bool {
        matches!(self.spec.action, Action::Pause { .. }) && self.acts()
    }

    /// Whether it aborts jobs.
    pub(super) const fn aborts(&self) -> bool {
        match (self.spec.action, self.stage) {
            (Action::Abort, Stage::Acting { .. }) => true,
            (Action::Pause { .. }, Stage::Acting { aborts, .. }) => aborts,
            _ => false,
        }
    }

    /// Reads its signal and goes on.
    pub(super) fn step(&mut self, vitals: &Vitals, scope: Scope<'_>) {
        let now = scope.now;
        self.reading = read(&self.spec, vitals, scope);
        let verdict = self.verdict();
        self.stage = match self.stage {
            Stage::Calm if verdict == Verdict::Bad => self.bad(now, now),
            Stage::Bad { since } if verdict == Verdict::Bad => self.bad(since, now),
            Stage::Calm | Stage::Bad { .. } => Stage::Calm,
            Stage::Looking { .. } if matches!(verdict, Verdict::Between | Verdict::Clear) => {
                Stage::Calm
            }
            Stage::Looking { since } => match self.second_look(since, vitals, scope) {
                Verdict::Bad => self.act(now),
                // Whoever asks again after a while is judged anew.
                Verdict::Neutral if verdict == Verdict::Neutral && self.has_looked(since, now) => {
                    Stage::Calm
                }
                Verdict::Neutral => self.stage,
                Verdict::Between | Verdict::Clear => Stage::Calm,
            },
            Stage::Acting { .. } => self.go_on(verdict, vitals, scope),
        };
        if !self.acts() {
            self.reason.clear();
        }
    }

    /// Nobody uses the resource: what was done to jobs is done, but what holds jobs goes on until it is seen to be good.
    pub(super) fn rest(&mut self, now: Moment) {
        self.reading = Reading::NoDemand;
        self.stage = if self.holds() {
            Stage::acting(now)
        } else {
            Stage::Calm
        };
        if !self.acts() {
            self.reason.clear();
        }
    }

    /// Goes on with what a leader before began. One that aborts looks once more: what that leader did is done, and
    /// perhaps the guard was told to do something else then.
    pub(super) fn restore(&mut self, now: Moment, reason: &str) {
        if matches!(self.spec.action, Action::Abort) {
            self.stage = Stage::Looking { since: now };
            return;
        }
        self.stage = Stage::acting(now);
        reason.clone_into(&mut self.reason);
    }

    fn bad(&mut self, since: Moment, now: Moment) -> Stage {
        if now.since(since) < self.spec.sustained {
            Stage::Bad { since }
        } else if matches!(self.spec.action, Action::Abort) {
            Stage::Looking { since: now }
        } else {
            self.act(now)
        }
    }

    fn act(&mut self, now: Moment) -> Stage {
        self.reason = self.spec.told(&self.reading);
        Stage::acting(now)
    }

    /// Whether what came since `since` is enough for a second look: its whole window has passed.
    fn has_looked(&self, since: Moment, now: Moment) -> bool {
        now.since(since + self.lag()) >= self.window()
    }

    /// What the signal says when only what came since counts; nothing before its whole window has passed.
    fn second_look(&self, since: Moment, vitals: &Vitals, scope: Scope<'_>) -> Verdict {
        if !self.has_looked(since, scope.now) {
            return Verdict::Neutral;
        }
        let fresh = Scope {
            fresh: since + self.lag(),
            awaited: since,
            ..scope
        };
        read(&self.spec, vitals, fresh).judged(self.spec.threshold)
    }

    const fn window(&self) -> Duration {
        match self.spec.signal {
            Signal::Latency { window, .. } | Signal::Errors { window } => window,
            // The next reading will do.
            Signal::Probe { .. } | Signal::Prometheus => Duration::ZERO,
        }
    }

    /// What comes so soon tells of the time before: a window's report comes after it, and lasts a second.
    const fn lag(&self) -> Duration {
        match self.spec.signal {
            Signal::Latency { .. } | Signal::Errors { .. } => Duration::from_secs(1),
            Signal::Probe { .. } | Signal::Prometheus => Duration::from_nanos(1),
        }
    }

    fn go_on(&mut self, verdict: Verdict, vitals: &Vitals, scope: Scope<'_>) -> Stage {
        let now = scope.now;
        let Stage::Acting {
            since,
            clear_since,
            looking,
            mut aborts,
        } = self.stage
        else {
            return self.stage;
        };
        let clear_since = match verdict {
            Verdict::Clear => Some(clear_since.unwrap_or(now)),
            // Where nothing is seen, nothing has changed: canaries may be further apart than a window is long.
            Verdict::Neutral => clear_since,
            Verdict::Bad | Verdict::Between => None,
        };
        let is_calm = clear_since.is_some_and(|since| now.since(since) >= self.spec.calm);
        if is_calm && verdict == Verdict::Clear {
            return Stage::Calm;
        }
        let looking = match self.spec.action {
            Action::Pause {
                abort_after: Some(after),
            } if verdict == Verdict::Bad && now.since(since) >= after => {
                Some(looking.unwrap_or(now))
            }
            _ if verdict == Verdict::Neutral => looking,
            _ => None,
        };
        if let Some(look) = looking
            && self.second_look(look, vitals, scope) == Verdict::Bad
        {
            aborts = true;
            self.reason = self.spec.told(&self.reading);
        }
        Stage::Acting {
            since,
            clear_since,
            looking,
            aborts,
        }
    }
}
