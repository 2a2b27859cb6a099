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
use crate::ranking::{RankingError, SpillError};
use crate::view::ViewError;
use table::{AS_THE_MESSAGE_SAYS, Detail, Kind};

/// Whose reasons they are.
const DOMAIN: &str = "stoke";
/// After what time a caller may try again where that may help.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How many faults of a request are told in the details at most.
pub(crate) const FAULTS_MAX: usize = 16;
/// The longest field or problem of a fault, in characters.
const FAULT_TEXT_MAX: usize = 120;
/// How large a status may be as it travels, in bytes: in headers, of which clients take 8 KiB, with all others.
const STATUS_BYTES_MAX: usize = 7 * 1024;

/// How much of a refusal is told.
#[derive(Clone, Copy, Debug)]
struct Length {
    /// Of the text, in characters, beside what is to be done.
    text_max: usize,
    /// Of a fault's field, and of its problem, in characters.
    fault_max: usize,
    /// How many faults the text repeats.
    faults_in_text: usize,
    /// How many the details have.
    faults: usize,
}

/// From all to what fits with any characters, of which one may take twelve bytes: the first that fits is sent.
const LENGTHS: [Length; 5] = [
    Length::new(1000, FAULT_TEXT_MAX, 4, FAULTS_MAX),
    Length::new(500, 60, 4, FAULTS_MAX),
    Length::new(250, 40, 2, FAULTS_MAX),
    Length::new(120, 30, 1, 8),
    Length::new(60, 20, 1, 4),
];

impl Length {
    const fn new(text_max: usize, fault_max: usize, faults_in_text: usize, faults: usize) -> Self {
        Self {
            text_max,
            fault_max,
            faults_in_text,
            faults,
        }
    }
}

/// Why a call is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("this coordinator does not lead{}", leader.as_ref().map_or(String::new(), |leader| format!(", {leader} does")))]
    NotLeader { leader: Option<String> },
    #[error("there is no job {0}")]
    NoSuchJob(String),
    #[error("there is no budget for {0}")]
    NoSuchBudget(String),
    /// `count`: of all faults, those included that were not kept.
    #[error("{}", text_of(faults, *count, LENGTHS[0]))]
    Invalid { faults: Vec<Fault>, count: usize },
    #[error("the request id was used before, for the job {0} of another spec")]
    RequestIdTaken(JobName),
    #[error("source {source_index} of the job was uploaded before {}", if *is_known { "with other entries" } else { "by an older version, which kept nothing to tell the same entries from others" })]
    UploadDiffers {
        job: JobName,
        source_index: u32,
        is_known: bool,
    },
    #[error(transparent)]
    Illegal(#[from] IllegalMove),
    #[error("{0}")]
    Precondition(String),
    #[error("no entry of the job {0} failed")]
    NothingFailed(JobName),
    #[error("the plan of the job {0} is not in the plan store any more")]
    PlanGone(JobName),
    /// `lacks`: the fields that the nearest worker cannot serve.
    #[error("{text}")]
    Unserved { text: String, lacks: Vec<Fault> },
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
    #[error("nothing of the list was read for {} s", .0.as_secs())]
    Unread(Duration),
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
    /// Rows of a key source could not be kept, for no fault of whoever sent them.
    #[error(transparent)]
    Unkept(RankingError),
    #[error("this list of failures is of no owner of the job's partitions")]
    NotAnOwner,
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

    fn shortened(&self, length: Length) -> Self {
        Self {
            field: cut(self.field.clone(), length.fault_max),
            problem: cut(self.problem.clone(), length.fault_max),
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
        count: 1,
    }
}

/// The first faults as text, and how many there are more.
fn text_of(faults: &[Fault], count: usize, length: Length) -> String {
    let said: Vec<String> = faults
        .iter()
        .take(length.faults_in_text)
        .map(|fault| fault.shortened(length))
        .map(|fault| format!("{}: {}", fault.field, fault.problem))
        .collect();
    match count.saturating_sub(said.len()) {
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
            Self::UploadDiffers { .. } => Kind::UploadDiffers,
            Self::Illegal(_) => Kind::Illegal,
            Self::Precondition(_) | Self::Unserved { .. } => Kind::Precondition,
            Self::NothingFailed(_) => Kind::NothingFailed,
            Self::PlanGone(_) => Kind::PlanGone,
            Self::NotAllowed(_) => Kind::NotAllowed,
            Self::TooManyJobs { .. } => Kind::TooManyJobs,
            Self::TooManyCalls { .. } => Kind::TooManyCalls,
            Self::Contended => Kind::Contended,
            Self::Deadline => Kind::Deadline,
            Self::Stalled(_) => Kind::Stalled,
            Self::Unread(_) => Kind::Unread,
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
            Self::Unwanted(_) | Self::NotAnOwner => Kind::Unwanted,
            Self::Unkept(RankingError::Spill(SpillError::Full { .. })) => Kind::SpillFull,
            Self::Unkept(_) => Kind::SpillFailed,
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
            Self::RequestIdTaken(job) | Self::UploadDiffers { job, .. } => {
                ("stoke.v1.Job", job.to_string())
            }
            Self::NoSuchBudget(resource) => ("stoke.v1.Budget", resource.clone()),
            Self::NotLeader { .. } => ("stoke.v1.Coordinator", String::new()),
            Self::TooManyJobs { .. } => ("stoke.v1.Job", "under way".into()),
            Self::Unkept(_) => ("stoke.v1.Coordinator", "spill-dir".into()),
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
    fn text(&self, length: Length) -> String {
        if let Self::Invalid { faults, count } = self {
            return text_of(faults, *count, length);
        }
        let (what, to_do) = (explain(self), self.kind().row().to_do);
        if to_do == AS_THE_MESSAGE_SAYS {
            cut(what, length.text_max)
        } else {
            format!("{}: {to_do}", cut(what, length.text_max))
        }
    }

    fn details(&self, text: &str, length: Length) -> ErrorDetails {
        let row = self.kind().row();
        let (kind, name) = self.subject();
        let mut details = ErrorDetails::with_error_info(row.reason, DOMAIN, self.metadata());
        for detail in row.details {
            match detail {
                Detail::BadRequest => {
                    if let Self::Invalid { faults, .. } = self {
                        for fault in faults.iter().take(length.faults) {
                            let fault = fault.shortened(length);
                            details.add_bad_request_violation(fault.field, fault.problem);
                        }
                    }
                }
                Detail::PreconditionFailure => {
                    if let Self::Unserved { lacks, .. } = self
                        && !lacks.is_empty()
                    {
                        for lack in lacks.iter().take(length.faults) {
                            let Fault { field, problem } = lack.shortened(length);
                            details.add_precondition_failure_violation(row.reason, field, problem);
                        }
                        continue;
                    }
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
        let told = |length: Length| {
            let text = refusal.text(length);
            let details = refusal.details(&text, length);
            Self::with_error_details(refusal.kind().row().code, text, details)
        };
        let (last, rather) = (LENGTHS[LENGTHS.len() - 1], &LENGTHS[..LENGTHS.len() - 1]);
        let mut rather = rather.iter().map(|length| told(*length));
        let fits = |status: &Self| bytes_of(status) <= STATUS_BYTES_MAX;
        let mut status = rather.find(fits).unwrap_or_else(|| told(last));
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

/// How many bytes a status takes as it travels, at most: its text percent-encoded, its details in base64.
fn bytes_of(status: &Status) -> usize {
    let plain = |byte: &&u8| byte.is_ascii_alphanumeric() || b"-_.,:;/()[]'=*".contains(byte);
    let text = status.message().as_bytes();
    let encoded = text.len() - text.iter().filter(plain).count();
    text.len() + 2 * encoded + status.details().len().div_ceil(3) * 4
}
