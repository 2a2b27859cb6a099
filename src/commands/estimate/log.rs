//! An access log: the plan that it gives, and the history of its traffic.

use std::time::SystemTime;

use stoke_core::access_log::AccessLog;
use stoke_core::estimate::{History, key_hash};
use stoke_core::job::{Merge, OnBadLine};
use stoke_core::names::LoaderName;
use stoke_core::plan::Entry;
use stoke_worker::source::log::{Observer, Read, Seen, read_observed};
use stoke_worker::source::{Rules, SourceRow};
use tokio::sync::mpsc;

use super::input::{CHUNKS_WAITING, Entries, Input};
use super::times::Times;
use crate::args::{EstimateArgs, LogArgs, OnBadLineArg};
use crate::exit::{Exit, Failure, OrExit};
use crate::show::estimate::{About, LogLines, Source};

/// Who asked for what, and when.
#[derive(Default)]
struct Watched {
    history: History,
    times: Times,
}

impl Observer for Watched {
    fn see(&mut self, seen: Seen<'_>) {
        self.history.observe(key_hash(seen.key));
        if let Some(at) = seen.at {
            self.times.see(at);
        }
    }
}

/// Reads the log.
pub(super) async fn read(args: &EstimateArgs) -> Result<Input, Failure> {
    let mut log = args.log.access_log().or_exit(Exit::Usage)?;
    // Each pattern is told by its place.
    for (n, url) in (0..).zip(&mut log.urls) {
        url.loader = n;
    }
    let rules = rules(args, &log);
    let patterns: Vec<String> = log.urls.iter().map(|url| url.pattern.to_string()).collect();
    let (sink, received) = mpsc::channel(CHUNKS_WAITING);
    let reading = read_observed(log, rules, SystemTime::now(), sink, Watched::default());
    let entries = Entries::new(Merge::Sum)?;
    let taking = entries.add_rows(received, |row| entry(row, &patterns));
    let (read, entries) = tokio::join!(reading, taking);
    let entries = entries?;
    let (read, watched) = read.or_exit(Exit::Usage)?;
    Ok(Input {
        requests_per_second: watched.times.per_second(),
        drift: watched.history.drift(),
        history_requests: Some(watched.history.requests()),
        ..Input::of(entries, about(&args.log, read))
    })
}

fn about(args: &LogArgs, read: Read) -> About {
    About {
        source: Source::Log,
        name: args.paths.join(", "),
        bad_lines: read.gathered.bad_lines,
        bad_line_examples: read.gathered.examples,
        log: Some(LogLines {
            lines: read.lines,
            filtered: read.filtered,
            unmatched: read.unmatched,
            unmatched_example: read.unmatched_example,
        }),
    }
}

/// An entry under its cache key; where there is no template, under what the log asks for, with the pattern before it where there are
/// several.
fn entry(row: SourceRow, patterns: &[String]) -> Entry {
    let pattern = usize::try_from(row.loader)
        .ok()
        .and_then(|n| patterns.get(n));
    let pattern = pattern.filter(|_| patterns.len() > 1).cloned();
    let priority = row.priority;
    let (cache_key, key) = row.into_keys();
    let key = match (cache_key.is_empty(), pattern) {
        (false, _) => cache_key,
        (true, None) => key.into_bytes(),
        (true, Some(pattern)) => format!("{pattern} {key}").into_bytes(),
    };
    Entry {
        key: key.into(),
        loader: 0,
        argument: "".into(),
        priority,
    }
}

/// What makes keys of the log's fields: of each pattern its own, or those of the lines.
fn rules(args: &EstimateArgs, log: &AccessLog) -> Vec<Rules> {
    let template = args.key.clone().map(|template| {
        let name = "load".parse::<LoaderName>();
        let name = name.unwrap_or_else(|_| unreachable!("it is a name"));
        (name, template)
    });
    let on_bad_line = match args.on_bad_line {
        Some(OnBadLineArg::Fail) => OnBadLine::Fail,
        Some(OnBadLineArg::Skip) | None => OnBadLine::Skip,
    };
    let of = |loader: usize, names: &[String]| Rules {
        on_bad_line,
        template: template.clone(),
        // The only name of a pattern is the key already.
        key_parts: if names.len() == 1 {
            Vec::new()
        } else {
            names.to_vec()
        },
        loader: u32::try_from(loader).unwrap_or(u32::MAX),
        ..Rules::default()
    };
    if log.urls.is_empty() {
        let columns = args
            .key
            .iter()
            .flat_map(|key| key.columns().map(str::to_owned));
        let columns: Vec<String> = columns.collect();
        let has_key = columns
            .iter()
            .any(|column| column == stoke_worker::source::KEY_COLUMN);
        let parts = match has_key {
            true => Vec::new(),
            false => columns,
        };
        return vec![Rules {
            key_parts: parts,
            ..of(0, &[])
        }];
    }
    let urls = log.urls.iter().enumerate();
    urls.map(|(n, url)| of(n, url.pattern.names())).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Args, Command};

    fn args(flags: &[&str]) -> EstimateArgs {
        let args = Args::try_parse_from([&["stoke", "estimate", "--log", "x"], flags].concat());
        match args.unwrap().command {
            Command::Estimate(args) => *args,
            command => panic!("{command:?}"),
        }
    }

    fn row(loader: u32, key: &str, cache_key: &str) -> SourceRow {
        SourceRow {
            columns: vec!["key".to_owned()].into(),
            values: vec![Some(key.to_owned())],
            priority: stoke_core::units::Priority::ONE,
            loader,
            cache_key: cache_key.into(),
        }
    }

    #[test]
    fn keys_of_several_patterns_are_not_taken_for_each_other() {
        let keys = |patterns: &[&str], cache_key: &str| {
            let patterns: Vec<String> = patterns.iter().map(|text| (*text).to_owned()).collect();
            let rows = [row(0, "7", cache_key), row(1, "7", cache_key)];
            rows.map(|row| String::from_utf8(entry(row, &patterns).key.into()).unwrap())
        };
        let two = ["/product/{id}", "/user/{id}"];
        assert_eq!(keys(&two, ""), ["/product/{id} 7", "/user/{id} 7"]);
        assert_eq!(keys(&two[..1], ""), ["7", "7"]);
        assert_eq!(keys(&two, "k:7"), ["k:7", "k:7"], "a template says it");
    }

    #[test]
    fn what_a_pattern_or_a_template_names_makes_the_key() {
        let parts = |flags: &[&str]| {
            let args = args(flags);
            let rules = rules(&args, &args.log.access_log().unwrap());
            let parts: Vec<Vec<String>> = rules.into_iter().map(|rules| rules.key_parts).collect();
            parts
        };
        assert_eq!(parts(&[]), [[""; 0]]);
        assert_eq!(parts(&["--url", "/p/{id}"]), [[""; 0]]);
        assert_eq!(parts(&["--url", "/p/{tenant}/{id}"]), [["tenant", "id"]]);
        let of_regex = [
            "--log-regex",
            "(?<tenant>a)(?<id>b)",
            "--key",
            "t:{tenant}:{id}",
        ];
        assert_eq!(parts(&of_regex), [["id", "tenant"]]);
        assert_eq!(parts(&["--key", "t:{key}:{id}"]), [[""; 0]]);
    }
}
