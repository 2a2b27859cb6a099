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
    let moment = moment()?;
    let etcd = said_by("etcd", &["--version"])?;
    let etcd = etcd.lines().next().unwrap_or_default().to_owned();
    Ok(format!(
        "# What sharing budgets, planning, handing over and loading cost\n\n\
         `make bench` measures this anew and writes it here. Sections that name a moment of their own were measured then.\n\n\
         - {moment}\n\
         - {cores} cores ({model}), {memory} of memory, Linux {}\n\
         - {etcd}; the workers, their leader and etcd share this machine\n\n",
        said_by("uname", &["-r"])?,
    ))
}

/// When, with which sources, and beside what else.
pub(crate) fn moment() -> Result<String> {
    let date = said_by("date", &["--utc", "+%Y-%m-%d %H:%M UTC"])?;
    let commit = said_by("git", &["rev-parse", "--short", "HEAD"])?;
    let changed = said_by("git", &["status", "--porcelain", "--untracked-files=no"])?;
    let changed = if changed.is_empty() { "" } else { ", changed" };
    let load = fs::read_to_string("/proc/loadavg").context("reading the load")?;
    let load = load.split(' ').next().unwrap_or_default();
    Ok(format!(
        "{date}, commit {commit}{changed}; load average before: {load}"
    ))
}

fn find(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

pub(crate) fn said_by(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .with_context(|| format!("running {program}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// How much time a process has had of the processors so far; also of one that has ended and was not waited for yet.
///
/// # Errors
/// There is no such process.
pub(crate) fn processor_time(pid: u32) -> Result<Duration> {
    Ok(times(pid)?.own)
}

/// How much time a process, its children and those that it has had and waited for have had of the processors so far.
///
/// # Errors
/// There is no such process.
pub(crate) fn tree_time(pid: u32) -> Result<Duration> {
    let of_parent = times(pid)?;
    let processes = fs::read_dir("/proc").context("listing the processes")?;
    let pids = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // One that is gone by now is none any more.
    let all = pids.filter_map(|pid: u32| times(pid).ok());
    let children = all
        .filter(|times| times.parent == pid)
        .map(|times| times.own);
    Ok(of_parent.own + of_parent.waited_for + children.sum::<Duration>())
}

/// What `/proc/PID/stat` says.
struct Times {
    parent: u32,
    own: Duration,
    /// Of children that have ended and were waited for.
    waited_for: Duration,
}

fn times(pid: u32) -> Result<Times> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    // The name, in parentheses, may have anything in it; what counts follows, the state first.
    let (_, rest) = stat.rsplit_once(')').context("an unknown form of stat")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |n: usize| -> Option<u64> { fields.get(n)?.parse().ok() };
    let both = |n: usize| {
        let ticks = field(n)
            .zip(field(n + 1))
            .context("an unknown form of stat")?;
        let per_second = rustix::param::clock_ticks_per_second();
        let seconds = (ticks.0 + ticks.1) as f64 / per_second as f64;
        anyhow::Ok(Duration::from_secs_f64(seconds))
    };
    Ok(Times {
        parent: field(1)
            .and_then(|pid| pid.try_into().ok())
            .context("an unknown form of stat")?,
        own: both(11)?,
        waited_for: both(13)?,
    })
}

/// A process' peak memory is what it has now.
///
/// # Errors
/// There is no such process.
pub(crate) fn reset_peak(pid: u32) -> Result<()> {
    let path = format!("/proc/{pid}/clear_refs");
    fs::write(&path, "5").with_context(|| format!("writing {path}"))
}

/// The most memory that a process had since it began or [`reset_peak`].
///
/// # Errors
/// There is no such process, or it has ended.
pub(crate) fn peak_kib(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
    Ok(kib.context("an unknown form of status")?.parse()?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_has_had_less_of_the_processors_than_a_day() {
        let time = super::processor_time(std::process::id()).unwrap();
        assert!(time.as_secs() < 86_400);
    }
}
