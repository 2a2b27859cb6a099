//! Many jobs: a table.

use std::time::SystemTime;

use stoke_proto::v1;

use super::job::{done, planned};
use super::number::{grouped, percent};
use super::status::labels;
use super::style::{Palette, state_name, tone_of};
use super::table::{Cell, Column, table};
use super::{plain, time};

/// The jobs as a table, one a line.
pub fn text(jobs: &[v1::Job], now: SystemTime, palette: Palette) -> String {
    let columns = [
        Column::Left("JOB"),
        Column::Left("STATE"),
        Column::Right("PRIORITY"),
        Column::Right("DONE/PLANNED"),
        Column::Right("COVERAGE"),
        Column::Right("AGE"),
        Column::Left("TRIGGER"),
        Column::Left("LABELS"),
    ];
    let rows: Vec<_> = jobs.iter().map(|job| row(job, now)).collect();
    table(&columns, &rows, palette)
}

fn row(job: &v1::Job, now: SystemTime) -> Vec<Cell> {
    let progress = job.progress.unwrap_or_default();
    let done = done(&progress);
    let spec = job.spec.clone().unwrap_or_default();
    let state = Cell::toned(tone_of(job.state()), state_name(job.state()));
    let coverage = if spec.dry_run {
        "dry run".to_owned()
    } else {
        percent(progress.coverage)
    };
    vec![
        plain(&job.name).into(),
        state,
        spec.priority.to_string().into(),
        format!("{}/{}", grouped(done), planned(job)).into(),
        coverage.into(),
        job.create_time
            .map_or(String::new(), |created| time::age(created, now))
            .into(),
        plain(&spec.trigger).into(),
        labels(&spec).into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use v1::JobState;

    #[test]
    fn jobs_are_listed_in_aligned_columns() {
        let mut other = samples::in_state(JobState::Succeeded, 99_655);
        other.name = "b".into();
        other.create_time = samples::at(-7200, 0);
        if let Some(spec) = &mut other.spec {
            spec.labels.clear();
            spec.priority = 1000;
        }
        let jobs = [samples::paused(), other, samples::dry_run()];
        assert_eq!(
            text(&jobs, samples::now(), Palette::PLAIN),
            "JOB                STATE      PRIORITY     DONE/PLANNED  COVERAGE  AGE  TRIGGER  LABELS\n\
             1795467600000-abc  PAUSED            7   12,345/100,000    93.6 %  20s  deploy   app=shop,team=web\n\
             b                  SUCCEEDED      1000  100,000/100,000    93.6 %   2h  deploy\n\
             1795467600000-abc  SUCCEEDED         7  100,000/100,000   dry run  20s  deploy   app=shop,team=web\n"
        );
    }
}
