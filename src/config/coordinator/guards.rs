//! `[budgets."RESOURCE".guards.NAME]`: what the resource's health does to those who use it.

use std::collections::BTreeMap;
use std::time::Duration;

use stoke_coordinator::Guarding;
use stoke_coordinator::prometheus::{Query, Server};
use stoke_core::guard::{Action, GuardSpec, Policy, Signal, Threshold, WINDOW_MAX};
use stoke_core::names::GuardName;

use super::super::reader::{Item, Table};

/// How many guards a resource may have: each is a line in every answer about its budget.
const GUARDS_MAX: usize = 16;
/// The part of a budget that guards which slow leave where nothing is said.
const FLOOR: f64 = 0.05;
/// The smallest such part.
const FLOOR_MIN: f64 = 0.001;
/// For how long a signal must be bad where nothing is said.
const FOR: Duration = Duration::from_secs(5);
/// For how long it must be good.
const CLEAR_FOR: Duration = Duration::from_secs(10);
/// Over how long latencies and errors are taken.
const WINDOW: Duration = Duration::from_secs(10);
/// After how long a signal is missing.
const STALE_AFTER: Duration = Duration::from_secs(15);
/// How often Prometheus is asked.
const INTERVAL: Duration = Duration::from_secs(5);
/// What is good, as a part of what is not bad.
const CLEAR: f64 = 0.8;
/// What a worker brakes at by itself, as a multiple of what is not bad.
const BRAKE: f64 = 2.0;

/// What workers tell of every cache.
const OF_CACHES: [&str; 2] = ["memory", "evictions"];

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
/// The shortest latency that can be a threshold.
const LATENCY_MIN: Duration = Duration::from_millis(1);
/// The largest number of a probe that can be a threshold.
const NUMBER_MAX: f64 = 1e15;
/// The longest query, in characters.
const QUERY_CHARS_MAX: usize = 4000;

/// The guards of a budget; `None` within where it has none.
pub(super) fn guards(table: &Table<'_>, of_cache: bool) -> Option<Option<Guarding>> {
    let mut guards = Vec::new();
    let mut queries = BTreeMap::new();
    let mut fine = true;
    table.named("guards", |entry, table| {
        let name = entry.parsed(table);
        match guard(table, name, of_cache) {
            Some((spec, query)) => {
                queries.extend(query.map(|query| (spec.name.clone(), query)));
                guards.push(spec);
            }
            None => fine = false,
        }
    });
    let floor = match table.optional("guard-floor") {
        None => Some(FLOOR),
        Some(item) => {
            if guards.is_empty() && fine {
                item.lacks("it stands without guards", "add a guard, or leave it out");
                fine = false;
            }
            item.number(FLOOR_MIN..=1.0)
        }
    };
    if guards.len() > GUARDS_MAX {
        let what = format!("it has {} guards", guards.len());
        table.lacks(what, format!("use at most {GUARDS_MAX}"));
        fine = false;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of 1, in thousandths"
    )]
    let floor_permille = (floor? * 1000.0).round() as u32;
    let guarding = (!guards.is_empty()).then_some(Guarding {
        policy: Policy {
            floor_permille,
            guards,
        },
        queries,
    });
    fine.then_some(guarding)
}

/// What a guard looks at, and what of the table that takes.
enum Looks {
    Latency { permille: u32 },
    Errors,
    Probe(String),
    Prometheus(String),
}

fn guard(
    table: &Table<'_>,
    name: Option<GuardName>,
    of_cache: bool,
) -> Option<(GuardSpec, Option<Query>)> {
    let looks = looks(table, of_cache);
    let of_queries = matches!(looks, Some(Looks::Latency { .. } | Looks::Errors));
    let of_prometheus = matches!(looks, Some(Looks::Prometheus(_)));
    // Where the signal is wrong, what belongs to it cannot be told.
    let knows = looks.is_some();
    let window = only(table, "window", !knows || of_queries, "latency and errors");
    let url = only(table, "url", !knows || of_prometheus, "prometheus");
    let interval = only(table, "interval", !knows || of_prometheus, "prometheus");
    let window = duration(window, WINDOW, SECOND..=WINDOW_MAX);
    let every = duration(interval.clone(), INTERVAL, SECOND..=HOUR);
    let sustained = duration(table.optional("for"), FOR, Duration::ZERO..=HOUR);
    let calm = duration(
        table.optional("clear-for"),
        CLEAR_FOR,
        Duration::ZERO..=HOUR,
    );
    let stale = table.optional("stale-after");
    let stale_after = duration(stale.clone(), STALE_AFTER, SECOND..=HOUR);
    let threshold = threshold(table, looks.as_ref());
    let action = action(table, looks.as_ref(), threshold);
    let server = server(table, url, of_prometheus);
    let stale_after = stale_after?;
    if of_prometheus && every.is_some_and(|every| every >= stale_after) {
        let item = stale.or(interval);
        let what = "a reading would be stale before the next one comes";
        let remedy = "make stale-after longer than interval";
        match item {
            Some(item) => item.fault(what, remedy),
            None => table.lacks(what, remedy),
        }
        return None;
    }
    let (window, every) = (window?, every?);
    let (signal, query) = match looks? {
        Looks::Latency { permille } => (Signal::Latency { permille, window }, None),
        Looks::Errors => (Signal::Errors { window }, None),
        Looks::Probe(name) => (Signal::Probe { name }, None),
        Looks::Prometheus(text) => {
            let server = server?;
            (
                Signal::Prometheus,
                Some(Query {
                    server,
                    text,
                    every,
                }),
            )
        }
    };
    let spec = GuardSpec {
        name: name?,
        signal,
        threshold: threshold?,
        action: action?,
        sustained: sustained?,
        calm: calm?,
        stale_after,
    };
    Some((spec, query))
}

/// One of `latency`, `errors`, `probe` and `prometheus`.
fn looks(table: &Table<'_>, of_cache: bool) -> Option<Looks> {
    const EITHER: &str = "keep one of latency, errors, probe and prometheus";
    let keys = ["latency", "errors", "probe", "prometheus"];
    let given = keys.map(|key| table.optional(key));
    let mut there = given.iter().flatten();
    let Some(first) = there.next() else {
        let remedy = "set one of latency, errors, probe and prometheus";
        table.lacks("it looks at nothing", remedy);
        return None;
    };
    if let Some(second) = there.next() {
        table.contradiction(first, second, EITHER);
        return None;
    }
    let [latency, errors, probe, prometheus] = &given;
    if let Some(item) = latency {
        return Some(Looks::Latency {
            permille: percentile(item)?,
        });
    }
    if let Some(item) = errors {
        if item.flag()? {
            return Some(Looks::Errors);
        }
        item.fault(
            "it looks at nothing",
            "write errors = true, or leave the guard out",
        );
        return None;
    }
    if let Some(item) = probe {
        let name: GuardName = item.name()?;
        if of_cache && !OF_CACHES.contains(&name.as_str()) {
            item.fault(
                "caches have no such probe",
                "choose \"memory\" or \"evictions\"",
            );
            return None;
        }
        return Some(Looks::Probe(name.to_string()));
    }
    let item = prometheus.as_ref()?;
    Some(Looks::Prometheus(item.short(QUERY_CHARS_MAX)?))
}

/// `p99` or `p99.9`, in thousandths.
fn percentile(item: &Item<'_>) -> Option<u32> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be from 1 to 1000"
    )]
    let permille = |percent: f64| (percent * 10.0).round() as u32;
    let text = item.text()?;
    let percent = text.strip_prefix('p').filter(|rest| {
        rest.bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
    });
    let percent: Option<f64> = percent.and_then(|rest| rest.parse().ok());
    let found = percent.filter(|percent| (0.1..=100.0).contains(percent));
    if found.is_none() {
        item.fault(
            "it is no percentile",
            "write it as \"p50\", \"p99\" or \"p99.9\"",
        );
    }
    found.map(permille)
}

/// `above` or `below`, and `clear`.
fn threshold(table: &Table<'_>, looks: Option<&Looks>) -> Option<Threshold> {
    let (above, below) = (table.optional("above"), table.optional("below"));
    let clear = table.optional("clear");
    let (item, is_above) = match (&above, &below) {
        (Some(above), Some(below)) => {
            table.contradiction(above, below, "keep one of them");
            return None;
        }
        (None, None) => {
            table.lacks("it has no threshold", "set above or below");
            return None;
        }
        (Some(item), None) => (item, true),
        (None, Some(item)) => (item, false),
    };
    let looks = looks?;
    if let (false, Looks::Latency { .. } | Looks::Errors) = (is_above, looks) {
        item.fault("what is small here is good", "set above");
        return None;
    }
    let trigger = value(item, looks)?;
    let Some(item) = clear else {
        return Some(if is_above {
            let clear = trigger - trigger.abs() * (1.0 - CLEAR);
            Threshold::Above { trigger, clear }
        } else {
            let clear = trigger + trigger.abs() * (1.0 / CLEAR - 1.0);
            Threshold::Below { trigger, clear }
        });
    };
    let clear = value(&item, looks)?;
    if is_above && clear > trigger {
        item.fault(
            "it would be good while it is bad",
            "choose no more than above",
        );
        return None;
    }
    if !is_above && clear < trigger {
        item.fault(
            "it would be good while it is bad",
            "choose no less than below",
        );
        return None;
    }
    Some(if is_above {
        Threshold::Above { trigger, clear }
    } else {
        Threshold::Below { trigger, clear }
    })
}

/// A value of what a guard looks at: a duration, a part of 1, or a number.
fn value(item: &Item<'_>, looks: &Looks) -> Option<f64> {
    match looks {
        Looks::Latency { .. } => Some(item.duration(LATENCY_MIN..=HOUR)?.as_secs_f64()),
        Looks::Errors => item.number(0.0..=1.0),
        Looks::Probe(_) | Looks::Prometheus(_) => item.number(-NUMBER_MAX..=NUMBER_MAX),
    }
}

/// `action`, `brake` and `abort-after`.
fn action(
    table: &Table<'_>,
    looks: Option<&Looks>,
    threshold: Option<Threshold>,
) -> Option<Action> {
    #[derive(Clone, Copy, PartialEq)]
    enum Word {
        Slow,
        Pause,
        Abort,
    }
    let words = [
        ("slow", Word::Slow),
        ("pause", Word::Pause),
        ("abort", Word::Abort),
    ];
    let word = table
        .required("action", "action = \"slow\", \"pause\" or \"abort\"")
        .and_then(|item| item.one_of(&words));
    let of_queries = matches!(looks, None | Some(Looks::Latency { .. } | Looks::Errors));
    let may_brake = of_queries && matches!(word, None | Some(Word::Slow));
    let brake = only(table, "brake", may_brake, "latency and errors that slow");
    let may_abort = matches!(word, None | Some(Word::Pause));
    let abort_after = only(table, "abort-after", may_abort, "action = \"pause\"");
    let abort_after = abort_after.map(|item| item.duration(SECOND..=DAY));
    match word? {
        Word::Abort => Some(Action::Abort),
        Word::Pause => Some(Action::Pause {
            abort_after: super::super::shared::all_or_none(abort_after)?,
        }),
        Word::Slow => {
            let looks = looks?;
            let trigger = threshold?.trigger();
            let brake = match (brake, looks) {
                (Some(item), _) => Some(value(&item, looks)?),
                (None, Looks::Latency { .. }) => Some(trigger * BRAKE),
                (None, Looks::Errors) => Some((trigger * BRAKE).min(1.0)),
                (None, Looks::Probe(_) | Looks::Prometheus(_)) => None,
            };
            Some(Action::Slow { brake })
        }
    }
}

fn server(table: &Table<'_>, url: Option<Item<'_>>, needed: bool) -> Option<Server> {
    let Some(item) = url else {
        if needed {
            table.lacks(
                "it does not say whom to ask",
                "add url = \"http://HOST:PORT\"",
            );
        }
        return None;
    };
    let text = item.secret()?;
    Server::parse(&text)
        .map_err(|error| item.fault(error.to_string(), "write http://HOST:PORT"))
        .ok()
}

/// A setting that belongs to some guards only.
fn only<'r>(table: &Table<'r>, key: &'static str, belongs: bool, to: &str) -> Option<Item<'r>> {
    let item = table.optional(key)?;
    if belongs {
        return Some(item);
    }
    item.fault(
        "it does not belong to this guard",
        format!("it is for {to}; leave it out"),
    );
    None
}

fn duration(
    item: Option<Item<'_>>,
    default: Duration,
    range: std::ops::RangeInclusive<Duration>,
) -> Option<Duration> {
    match item {
        Some(item) => item.duration(range),
        None => Some(default),
    }
}
