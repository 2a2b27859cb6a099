//! Key sources that tell how much keys are used.

use stoke_core::job::{SCAN_COUNT_DEFAULT, SCAN_COUNT_MAX};
use stoke_core::pattern::Pattern;
use stoke_core::usage::{COUNTER_KEY_BYTES_MAX, Counter, HotKeys, LABEL_BYTES_MAX, Series};
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

fn pattern(faults: &mut Faults, at: &str, pattern: &str) -> Option<Pattern> {
    let pattern = if pattern.is_empty() { ALL } else { pattern };
    faults.keep(&format!("{at}.match"), pattern.parse())
}
