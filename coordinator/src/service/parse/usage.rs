//! Key sources that tell how much keys are used.

use std::time::Duration;

use stoke_core::job::{SCAN_COUNT_DEFAULT, SCAN_COUNT_MAX};
use stoke_core::pattern::Pattern;
use stoke_core::usage::monitor::{
    COMMAND_BYTES_MAX, COMMANDS_MAX, CPU_MAX_PERMILLE_DEFAULT, CPU_MAX_PERMILLE_MAX,
    DURATION_MS_MAX, DURATION_MS_MIN,
};
use stoke_core::usage::{
    COUNTER_KEY_BYTES_MAX, Counter, HotKeys, LABEL_BYTES_MAX, Monitor, Series,
};
use stoke_proto::v1;

use super::faults::Faults;

/// All keys.
const ALL: &str = "*";

pub(super) fn counter(
    faults: &mut Faults,
    at: &str,
    counter: v1::CounterSource,
) -> Option<Counter> {
    let origin = faults.name(&format!("{at}.origin"), &counter.origin);
    if !(1..=COUNTER_KEY_BYTES_MAX).contains(&counter.key.len()) {
        let problem = format!("must have from 1 to {COUNTER_KEY_BYTES_MAX} bytes");
        faults.note(format!("{at}.key"), problem);
    }
    let pattern = pattern(faults, at, &counter.r#match);
    Some(Counter {
        origin: origin?,
        key: counter.key,
        pattern: pattern?,
        limit: Some(counter.limit).filter(|limit| *limit > 0),
    })
}

pub(super) fn hot_keys(faults: &mut Faults, at: &str, hot: &v1::HotKeysSource) -> Option<HotKeys> {
    let origin = faults.name(&format!("{at}.origin"), &hot.origin);
    let pattern = pattern(faults, at, &hot.r#match);
    faults.at_most(&format!("{at}.count"), hot.count, SCAN_COUNT_MAX);
    let field = format!("{at}.frequency_min");
    faults.at_most(&field, hot.frequency_min, u32::from(u8::MAX));
    Some(HotKeys {
        origin: origin?,
        pattern: pattern?,
        count: match hot.count {
            0 => SCAN_COUNT_DEFAULT,
            given => given,
        },
        frequency_min: u8::try_from(hot.frequency_min).unwrap_or(u8::MAX),
    })
}

pub(super) fn monitor(
    faults: &mut Faults,
    at: &str,
    monitor: v1::MonitorSource,
) -> Option<Monitor> {
    let origin = faults.name(&format!("{at}.origin"), &monitor.origin);
    let pattern = pattern(faults, at, &monitor.r#match);
    let duration = monitor
        .duration
        .and_then(|time| Duration::try_from(time).ok());
    let duration_ms = duration.and_then(|time| u64::try_from(time.as_millis()).ok());
    let duration_ms = duration_ms.filter(|ms| (DURATION_MS_MIN..=DURATION_MS_MAX).contains(ms));
    if duration_ms.is_none() {
        faults.note(
            format!("{at}.duration"),
            "must be from a second to ten minutes",
        );
    }
    faults.at_most(
        &format!("{at}.nodes_permille"),
        monitor.nodes_permille,
        1000,
    );
    let (field, cpu_max) = (format!("{at}.cpu_max_permille"), monitor.cpu_max_permille);
    faults.at_most(&field, cpu_max, CPU_MAX_PERMILLE_MAX);
    let field = format!("{at}.commands");
    faults.at_most(&field, monitor.commands.len(), COMMANDS_MAX);
    if monitor
        .commands
        .iter()
        .any(|name| !(1..=COMMAND_BYTES_MAX).contains(&name.len()))
    {
        faults.note(
            field,
            format!("a command has from 1 to {COMMAND_BYTES_MAX} bytes"),
        );
    }
    let commands = monitor.commands.iter().take(COMMANDS_MAX);
    let or = |given: u32, otherwise| if given == 0 { otherwise } else { given };
    Some(Monitor {
        origin: origin?,
        pattern: pattern?,
        duration_ms: duration_ms?,
        nodes_permille: or(monitor.nodes_permille, 1000),
        cpu_max_permille: or(cpu_max, CPU_MAX_PERMILLE_DEFAULT),
        commands: commands.map(|name| name.to_ascii_uppercase()).collect(),
    })
}

pub(super) fn series(
    faults: &mut Faults,
    at: &str,
    series: v1::PrometheusSource,
) -> Option<Series> {
    let origin = faults.name(&format!("{at}.origin"), &series.origin);
    let query = faults.query(&format!("{at}.query"), series.query);
    let (field, length) = (format!("{at}.key_label"), series.key_label.len());
    if length > LABEL_BYTES_MAX {
        faults.note(field, format!("is longer than {LABEL_BYTES_MAX} bytes"));
    }
    Some(Series {
        origin: origin?,
        query: query?,
        key_label: Some(series.key_label).filter(|label| !label.is_empty()),
    })
}

pub(super) fn pattern(faults: &mut Faults, at: &str, pattern: &str) -> Option<Pattern> {
    let pattern = if pattern.is_empty() { ALL } else { pattern };
    faults.keep(&format!("{at}.match"), pattern.parse())
}
