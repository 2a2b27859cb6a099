//! The budget's ledger: how one resource's budget is shared by many workers and never exceeded.
//!
//! The coordinator's side is [`Allocator`], the worker's [`Holder`]; both are pure, and the store stands between
//! them. What holds (DESIGN §5):
//!
//! - **B1** at every revision of the store, Σ over workers of reserved(w) ≤ ceiling, reserved(w) = max(cap(w), ack(w))
//! - **B2** what a worker uses is at most what is reserved for it, at every instant
//! - **B3** hence what is in force over all workers is at most the ceiling
//!
//! Absent here: clocks (time is an argument), the store (its answers are arguments), and the pacing of queries.

mod allocate;
mod divide;
mod hold;
mod lasting;
mod rename;
mod timing;
mod txn;

pub use allocate::{Allocator, Change, Division, Observed, Reclaim};
pub use divide::{Claim, divide, sharers};
pub use hold::{Grant, Holder, Reading, Renewal, RunSeen};
pub use lasting::{Countdown, Expiry, RECORD_EVERY};
pub use timing::{Contradiction, Timing};
pub use txn::{Expect, LedgerTxn, Put};

use serde::{Deserialize, Serialize};

/// An amount of a resource's use: a whole budget, or a worker's part of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Share {
    /// Queries (for a cache: writes) a second, in thousandths.
    pub rate_milli: u64,
    /// Queries that may go out at once, of those that a second allows.
    pub burst: u64,
    /// Queries that may be unanswered at one time.
    pub in_flight: u64,
    /// Rows a second; [`Share::ANY_ROWS`]: as many as come.
    #[serde(default = "any_rows", skip_serializing_if = "is_any_rows")]
    pub rows: u64,
}

/// Where a record does not say: rows are not limited.
const fn any_rows() -> u64 {
    Share::ANY_ROWS
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_any_rows(rows: &u64) -> bool {
    *rows == Share::ANY_ROWS
}

impl Share {
    /// Rows are not limited. It is more than any number: two such shares together are one, and what is left of one where
    /// a part is taken is one still.
    pub const ANY_ROWS: u64 = u64::MAX;

    /// Nothing.
    pub const NONE: Self = Self {
        rate_milli: 0,
        burst: 0,
        in_flight: 0,
        rows: 0,
    };

    /// The larger of both in each dimension.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        self.zip(other, u64::max)
    }

    /// The smaller of both in each dimension.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        self.zip(other, u64::min)
    }

    /// The sum; it stops at the largest number.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.zip(other, u64::saturating_add)
    }

    /// What is left; zero where `other` is more.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        let rows = if self.rows == Self::ANY_ROWS {
            Self::ANY_ROWS
        } else {
            self.rows.saturating_sub(other.rows)
        };
        Self {
            rows,
            ..self.zip(other, u64::saturating_sub)
        }
    }

    /// Whether no dimension is above the other's.
    #[must_use]
    pub const fn fits(self, within: Self) -> bool {
        self.rate_milli <= within.rate_milli
            && self.burst <= within.burst
            && self.in_flight <= within.in_flight
            && self.rows <= within.rows
    }

    /// Whether it allows any query at all.
    #[must_use]
    pub const fn allows_queries(self) -> bool {
        self.rate_milli > 0 && self.burst > 0 && self.in_flight > 0 && self.rows > 0
    }

    fn zip(self, other: Self, with: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            rate_milli: with(self.rate_milli, other.rate_milli),
            burst: with(self.burst, other.burst),
            in_flight: with(self.in_flight, other.in_flight),
            rows: with(self.rows, other.rows),
        }
    }
}

impl std::iter::Sum for Share {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::NONE, Self::plus)
    }
}

/// The record `ledger/r`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ledger {
    /// What operators ask for: the configuration, or whoever set it since.
    pub asked: Share,
    /// What all workers together shall use: what is asked for, or less where guards hold it down.
    pub target: Share,
    /// What is promised to hold at this instant; above the target only while workers still hold more.
    pub ceiling: Share,
    /// What the configuration said when it was last asked: only a change of that overrides what an operator has set
    /// since.
    pub configured: Share,
    /// When what is asked ends, where it was set for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry: Option<Expiry>,
}

impl Ledger {
    /// One of which nothing has been given out yet.
    #[must_use]
    pub const fn new(configured: Share) -> Self {
        Self {
            asked: configured,
            target: configured,
            ceiling: configured,
            configured,
            expiry: None,
        }
    }
}

/// The record `cap/r/w`: what the worker may renew to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cap {
    /// How much.
    pub share: Share,
    /// T as the coordinator has it, in milliseconds: no grant lasts longer, whatever the worker is configured to.
    #[serde(default = "no_term")]
    pub term_ms: u64,
}

/// Where a cap does not say: as long as the worker thinks.
const fn no_term() -> u64 {
    u64::MAX
}

/// The record `ack/r/w`: what the worker last confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ack {
    /// How much.
    pub share: Share,
    /// Grows with each renewal.
    pub sequence: u64,
    /// The coordinator's mark on a dead worker's: no rate any more, but queries that may still run in the database.
    #[serde(default)]
    pub lingering: bool,
}
