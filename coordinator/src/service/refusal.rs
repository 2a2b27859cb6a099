//! Why a call is refused, and the one table of what gRPC code that is.

use std::collections::HashMap;

use stoke_core::job::IllegalMove;
use stoke_core::names::JobName;
use stoke_proto::LEADER_METADATA;
use stoke_store::StoreError;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::intake::Unwanted;
use crate::plan_store::PlanStoreError;
use crate::view::ViewError;
use stoke_core::explain::explain;

/// Why a call is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("this coordinator does not lead; {}", match leader { Some(leader) => format!("call {leader}"), None => "no coordinator leads at the moment: try again".into() })]
    NotLeader { leader: Option<String> },
    #[error("there is no job {0}")]
    NoSuchJob(String),
    #[error(
        "there is no budget for {0}: name one of the resources that ListBudgets lists, or configure it"
    )]
    NoSuchBudget(String),
    #[error("{field}: {problem}")]
    Invalid { field: String, problem: String },
    #[error("the request id was used before, for the job {0} of another spec: choose another id")]
    RequestIdTaken(JobName),
    #[error(transparent)]
    Illegal(#[from] IllegalMove),
    #[error("{0}")]
    Precondition(String),
    #[error("{0}")]
    NotAllowed(String),
    #[error("too many jobs are under way: wait until some are over, or abort some")]
    TooMany,
    #[error("too many callers change this at the same time: try again")]
    Contended,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Plans(#[from] PlanStoreError),
    #[error(transparent)]
    View(ViewError),
    #[error(transparent)]
    Unwanted(#[from] Unwanted),
    #[error(transparent)]
    Stream(#[from] Status),
}

impl From<ViewError> for Refusal {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Store(error) => Self::Store(error),
            ViewError::Record(_) => Self::View(error),
        }
    }
}

/// A field of a request that is wrong, and what to do about it.
pub(crate) fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Refusal {
    Refusal::Invalid {
        field: field.into(),
        problem: problem.into(),
    }
}

/// The code of each refusal.
fn code(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::NotLeader { leader: None }
        | Refusal::Store(StoreError::Unreachable { .. } | StoreError::LeaseGone) => {
            Code::Unavailable
        }
        Refusal::NotLeader { .. }
        | Refusal::Illegal(_)
        | Refusal::Precondition(_)
        | Refusal::Unwanted(_) => Code::FailedPrecondition,
        Refusal::NoSuchJob(_) | Refusal::NoSuchBudget(_) => Code::NotFound,
        Refusal::Invalid { .. } => Code::InvalidArgument,
        Refusal::RequestIdTaken(_) => Code::AlreadyExists,
        Refusal::NotAllowed(_) => Code::PermissionDenied,
        Refusal::Contended => Code::Aborted,
        Refusal::TooMany => Code::ResourceExhausted,
        Refusal::Plans(PlanStoreError::Object { .. }) => Code::Unavailable,
        Refusal::Store(StoreError::Unknown { .. }) => Code::Unknown,
        Refusal::Store(StoreError::Rejected { .. }) | Refusal::Plans(_) | Refusal::View(_) => {
            Code::Internal
        }
        Refusal::Stream(status) => status.code(),
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        if let Refusal::Stream(status) = refusal {
            return status;
        }
        let code = code(&refusal);
        let text = explain(&refusal);
        let details = match &refusal {
            Refusal::Invalid { field, problem } => {
                ErrorDetails::with_bad_request_violation(field, problem)
            }
            Refusal::NotLeader { leader } => {
                let leader = leader
                    .iter()
                    .map(|leader| ("leader".to_owned(), leader.clone()));
                ErrorDetails::with_error_info(
                    "NOT_LEADER",
                    "stoke",
                    leader.collect::<HashMap<_, _>>(),
                )
            }
            Refusal::Illegal(_) => {
                ErrorDetails::with_precondition_failure_violation("STATE", "job", &text)
            }
            Refusal::Precondition(what) => {
                ErrorDetails::with_precondition_failure_violation("SET_UP", "job", what)
            }
            _ => ErrorDetails::new(),
        };
        let mut status = Self::with_error_details(code, text, details);
        if let Refusal::NotLeader {
            leader: Some(leader),
        } = &refusal
            && let Ok(leader) = MetadataValue::try_from(leader.as_str())
        {
            status.metadata_mut().insert(LEADER_METADATA, leader);
        }
        status
    }
}
