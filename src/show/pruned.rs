//! Jobs that were forgotten, or would be.

use serde::Serialize;
use stoke_proto::v1;

use super::number::{bytes, grouped};
use super::style::{Palette, state_name, tone_of};
use super::table::{Cell, Column, table};
use super::{plain, time};

/// One JSON object. Its fields are kept; new ones may come.
#[derive(Debug, Serialize)]
pub struct PrunedReport<'a> {
    job: &'a str,
    state: &'static str,
    end_time: Option<String>,
    objects: u64,
    bytes: u64,
    dry_run: bool,
}

impl<'a> PrunedReport<'a> {
    /// This job; `dry_run`: it is still there.
    pub fn new(job: &'a v1::PrunedJob, dry_run: bool) -> Self {
        Self {
            job: &job.name,
            state: state_name(job.state()),
            end_time: job.end_time.and_then(time::rfc3339),
            objects: job.objects,
            bytes: job.bytes,
            dry_run,
        }
    }
}

/// The jobs as a table, one a line; of the pages of one, the first has the headings.
pub fn text(jobs: &[v1::PrunedJob], first: bool, palette: Palette) -> String {
    let columns = [
        Column::Left("JOB"),
        Column::Left("STATE"),
        Column::Left("ENDED"),
        Column::Right("OBJECTS"),
        Column::Right("SIZE"),
    ];
    let rows: Vec<_> = jobs.iter().map(row).collect();
    let text = table(&columns, &rows, palette);
    match text.split_once('\n') {
        Some((_, rows)) if !first => rows.to_owned(),
        _ => text,
    }
}

fn row(job: &v1::PrunedJob) -> Vec<Cell> {
    let ended = job.end_time.and_then(time::rfc3339_seconds);
    vec![
        plain(&job.name).into(),
        Cell::toned(tone_of(job.state()), state_name(job.state())),
        ended.unwrap_or_default().into(),
        grouped(job.objects).into(),
        bytes(job.bytes).into(),
    ]
}

/// How much it was in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Jobs.
    pub jobs: u64,
    bytes: u64,
}

impl Total {
    /// Adds a page.
    pub fn add(&mut self, jobs: &[v1::PrunedJob]) {
        self.jobs += jobs.len() as u64;
        self.bytes += jobs.iter().map(|job| job.bytes).sum::<u64>();
    }

    /// For people.
    pub fn text(self, dry_run: bool) -> String {
        let (did, would) = if dry_run {
            ("would be forgotten", "would be freed")
        } else {
            ("forgotten", "freed")
        };
        match self.jobs {
            0 => "there are no such jobs".to_owned(),
            1 => format!("1 job {did}, {} {would}", bytes(self.bytes)),
            jobs => format!(
                "{} jobs {did}, {} {would}",
                grouped(jobs),
                bytes(self.bytes)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn jobs() -> [v1::PrunedJob; 2] {
        let job = |name: &str, state: v1::JobState, objects, bytes| v1::PrunedJob {
            name: name.into(),
            state: state.into(),
            end_time: samples::at(-60, 0),
            objects,
            bytes,
        };
        [
            job(
                "1795467600000-abc",
                v1::JobState::Succeeded,
                1077,
                12_345_678,
            ),
            job("b", v1::JobState::Failed, 0, 0),
        ]
    }

    #[test]
    fn pages_of_a_table_have_its_headings_once() {
        let [first, second] = jobs();
        let shown = text(&[first], true, Palette::PLAIN);
        assert!(shown.starts_with("JOB  "), "{shown}");
        assert!(shown.contains("1795467600000-abc  SUCCEEDED"), "{shown}");
        assert!(shown.contains("1,077"), "{shown}");
        let shown = text(&[second], false, Palette::PLAIN);
        assert!(shown.starts_with("b "), "{shown}");
        assert_eq!(shown.lines().count(), 1);
    }

    #[test]
    fn the_total_says_whether_anything_is_gone() {
        let mut total = Total::default();
        assert_eq!(total.text(false), "there are no such jobs");
        total.add(&jobs());
        assert!(total.text(false).starts_with("2 jobs forgotten, "));
        assert!(total.text(true).starts_with("2 jobs would be forgotten, "));
    }

    #[test]
    fn json_has_what_programs_ask_for() {
        let report = serde_json::to_value(PrunedReport::new(&jobs()[0], true)).unwrap();
        assert_eq!(
            (
                &report["job"],
                &report["state"],
                &report["bytes"],
                &report["dry_run"]
            ),
            (
                &"1795467600000-abc".into(),
                &"SUCCEEDED".into(),
                &12_345_678.into(),
                &true.into()
            )
        );
    }
}
