//! Where, when and with what it was measured.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

/// The head of a report.
pub(crate) fn describe() -> Result<String> {
    let cores = std::thread::available_parallelism().context("counting the cores")?;
    let memory = find("/proc/meminfo", "MemTotal").unwrap_or_default();
    let model = find("/proc/cpuinfo", "model name").unwrap_or_default();
    let date = said_by("date", &["--utc", "+%Y-%m-%d %H:%M UTC"])?;
    let commit = said_by("git", &["rev-parse", "--short", "HEAD"])?;
    let changed = said_by("git", &["status", "--porcelain", "--untracked-files=no"])?;
    let changed = if changed.is_empty() { "" } else { ", changed" };
    let load = fs::read_to_string("/proc/loadavg").context("reading the load")?;
    let load = load.split(' ').next().unwrap_or_default();
    let etcd = said_by("etcd", &["--version"])?;
    let etcd = etcd.lines().next().unwrap_or_default().to_owned();
    Ok(format!(
        "# What sharing budgets, planning and handing over cost\n\n\
         `make bench` measures this anew and writes it here: `cargo run --release --locked -p stoke-benches`.\n\n\
         - {date}, commit {commit}{changed}\n\
         - {cores} cores ({model}), {memory} of memory, Linux {}; load average before: {load}\n\
         - {etcd}; the workers, their leader and etcd share this machine\n\n",
        said_by("uname", &["-r"])?,
    ))
}

fn find(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn said_by(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .with_context(|| format!("running {program}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// How much time a process has had of the processors so far.
///
/// # Errors
/// There is no such process.
pub(crate) fn processor_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    // The name, in parentheses, may have anything in it; what counts follows, the state first.
    let (_, rest) = stat.rsplit_once(')').context("an unknown form of stat")?;
    let field = |n: usize| rest.split_whitespace().nth(n)?.parse::<u64>().ok();
    let ticks = field(11)
        .zip(field(12))
        .context("an unknown form of stat")?;
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_secs_f64(
        (ticks.0 + ticks.1) as f64 / ticks_per_second as f64,
    ))
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_has_had_less_of_the_processors_than_a_day() {
        let time = super::processor_time(std::process::id()).unwrap();
        assert!(time.as_secs() < 86_400);
    }
}
