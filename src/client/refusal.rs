//! What a refusal says to people: its message, each wrong field on a line of its own, and what to do.

use std::fmt::Write;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::exit::{self, Failure};

/// A call that was refused.
#[derive(Debug)]
pub struct Refused {
    /// As what.
    pub code: Code,
    text: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Refused {}

/// The error for a status, with its exit code: a [`Refused`].
pub fn failure(status: &Status) -> Failure {
    let refused = Refused {
        code: status.code(),
        text: text(status),
    };
    (exit::of_code(status.code()), refused.into())
}

/// A status in words.
pub fn text(status: &Status) -> String {
    let details = status.get_error_details();
    let mut lines = Vec::new();
    if let Some(bad) = details.bad_request() {
        for violation in &bad.field_violations {
            lines.push(format!("{}: {}", violation.field, violation.description));
        }
    }
    if let Some(quota) = details.quota_failure() {
        for violation in &quota.violations {
            lines.push(format!("{}: {}", violation.subject, violation.description));
        }
    }
    if let Some(precondition) = details.precondition_failure() {
        lines.extend(
            precondition
                .violations
                .iter()
                .map(|v| v.description.clone()),
        );
    }
    let mut text = headline(status, &lines);
    // What the message says already is not said twice.
    lines.retain(|line| !text.contains(line.as_str()));
    for line in &lines {
        let _ = write!(text, "\n  {line}");
    }
    if let Some(help) = details.help() {
        for link in &help.links {
            let _ = write!(text, "\n  {}: {}", link.description, link.url);
        }
    }
    if let Some(hint) = hint(status.code()) {
        let _ = write!(text, "\n  {hint}");
    }
    text
}

/// The message; where it is nothing but several faults in one line, words that the faults can follow.
fn headline(status: &Status, faults: &[String]) -> String {
    let message = status.message();
    let repeats = |fault: &String| message.contains(fault.as_str());
    if message.is_empty() {
        format!("the coordinator refuses: {}", status.code())
    } else if faults.len() > 1 && faults.iter().all(repeats) {
        "the request has several faults:".to_owned()
    } else {
        message.to_owned()
    }
}

/// What to do, where the message cannot know it.
fn hint(code: Code) -> Option<&'static str> {
    match code {
        Code::Unimplemented => {
            Some("the coordinator cannot do this: it may be older than this program")
        }
        Code::Unknown | Code::DeadlineExceeded => {
            Some("whether it was done is not known: asking again does no harm")
        }
        Code::Internal | Code::DataLoss => Some("the coordinator's log says more"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::{ErrorDetails, FieldViolation};

    #[test]
    fn each_wrong_field_has_a_line() {
        let violations = vec![
            FieldViolation::new("spec.batch.cache", "\"a b\" is not a name"),
            FieldViolation::new("spec.priority", "must be from 0 to 1000"),
        ];
        let details = || ErrorDetails::with_bad_request(violations.clone());
        let expected =
            "  spec.batch.cache: \"a b\" is not a name\n  spec.priority: must be from 0 to 1000";
        let status = Status::with_error_details(Code::InvalidArgument, "2 faults", details());
        assert_eq!(text(&status), format!("2 faults\n{expected}"));
        let all = "spec.batch.cache: \"a b\" is not a name; spec.priority: must be from 0 to 1000";
        let status = Status::with_error_details(Code::InvalidArgument, all, details());
        assert_eq!(
            text(&status),
            format!("the request has several faults:\n{expected}")
        );
    }

    #[test]
    fn nothing_is_said_twice() {
        let details = ErrorDetails::with_bad_request_violation("spec.priority", "must be less");
        let message = "spec.priority: must be less";
        let status = Status::with_error_details(Code::InvalidArgument, message, details);
        assert_eq!(text(&status), message);
        let details = ErrorDetails::with_precondition_failure_violation("STATE", "job", "is over");
        let status = Status::with_error_details(Code::FailedPrecondition, "is over", details);
        assert_eq!(text(&status), "is over");
    }

    #[test]
    fn what_to_do_follows() {
        let details = ErrorDetails::with_help_link("how to", "https://stoke.example/x");
        let status = Status::with_error_details(Code::NotFound, "there is no job x", details);
        assert_eq!(
            text(&status),
            "there is no job x\n  how to: https://stoke.example/x"
        );
        assert!(text(&Status::unimplemented("x")).contains("older than this program"));
        assert!(text(&Status::unknown("broke")).contains("does no harm"));
        assert_eq!(
            text(&Status::new(Code::Internal, "")),
            format!(
                "the coordinator refuses: {}\n  the coordinator's log says more",
                Code::Internal
            )
        );
    }
}
