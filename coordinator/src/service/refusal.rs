//! Why a call is refused, and how callers hear of it: a code, a text that says what to do, and details for programs.
//!
//! What each kind of refusal has of these is in [`table`], and nowhere else. Refusals that tonic makes by itself, before
//! a call comes here, have a text and no details: see `proto/README.md`.

mod table;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

use stoke_core::explain::explain;
use stoke_core::job::IllegalMove;
use stoke_core::names::JobName;
use stoke_proto::LEADER_METADATA;
use stoke_store::StoreError;
use stoke_store::record::RecordError;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::intake::Unwanted;
use crate::plan_store::PlanStoreError;
use crate::view::ViewError;
use table::{AS_THE_MESSAGE_SAYS, Detail, Kind};

/// Whose reasons they are.
const DOMAIN: &str = "stoke";
/// After what time a caller may try again where that may help.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How many faults of a request are told in the details: a status travels in headers, of which clients take 8 KiB.
const FAULTS_MAX: usize = 16;
/// How many of them the text repeats.
const FAULTS_IN_TEXT: usize = 4;
/// The longest field or problem of a fault, in characters.
const FAULT_TEXT_MAX: usize = 120;
/// The longest text of a status, in characters.
const TEXT_MAX: usize = 1000;

/// Why a call is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("this coordinator does not lead{}", leader.as_ref().map_or(String::new(), |leader| format!(", {leader} does")))]
    NotLeader { leader: Option<String> },
    #[error("there is no job {0}")]
    NoSuchJob(String),
    #[error("there is no budget for {0}")]
    NoSuchBudget(String),
    #[error("{}", text_of(faults))]
    Invalid { faults: Vec<Fault> },
    #[error("the request id was used before, for the job {0} of another spec")]
    RequestIdTaken(JobName),
    #[error(transparent)]
    Illegal(#[from] IllegalMove),
    #[error("{0}")]
    Precondition(String),
    #[error("{0}")]
    NotAllowed(String),
    #[error("{under_way} jobs are under way, where {max} may be")]
    TooManyJobs { under_way: usize, max: usize },
    #[error("{max} {what} are open at this coordinator, and no more may be")]
    TooManyCalls { what: &'static str, max: usize },
    #[error("too many callers change this at the same time")]
    Contended,
    #[error("the deadline is over")]
    Deadline,
    #[error("the upload sent nothing for {} s", .0.as_secs())]
    Stalled(Duration),
    #[error("this coordinator stops")]
    Stopping,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Plans(#[from] PlanStoreError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Unwanted(#[from] Unwanted),
    #[error("the stream of messages broke: {}", .0.message())]
    Stream(Status),
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::Stream(status)
    }
}

/// A field of a request that is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) field: String,
    pub(crate) problem: String,
}

impl Fault {
    pub(crate) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: cut(field.into(), FAULT_TEXT_MAX),
            problem: cut(problem.into(), FAULT_TEXT_MAX),
        }
    }
}

impl From<ViewError> for Refusal {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Store(error) => Self::Store(error),
            ViewError::Record(error) => Self::Record(error),
        }
    }
}

/// The refusal of a request with one fault.
pub(crate) fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Refusal {
    Refusal::Invalid {
        faults: vec![Fault::new(field, problem)],
    }
}

/// The first faults as text, and how many there are more.
fn text_of(faults: &[Fault]) -> String {
    let said: Vec<String> = faults
        .iter()
        .take(FAULTS_IN_TEXT)
        .map(|fault| format!("{}: {}", fault.field, fault.problem))
        .collect();
    match faults.len().saturating_sub(FAULTS_IN_TEXT) {
        0 => said.join("; "),
        more => format!("{}; and {more} more faults", said.join("; ")),
    }
}

fn cut(text: String, max: usize) -> String {
    if text.chars().count() <= max {
        return text;
    }
    text.chars().take(max - 1).chain(['…']).collect()
}

impl Refusal {
    /// Its row in the table.
    fn kind(&self) -> Kind {
        match self {
            Self::NotLeader { leader: None } => Kind::NoLeader,
            Self::NotLeader { leader: Some(_) } => Kind::NotLeader,
            Self::NoSuchJob(_) => Kind::NoSuchJob,
            Self::NoSuchBudget(_) => Kind::NoSuchBudget,
            Self::Invalid { .. } => Kind::Invalid,
            Self::RequestIdTaken(_) => Kind::RequestIdTaken,
            Self::Illegal(_) => Kind::Illegal,
            Self::Precondition(_) => Kind::Precondition,
            Self::NotAllowed(_) => Kind::NotAllowed,
            Self::TooManyJobs { .. } => Kind::TooManyJobs,
            Self::TooManyCalls { .. } => Kind::TooManyCalls,
            Self::Contended => Kind::Contended,
            Self::Deadline => Kind::Deadline,
            Self::Stalled(_) => Kind::Stalled,
            Self::Stopping => Kind::Stopping,
            Self::Store(StoreError::Unreachable { .. } | StoreError::LeaseGone) => {
                Kind::StoreUnreachable
            }
            Self::Store(StoreError::Unknown { .. }) => Kind::OutcomeUnknown,
            Self::Store(StoreError::Rejected { .. }) => Kind::StoreRefused,
            Self::Plans(PlanStoreError::Object { .. }) => Kind::PlanStoreUnreachable,
            Self::Plans(_) => Kind::PlanStoreDamaged,
            Self::Record(RecordError::Newer { .. }) => Kind::Newer,
            Self::Record(RecordError::Malformed { .. }) => Kind::Damaged,
            Self::Unwanted(_) => Kind::Unwanted,
            Self::Stream(status) => match status.code() {
                Code::OutOfRange => Kind::MessageTooLarge,
                // What tonic says of a message that it cannot decode, or unpack.
                Code::Internal | Code::Unimplemented => Kind::MessageMalformed,
                _ => Kind::StreamBroken,
            },
        }
    }

    /// What it is about: the kind of resource, and its name.
    fn subject(&self) -> (&'static str, String) {
        match self {
            Self::NoSuchJob(job) => ("stoke.v1.Job", job.clone()),
            Self::RequestIdTaken(job) => ("stoke.v1.Job", job.to_string()),
            Self::NoSuchBudget(resource) => ("stoke.v1.Budget", resource.clone()),
            Self::NotLeader { .. } => ("stoke.v1.Coordinator", String::new()),
            Self::TooManyJobs { .. } => ("stoke.v1.Job", "under way".into()),
            Self::TooManyCalls { what, .. } => ("stoke.v1.Coordinator", (*what).to_owned()),
            _ => ("stoke.v1.Job", String::new()),
        }
    }

    /// What programs may want to know beside the reason.
    fn metadata(&self) -> HashMap<String, String> {
        let pairs: Vec<(&str, String)> = match self {
            Self::NotLeader {
                leader: Some(leader),
            } => vec![("leader", leader.clone())],
            Self::RequestIdTaken(job) => vec![("job", job.to_string())],
            Self::Illegal(illegal) => vec![("state", illegal.from.to_string())],
            Self::TooManyJobs { max, .. } => vec![("limit", max.to_string())],
            Self::TooManyCalls { what, max } => {
                vec![("what", (*what).to_owned()), ("limit", max.to_string())]
            }
            Self::Stream(_) => vec![("bytes_max", stoke_proto::MESSAGE_BYTES_MAX.to_string())],
            _ => Vec::new(),
        };
        pairs
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }

    /// The text for people: what is wrong, and what to do.
    fn text(&self) -> String {
        let (what, to_do) = (explain(self), self.kind().row().to_do);
        if to_do == AS_THE_MESSAGE_SAYS {
            cut(what, TEXT_MAX)
        } else {
            format!("{}: {to_do}", cut(what, TEXT_MAX))
        }
    }

    fn details(&self, text: &str) -> ErrorDetails {
        let row = self.kind().row();
        let (kind, name) = self.subject();
        let mut details = ErrorDetails::with_error_info(row.reason, DOMAIN, self.metadata());
        for detail in row.details {
            match detail {
                Detail::BadRequest => {
                    if let Self::Invalid { faults } = self {
                        for fault in faults.iter().take(FAULTS_MAX) {
                            details.add_bad_request_violation(&fault.field, &fault.problem);
                        }
                    }
                }
                Detail::PreconditionFailure => {
                    details.add_precondition_failure_violation(row.reason, kind, text);
                }
                Detail::QuotaFailure => {
                    details.add_quota_failure_violation(format!("{kind}: {name}"), text);
                }
                Detail::ResourceInfo => {
                    details.set_resource_info(kind, &name, "", text);
                }
                Detail::RetryInfo => {
                    details.set_retry_info(Some(RETRY_AFTER));
                }
            }
        }
        details
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.text();
        let details = refusal.details(&text);
        let mut status = Self::with_error_details(refusal.kind().row().code, text, details);
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
