//! Exit codes that scripts can use: one table for everything the program does.

use stoke_proto::v1::{self, JobState};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is done.
    Succeeded = 0,
    /// The job is over, but entries failed; of a verification, something differs.
    FailedEntries = 1,
    /// The command line, the configuration, or the request is wrong: the same again will fail again.
    Usage = 2,
    /// The job was aborted.
    Aborted = 3,
    /// Something could not be reached, or did not let us in: whatever shows on contact only, be it a host that is down, a
    /// refused password, or a database that is not there. What is wrong without any contact is [`Exit::Usage`].
    Unreachable = 4,
    /// What was waited for has not come about.
    NotMet = 5,
    /// Stopped by Ctrl-C while only looking on; or a worker that was told twice to stop.
    Interrupted = 130,
}

/// The table, as the help shows it.
pub const TABLE: &str = "\
Exit codes:
  0    it is done; of a job that was followed to its end: it succeeded
  1    the job FAILED because more of its entries failed than were allowed;
       of a verification: something differs
  2    the command line, a file or the request is wrong, or not possible now;
       or the job FAILED before its first entry: its sources or loaders are wrong
  3    the job was aborted: while it was followed, or before its keys were uploaded
  4    something could not be reached, or not in time: the same may succeed later
  5    the gate is not open: in time, or as the job ended; or the cache is not warm
  130  stopped by Ctrl-C while only watching: the job goes on;
       or a worker was told twice to stop, and left without handing over";

/// An error that ends a command, and the exit code for it.
pub type Failure = (Exit, anyhow::Error);

/// Says with which code an error ends the command.
pub trait OrExit<T> {
    /// This one.
    fn or_exit(self, exit: Exit) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Result<T, Failure> {
        self.map_err(|error| (exit, error.into()))
    }
}

/// The exit code for a job that is over.
pub fn of_job(job: &v1::Job) -> Exit {
    let failed = job.progress.and_then(|progress| progress.outcomes);
    match job.state() {
        JobState::Aborted => Exit::Aborted,
        JobState::Failed if failed.is_some_and(|outcomes| outcomes.failed > 0) => {
            Exit::FailedEntries
        }
        // No entry failed: it was never begun with. Why planning was given up is in the reason; only this is for programs.
        JobState::Failed if job.reason.starts_with(stoke_proto::PLANNING_GIVEN_UP) => {
            Exit::Unreachable
        }
        JobState::Failed => Exit::Usage,
        _ => Exit::Succeeded,
    }
}

/// The exit code for a job that has looked: any difference counts, whatever it was allowed.
pub fn of_verification(job: &v1::Job) -> Exit {
    let outcomes = job.progress.and_then(|progress| progress.outcomes);
    match of_job(job) {
        Exit::Succeeded if outcomes.is_some_and(|outcomes| outcomes.failed > 0) => {
            Exit::FailedEntries
        }
        exit => exit,
    }
}

/// The exit code for a refusal, by its gRPC code: what the same call may yet get, if made later, is not the caller's fault.
pub fn of_code(code: tonic::Code) -> Exit {
    use tonic::Code;
    match code {
        Code::Ok => Exit::Succeeded,
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented => Exit::Usage,
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Unknown
        | Code::Cancelled
        | Code::Aborted
        | Code::ResourceExhausted
        | Code::Internal
        | Code::DataLoss => Exit::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(state: JobState, reason: &str, failed: u64) -> v1::Job {
        let outcomes = v1::Outcomes {
            failed,
            ..v1::Outcomes::default()
        };
        v1::Job {
            state: state.into(),
            reason: reason.into(),
            progress: Some(v1::Progress {
                outcomes: Some(outcomes),
                ..v1::Progress::default()
            }),
            ..v1::Job::default()
        }
    }

    #[test]
    fn a_jobs_end_has_the_code_of_its_kind() {
        let given_up = format!("{}origin shop: no answer", stoke_proto::PLANNING_GIVEN_UP);
        for (state, reason, failed, exit) in [
            (JobState::Succeeded, "", 0, 0),
            (JobState::Succeeded, "", 3, 0),
            (JobState::Failed, "3 entries failed; 0 were allowed", 3, 1),
            (JobState::Failed, "the key sources gave no keys", 0, 2),
            (JobState::Failed, given_up.as_str(), 0, 4),
            (JobState::Aborted, "Ctrl-C", 0, 3),
            (JobState::Aborted, "", 3, 3),
            (JobState::Running, "", 3, 0),
        ] {
            assert_eq!(
                of_job(&job(state, reason, failed)) as i32,
                exit,
                "{state:?} {reason}"
            );
        }
    }

    #[test]
    fn a_verification_ends_well_only_where_nothing_differs() {
        for (state, failed, exit) in [
            (JobState::Succeeded, 0, 0),
            (JobState::Succeeded, 1, 1),
            (JobState::Failed, 1, 1),
            (JobState::Failed, 0, 2),
            (JobState::Aborted, 1, 3),
        ] {
            let job = job(state, "", failed);
            assert_eq!(of_verification(&job) as i32, exit, "{state:?} {failed}");
        }
    }

    #[test]
    fn what_may_pass_is_told_from_what_the_caller_must_change() {
        use tonic::Code;
        for code in (0..=16).map(Code::from) {
            let exit = of_code(code) as i32;
            let expected = match code {
                Code::Ok => 0,
                Code::InvalidArgument
                | Code::NotFound
                | Code::AlreadyExists
                | Code::PermissionDenied
                | Code::Unauthenticated
                | Code::FailedPrecondition
                | Code::OutOfRange
                | Code::Unimplemented => 2,
                _ => 4,
            };
            assert_eq!(exit, expected, "{code:?}");
        }
    }

    #[test]
    fn the_table_names_every_code() {
        for exit in [
            Exit::Succeeded,
            Exit::FailedEntries,
            Exit::Usage,
            Exit::Aborted,
            Exit::Unreachable,
            Exit::NotMet,
            Exit::Interrupted,
        ] {
            assert!(
                TABLE.contains(&format!("\n  {:<5}", exit as i32)),
                "{exit:?}"
            );
        }
    }
}
