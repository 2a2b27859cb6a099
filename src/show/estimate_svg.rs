//! A picture of the hit rate over time: one file, without anything from outside, in light colours or dark ones as its reader likes.

use std::fmt::Write;

use stoke_core::estimate::{Moments, Setting, Timeline};

use super::estimate::shown;
use super::number::percent;
use super::time;

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 420.0;
/// Where the axes lie.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 770.0;
const TOP: f64 = 70.0;
const BOTTOM: f64 = 350.0;

const STYLE: &str = "\
:root { color-scheme: light dark }
.paper { fill: #ffffff } .ink { fill: #1f2328 } .axis { stroke: #59636e } .grid { stroke: #d1d9e0 }
.cold { stroke: #0969da } .warmed { stroke: #bc4c00 } .cold-ink { fill: #0969da } .warmed-ink { fill: #bc4c00 }
text { font: 13px system-ui, sans-serif } .title { font-size: 16px; font-weight: 600 } .curve { fill: none; stroke-width: 2.5 }
.cold { stroke-dasharray: 7 4 }
@media (prefers-color-scheme: dark) {
.paper { fill: #0d1117 } .ink { fill: #f0f6fc } .axis { stroke: #9198a1 } .grid { stroke: #3d444d }
.cold { stroke: #4493f8 } .warmed { stroke: #f0883e } .cold-ink { fill: #4493f8 } .warmed-ink { fill: #f0883e }
}";

/// The picture, with the plan's name in it.
pub fn picture(plan: &str, timeline: &Timeline, setting: &Setting) -> String {
    let last = timeline.moments.last().map_or(1.0, |at| at.seconds);
    let span_s = if last > 0.0 { last } else { 1.0 };
    let mut svg = String::new();
    head(&mut svg, plan, timeline, setting);
    axes(&mut svg, span_s);
    curve(&mut svg, "cold", timeline, span_s, |at| at.cold);
    curve(&mut svg, "warmed", timeline, span_s, |at| at.warmed);
    legend(&mut svg);
    svg + "</svg>\n"
}

fn head(svg: &mut String, plan: &str, timeline: &Timeline, setting: &Setting) {
    let until = |seconds: Option<f64>| seconds.map_or("later than shown".to_owned(), time::span);
    let described = format!(
        "A cold cache comes to 95 % of {} after: {}. A warmed one after: {}.",
        percent(timeline.in_the_long_run),
        until(timeline.cold_until_s),
        until(timeline.warmed_until_s)
    );
    let below = format!(
        "{} requests a second; warmed at {} queries a second, {} keys each",
        shown(setting.requests_per_second.unwrap_or_default()),
        shown(setting.qps),
        setting.batch_keys
    );
    write(
        svg,
        format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\" \
         aria-labelledby=\"title desc\">\n<title id=\"title\">Hit rate over time: {}</title>\n<desc id=\"desc\">{described}</desc>\n\
         <style>{STYLE}</style>\n<rect class=\"paper\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n",
            escaped(plan)
        ),
    );
    label(
        svg,
        "title ink",
        (LEFT, 26.0),
        "start",
        &format!("Hit rate over time: {}", shortened(plan)),
    );
    label(svg, "ink", (LEFT, 48.0), "start", &below);
}

/// The axes, with lines every fifth of the hit rate and at round times.
fn axes(svg: &mut String, span_s: f64) {
    for fifth in 0..=5 {
        let share = f64::from(fifth) / 5.0;
        let y = y(share);
        line(svg, "grid", (LEFT, y), (RIGHT, y));
        label(
            svg,
            "ink",
            (LEFT - 8.0, y + 4.0),
            "end",
            &format!("{} %", fifth * 20),
        );
    }
    for (seconds, text) in times(span_s) {
        let x = x(seconds, span_s);
        line(svg, "axis", (x, BOTTOM), (x, BOTTOM + 5.0));
        label(svg, "ink", (x, BOTTOM + 20.0), "middle", &text);
    }
    line(svg, "axis", (LEFT, TOP), (LEFT, BOTTOM));
    line(svg, "axis", (LEFT, BOTTOM), (RIGHT, BOTTOM));
    label(
        svg,
        "ink",
        (f64::midpoint(LEFT, RIGHT), HEIGHT - 22.0),
        "middle",
        "time since traffic and warm-up began",
    );
    write(
        svg,
        format_args!(
            "<text class=\"ink\" x=\"18\" y=\"{0:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 18 {0:.1})\">hit rate</text>\n",
            f64::midpoint(TOP, BOTTOM)
        ),
    );
}

fn curve(svg: &mut String, class: &str, timeline: &Timeline, span_s: f64, of: fn(&Moments) -> f64) {
    let points = timeline.moments.iter().map(|at| {
        format!(
            "{:.1},{:.1}",
            x(at.seconds, span_s),
            y(of(at).clamp(0.0, 1.0))
        )
    });
    let points: Vec<String> = points.collect();
    write(
        svg,
        format_args!(
            "<polyline class=\"curve {class}\" points=\"{}\"/>\n",
            points.join(" ")
        ),
    );
}

/// Which line is which: above the axes, where no curve is.
fn legend(svg: &mut String) {
    for (class, y) in [("warmed", 26.0), ("cold", 48.0)] {
        let line_y = y - 4.0;
        let begin = RIGHT - 100.0;
        line(
            svg,
            &format!("curve {class}"),
            (begin, line_y),
            (begin + 35.0, line_y),
        );
        label(
            svg,
            &format!("{class}-ink"),
            (begin + 42.0, y),
            "start",
            class,
        );
    }
}

fn x(seconds: f64, span_s: f64) -> f64 {
    LEFT + (RIGHT - LEFT) * seconds / span_s
}

fn y(share: f64) -> f64 {
    BOTTOM - (BOTTOM - TOP) * share
}

fn line(svg: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    write(
        svg,
        format_args!(
            "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>\n",
            from.0, from.1, to.0, to.1
        ),
    );
}

fn label(svg: &mut String, class: &str, at: (f64, f64), anchor: &str, text: &str) {
    write(
        svg,
        format_args!(
            "<text class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>\n",
            at.0,
            at.1,
            escaped(text)
        ),
    );
}

fn write(svg: &mut String, text: std::fmt::Arguments<'_>) {
    // A string takes all.
    let _ = svg.write_fmt(text);
}

/// The most times at the axis, beside its beginning.
const TIMES_MAX: f64 = 7.0;

/// The times at the axis, in the unit that the whole is of: every 1, 2 or 5 of it, ten times as many, or a tenth.
fn times(span_s: f64) -> Vec<(f64, String)> {
    let (unit_s, unit) = match span_s {
        ..120.0 => (1.0, "s"),
        120.0..7200.0 => (60.0, "min"),
        7200.0..172_800.0 => (3600.0, "h"),
        _ => (86_400.0, "d"),
    };
    let least = span_s / unit_s / TIMES_MAX;
    let power = least.log10().floor();
    let ten = 10_f64.powf(power);
    let step = [1.0, 2.0, 5.0].into_iter().map(|steps| steps * ten);
    let step = step
        .into_iter()
        .find(|step| *step >= least)
        .unwrap_or(10.0 * ten);
    // A step of a part of one has so many digits behind the point.
    let digits = if step < 1.0 {
        (-power).max(0.0) as usize
    } else {
        0
    };
    (0..=TIMES_MAX as u32)
        .map(|n| f64::from(n) * step)
        .take_while(|time| time * unit_s <= span_s * (1.0 + 1e-9))
        .map(|time| (time * unit_s, format!("{time:.digits$} {unit}")))
        .collect()
}

/// A name that goes into a line.
fn shortened(name: &str) -> String {
    const CHARS_MAX: usize = 45;
    match name.char_indices().nth(CHARS_MAX) {
        None => name.to_owned(),
        Some((end, _)) => format!("{}…", &name[..end]),
    }
}

/// Text as XML has it: what it cannot have at all becomes a replacement character.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
