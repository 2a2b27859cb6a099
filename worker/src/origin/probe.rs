//! What a probe's query must give: one row with one number.

use stoke_core::advice::with_advice;

use super::OriginError;

/// Why a probe gave no number.
#[derive(Debug, thiserror::Error)]
pub enum ProbeFault {
    /// It was not answered, or not sent.
    #[error(transparent)]
    Failed(#[from] OriginError),
    /// There is nothing to read.
    #[error(
        "its query gave no row: write one that always gives exactly one, as SELECT count(*) … does"
    )]
    NoRow,
    /// Which of them counts is not said.
    #[error(
        "its query gave more than one row: write one that gives exactly one, as SELECT max(…) … does"
    )]
    Rows,
    /// Which of them counts is not said.
    #[error("its query gives {0} columns: select exactly one, the number")]
    Columns(usize),
    /// Nothing is known.
    #[error("its query gave NULL: say what that means with COALESCE(…, 0)")]
    Null,
    /// Something else than a number.
    #[error(
        "its query gave a value of the type {0}, which is no number: select a number (of a time or an interval, EXTRACT(epoch FROM …), in MySQL UNIX_TIMESTAMP(…) or TIME_TO_SEC(…))"
    )]
    NotANumber(String),
    /// A number that compares with nothing.
    #[error("its query gave {0}, which no threshold can be compared with: select a number")]
    NotFinite(f64),
}

impl ProbeFault {
    /// The fault with all its causes in one line, and what to do where that is known.
    #[must_use]
    pub fn explain(&self) -> String {
        match self {
            Self::Failed(error) => error.explain(),
            fault => with_advice(&fault.to_string()),
        }
    }
}

/// The number, where it compares with others.
pub(super) fn finite(number: f64) -> Result<f64, ProbeFault> {
    if number.is_finite() {
        Ok(number)
    } else {
        Err(ProbeFault::NotFinite(number))
    }
}
