//! What a failed call means: whether it may be repeated, and what the caller is told.
//!
//! The one mistake that must not happen is to call something undone that was done. So only what etcd says without
//! doubt, and a connection that was never made, count as undone; all else is unclear.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::Error;
use stoke_core::advice::advice;
use stoke_core::explain::explain;
use tonic::{Code, Status};

use crate::StoreError;

/// What a call does, as far as repeating it and losing its answer are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Changes nothing.
    Read,
    /// Makes a lease; one that nobody knows of lapses.
    Grant,
    /// May be done twice.
    Renewal,
    /// Must not be done twice.
    Write,
}

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It was never sent, or turned away before it began.
    Undone,
    /// Turned away for a token that has run out: a new one mends it.
    StaleToken,
    /// The lease is not there.
    LeaseGone,
    /// etcd said no, and will say it again.
    Refused,
    /// Nobody knows whether it was done.
    Unclear,
}

/// No answer came before the deadline.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {0:?}")]
pub(super) struct Late(pub(super) Duration);

/// Where it was, and what it calls for where that is known. Addresses have no credentials: such are refused.
#[derive(Debug)]
pub(super) struct At {
    addresses: Arc<str>,
    advice: Option<&'static str>,
    source: Box<dyn StdError + Send + Sync>,
}

impl At {
    pub(super) fn etcd(
        addresses: &Arc<str>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        Self {
            addresses: Arc::clone(addresses),
            advice: advice(&explain(&*source)),
            source,
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "etcd at {}", self.addresses)?;
        self.advice.map_or(Ok(()), |advice| write!(f, ": {advice}"))
    }
}

impl StdError for At {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}

/// An answer that lacks what etcd's protocol promises.
#[derive(Debug, thiserror::Error)]
#[error("the answer has no header")]
pub(super) struct UnusableAnswer;

impl UnusableAnswer {
    pub(super) fn during(self, doing: &'static str) -> StoreError {
        Failure::Unclear.told(Call::Read, doing, self)
    }

    pub(super) fn unknown(self, doing: &'static str) -> StoreError {
        Failure::Unclear.told(Call::Write, doing, self)
    }
}

/// Whether etcd has forgotten the revision that was asked for. It tells one that is yet to come with the same code.
pub(super) fn is_compacted(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status)
        if status.code() == Code::OutOfRange && status.message().contains("compacted"))
}

impl Failure {
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::GRpcStatus(status) => Self::of_status(status),
            Error::InvalidArgs(_) | Error::InvalidUri(_) | Error::InvalidMetadataValue(_) => {
                Self::Refused
            }
            Error::TransportError(error) if never_connected(error) => Self::Undone,
            // etcd-client has no other way to say that the first answer of a keep-alive stream was a TTL of 0.
            Error::LeaseKeepAliveError(text) if text == "lease not found" => Self::LeaseGone,
            // How etcd answers a watch whose token has run out; other calls renew theirs by themselves.
            Error::WatchError(text)
                if text.contains("permission denied") || text.contains("auth token") =>
            {
                Self::StaleToken
            }
            _ => Self::Unclear,
        }
    }

    fn of_status(status: &Status) -> Self {
        let message = status.message();
        match status.code() {
            _ if never_connected(status) => Self::Undone,
            _ if message == "etcdserver: revision of auth store is old" => Self::StaleToken,
            // The client library logs in again by itself, but not for what a stream of keep-alives is answered with, and
            // but once: a member that lags does not know the new token either.
            Code::Unauthenticated if message == "etcdserver: invalid auth token" => {
                Self::StaleToken
            }
            Code::NotFound if message == "etcdserver: requested lease not found" => Self::LeaseGone,
            Code::ResourceExhausted if message == "etcdserver: too many requests" => Self::Undone,
            Code::ResourceExhausted
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented => Self::Refused,
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => Self::Unclear,
        }
    }

    /// Whether the same call may be made again.
    pub(super) fn may_repeat(self, call: Call) -> bool {
        match self {
            Self::Undone | Self::StaleToken => true,
            Self::LeaseGone | Self::Refused => false,
            Self::Unclear => matches!(call, Call::Read | Call::Renewal),
        }
    }

    /// What the caller is told.
    pub(super) fn told(
        self,
        call: Call,
        doing: &'static str,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> StoreError {
        let source = source.into();
        match (self, call) {
            (Self::LeaseGone, _) => StoreError::LeaseGone,
            (Self::Refused, _) => StoreError::Rejected { doing, source },
            (Self::Unclear, Call::Write | Call::Renewal) => StoreError::Unknown { doing, source },
            (Self::Undone | Self::StaleToken, _) | (Self::Unclear, Call::Read | Call::Grant) => {
                StoreError::Unreachable { doing, source }
            }
        }
    }
}

/// Whether the cause is that no connection could be made, so that nothing was sent.
fn never_connected(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(call: Call, status: Status) -> StoreError {
        let error = Error::GRpcStatus(status);
        Failure::of(&error).told(call, "testing", error)
    }

    #[test]
    fn a_transaction_without_a_clear_answer_is_unknown_and_not_repeated() {
        for code in [
            Code::Unavailable,
            Code::Unknown,
            Code::Cancelled,
            Code::DeadlineExceeded,
            Code::Internal,
            Code::Aborted,
        ] {
            let status = Status::new(code, "etcdserver: request timed out");
            let failure = Failure::of(&Error::GRpcStatus(status.clone()));
            assert!(!failure.may_repeat(Call::Write), "{code:?}");
            assert!(
                matches!(
                    told(Call::Write, status.clone()),
                    StoreError::Unknown { .. }
                ),
                "{code:?}"
            );
            assert!(
                matches!(told(Call::Read, status), StoreError::Unreachable { .. }),
                "{code:?}"
            );
        }
    }

    #[test]
    fn no_space_no_permission_and_invalid_are_rejected() {
        for status in [
            Status::resource_exhausted("etcdserver: mvcc: database space exceeded"),
            Status::permission_denied("etcdserver: permission denied"),
            Status::invalid_argument("etcdserver: request is too large"),
        ] {
            let shown = format!("{status:?}");
            assert!(
                matches!(told(Call::Write, status), StoreError::Rejected { .. }),
                "{shown}"
            );
        }
    }

    #[test]
    fn a_token_that_has_run_out_is_renewed_whatever_the_call() {
        for message in [
            "etcdserver: invalid auth token",
            "etcdserver: revision of auth store is old",
        ] {
            let error = Error::GRpcStatus(Status::unauthenticated(message));
            let failure = Failure::of(&error);
            assert_eq!(failure, Failure::StaleToken, "{message}");
            assert!(failure.may_repeat(Call::Write), "{message}");
        }
        let wrong = Status::invalid_argument(
            "etcdserver: authentication failed, invalid user ID or password",
        );
        assert!(matches!(
            told(Call::Renewal, wrong),
            StoreError::Rejected { .. }
        ));
    }

    #[test]
    fn a_put_on_a_lease_that_is_not_there_is_told_as_such() {
        let status = Status::not_found("etcdserver: requested lease not found");
        assert!(matches!(told(Call::Write, status), StoreError::LeaseGone));
    }

    #[test]
    fn what_etcd_turned_away_before_it_began_may_be_repeated() {
        let status = Status::resource_exhausted("etcdserver: too many requests");
        assert!(Failure::of(&Error::GRpcStatus(status.clone())).may_repeat(Call::Write));
        assert!(matches!(
            told(Call::Write, status),
            StoreError::Unreachable { .. }
        ));
    }
}
