//! Which objects of the plan store are kept: a pure decision on an object's name and on its job's records.
//!
//! Objects are listed first, and their jobs read after that: what the records do not name then, they never will, since
//! names are made anew each time, jobs are created before their objects, and no job is created twice. So nothing here needs
//! a clock, and a plan in the making is safe however long it takes.

use std::collections::BTreeMap;

use stoke_core::job::Phase;
use stoke_core::names::JobName;
use stoke_core::records::{FailureLog, Job};

/// What an object is, as its name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Object<'a> {
    /// Of a plan: by its name, and the attempt that wrote it.
    Plan { name: &'a str, attempt: u64 },
    /// An upload, by its name.
    Upload(&'a str),
    /// A chunk of a list of failures.
    Failures { log: &'a str, chunk: u64 },
}

/// The job that an object belongs to, and what it is. `None`: it is none of Stoke's, or of a newer Stoke's, and stays.
pub(super) fn parse(name: &str) -> Option<(JobName, Object<'_>)> {
    let mut parts = name.split('/');
    let (kind, job, own) = (parts.next()?, parts.next()?, parts.next()?);
    let last = parts.next();
    if parts.next().is_some() {
        return None;
    }
    let object = match (kind, last) {
        ("plans", Some(band)) => {
            let (epoch, attempt) = own.split_once('-')?;
            epoch.parse::<u64>().ok()?;
            Object::Plan {
                name: &name[..name.len() - band.len() - 1],
                attempt: attempt.parse().ok()?,
            }
        }
        ("uploads", None) => Object::Upload(name),
        ("failures", Some(chunk)) => Object::Failures {
            log: own,
            chunk: chunk.parse().ok()?,
        },
        _ => return None,
    };
    Some((job.parse().ok()?, object))
}

/// What the coordination store has of the job that an object belongs to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Owner {
    /// Nothing, at one revision: there is no such job any more.
    Nobody,
    /// Records of a job that is not cleaned up.
    UnderWay(Box<Job>, Phase),
    /// The record of a job that is over.
    Past(Box<Job>),
    /// A record that this process cannot read: a newer one's, or a damaged one.
    Unreadable,
}

/// The jobs that objects belong to.
pub(super) type Owners = BTreeMap<JobName, Owner>;

/// Whether an object may still be needed.
pub(super) fn keeps(owner: &Owner, object: &Object<'_>) -> bool {
    match (owner, object) {
        (Owner::Unreadable, _) => true,
        (Owner::Nobody, _) => false,
        (Owner::UnderWay(job, phase), Object::Plan { name, attempt }) => {
            // Attempts are counted in the job's record, whoever leads: an older one will never be sealed, and one that is
            // under way is the newest, or is just about to be.
            let is_planning = matches!(phase, Phase::Pending | Phase::Planning);
            is_plan(job, name) || is_planning && *attempt >= job.attempt
        }
        (Owner::Past(job), Object::Plan { name, .. }) => is_plan(job, name),
        // It may be on its way, or waiting to be taken.
        (Owner::UnderWay(_, Phase::Pending), Object::Upload(_)) => true,
        (Owner::UnderWay(job, _) | Owner::Past(job), Object::Upload(name)) => {
            job.uploads.values().any(|upload| upload.object == **name)
        }
        // They are stored before the checkpoints that name them.
        (Owner::UnderWay(..), Object::Failures { .. }) => true,
        (Owner::Past(job), Object::Failures { log, chunk }) => {
            let mut logs = job.result.iter().flat_map(|result| &result.failures);
            logs.any(|named: &FailureLog| named.log == **log && *chunk < named.chunks)
        }
    }
}

fn is_plan(job: &Job, name: &str) -> bool {
    job.plan.as_ref().is_some_and(|plan| plan.name == name)
}

#[cfg(test)]
pub(super) mod tests;
