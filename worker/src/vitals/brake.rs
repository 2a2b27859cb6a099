//! The brake: a worker that sees a resource in trouble lowers its own rate at once, without asking.
//!
//! Trouble is a query that took, or has been on its way for, longer than the vigil allows, or too many of the last second's
//! queries answered by an illness. While there is trouble the rate is halved, once a second, down to a sixteenth; once there has
//! been none for a second it grows by a sixteenth a second. Where a vigil says nothing there is no trouble. It knows nothing of
//! grants: it is a share of whatever is granted, and never more than all of it.
//!
//! Pure: time is an argument, what is to be done is asked for.

use std::fmt;
use std::time::Duration;

use stoke_core::records::Vigil;
use stoke_core::units::Moment;

/// All of the rate. A step of growth is one of these parts, and so is the least that is left.
const PARTS: u32 = 16;
/// How often it is halved at most, and how often it grows.
const STEP_EVERY: Duration = Duration::from_secs(1);
/// In how many slots the last second's answers are counted.
const SLOTS: usize = 10;
/// How long a slot is.
const SLOT: Duration = Duration::from_millis(100);

/// What counts as trouble.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    latency_max: Option<Duration>,
    ill_max_permille: Option<u32>,
}

impl From<&Vigil> for Limits {
    fn from(vigil: &Vigil) -> Self {
        Self {
            latency_max: vigil.latency_max_micros.map(Duration::from_micros),
            ill_max_permille: vigil.errors_max_permille,
        }
    }
}

/// What trouble there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Slow {
        took: Duration,
        max: Duration,
    },
    Ill {
        ill: u32,
        queries: u32,
        max_permille: u32,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slow { took, max } => {
                write!(f, "a query takes {took:.1?}, more than {max:.1?}")
            }
            Self::Ill {
                ill,
                queries,
                max_permille,
            } => write!(
                f,
                "{ill} of the last second's {queries} queries met an illness of the resource, more than {max_permille}‰"
            ),
        }
    }
}

/// What became of the brake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Begun(Trouble),
    Moved,
    Ended,
}

/// The answers of a tenth of a second.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Which tenth, counted from the clock's start.
    number: u64,
    queries: u32,
    ill: u32,
}

/// The brake of one resource.
#[derive(Debug)]
pub(super) struct Brake {
    parts: u32,
    slots: [Slot; SLOTS],
    /// The slowest answer since it was looked last: each shows trouble once.
    slowest: Duration,
    /// Since when it is on.
    since: Moment,
    /// When it was halved last.
    halved: Option<Moment>,
    /// When there was trouble last, or when it grew last, whichever is later.
    calm_since: Moment,
    change: Option<Change>,
}

impl Brake {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            parts: PARTS,
            slots: [Slot::default(); SLOTS],
            slowest: Duration::ZERO,
            since: now,
            halved: None,
            calm_since: now,
            change: None,
        }
    }

    /// How much of the rate is used, in thousandths.
    pub(super) fn permille(&self) -> u32 {
        1000 * self.parts / PARTS
    }

    /// Whether it lowers anything.
    pub(super) fn is_on(&self) -> bool {
        self.parts < PARTS
    }

    /// For how long it has lowered something.
    pub(super) fn on_for(&self, now: Moment) -> Duration {
        now.since(self.since)
    }

    /// What became of it since this was asked last.
    pub(super) fn take_change(&mut self) -> Option<Change> {
        self.change.take()
    }

    /// A query was answered after `took`.
    pub(super) fn answered(&mut self, now: Moment, took: Duration, ill: bool) {
        let number = slot_number(now);
        let slot = &mut self.slots[index(number)];
        if slot.number != number {
            *slot = Slot {
                number,
                ..Slot::default()
            };
        }
        slot.queries = slot.queries.saturating_add(1);
        slot.ill = slot.ill.saturating_add(u32::from(ill));
        self.slowest = self.slowest.max(took);
    }

    /// Looks for trouble, `oldest` being how long the first of the queries on their way has been so, and halves the rate or
    /// lets it grow.
    pub(super) fn look(&mut self, now: Moment, oldest: Option<Duration>, limits: &Limits) {
        match self.trouble(now, oldest, limits) {
            Some(trouble) => self.halve(now, trouble),
            None => self.grow(now),
        }
    }

    fn trouble(
        &mut self,
        now: Moment,
        oldest: Option<Duration>,
        limits: &Limits,
    ) -> Option<Trouble> {
        let number = slot_number(now);
        let recent = self
            .slots
            .iter()
            .filter(|slot| slot.number + SLOTS as u64 > number);
        let (mut queries, mut ill) = (0u32, 0u32);
        for slot in recent {
            queries = queries.saturating_add(slot.queries);
            ill = ill.saturating_add(slot.ill);
        }
        let slowest = std::mem::take(&mut self.slowest).max(oldest.unwrap_or_default());
        if let Some(max) = limits.latency_max
            && slowest > max
        {
            return Some(Trouble::Slow { took: slowest, max });
        }
        let max_permille = limits.ill_max_permille?;
        let is_ill = u64::from(ill) * 1000 > u64::from(queries) * u64::from(max_permille);
        is_ill.then_some(Trouble::Ill {
            ill,
            queries,
            max_permille,
        })
    }

    fn halve(&mut self, now: Moment, trouble: Trouble) {
        self.calm_since = now;
        let is_early = self
            .halved
            .is_some_and(|halved| now.since(halved) < STEP_EVERY);
        if is_early || self.parts == 1 {
            return;
        }
        if self.is_on() {
            self.change.get_or_insert(Change::Moved);
        } else {
            self.since = now;
            self.change = Some(Change::Begun(trouble));
        }
        self.parts /= 2;
        self.halved = Some(now);
    }

    fn grow(&mut self, now: Moment) {
        if !self.is_on() || now.since(self.calm_since) < STEP_EVERY {
            return;
        }
        self.calm_since = now;
        self.parts += 1;
        self.change = Some(if self.is_on() {
            Change::Moved
        } else {
            Change::Ended
        });
    }
}

fn slot_number(now: Moment) -> u64 {
    u64::try_from(u128::from(now.as_nanos()) / SLOT.as_nanos()).unwrap_or(u64::MAX)
}

fn index(number: u64) -> usize {
    usize::try_from(number % SLOTS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests;
