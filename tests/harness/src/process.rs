//! One child process: its signals, its end, and what it wrote.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::dir::servers_are_kept;
use crate::spawner;
use crate::tools::cannot_start;
use crate::wait::wait_for;

/// How long a process that was told to end may take before it is killed.
const END_WITHIN: Duration = Duration::from_secs(10);

/// How long the kernel may take to end a process that was killed.
const KILLED_WITHIN: Duration = Duration::from_secs(30);

/// The files in a process' folder that it writes to.
pub(crate) const LOG: &str = "log";
pub(crate) const STDOUT: &str = "stdout";

/// An unprivileged account of the system.
#[derive(Clone, Copy)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// What to run: all that is needed to run it again.
#[derive(Clone)]
pub(crate) struct Recipe {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    /// Runs as somebody else: only root can.
    pub(crate) account: Option<Account>,
    /// What ends it for good, at once and without leaving anything behind.
    pub(crate) end: Signal,
    /// A file to read as standard input.
    pub(crate) stdin: Option<PathBuf>,
    /// Standard output has a file of its own; else it goes to the log, as standard error does.
    pub(crate) stdout_apart: bool,
}

impl Recipe {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref().to_owned();
        let (args, env) = (Vec::new(), Vec::new());
        Self {
            program,
            args,
            env,
            account: None,
            end: Signal::KILL,
            stdin: None,
            stdout_apart: false,
        }
    }

    pub(crate) fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub(crate) fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The command that runs it in `folder`, through `setpriv`.
    pub(crate) fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new("setpriv");
        if !servers_are_kept() {
            let end = if self.end == Signal::QUIT {
                "QUIT"
            } else {
                "KILL"
            };
            command.args(["--pdeathsig", end]);
        }
        if let Some(Account { uid, gid }) = self.account {
            command.args([
                format!("--reuid={uid}"),
                format!("--regid={gid}"),
                "--clear-groups".to_owned(),
            ]);
        }
        command.arg("--").arg(&self.program).args(&self.args);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        // Out of the owner's group: who presses Ctrl-C means the owner, whose end ends its children.
        command.current_dir(folder).process_group(0);
        command
    }
}

/// A running process, or one that has ended. Ended on drop.
pub(crate) struct Process {
    child: Child,
    end: Signal,
    kept: bool,
}

impl Process {
    /// Starts it in `folder`, where it appends to the files `log` and, where it is to be apart, `stdout`.
    pub(crate) fn start(recipe: &Recipe, folder: &Path) -> Result<Self> {
        let mut command = recipe.command(folder);
        let stdin = match &recipe.stdin {
            Some(path) => File::open(path)
                .with_context(|| format!("opening {}", path.display()))?
                .into(),
            None => Stdio::null(),
        };
        let log = append_to(&folder.join(LOG))?;
        let stdout = if recipe.stdout_apart {
            append_to(&folder.join(STDOUT))?
        } else {
            log.try_clone().context("sharing a log file")?
        };
        command.stdin(stdin).stdout(stdout).stderr(log);
        let child = spawner::spawn(command).with_context(|| cannot_start("setpriv".as_ref()))?;
        Ok(Self {
            child,
            end: recipe.end,
            kept: servers_are_kept(),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended; `None` while it runs.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .context("looking after a child process")
    }

    /// Sends `signal`; nothing where the process has ended.
    pub(crate) fn signal(&mut self, signal: Signal) -> Result<()> {
        // An id is the process' own only until its end was noticed: after that it may be anybody's.
        if self.ended()?.is_none() {
            kill_process(Pid::from_child(&self.child), signal)
                .with_context(|| format!("sending signal {} to {}", signal.as_raw(), self.pid()))?;
        }
        Ok(())
    }

    /// Waits for its end, for at most `at_most`.
    pub(crate) fn wait(&mut self, at_most: Duration) -> Result<ExitStatus> {
        let pid = self.pid();
        wait_for(&format!("process {pid} to end"), at_most, || {
            match self.ended()? {
                Some(status) => Ok(status),
                None => bail!("it still runs"),
            }
        })
    }

    /// Ends it for good, at once, stopped or not.
    pub(crate) fn end(&mut self) -> Result<ExitStatus> {
        self.signal(self.end)?;
        // A stopped process sees no signal but SIGKILL.
        self.signal(Signal::CONT)?;
        if let Ok(status) = self.wait(END_WITHIN) {
            return Ok(status);
        }
        self.signal(Signal::KILL)?;
        self.wait(KILLED_WITHIN)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.kept {
            // Where even this fails, the kernel ends the process together with this one.
            let _ = self.end();
        }
    }
}

fn append_to(path: &Path) -> Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .with_context(|| format!("opening the log file {}", path.display()))
}
