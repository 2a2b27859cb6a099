//! What a verification found: how many keys are as they should be, and the first of those that differ.

use serde::Serialize;
use stoke_proto::v1;

use super::entries::{FailureReport, failure_text};
use super::job::batch;
use super::number::grouped;
use super::plain;

/// One JSON object. Its fields are kept as they are from version to version; new ones may come.
#[derive(Debug, Serialize)]
pub struct Verification<'a> {
    /// The job whose keys were looked at.
    job: &'a str,
    /// The job that looked: its failures are all differences.
    verification: &'a str,
    /// PENDING … ABORTED: of the job that looked.
    state: &'a str,
    /// Whether values were compared.
    values: bool,
    /// Keys that were to be looked at.
    planned: u64,
    /// Of those, as they should be in the cache.
    present: u64,
    /// Neither in the cache nor in the origin.
    absent: u64,
    /// Those that differ.
    differ: u64,
    /// Not looked at, because the job was aborted.
    cancelled: u64,
    /// The first that differ.
    differences: Vec<FailureReport<'a>>,
    /// How many more there are.
    more: u64,
    #[serde(skip)]
    entries: &'a [v1::FailedEntry],
}

impl<'a> Verification<'a> {
    /// Of `job`, by the job that looked, with the first differences that it found.
    pub fn new(job: &'a str, looked: &'a v1::Job, differences: &'a [v1::FailedEntry]) -> Self {
        let progress = looked.progress.unwrap_or_default();
        let outcomes = progress.outcomes.unwrap_or_default();
        let mode = looked
            .spec
            .as_ref()
            .and_then(batch)
            .map(|batch| batch.mode());
        Self {
            job,
            verification: &looked.name,
            state: super::style::state_name(looked.state()),
            values: mode == Some(v1::WriteMode::VerifyValues),
            planned: progress.planned,
            present: outcomes.present,
            absent: outcomes.absent,
            differ: outcomes.failed,
            cancelled: outcomes.cancelled,
            differences: differences.iter().map(FailureReport::new).collect(),
            more: outcomes.failed.saturating_sub(differences.len() as u64),
            entries: differences,
        }
    }

    /// How many keys differ.
    pub const fn differs(&self) -> u64 {
        self.differ
    }

    /// In one line.
    pub fn summary(&self) -> String {
        let cancelled = match self.cancelled {
            0 => String::new(),
            cancelled => format!(", {} not looked at", grouped(cancelled)),
        };
        format!(
            "{} keys of job {}: {} as they should be, {} neither in the cache nor in the origin, {} differ{cancelled}",
            grouped(self.planned),
            plain(self.job),
            grouped(self.present),
            grouped(self.absent),
            grouped(self.differ),
        )
    }

    /// For people: a line for each difference, and what there is to say of all.
    pub fn text(&self) -> String {
        let mut text: String = self.entries.iter().map(failure_text).collect();
        if self.more > 0 {
            let all = format!("stoke failures {}", plain(self.verification));
            text.push_str(&format!("and {} more: {all}\n", grouped(self.more)));
        }
        text.push_str(&self.summary());
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn looked(failed: u64, cancelled: u64) -> v1::Job {
        let batch = v1::BatchWork {
            mode: v1::WriteMode::VerifyValues.into(),
            ..v1::BatchWork::default()
        };
        v1::Job {
            name: "v".into(),
            state: v1::JobState::Failed.into(),
            spec: Some(v1::JobSpec {
                work: Some(v1::job_spec::Work::Batch(batch)),
                ..v1::JobSpec::default()
            }),
            progress: Some(v1::Progress {
                planned: 1000,
                outcomes: Some(v1::Outcomes {
                    present: 990,
                    absent: 4,
                    failed,
                    cancelled,
                    ..v1::Outcomes::default()
                }),
                ..v1::Progress::default()
            }),
            ..v1::Job::default()
        }
    }

    fn difference(key: &[u8]) -> v1::FailedEntry {
        v1::FailedEntry {
            key: key.to_vec(),
            rank: 3,
            loader: "item".into(),
            reason: "it has no time to live".into(),
            attempts: 1,
        }
    }

    #[test]
    fn differences_are_listed_up_to_a_limit_and_counted_beyond() {
        let (looked, found) = (looked(6, 0), [difference(b"item:1"), difference(b"\xff")]);
        let verification = Verification::new("j", &looked, &found);
        assert_eq!(
            verification.text(),
            "item:1 (rank 3, loader item, 1 attempts): it has no time to live\n\
             \\xff (rank 3, loader item, 1 attempts): it has no time to live\n\
             and 4 more: stoke failures v\n\
             1,000 keys of job j: 990 as they should be, 4 neither in the cache nor in the origin, 6 differ\n"
        );
        let of = |key: &str, value: &str| json!({key: value, "rank": 3, "loader": "item", "attempts": 1, "reason": "it has no time to live"});
        assert_eq!(
            serde_json::to_value(&verification).unwrap(),
            json!({
                "job": "j", "verification": "v", "state": "FAILED", "values": true,
                "planned": 1000, "present": 990, "absent": 4, "differ": 6, "cancelled": 0,
                "differences": [of("key", "item:1"), of("key_base64", "/w==")], "more": 4,
            })
        );
    }

    #[test]
    fn what_was_not_looked_at_is_told() {
        let looked = looked(0, 6);
        let verification = Verification::new("j", &looked, &[]);
        assert!(verification.text().ends_with("0 differ, 6 not looked at\n"));
    }
}
