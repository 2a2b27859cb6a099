use stoke_core::estimate::{Curve, Setting, Timeline};

use super::*;

fn setting() -> Setting {
    Setting {
        qps: 10.0,
        batch_keys: 100,
        requests_per_second: Some(1000.0),
        miss_cost_s: None,
        capacity_qps: None,
        ttl_s: None,
    }
}

fn drawn(plan: &str) -> String {
    let mut curve = Curve::new();
    (1..=5000_u64).for_each(|rank| curve.push(5_000_000 / rank));
    let timeline = Timeline::of(&curve, None, &setting()).unwrap();
    picture(plan, &timeline, &setting())
}

/// What is wrong with a text as XML, as far as we write it: elements that are nested and closed, attributes in quotes that come once
/// each, and no bare marks.
fn fault(xml: &str) -> Option<String> {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = xml.trim_end();
    let mut roots = 0;
    while !rest.is_empty() {
        let Some(inside) = rest.strip_prefix('<') else {
            let end = rest.find('<').unwrap_or(rest.len());
            let (text, after) = rest.split_at(end);
            if let Some(fault) = text_fault(text) {
                return Some(fault);
            }
            if open.is_empty() && !text.trim().is_empty() {
                return Some(format!("text outside: {text}"));
            }
            rest = after;
            continue;
        };
        let Some((tag, after)) = inside.split_once('>') else {
            return Some(format!("no end: {inside}"));
        };
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            match open.pop() {
                Some(opened) if opened == name => continue,
                opened => return Some(format!("</{name}> closes {opened:?}")),
            }
        }
        let (tag, is_empty) = match tag.strip_suffix('/') {
            Some(tag) => (tag, true),
            None => (tag, false),
        };
        let (name, mut attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        roots += u32::from(open.is_empty());
        let mut seen = Vec::new();
        while !attributes.trim().is_empty() {
            let (key, value) = match attributes.trim().split_once("=\"") {
                Some(pair) => pair,
                None => return Some(format!("<{name}>: no value in {attributes}")),
            };
            let Some((value, after)) = value.split_once('"') else {
                return Some(format!("<{name}>: no end of {key}"));
            };
            if seen.contains(&key) || text_fault(value).is_some() {
                return Some(format!("<{name}>: {key}={value}"));
            }
            seen.push(key);
            attributes = after;
        }
        if !is_empty {
            open.push(name);
        }
    }
    match (open.as_slice(), roots) {
        ([], 1) => None,
        (open, roots) => Some(format!("{roots} roots, open: {open:?}")),
    }
}

fn text_fault(text: &str) -> Option<String> {
    let bare = text.match_indices('&').any(|(at, _)| {
        let known = ["&amp;", "&lt;", "&gt;", "&quot;"];
        !known.iter().any(|entity| text[at..].starts_with(entity))
    });
    let bad = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    (bare || text.contains('<') || text.chars().any(bad)).then(|| text.to_owned())
}

#[test]
fn the_check_finds_what_is_no_xml() {
    assert_eq!(fault("<a b=\"1\"><c/>text &amp; more</a>\n"), None);
    for wrong in [
        "<a>",
        "</a>",
        "<a></b>",
        "<a/><b/>",
        "<a b=1/>",
        "<a b=\"1\" b=\"2\"/>",
        "<a>&</a>",
        "<a b=\"<\"/>",
        "<a>\u{1}</a>",
        "x<a/>",
        "",
    ] {
        assert!(fault(wrong).is_some(), "{wrong:?}");
    }
}

#[test]
fn a_picture_is_xml_whatever_the_plan_is_called() {
    for plan in [
        "access.log",
        "a<b>&\"'.csv",
        "\u{1b}[31m\u{0}\u{ffff}",
        "größer 東",
        "]]>--<!--",
        &"x&".repeat(500),
    ] {
        let drawn = drawn(plan);
        assert_eq!(fault(&drawn), None, "{plan:?}");
    }
}

#[test]
fn a_picture_has_axes_labels_a_legend_and_both_curves() {
    let drawn = drawn("access.log");
    for part in [
        "<title id=\"title\">Hit rate over time: access.log</title>",
        "<desc",
        "class=\"axis\"",
        ">100 %<",
        ">hit rate<",
        ">time since traffic and warm-up began<",
        ">cold<",
        ">warmed<",
        "prefers-color-scheme: dark",
    ] {
        assert!(drawn.contains(part), "{part}: {drawn}");
    }
    assert_eq!(drawn.matches("<polyline").count(), 2);
    for outside in ["href", "url(", "@import", "<script", "<image"] {
        assert!(!drawn.contains(outside), "{outside}");
    }
}

#[test]
fn curves_lie_within_the_axes() {
    let drawn = drawn("access.log");
    for curve in drawn.lines().filter(|line| line.starts_with("<polyline")) {
        let points = curve.split_once("points=\"").unwrap().1;
        let points = points.split_once('"').unwrap().0;
        let mut last = 0.0;
        for point in points.split(' ') {
            let (x, y) = point.split_once(',').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!(
                (LEFT..=RIGHT).contains(&x) && (TOP..=BOTTOM).contains(&y),
                "{point}"
            );
            assert!(x >= last);
            last = x;
        }
    }
}

#[test]
fn times_at_the_axis_are_round_and_few() {
    let texts = |span_s: f64| {
        let times = times(span_s);
        let texts: Vec<String> = times.into_iter().map(|(_, text)| text).collect();
        texts.join(", ")
    };
    assert_eq!(texts(69.0), "0 s, 10 s, 20 s, 30 s, 40 s, 50 s, 60 s");
    assert_eq!(texts(1.0), "0.0 s, 0.2 s, 0.4 s, 0.6 s, 0.8 s, 1.0 s");
    assert_eq!(
        texts(0.03),
        "0.000 s, 0.005 s, 0.010 s, 0.015 s, 0.020 s, 0.025 s, 0.030 s"
    );
    assert_eq!(texts(600.0), "0 min, 2 min, 4 min, 6 min, 8 min, 10 min");
    assert_eq!(texts(86_400.0), "0 h, 5 h, 10 h, 15 h, 20 h");
    assert_eq!(
        texts(30.0 * 86_400.0),
        "0 d, 5 d, 10 d, 15 d, 20 d, 25 d, 30 d"
    );
    for span_s in [1e-6, 7.0, 14.0, 35.0, 119.9, 7199.0, 1e9] {
        let times = times(span_s);
        assert!((3..=8).contains(&times.len()), "{span_s}: {times:?}");
        assert!(
            times
                .iter()
                .all(|(seconds, _)| (0.0..=span_s * 1.001).contains(seconds))
        );
    }
}
