//! On what, when and of which commit figures were measured.

use std::fs;
use std::process::Command;

/// A line each.
pub(crate) fn describe() -> String {
    let memory = first(
        &fs::read_to_string("/proc/meminfo").unwrap_or_default(),
        "MemTotal",
    );
    let memory_gib = memory
        .split_whitespace()
        .next()
        .and_then(|kib| kib.parse::<u64>().ok())
        .map_or(0, |kib| kib.div_ceil(1024 * 1024));
    let processor = first(
        &fs::read_to_string("/proc/cpuinfo").unwrap_or_default(),
        "model name",
    );
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let changed = match said("git", &["status", "--porcelain", "--untracked-files=no"]) {
        text if text.is_empty() => "",
        _ => ", with changes that are not committed",
    };
    format!(
        "- measured {}\n- commit {}{changed}\n- {cores} cores of {processor}, {memory_gib} GiB; Linux {}\n- etcd {}, {}, {}\n",
        said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        said("git", &["rev-parse", "--short=12", "HEAD"]),
        said("uname", &["-r"]),
        first(&said("etcd", &["--version"]), "etcd Version"),
        said("psql", &["--version"]),
        said("redis-server", &["--version"])
            .split(" sha")
            .next()
            .unwrap_or_default(),
    )
}

/// What a program says; nothing where it is not there.
fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text).trim().to_owned()
}

/// The value of the first line `key: value`.
fn first(text: &str, key: &str) -> String {
    let values = text.lines().filter_map(|line| line.split_once(':'));
    let mut found = values.filter(|(name, _)| name.trim() == key);
    found
        .next()
        .map_or_else(|| "?".to_owned(), |(_, value)| value.trim().to_owned())
}
