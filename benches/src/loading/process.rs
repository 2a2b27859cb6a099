//! Programs that run to their end, and what that took: time, processors, memory.

use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::machine::{peak_kib, tree_time};

/// How often it is looked whether they have ended, and how much memory they have: what a program took in its last moments
/// only may be missed.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// For how long a program may run.
const ENDED_WITHIN: Duration = Duration::from_secs(1800);

/// What some programs took together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Took {
    pub(crate) time: Duration,
    /// Time of the processors, user and system; that of children included.
    pub(crate) cpu: Duration,
    /// The sum of their peaks.
    pub(crate) peak_kib: u64,
}

/// Programs that run together, and end when this is dropped.
pub(crate) struct Running {
    began: Instant,
    children: Vec<Watched>,
}

struct Watched {
    name: String,
    child: Child,
    peak_kib: u64,
    ended: Option<(ExitStatus, Duration)>,
}

impl Running {
    /// Starts them, one after the other: the next may need what `start` got of the one before.
    pub(crate) fn start(commands: impl IntoIterator<Item = Command>) -> Result<Self> {
        let mut running = Self {
            began: Instant::now(),
            children: Vec::new(),
        };
        for command in commands {
            running.and(command)?;
        }
        Ok(running)
    }

    /// Starts one more.
    pub(crate) fn and(&mut self, mut command: Command) -> Result<&mut Child> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        self.children.push(Watched {
            name,
            child,
            peak_kib: 0,
            ended: None,
        });
        let last = self.children.last_mut().context("one was just started")?;
        Ok(&mut last.child)
    }

    /// Waits until all have ended, which must be well.
    pub(crate) fn wait(mut self) -> Result<Took> {
        while !self.look()? {
            ensure!(
                self.began.elapsed() < ENDED_WITHIN,
                "not done after {ENDED_WITHIN:?}"
            );
            std::thread::sleep(LOOK_EVERY);
        }
        let mut took = Took {
            time: self.began.elapsed(),
            ..Took::default()
        };
        for child in &self.children {
            match child.ended {
                Some((status, cpu)) if status.success() => took.cpu += cpu,
                Some((status, _)) => bail!("{} failed ({status})", child.name),
                None => unreachable!("all have ended"),
            }
            took.peak_kib += child.peak_kib;
        }
        Ok(took)
    }

    /// Whether all have ended.
    fn look(&mut self) -> Result<bool> {
        let mut all = true;
        for one in self.children.iter_mut().filter(|one| one.ended.is_none()) {
            let id = WaitId::Pid(Pid::from_child(&one.child));
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            if waitid(id, options)
                .context("looking after a child process")?
                .is_none()
            {
                // It has no memory any more where it has just ended.
                one.peak_kib = peak_kib(one.child.id()).unwrap_or(one.peak_kib);
                all = false;
                continue;
            }
            // What it had of the processors is known until it is waited for.
            let cpu = tree_time(one.child.id())?;
            one.ended = Some((one.child.wait()?, cpu));
        }
        Ok(all)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for one in self.children.iter_mut().filter(|one| one.ended.is_none()) {
            let _ = one.child.kill();
            let _ = one.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_programs_had_of_the_processors_is_known_when_they_have_ended() {
        let busy = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
        let took = Running::start([sh(busy), sh(busy)])
            .unwrap()
            .wait()
            .unwrap();
        assert!(took.cpu >= Duration::from_millis(20), "{took:?}");
        assert!(took.peak_kib > 100, "{took:?}");
    }

    #[test]
    fn one_that_fails_fails_all() {
        let error = Running::start([sh("exit 0"), sh("exit 3")])
            .unwrap()
            .wait()
            .unwrap_err();
        assert!(error.to_string().contains("sh failed"), "{error:#}");
    }
}
