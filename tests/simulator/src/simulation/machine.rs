//! A machine that a process runs on: its clock, and what is wrong with it.

use std::time::Duration;

use stoke_core::units::Moment;

use super::network::LINES;

/// True time since the beginning, in nanoseconds: no process can read it.
pub(super) type Nanos = u64;

pub(super) const MS: Nanos = 1_000_000;
pub(super) const SECOND: Nanos = 1_000 * MS;

pub(super) fn nanos(time: Duration) -> Nanos {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// One machine.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    /// Its clock's start.
    offset: Nanos,
    /// How much faster than true its clock runs, in millionths.
    drift_ppm: i64,
    /// Which of the processes that ran here runs now: what is meant for another does not reach it.
    pub(super) life: u32,
    /// Whether it runs at all.
    pub(super) is_up: bool,
    /// It stands still until then.
    pub(super) stopped_until: Nanos,
    /// What it sends is lost until then.
    pub(super) cut_out_until: Nanos,
    /// What is sent to it is lost until then.
    pub(super) cut_in_until: Nanos,
    /// When anything last kept it from hearing of the store's changes and answering.
    pub(super) disturbed: Nanos,
    /// Its latest call, on each of its connections: answers to others come too late.
    pub(super) calls: [u64; LINES],
}

impl Machine {
    pub(super) fn new(offset: Nanos, drift_ppm: i64) -> Self {
        Self {
            offset,
            drift_ppm,
            life: 0,
            is_up: true,
            stopped_until: 0,
            cut_out_until: 0,
            cut_in_until: 0,
            disturbed: 0,
            calls: [0; LINES],
        }
    }

    /// What its clock shows.
    pub(super) fn clock(&self, now: Nanos) -> Moment {
        let drift = i128::from(now) * i128::from(self.drift_ppm) / 1_000_000;
        let shown = i128::from(now) + drift + i128::from(self.offset);
        Moment::from_nanos(u64::try_from(shown).unwrap_or(0))
    }

    /// How long it truly takes until its clock has gone on so far.
    pub(super) fn lasts(&self, time: Duration) -> Nanos {
        let truly = i128::from(nanos(time)) * 1_000_000 / i128::from(1_000_000 + self.drift_ppm);
        u64::try_from(truly).unwrap_or(0)
    }

    /// Another process begins here.
    pub(super) fn restart(&mut self) {
        self.life += 1;
        self.is_up = true;
        self.stopped_until = 0;
    }
}
