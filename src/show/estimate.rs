//! What an estimate says: lines and a table for people, an object for scripts.

use serde::Serialize;
use stoke_core::estimate::{
    Drift, Facts, Moments, Popularity, Reason, Setting, Timeline, TopShare, Verdict, Zipf,
};

use super::number::{bytes, grouped, percent};
use super::style::{Palette, Tone};
use super::table::{Cell, Column, table};
use super::{plain, time};

/// All that was read, and all that follows from it.
#[derive(Debug)]
pub struct Estimate {
    /// Where the plan is from.
    pub about: About,
    /// What its priorities say.
    pub popularity: Popularity,
    /// What share of requests is for keys that it lacks, by its counts alone.
    pub unseen: Option<f64>,
    /// How many requests its history has, where there is one.
    pub history_requests: Option<u64>,
    /// How traffic drifts, where its history says so.
    pub drift: Option<Drift>,
    /// How it fared later.
    pub tried: Option<Tried>,
    /// What is known beside it.
    pub setting: Setting,
    /// The same, of the cache and of users.
    pub facts: Facts,
    /// The hit rate over time, where it is known how many requests come.
    pub timeline: Option<Timeline>,
    /// What is advised.
    pub verdict: Verdict,
}

/// Where a plan is from.
#[derive(Debug, Serialize)]
pub struct About {
    /// What it is.
    pub source: Source,
    /// The file's, files' or job's name.
    pub name: String,
    /// How many lines were left out, as they are no entries.
    pub bad_lines: u64,
    /// The first of them.
    pub bad_line_examples: Vec<String>,
    /// What there was in a log.
    pub log: Option<LogLines>,
}

/// What a plan was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A list of keys.
    List,
    /// An access log.
    Log,
    /// A job.
    Job,
}

/// What there was in a log.
#[derive(Debug, Serialize)]
pub struct LogLines {
    /// Lines.
    pub lines: u64,
    /// Accesses that do not count.
    pub filtered: u64,
    /// Accesses that ask for no key.
    pub unmatched: u64,
    /// The first of them.
    pub unmatched_example: Option<String>,
}

/// How a plan fared with what was asked for later.
#[derive(Debug)]
pub struct Tried {
    /// How many requests these are.
    pub requests: f64,
    /// Whether that is known of a sample of keys.
    pub is_sample: bool,
    /// By the tops of the plan.
    pub hit_rates: Vec<f64>,
}

/// The object.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    #[serde(flatten)]
    verdict: &'a Verdict,
    plan: &'a About,
    entries: u64,
    requests: f64,
    zipf: Option<Zipf>,
    tops: Vec<Top>,
    drift: Option<DriftReport<'a>>,
    /// By Good–Turing, of counts; null where priorities are none.
    unseen_by_counts: Option<f64>,
    later: Option<Later>,
    setting: &'a Setting,
    plan_bytes: Option<f64>,
    cache_free_bytes: Option<f64>,
    cache_fits_entries: Option<u64>,
    user_specific: Option<f64>,
    timeline: Option<&'a Timeline>,
    left_out: Vec<LeftOut>,
}

#[derive(Debug, Serialize)]
struct DriftReport<'a> {
    #[serde(flatten)]
    drift: &'a Drift,
    unseen: f64,
}

#[derive(Debug, Serialize)]
struct Top {
    #[serde(flatten)]
    share: TopShare,
    /// How the expected hit rate differs from one eighth of the history to another: a standard deviation.
    deviation: Option<f64>,
    /// In what was asked for later.
    replayed: Option<f64>,
    queries: u64,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Later {
    requests: f64,
    is_sample: bool,
}

/// What is not said, and what it would need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// What.
    pub what: &'static str,
    /// The flags that say it.
    pub needs: &'static str,
}

impl<'a> Report<'a> {
    /// Of an estimate.
    pub fn of(estimate: &'a Estimate) -> Self {
        let replayed = |n: usize| Some(*estimate.tried.as_ref()?.hit_rates.get(n)?);
        let tops = estimate.popularity.tops.iter().enumerate();
        let top = |(n, share): (usize, &TopShare)| Top {
            share: *share,
            deviation: estimate
                .drift
                .as_ref()
                .map(|drift| drift.deviation(share.top)),
            replayed: replayed(n),
            queries: estimate.setting.queries(share.entries),
            seconds: estimate.setting.seconds(share.entries),
        };
        Self {
            verdict: &estimate.verdict,
            plan: &estimate.about,
            entries: estimate.popularity.entries,
            requests: estimate.popularity.requests,
            zipf: estimate.popularity.zipf,
            tops: tops.map(top).collect(),
            drift: estimate.drift.as_ref().map(|drift| DriftReport {
                drift,
                unseen: drift.unseen(),
            }),
            unseen_by_counts: estimate.unseen,
            later: estimate.tried.as_ref().map(|tried| Later {
                requests: tried.requests,
                is_sample: tried.is_sample,
            }),
            setting: &estimate.setting,
            plan_bytes: estimate.facts.plan_bytes,
            cache_free_bytes: estimate.facts.cache_free_bytes,
            cache_fits_entries: estimate.facts.fits(estimate.popularity.entries),
            user_specific: estimate.facts.user_specific,
            timeline: estimate.timeline.as_ref(),
            left_out: left_out(estimate),
        }
    }

    /// The same for people.
    pub fn text(&self, palette: Palette) -> String {
        let lines = [
            Some(self.plan_line()),
            self.pattern_line(),
            Some(self.drift_line()),
            self.later_line(),
        ];
        let mut text = labelled(lines.into_iter().flatten(), palette);
        text += &self.table(palette);
        let lines = [
            Some((
                "budget",
                format!(
                    "{} queries a second, of {} keys each",
                    shown(self.setting.qps),
                    grouped(self.setting.batch_keys.into())
                ),
            )),
            self.cache_line(),
            self.time_line(),
            self.spared_line(),
        ];
        text += &labelled(lines.into_iter().flatten(), palette);
        text += &self.verdict_lines(palette);
        for left_out in &self.left_out {
            text += &format!("not said  {}: {}\n", left_out.what, left_out.needs);
        }
        text
    }

    fn plan_line(&self) -> (&'static str, String) {
        let mut line = format!(
            "{} keys, {} requests, of {}",
            grouped(self.entries),
            count(self.requests),
            plain(&self.plan.name)
        );
        if self.plan.bad_lines > 0 {
            line += &format!("; {} bad lines left out", grouped(self.plan.bad_lines));
        }
        if let Some(log) = &self.plan.log {
            line += &format!(
                "; of {} lines {} do not count and {} ask for no key",
                grouped(log.lines),
                grouped(log.filtered),
                grouped(log.unmatched)
            );
        }
        ("plan", line)
    }

    fn pattern_line(&self) -> Option<(&'static str, String)> {
        let Zipf { exponent, distance } = self.zipf?;
        let line = format!(
            "Zipf's law with exponent {exponent:.2}, which is wrong by {} of requests at most",
            percent(distance)
        );
        Some(("pattern", line))
    }

    fn drift_line(&self) -> (&'static str, String) {
        let line = match &self.drift {
            Some(DriftReport { drift, unseen }) => {
                let fades = match drift.fading {
                    None => "no fading with time is seen".to_owned(),
                    Some(fading) => format!(
                        "popularity fades: {} of a hit rate is left after as long as the history lasted",
                        percent(fading.left)
                    ),
                };
                let sampled = match drift.sampled < 1.0 {
                    true => format!(" (of {} of the keys)", percent(drift.sampled)),
                    false => String::new(),
                };
                format!(
                    "by a history of {} requests{sampled}: {} will be for keys that the plan lacks; {fades}",
                    grouped(drift.requests),
                    percent(*unseen)
                )
            }
            None => {
                let unseen = self.unseen_by_counts.map_or(String::new(), |unseen| {
                    format!(
                        "; by its counts (Good–Turing) {} of requests or more are for keys that it lacks",
                        percent(unseen)
                    )
                });
                format!("unknown: as if what comes were like what was counted{unseen}")
            }
        };
        ("drift", line)
    }

    fn later_line(&self) -> Option<(&'static str, String)> {
        let later = self.later.as_ref()?;
        let of = if later.is_sample {
            ", by a sample of their keys"
        } else {
            ""
        };
        let line = format!("tried on {} requests{of}", count(later.requests));
        Some(("later", line))
    }

    fn table(&self, palette: Palette) -> String {
        let (expected, replayed) = (self.drift.is_some(), self.later.is_some());
        let mut columns = vec![
            Column::Right("TOP"),
            Column::Right("KEYS"),
            Column::Right("BY PRIORITIES"),
        ];
        if expected {
            columns.extend([Column::Right("EXPECTED HIT RATE"), Column::Left("")]);
        }
        if replayed {
            columns.push(Column::Right("LATER"));
        }
        columns.extend([Column::Right("QUERIES"), Column::Right("TIME")]);
        let row = |top: &Top| -> Vec<Cell> {
            let mut row: Vec<Cell> = vec![
                format!("{} %", shown(top.share.top * 100.0)).into(),
                grouped(top.share.entries).into(),
                percent(top.share.as_planned).into(),
            ];
            if expected {
                row.push(top.share.expected.map_or(String::new(), percent).into());
                let deviation = top
                    .deviation
                    .map(|deviation| format!("± {:.1}", deviation * 100.0));
                row.push(deviation.unwrap_or_default().into());
            }
            if replayed {
                row.push(top.replayed.map_or(String::new(), percent).into());
            }
            row.push(grouped(top.queries).into());
            row.push(time::span(top.seconds).into());
            row
        };
        let rows: Vec<Vec<Cell>> = self.tops.iter().map(row).collect();
        table(&columns, &rows, palette)
    }

    fn cache_line(&self) -> Option<(&'static str, String)> {
        let plan = whole(self.plan_bytes?);
        let fits = match (self.cache_free_bytes, self.cache_fits_entries) {
            (Some(free), Some(entries)) if entries < self.entries => format!(
                ", more than the {} that are free: the first {} keys fit",
                bytes(whole(free)),
                grouped(entries)
            ),
            (Some(free), _) => format!(" of the {} that are free", bytes(whole(free))),
            (None, _) => String::new(),
        };
        Some(("cache", format!("{}{fits}", bytes(plan))))
    }

    fn time_line(&self) -> Option<(&'static str, String)> {
        let timeline = self.timeline?;
        let until = |seconds: Option<f64>| match seconds {
            Some(seconds) => format!("after {}", time::span(seconds)),
            None => {
                let last = timeline
                    .moments
                    .last()
                    .map_or(0.0, |at: &Moments| at.seconds);
                format!("not within {}", time::span(last))
            }
        };
        let line = format!(
            "at {} requests a second a cold cache comes to 95 % of its {} {}, a warmed one {}",
            shown(self.setting.requests_per_second?),
            percent(timeline.in_the_long_run),
            until(timeline.cold_until_s),
            until(timeline.warmed_until_s)
        );
        Some(("over time", line))
    }

    fn spared_line(&self) -> Option<(&'static str, String)> {
        let timeline = self.timeline?;
        let of = |misses: f64, waiting: Option<f64>| {
            let waiting = waiting.map(|seconds| format!(", {} of waiting", time::span(seconds)));
            format!("{} misses{}", count(misses), waiting.unwrap_or_default())
        };
        let line = format!(
            "{}; {} where traffic waits until it is warm",
            of(timeline.misses_spared, timeline.waiting_spared_s),
            of(
                timeline.misses_spared_before,
                timeline.waiting_spared_before_s
            )
        );
        Some(("spared", line))
    }

    fn verdict_lines(&self, palette: Palette) -> String {
        let (tone, name, reasons) = match self.verdict {
            Verdict::Warm if self.left_out.is_empty() => (Tone::Good, "warm", &[][..]),
            Verdict::Warm => (Tone::Good, "warm, as far as is known", &[][..]),
            Verdict::Overkill(reasons) => (Tone::Still, "overkill", reasons.as_slice()),
        };
        let mut lines = vec![("verdict", palette.paint(tone, name))];
        lines.extend(
            reasons
                .iter()
                .map(|reason| ("", format!("- {}", said(reason)))),
        );
        labelled(lines.into_iter(), palette)
    }
}

/// A reason, as people read it.
fn said(reason: &Reason) -> String {
    match *reason {
        Reason::FlatPattern { top_tenth } => format!(
            "the pattern is flat: the first tenth of the keys gets {} of the requests",
            percent(top_tenth)
        ),
        Reason::DatabaseBearsIt {
            misses_per_second,
            capacity_qps,
        } => format!(
            "the database bears it: {} of its {} queries a second, were every request a miss",
            shown(misses_per_second),
            shown(capacity_qps)
        ),
        Reason::ResolvesInSeconds { seconds } => format!(
            "a cold cache is warm by itself within {}",
            time::span(seconds)
        ),
        Reason::UserSpecificKeys { share } => format!(
            "{} of the requests are for keys of one user each: who comes next is not known",
            percent(share)
        ),
        Reason::LongerThanTtl {
            seconds,
            ttl_s,
            share_in_time,
        } => format!(
            "it takes {}, and values live for {}: only {} of the plan's hit rate is there at one time",
            time::span(seconds),
            time::span(ttl_s),
            percent(share_in_time)
        ),
        Reason::CacheTooSmall {
            entries,
            share_in_cache,
        } => format!(
            "the cache is too small: the {} keys that fit have {} of the plan's hit rate",
            grouped(entries),
            percent(share_in_cache)
        ),
    }
}

fn left_out(estimate: &Estimate) -> Vec<LeftOut> {
    let Estimate { setting, facts, .. } = estimate;
    let too_short = estimate.drift.is_none() && estimate.history_requests.is_some();
    let without_history = estimate.drift.is_none() && !too_short && estimate.tried.is_none();
    let missing = [
        (
            too_short,
            "how traffic drifts",
            "the log has too few accesses, or its parts differ too much",
        ),
        (without_history, "how traffic drifts", "--log, or --later"),
        (
            setting.requests_per_second.is_none(),
            "the hit rate over time",
            "--requests-per-second, or --period",
        ),
        (
            setting.miss_cost_s.is_none(),
            "the waiting that users are spared",
            "--miss-cost",
        ),
        (
            setting.capacity_qps.is_none(),
            "whether the database bears a cold cache",
            "--capacity",
        ),
        (
            setting.ttl_s.is_none(),
            "what ends before it is asked for again",
            "--ttl",
        ),
        (
            facts.plan_bytes.is_none(),
            "what it takes in the cache",
            "--value-bytes",
        ),
        (
            facts.cache_free_bytes.is_none(),
            "whether the cache has room",
            "--cache-free",
        ),
        (
            facts.user_specific.is_none(),
            "whose keys they are",
            "--user-keys",
        ),
    ];
    let missing = missing.into_iter().filter(|(is_missing, _, _)| *is_missing);
    missing
        .map(|(_, what, needs)| LeftOut { what, needs })
        .collect()
}

/// Lines with what each is about before it.
fn labelled(lines: impl Iterator<Item = (&'static str, String)>, palette: Palette) -> String {
    let line = |(label, line): (&str, String)| {
        let blanks = " ".repeat(10_usize.saturating_sub(label.len()));
        match label {
            "" => format!("{blanks}{line}\n"),
            label => format!("{}{blanks}{line}\n", palette.paint(Tone::Heading, label)),
        }
    };
    lines.map(line).collect()
}

/// A number as exact as people want it, without needless digits.
pub(super) fn shown(number: f64) -> String {
    let text = match number {
        ..10.0 => format!("{number:.3}"),
        10.0..100.0 => format!("{number:.1}"),
        _ => return count(number),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A whole number.
fn count(number: f64) -> String {
    grouped(whole(number.round()))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates"
)]
const fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests;
