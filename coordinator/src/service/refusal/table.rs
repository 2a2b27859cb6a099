//! The one table of refusals: what gRPC code each has, which details, and what a caller does about it.
//!
//! `proto/README.md` shows it; a test holds the two together, and another each row against what is really sent.

use tonic::Code;

/// What a refusal says to programs, beside its text for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// `google.rpc.ErrorInfo.reason`: it never changes.
    pub(crate) reason: &'static str,
    /// The call's status.
    pub(crate) code: Code,
    /// The code's name in the protocol.
    pub(crate) code_name: &'static str,
    /// The messages of `google.rpc` beside ErrorInfo.
    pub(crate) details: &'static [Detail],
    /// When it happens.
    pub(crate) when: &'static str,
    /// What a caller does. Part of the message, unless that says more than a table can.
    pub(crate) to_do: &'static str,
}

/// The details that a refusal may carry beside ErrorInfo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    BadRequest,
    PreconditionFailure,
    QuotaFailure,
    ResourceInfo,
    RetryInfo,
}

/// What stands for the caller's part where the message itself says it.
pub(crate) const AS_THE_MESSAGE_SAYS: &str = "as the message says";

macro_rules! table {
    ($($kind:ident $reason:literal $code:ident $code_name:literal [$($detail:ident),*] $when:literal $to_do:expr;)*) => {
        /// The kinds of refusals: the rows of the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind { $($kind),* }

        impl Kind {
            /// All of them.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$kind),*];

            /// What is said of this kind.
            pub(crate) const fn row(self) -> Row {
                match self {
                    $(Self::$kind => Row {
                        reason: $reason,
                        code: Code::$code,
                        code_name: $code_name,
                        details: &[$(Detail::$detail),*],
                        when: $when,
                        to_do: $to_do,
                    }),*
                }
            }
        }
    };
}

table! {
    Invalid "INVALID_FIELDS" InvalidArgument "INVALID_ARGUMENT" [BadRequest]
        "fields of the request are not what they must be" AS_THE_MESSAGE_SAYS;
    MessageMalformed "MESSAGE_MALFORMED" InvalidArgument "INVALID_ARGUMENT" []
        "a message of a client's stream is not what the proto says"
        "send what the proto of this version describes";
    MessageTooLarge "MESSAGE_TOO_LARGE" OutOfRange "OUT_OF_RANGE" []
        "a message of a client's stream is larger than 4 MiB"
        "send the entries in smaller batches";
    NoSuchJob "JOB_NOT_FOUND" NotFound "NOT_FOUND" [ResourceInfo]
        "no job has this name"
        "look with ListJobs which jobs there are";
    NoSuchBudget "BUDGET_NOT_FOUND" NotFound "NOT_FOUND" [ResourceInfo]
        "the resource has no budget"
        "name one of the resources that ListBudgets lists, or configure it";
    RequestIdTaken "REQUEST_ID_TAKEN" AlreadyExists "ALREADY_EXISTS" [ResourceInfo]
        "the request_id was used before, for another spec"
        "choose another id, or send the spec that it was used for";
    UploadDiffers "UPLOAD_DIFFERS" AlreadyExists "ALREADY_EXISTS" [ResourceInfo]
        "the source was uploaded before, with other entries"
        "create another job";
    NotLeader "NOT_LEADER" FailedPrecondition "FAILED_PRECONDITION" [PreconditionFailure]
        "a mutation was sent to a coordinator that stands by"
        "call the leader, whose address is in the metadata `stoke-leader`";
    NoLeader "NO_LEADER" Unavailable "UNAVAILABLE" [RetryInfo]
        "no coordinator leads at the moment"
        "try again: another takes over within seconds";
    Illegal "ILLEGAL_STATE" FailedPrecondition "FAILED_PRECONDITION" [PreconditionFailure]
        "the job's state does not allow this"
        "look with GetJob how the job stands";
    Precondition "NOT_SET_UP" FailedPrecondition "FAILED_PRECONDITION" [PreconditionFailure]
        "something is missing: a worker that can do the job, a budget, a plan" AS_THE_MESSAGE_SAYS;
    NothingFailed "NOTHING_FAILED" FailedPrecondition "FAILED_PRECONDITION" [PreconditionFailure]
        "the entries that failed in a job are asked for, and none did"
        "there is nothing to try again";
    PlanGone "PLAN_GONE" FailedPrecondition "FAILED_PRECONDITION" [PreconditionFailure]
        "the plan of another job is asked for, and has been cleaned up"
        "create a job from the key sources themselves";
    SpillFull "SPILL_DIR_FULL" ResourceExhausted "RESOURCE_EXHAUSTED" [QuotaFailure, RetryInfo]
        "to workers only: the disk that the leader spills key sources to is full; planning is tried again" AS_THE_MESSAGE_SAYS;
    SpillFailed "SPILL_FAILED" Unavailable "UNAVAILABLE" [RetryInfo]
        "to workers only: the leader cannot keep what a key source gives; planning is tried again" AS_THE_MESSAGE_SAYS;
    Newer "RECORD_NEWER" FailedPrecondition "FAILED_PRECONDITION" [PreconditionFailure]
        "a newer Stoke wrote a record that this coordinator must understand"
        "upgrade the coordinators first, then the workers";
    Unwanted "NOT_AWAITED" FailedPrecondition "FAILED_PRECONDITION" [PreconditionFailure]
        "to workers only: what is sent belongs to another attempt at planning, or another assignment"
        "look at the store's records again";
    NotAllowed "NOT_ALLOWED_IN_JOBS" PermissionDenied "PERMISSION_DENIED" []
        "the job brings SQL or names files, and no worker's configuration allows that" AS_THE_MESSAGE_SAYS;
    TooManyJobs "TOO_MANY_JOBS" ResourceExhausted "RESOURCE_EXHAUSTED" [QuotaFailure]
        "too many jobs are under way"
        "wait until some are over, or abort some, then create it with the same request_id";
    TooManyCalls "TOO_MANY_CALLS" ResourceExhausted "RESOURCE_EXHAUSTED" [QuotaFailure, RetryInfo]
        "too many watches, uploads or lists (or workers' streams) are open at this coordinator"
        "close some that nobody reads, call another coordinator, or try again later";
    Contended "CONTENDED" Aborted "ABORTED" [RetryInfo]
        "too many callers change the same thing at the same time"
        "try again";
    StreamBroken "STREAM_BROKEN" Aborted "ABORTED" [RetryInfo]
        "a client's stream ended before it was complete"
        "send it again from the beginning: nothing of it was kept";
    Deadline "DEADLINE_OVER" DeadlineExceeded "DEADLINE_EXCEEDED" []
        "the call's deadline came while a stream was open"
        "call again, with a later deadline or none";
    Stalled "UPLOAD_STALLED" DeadlineExceeded "DEADLINE_EXCEEDED" []
        "an upload sent nothing for a minute"
        "send it again from the beginning: nothing of it was kept";
    Unread "LIST_UNREAD" DeadlineExceeded "DEADLINE_EXCEEDED" []
        "nothing of a list of failures or an export was read for a minute"
        "call again, and read on as it comes";
    Stopping "STOPPING" Unavailable "UNAVAILABLE" [RetryInfo]
        "this coordinator stops"
        "call again, at another coordinator";
    StoreUnreachable "STORE_UNREACHABLE" Unavailable "UNAVAILABLE" [RetryInfo]
        "the coordination store does not answer; nothing was done"
        "try again";
    OutcomeUnknown "OUTCOME_UNKNOWN" Unknown "UNKNOWN" [RetryInfo]
        "the coordination store gave no answer: the call may or may not have been carried out"
        "repeat the call as it was: CreateJob with the same request_id; all others are idempotent";
    StoreRefused "STORE_REFUSED" Internal "INTERNAL" []
        "the coordination store refuses: it is full, say, or grants no permission"
        "mend the coordination store, then call again";
    PlanStoreUnreachable "PLAN_STORE_UNREACHABLE" Unavailable "UNAVAILABLE" [RetryInfo]
        "the plan store fails"
        "try again; where that goes on, look at the coordinators' plan-store";
    PlanStoreDamaged "PLAN_STORE_UNREADABLE" Internal "INTERNAL" []
        "what the plan store has cannot be read"
        "look at the coordinators' plan-store; create the job anew";
    Damaged "RECORD_DAMAGED" Internal "INTERNAL" []
        "a record in the coordination store is not what Stoke writes"
        "find out who changed it, and create the job anew";
}
