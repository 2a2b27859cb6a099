//! A process in a folder of its own that can be killed, stopped and started again on the same data.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::Signal;

use crate::dir::ServerDir;
use crate::ports::PortTaken;
use crate::process::{LOG, Process, Recipe, STDOUT};
use crate::wait::wait_for;

/// How long a server may take until it is usable, on a machine that is busy with other things.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How many of the last lines of a log an error shows.
const LOG_LINES_SHOWN: usize = 20;

/// A process in a folder of its own. All calls may come from any thread.
pub(crate) struct Service {
    name: &'static str,
    recipe: Recipe,
    run: Mutex<Run>,
    // Last: the folder goes when the process is gone.
    dir: ServerDir,
}

/// One life of the process.
struct Run {
    process: Process,
    /// Where this run's part of the log begins, in bytes.
    log_start: usize,
}

impl Service {
    /// Starts the process; it may not be usable yet.
    pub(crate) fn start(name: &'static str, dir: ServerDir, recipe: Recipe) -> Result<Self> {
        let run = start_run(&recipe, dir.path()).with_context(|| format!("starting {name}"))?;
        Ok(Self {
            name,
            recipe,
            run: Mutex::new(run),
            dir,
        })
    }

    /// Starts the process anew in its folder, ending it first if it runs.
    pub(crate) fn restart(&self) -> Result<()> {
        let mut run = self.run();
        run.process.end()?;
        *run = start_run(&self.recipe, self.dir.path())
            .with_context(|| format!("starting {} again", self.name))?;
        Ok(())
    }

    /// Waits until `probe`, which is given what the process has logged since it was started, finds it usable.
    ///
    /// # Errors
    /// It ended (as [`PortTaken`] where it said so), or took too long: with the end of its log.
    pub(crate) fn wait_until_ready(&self, probe: impl Fn(&str) -> Result<()>) -> Result<()> {
        let ended = wait_for(&format!("{} to be usable", self.name), READY_WITHIN, || {
            // Looked at in this order: where its end is seen, all that it wrote is seen.
            let ended = self.run().process.ended()?;
            match ended {
                Some(status) => Ok(Some(status)),
                None => probe(&self.log_of_this_run()?).map(|()| None),
            }
        })
        .with_context(|| {
            format!(
                "{} is not usable; it said:\n{}",
                self.name,
                self.last_lines()
            )
        })?;
        let Some(status) = ended else { return Ok(()) };
        let log = self.last_lines();
        if self
            .log_of_this_run()?
            .to_lowercase()
            .contains("address already in use")
        {
            return Err(anyhow!(PortTaken { log }).context(format!("starting {}", self.name)));
        }
        bail!(
            "{} ended ({status}) before it was usable; it said:\n{log}",
            self.name
        )
    }

    /// Ends the process for good, at once: SIGKILL, or what leaves no more behind.
    pub(crate) fn end(&self) -> Result<()> {
        self.run()
            .process
            .end()
            .with_context(|| format!("ending {}", self.name))?;
        Ok(())
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        self.run()
            .process
            .signal(signal)
            .with_context(|| format!("signalling {}", self.name))
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait(&self, at_most: Duration) -> Result<ExitStatus> {
        wait_for(&format!("{} to end", self.name), at_most, || {
            match self.ended()? {
                Some(status) => Ok(status),
                None => bail!("it still runs"),
            }
        })
    }

    /// How the process ended; `None` while it runs.
    pub(crate) fn ended(&self) -> Result<Option<ExitStatus>> {
        self.run().process.ended()
    }

    /// The process' id, also when it has ended.
    pub(crate) fn pid(&self) -> u32 {
        self.run().process.pid()
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where the log is.
    pub(crate) fn log_path(&self) -> PathBuf {
        self.dir.path().join(LOG)
    }

    /// What the process, in all its runs, has written to standard error, and to standard output unless that is apart.
    pub(crate) fn log(&self) -> Result<String> {
        read(&self.log_path())
    }

    /// What the process, in all its runs, has written to standard output where that is apart.
    pub(crate) fn stdout(&self) -> Result<String> {
        read(&self.dir.path().join(STDOUT))
    }

    fn log_of_this_run(&self) -> Result<String> {
        let start = self.run().log_start;
        Ok(self.log()?.get(start..).unwrap_or_default().to_owned())
    }

    /// The end of its log, for errors.
    pub(crate) fn last_lines(&self) -> String {
        let log = self.log().unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without arguments and environment, which may hold secrets.
impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct(self.name)
            .field("pid", &self.pid())
            .field("dir", &self.dir())
            .finish_non_exhaustive()
    }
}

fn start_run(recipe: &Recipe, folder: &Path) -> Result<Run> {
    let log = folder.join(LOG);
    let log_start = if log.exists() { read(&log)?.len() } else { 0 };
    Ok(Run {
        process: Process::start(recipe, folder)?,
        log_start,
    })
}

fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
