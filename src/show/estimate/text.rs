//! An estimate for people.

use stoke_core::estimate::{Moments, Reason, Verdict, Zipf};

use super::super::number::{bytes, grouped, percent};
use super::super::style::{Palette, Tone};
use super::super::table::{Cell, Column, table};
use super::super::{plain, time};
use super::{DriftReport, Report, Top};

impl Report<'_> {
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
pub(in crate::show) fn shown(number: f64) -> String {
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
