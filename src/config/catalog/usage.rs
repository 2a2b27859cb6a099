//! What is read of a Redis as a key source: the keys that it has, those that are used most, or what an application counts there; and
//! what a Prometheus is asked.

use std::time::Duration;

use stoke_core::job::From;
use stoke_core::names::OriginName;
use stoke_core::pattern::Pattern;
use stoke_core::usage::monitor::{
    COMMAND_BYTES_MAX, COMMANDS_MAX, CPU_MAX_PERMILLE_DEFAULT, DURATION_MS_MAX, DURATION_MS_MIN,
};
use stoke_core::usage::{
    COUNTER_KEY_BYTES_MAX, Counter, HotKeys, LABEL_BYTES_MAX, Monitor, Series,
};

use super::copy::{count, scan};
use crate::config::reader::{Item, Table};

/// All keys.
const ALL: &str = "*";
/// What of a Redis is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `match` alone: the keys that it has.
    Keys,
    /// `counter`.
    Counter,
    /// `hot-keys`.
    HotKeys,
    /// `monitor`.
    Monitor,
}

/// What says that a key source reads a Redis, and how.
pub struct OfRedis<'r> {
    kind: Kind,
    /// The setting that says so.
    pub item: Item<'r>,
}

/// What of a Redis a source reads, where it reads one. Settings that do not go with it are faults.
pub fn of_redis<'r>(table: &Table<'r>) -> Option<OfRedis<'r>> {
    let kinds = [
        (Kind::Counter, "counter"),
        (Kind::HotKeys, "hot-keys"),
        (Kind::Monitor, "monitor"),
    ];
    let kinds = kinds.into_iter();
    let mut given = kinds.filter_map(|(kind, key)| Some((kind, table.optional(key)?)));
    let first = given.next();
    if let (Some((_, first)), Some((_, second))) = (&first, given.next()) {
        table.contradiction(first, &second, "keep one of them");
    }
    let keys = || Some((Kind::Keys, table.optional("match")?));
    let given = first.or_else(keys);
    let given = given.map(|(kind, item)| OfRedis { kind, item });
    let kind = given.as_ref().map(|given| given.kind);
    for (key, kinds, what) in [
        (
            "count",
            [Kind::Keys, Kind::HotKeys],
            "only what is scanned has a count",
        ),
        ("limit", [Kind::Counter; 2], "only a counter has a limit"),
        (
            "frequency-min",
            [Kind::HotKeys; 2],
            "only hot keys have a frequency",
        ),
        (
            "monitor-nodes",
            [Kind::Monitor; 2],
            "only what is watched has nodes",
        ),
        (
            "cpu-max",
            [Kind::Monitor; 2],
            "only what is watched may be too busy",
        ),
        (
            "commands",
            [Kind::Monitor; 2],
            "only what is watched shows commands",
        ),
    ] {
        let goes = kind.is_some_and(|kind| kinds.contains(&kind));
        if let (Some(item), false) = (table.optional(key), goes) {
            item.lacks(what, "remove it");
        }
    }
    given
}

/// Reads what a source of a Redis says.
pub fn redis_source(table: &Table<'_>, given: &OfRedis<'_>, origin: OriginName) -> Option<From> {
    Some(match given.kind {
        Kind::Counter => From::Counter(Box::new(counter(table, &given.item, origin)?)),
        Kind::HotKeys => From::HotKeys(Box::new(hot_keys(table, &given.item, origin)?)),
        Kind::Monitor => From::Monitor(Box::new(monitor(table, &given.item, origin)?)),
        Kind::Keys => {
            let (pattern, count) = scan(table, &given.item)?;
            From::Keyspace {
                origin,
                pattern,
                count,
            }
        }
    })
}

/// Reads an application's counter: `counter`, which is this, `match` and `limit`.
fn counter(table: &Table<'_>, counter: &Item<'_>, origin: OriginName) -> Option<Counter> {
    let key = counter.filled().filter(|key| {
        let fits = key.len() <= COUNTER_KEY_BYTES_MAX;
        if !fits {
            let remedy = format!("use at most {COUNTER_KEY_BYTES_MAX} bytes");
            counter.fault("it is too long", remedy);
        }
        fits
    });
    let pattern = pattern(table);
    let limit = match table.optional("limit") {
        Some(item) => Some(item.integer(1..=u64::MAX)?),
        None => None,
    };
    Some(Counter {
        origin,
        key: key?.to_owned(),
        pattern: pattern?,
        limit,
    })
}

/// Reads how a Redis is watched: `monitor`, which is this, `match`, `monitor-nodes`, `cpu-max` and `commands`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "they are in their ranges"
)]
fn monitor(table: &Table<'_>, duration: &Item<'_>, origin: OriginName) -> Option<Monitor> {
    let times = Duration::from_millis(DURATION_MS_MIN)..=Duration::from_millis(DURATION_MS_MAX);
    let duration = duration.duration(times);
    let pattern = pattern(table);
    let permille = |key, most: f64, otherwise: u32| match table.optional(key) {
        Some(item) => item
            .number(0.001..=most)
            .map(|share| (share * 1000.0).round() as u32),
        None => Some(otherwise),
    };
    let nodes_permille = permille("monitor-nodes", 1.0, 1000);
    let cpu_max_permille = permille("cpu-max", 100.0, CPU_MAX_PERMILLE_DEFAULT);
    let commands = match table.optional("commands") {
        Some(item) => {
            let items = item.filled_list("name at least one, or leave it out")?;
            if items.len() > COMMANDS_MAX {
                item.fault("there are too many", format!("name at most {COMMANDS_MAX}"));
                return None;
            }
            let names = items.iter().map(|item| item.short(COMMAND_BYTES_MAX));
            names.collect::<Option<Vec<_>>>()?
        }
        None => Vec::new(),
    };
    Some(Monitor {
        origin,
        pattern: pattern?,
        duration_ms: u64::try_from(duration?.as_millis()).ok()?,
        nodes_permille: nodes_permille?,
        cpu_max_permille: cpu_max_permille?,
        commands: commands
            .iter()
            .map(|name| name.to_ascii_uppercase())
            .collect(),
    })
}

/// Reads the hot keys of a Redis: `hot-keys`, which is this, `match`, `count` and `frequency-min`.
fn hot_keys(table: &Table<'_>, is_wanted: &Item<'_>, origin: OriginName) -> Option<HotKeys> {
    let is_wanted = is_wanted.flag();
    if is_wanted == Some(false) {
        table.lacks(
            "hot-keys = false asks for nothing",
            "remove it, or write hot-keys = true",
        );
        return None;
    }
    let pattern = pattern(table);
    let count = count(table);
    let frequency_min = match table.optional("frequency-min") {
        Some(item) => item.small(0..=u32::from(u8::MAX)),
        None => Some(0),
    };
    is_wanted?;
    Some(HotKeys {
        origin,
        pattern: pattern?,
        count: count?,
        frequency_min: u8::try_from(frequency_min?).ok()?,
    })
}

fn pattern(table: &Table<'_>) -> Option<Pattern> {
    match table.optional("match") {
        Some(item) => item.parsed(
            Pattern::parse,
            "write it as \"product:{id}\", or \"product:*\"",
        ),
        None => Pattern::parse(ALL).ok(),
    }
}

/// A query of a Prometheus, whichever.
pub struct Promql {
    query: String,
    key_label: Option<String>,
}

impl Promql {
    /// As a query of this one.
    pub fn of(self, origin: OriginName) -> Series {
        Series {
            origin,
            query: self.query,
            key_label: self.key_label,
        }
    }
}

/// Reads `promql`, which this is, and `key-label`.
pub fn series(table: &Table<'_>, promql: Option<&Item<'_>>) -> Option<Promql> {
    let label = table.optional("key-label");
    let Some(promql) = promql else {
        if let Some(label) = label {
            label.lacks("only series of a Prometheus have labels", "remove it");
        }
        return None;
    };
    let query = promql.filled();
    let key_label = match label {
        Some(item) => Some(item.short(LABEL_BYTES_MAX / 4)?),
        None => None,
    };
    Some(Promql {
        query: query?.to_owned(),
        key_label,
    })
}
