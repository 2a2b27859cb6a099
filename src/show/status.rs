//! A job for people: all there is to say, a line for each thing, nothing where there is nothing.

use std::collections::BTreeMap;
use std::time::SystemTime;

use prost_types::Timestamp;
use stoke_proto::v1;

use super::job::{batch, is_over, keys_per_second, mode, planned, ranges};
use super::number::{bytes, grouped, percent};
use super::style::{Palette, state_name, tone_of};
use super::{forecast, plain, popularity, time};

/// The job as text.
pub fn text(job: &v1::Job, now: SystemTime, palette: Palette) -> String {
    let mut lines = Lines::default();
    lines.add("job", plain(&job.name));
    lines.add("state", state(job, palette));
    for hold in &job.holds {
        lines.add("held by", with_reason(&plain(&hold.holder), &hold.reason));
    }
    for trouble in &job.troubles {
        let what = with_reason(&plain(&trouble.worker), &trouble.what);
        lines.add("trouble", what);
    }
    for slowed in &job.slowed {
        lines.add("slowed", plain(slowed));
    }
    for warning in &job.warnings {
        lines.add("warning", plain(&warning.what));
    }
    spec(job, &mut lines);
    times(job, now, &mut lines);
    progress(job, now, &mut lines);
    sources(job, &mut lines);
    let mut text = lines.text;
    if let Some(found) = &job.forecast {
        text.push_str(&forecast::text(found, palette));
    }
    text
}

/// How wide the names of the lines are.
const NAME_WIDTH: usize = 10;

#[derive(Default)]
struct Lines {
    text: String,
}

impl Lines {
    fn add(&mut self, name: &str, value: impl AsRef<str>) {
        let value = value.as_ref();
        if !value.is_empty() {
            self.text.push_str(&format!("{name:NAME_WIDTH$} {value}\n"));
        }
    }
}

fn state(job: &v1::Job, palette: Palette) -> String {
    let state = palette.paint(tone_of(job.state()), state_name(job.state()));
    with_reason(&state, &job.reason)
}

fn with_reason(what: &str, reason: &str) -> String {
    if reason.is_empty() {
        what.to_owned()
    } else {
        format!("{what}: {}", plain(reason))
    }
}

fn spec(job: &v1::Job, lines: &mut Lines) {
    let Some(spec) = &job.spec else { return };
    if let Some(batch) = batch(spec) {
        let dry = if spec.dry_run { ", dry run" } else { "" };
        let all = std::iter::once(&batch.cache).chain(&batch.also);
        let all: Vec<String> = all.map(|cache| plain(cache)).collect();
        let caches = format!("{} ({}{dry})", all.join(", "), mode(batch.mode()));
        let title = if batch.also.is_empty() {
            "cache"
        } else {
            "caches"
        };
        lines.add(title, caches);
        let section = batch.section.clone().unwrap_or_default();
        let range = |range: &v1::SlotRange| format!("{}-{}", range.first, range.last);
        let slots: Vec<String> = section.slots.iter().map(range).collect();
        lines.add("slots", slots.join(", "));
        let nodes: Vec<String> = section.nodes.iter().map(|node| plain(node)).collect();
        lines.add("nodes", nodes.join(", "));
    }
    lines.add("priority", spec.priority.to_string());
    lines.add("trigger", plain(&spec.trigger));
    lines.add("requester", plain(&spec.requester));
    lines.add("labels", labels(spec));
}

/// A job's labels in one line, sorted.
pub fn labels(spec: &v1::JobSpec) -> String {
    let labels: BTreeMap<_, _> = spec.labels.iter().collect();
    let labels: Vec<String> = labels
        .into_iter()
        .map(|(key, value)| format!("{}={}", plain(key), plain(value)))
        .collect();
    labels.join(",")
}

fn times(job: &v1::Job, now: SystemTime, lines: &mut Lines) {
    let line = |at: Option<Timestamp>| {
        let at = at?;
        let text = time::rfc3339_seconds(at)?;
        Some(format!("{text} ({} ago)", time::age(at, now)))
    };
    lines.add("created", line(job.create_time).unwrap_or_default());
    lines.add("started", line(job.start_time).unwrap_or_default());
    lines.add("ended", line(job.end_time).unwrap_or_default());
}

/// How far scans have come. A range that was not read counts as one key, and each alike in the coverage.
fn scan(progress: &v1::Progress) -> String {
    let Some(ranges) = ranges(progress) else {
        return String::new();
    };
    match progress.rows_estimated {
        0 => ranges,
        rows => format!("{ranges}, of about {} rows in all", grouped(rows)),
    }
}

fn progress(job: &v1::Job, now: SystemTime, lines: &mut Lines) {
    let progress = job.progress.unwrap_or_default();
    if progress.planned == 0 && !is_over(job) {
        return;
    }
    let o = progress.outcomes.unwrap_or_default();
    let pending = match progress.pending {
        0 => String::new(),
        pending => format!(" + {} pending", grouped(pending)),
    };
    lines.add(
        "keys",
        format!(
            "{} planned = {} warmed + {} present + {} absent + {} skipped + {} failed + {} cancelled{pending}",
            planned(job),
            grouped(o.warmed),
            grouped(o.present),
            grouped(o.absent),
            grouped(o.skipped),
            grouped(o.failed),
            grouped(o.cancelled),
        ),
    );
    lines.add("scan", scan(&progress));
    let is_dry = job.spec.as_ref().is_some_and(|spec| spec.dry_run);
    if !is_dry {
        let covered = percent(progress.coverage);
        lines.add("coverage", format!("{covered} of the expected requests"));
    }
    if let Some(expected) = &job.popularity {
        lines.add("expected", popularity::text(expected));
    }
    let seconds = time::seconds_of(job, now);
    let effort = progress.effort.unwrap_or_default();
    lines.add(
        "effort",
        format!(
            "{}, {:.0} keys a second, {} queries, {} rows, {} written",
            time::span(seconds),
            keys_per_second(job, seconds),
            grouped(effort.origin_queries),
            grouped(effort.origin_rows),
            bytes(effort.cache_bytes),
        ),
    );
}

/// Sources with lines that were left out: the others give nothing to say.
fn sources(job: &v1::Job, lines: &mut Lines) {
    if job.left_out > 0 {
        let left_out = grouped(job.left_out);
        lines.add(
            "left out",
            format!("{left_out} keys are not in what is warmed"),
        );
    }
    for (n, source) in job.sources.iter().enumerate() {
        if let Some(log) = &source.log {
            lines.add("log", of_log(&format!(" of source {}", n + 1), log));
        }
        if let Some(seen) = &source.monitor {
            lines.add("watched", plain(&of_monitor(n, seen)));
            for why in &seen.stopped {
                lines.add("", plain(&format!("stopped early: {why}")));
            }
        }
        if source.bad_lines == 0 {
            continue;
        }
        lines.add(
            "bad lines",
            format!(
                "{} of source {} were left out; it gave {} entries",
                grouped(source.bad_lines),
                n + 1,
                grouped(source.entries)
            ),
        );
        for example in &source.bad_line_examples {
            lines.add("", plain(example));
        }
    }
}

/// What a Redis that was watched showed, and what that cost.
fn of_monitor(n: usize, seen: &v1::MonitorReport) -> String {
    let core = |permille: u32| format!("{}.{:02}", permille / 1000, permille % 1000 / 10);
    format!(
        "{} of {} masters of source {}: {} accesses in {} commands, {} sent; busy by {} of a core before, at most {} meanwhile; at most {} held",
        seen.nodes,
        seen.masters,
        n + 1,
        grouped(seen.accesses),
        grouped(seen.lines),
        bytes(seen.bytes),
        core(seen.cpu_before_permille),
        core(seen.cpu_permille_max),
        bytes(seen.buffer_bytes_max),
    )
}

/// What there was in an access log, and what of it does not count; `whose` says of which.
pub fn of_log(whose: &str, log: &v1::LogReport) -> String {
    let mut told = format!("{} lines{whose}", grouped(log.lines));
    if log.filtered > 0 {
        let filtered = grouped(log.filtered);
        told += &format!("; {filtered} do not count by their method, status or time");
    }
    if log.unmatched > 0 {
        let (unmatched, example) = (grouped(log.unmatched), plain(&log.unmatched_example));
        told += &format!("; {unmatched} ask for no key that is wanted (as {example})");
    }
    told
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use v1::JobState;

    #[test]
    fn a_job_is_told_with_all_there_is_to_tell() {
        assert_eq!(
            text(&samples::paused(), samples::now(), Palette::PLAIN),
            "job        1795467600000-abc\n\
             state      PAUSED\n\
             held by    operator: lunch\n\
             trouble    w1-5f: cache main: connection refused\n\
             slowed     origin/shop at 140/s of 200/s: guard latency slows: p99 812 ms over 10 s, above 200 ms\n\
             warning    it takes about 2h\n\
             cache      main (refresh)\n\
             priority   7\n\
             trigger    deploy\n\
             requester  ada\n\
             labels     app=shop,team=web\n\
             created    2026-11-23T21:00:00Z (20s ago)\n\
             started    2026-11-23T21:00:02Z (17s ago)\n\
             keys       100,000 planned = 12,000 warmed + 300 present + 40 absent + 0 skipped + 5 failed + 0 cancelled + 87,655 pending\n\
             coverage   93.6 % of the expected requests\n\
             expected   hit rate 42.0 % by the top 0.1 % in 1.0 s, 61.0 % by the top 1 % in 2.0 s, 80.0 % by the top 10 %, \
             100.0 % by all in 3m 20s; Zipf's exponent 0.98, within 1.2 %\n\
             effort     20.0 s, 617 keys a second, 25 queries, 12,000 rows, 39.7 MB written\n\
             bad lines  2 of source 1 were left out; it gave 100,000 entries\n\
             \x20          line 17: no key\n\
             \x20          line 20: \\u{1b}\n"
        );
    }

    #[test]
    fn what_watching_a_redis_cost_is_told_with_why_it_ended_early() {
        let mut job = samples::paused();
        job.sources[0].monitor = Some(v1::MonitorReport {
            nodes: 2,
            masters: 6,
            lines: 120_000,
            bytes: 9_000_000,
            accesses: 80_000,
            cpu_before_permille: 310,
            cpu_permille_max: 940,
            buffer_bytes_max: 20_000,
            stopped: vec![
                "10.0.0.7:6379 was busy by 0.94 of a core (before: 0.31 of a core)".into(),
            ],
        });
        let told = text(&job, samples::now(), Palette::PLAIN);
        let expected = "watched    2 of 6 masters of source 1: 80,000 accesses in 120,000 commands, 9.0 MB sent; busy by 0.31 of a core before, at \
             most 0.94 meanwhile; at most 20.0 kB held\n           stopped early: 10.0.0.7:6379 was busy by 0.94 of a core";
        assert!(told.contains(expected), "{told}");
    }

    #[test]
    fn a_job_that_waits_says_only_what_it_is() {
        let job = v1::Job {
            name: "j".into(),
            state: JobState::Pending.into(),
            create_time: samples::at(0, 0),
            ..v1::Job::default()
        };
        assert_eq!(
            text(&job, samples::now(), Palette::PLAIN),
            "job        j\n\
             state      PENDING\n\
             created    2026-11-23T21:00:00Z (20s ago)\n"
        );
    }

    #[test]
    fn a_failed_job_says_why() {
        let mut job = samples::in_state(JobState::Failed, 12_000);
        job.reason = "5 entries failed; 0 were allowed".into();
        let text = text(&job, samples::now(), Palette::PLAIN);
        assert!(
            text.contains("\nstate      FAILED: 5 entries failed; 0 were allowed\n"),
            "{text}"
        );
    }

    #[test]
    fn a_dry_run_ends_with_its_forecast_and_claims_no_coverage() {
        let text = text(&samples::dry_run(), samples::now(), Palette::PLAIN);
        assert!(
            text.contains("\ncache      main (refresh, dry run)\n"),
            "{text}"
        );
        assert!(!text.contains("coverage"), "{text}");
        assert!(text.ends_with("and write 39.7 MB\n"), "{text}");
    }
}
