//! The tasks of a job's planning: what each takes one worker for.

use std::fmt;
use std::str::FromStr;

/// One task of planning. The leader gives each to one worker, which reports a verdict.
///
/// In their order the cheap one that may spare all the others comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PlanningTask {
    /// The loaders' queries are prepared: nothing is loaded with them.
    Prepare,
    /// A key source is read: its index among the job's.
    Source(u32),
    /// The loaders are tried on a sample of the plan: the last step of a dry run.
    Sample,
}

/// A text that names no task.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no task of planning: it is the index of a key source, \"prepare\" or \"sample\"")]
pub struct NotATask(String);

impl From<u32> for PlanningTask {
    /// Reading the key source of this index.
    fn from(source: u32) -> Self {
        Self::Source(source)
    }
}

impl fmt::Display for PlanningTask {
    /// As it stands in a record's key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prepare => f.write_str("prepare"),
            Self::Source(source) => source.fmt(f),
            Self::Sample => f.write_str("sample"),
        }
    }
}

impl FromStr for PlanningTask {
    type Err = NotATask;

    fn from_str(text: &str) -> Result<Self, NotATask> {
        match text {
            "prepare" => Ok(Self::Prepare),
            "sample" => Ok(Self::Sample),
            // Only as it is written: "+1" and "01" would be second names of one task.
            _ => text
                .parse()
                .ok()
                .filter(|source: &u32| source.to_string() == text)
                .map(Self::Source)
                .ok_or_else(|| NotATask(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_told_from_its_text_which_is_its_only_one() {
        for task in [
            PlanningTask::Prepare,
            PlanningTask::Source(0),
            PlanningTask::Source(31),
            PlanningTask::Sample,
        ] {
            assert_eq!(task.to_string().parse(), Ok(task));
        }
        for text in ["", "+1", "01", "-1", "Prepare", "prepare/1", "4294967296"] {
            assert!(text.parse::<PlanningTask>().is_err(), "{text:?}");
        }
    }
}
