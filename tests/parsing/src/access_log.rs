//! Access logs.

use std::collections::BTreeMap;

use stoke_core::access_log::{AccessLog, Fields, Filter, Lines, UrlRule};
use stoke_core::job::OnBadLine;
use stoke_worker::doors;
use stoke_worker::source::log::Read;
use stoke_worker::source::{Rules, SourceRow};
use tokio::sync::mpsc;

/// More chunks than the bytes of any input have rows for.
const CHUNKS_MAX: usize = 1 << 16;

/// The counts of keys, and what reading came to.
type Counted = (BTreeMap<String, u64>, Result<Read, String>);

/// The first byte says how lines are written, and whether their URLs or their fields are the keys. Each line is counted once: as a
/// bad one, as one that does not count, as one of no key, or for its key; and however little is held of the counts, they come to
/// the same. Read strictly, a log without bad lines gives the same, and one with bad lines nothing.
///
/// # Panics
/// Where that is not so.
pub fn access_log(bytes: &[u8]) {
    let Some((how, content)) = bytes.split_first() else {
        return;
    };
    let (counts, read) = counted(*how, content, OnBadLine::Skip, usize::MAX);
    let Ok(read) = read else { return };
    let of_keys: u64 = counts.values().sum();
    let all = read.gathered.bad_lines + read.filtered + read.unmatched + of_keys / 1000;
    assert_eq!(all, read.lines, "{read:?}");
    let (again, of_little) = counted(*how, content, OnBadLine::Skip, 0);
    assert_eq!(again, counts);
    let of_little = of_little.expect("what is held does not matter");
    assert_eq!(of_little.lines, read.lines);
    let (strictly, end) = counted(*how, content, OnBadLine::Fail, usize::MAX);
    match read.gathered.bad_lines {
        0 => assert_eq!((strictly, end), (counts, Ok(read))),
        _ => assert!(end.is_err()),
    }
}

fn counted(how: u8, content: &[u8], on_bad_line: OnBadLine, counts_bytes_max: usize) -> Counted {
    let lines = match how & 7 {
        0 => Lines::Common,
        1 => Lines::Json,
        2 => Lines::Csv,
        3 => Lines::Regex(r"(?<key>[a-z]+) (?<url>/\S*)".into()),
        _ => Lines::Auto,
    };
    let rule = |pattern: &str| UrlRule {
        pattern: pattern.parse().expect("a pattern"),
        loader: 0,
    };
    let urls = match how & 8 {
        0 => vec![rule("/p/{id}"), rule("/s?q={query}"), rule("/f/{*rest}")],
        _ => Vec::new(),
    };
    let rules = Rules {
        on_bad_line,
        ..Rules::default()
    };
    let rules = vec![rules; urls.len().max(1)];
    let log = AccessLog {
        paths: Vec::new(),
        lines,
        fields: Fields::default(),
        urls,
        filter: Filter::default(),
        half_life_s: None,
    };
    let (sink, mut source) = mpsc::channel::<Vec<SourceRow>>(CHUNKS_MAX);
    let end = doors::access_log(content, &log, &rules, &sink, counts_bytes_max);
    drop(sink);
    let mut counts = BTreeMap::new();
    while let Ok(rows) = source.try_recv() {
        for row in rows {
            assert!(!row.key().is_empty());
            *counts.entry(row.key().to_owned()).or_default() += row.priority.as_milli();
        }
    }
    (
        counts,
        end.map_err(|error| stoke_core::explain::explain(&error)),
    )
}
