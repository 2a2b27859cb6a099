//! Any program as a process under test: started, disturbed, ended, and what it said.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::dir::ServerDir;
use crate::process::Recipe;
use crate::service::Service;
use crate::wait::wait_for;

/// A program that is about to be started.
pub struct Launch {
    recipe: Recipe,
    dir: ServerDir,
}

impl Launch {
    /// Appends an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.recipe.arg(arg);
        self
    }

    /// Appends arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        for arg in args {
            self.recipe.arg(arg);
        }
        self
    }

    /// Sets a variable of its environment, which else is this process'.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.recipe.env(name, value);
        self
    }

    /// Writes `text` to the file `name` in the program's folder, and appends `flag` and the file's path to the
    /// arguments: `.config("--config", "worker.toml", text)`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn config(self, flag: &str, name: &str, text: &str) -> Result<Self> {
        let path = self.file(name, text)?;
        Ok(self.arg(flag).arg(path))
    }

    /// Gives it `text` as standard input; without this, it has none.
    ///
    /// # Errors
    /// The file that holds it cannot be written.
    pub fn stdin(mut self, text: &str) -> Result<Self> {
        self.recipe.stdin = Some(self.file("stdin", text)?);
        Ok(self)
    }

    /// The program's folder, where it will run.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts it, and waits for nothing.
    ///
    /// # Errors
    /// No process can be made. (A program that is not there is one that ends at once, with status 127.)
    pub fn start(self) -> Result<Program> {
        Ok(Program {
            service: Service::start("program", self.dir, self.recipe)?,
        })
    }

    fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.dir().join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }
}

/// A running program, or one that has ended. Killed on drop.
#[derive(Debug)]
pub struct Program {
    service: Service,
}

impl Program {
    /// A launch of `program`, which is looked up in PATH unless it is a path.
    ///
    /// # Errors
    /// No temporary folder can be made for it.
    #[expect(
        clippy::new_ret_no_self,
        reason = "reads as `Program::new(…).args(…).start()`, like a Command"
    )]
    pub fn new(program: impl AsRef<OsStr>) -> Result<Launch> {
        let mut recipe = Recipe::new(program);
        recipe.stdout_apart = true;
        Ok(Launch {
            recipe,
            dir: ServerDir::new("program")?,
        })
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.service.pid()
    }

    /// Its folder, where it runs. Removed on drop.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.service.dir()
    }

    /// What it has written to standard error so far, in all its runs.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn log(&self) -> Result<String> {
        self.service.log()
    }

    /// What it has written to standard output so far, in all its runs.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn stdout(&self) -> Result<String> {
        self.service.stdout()
    }

    /// How it ended; `None` while it runs.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        self.service.ended()
    }

    /// Ends it by SIGKILL, and returns when it has ended.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn kill9(&self) -> Result<()> {
        self.service.end()
    }

    /// Stops it (SIGSTOP) until [`cont`](Self::cont).
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn stop(&self) -> Result<()> {
        self.service.signal(Signal::STOP)
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn cont(&self) -> Result<()> {
        self.service.signal(Signal::CONT)
    }

    /// Asks it to end (SIGTERM): [`wait`](Self::wait) for it then.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn terminate(&self) -> Result<()> {
        self.service.signal(Signal::TERM)
    }

    /// Presses Ctrl-C (SIGINT): [`wait`](Self::wait) for it then.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn interrupt(&self) -> Result<()> {
        self.service.signal(Signal::INT)
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// It runs for longer than `at_most`.
    pub fn wait(&self, at_most: Duration) -> Result<ExitStatus> {
        self.service.wait(at_most)
    }

    /// Starts it again as it was started, in the same folder, killing it first if it runs.
    ///
    /// # Errors
    /// As [`Launch::start`].
    pub fn restart(&self) -> Result<()> {
        self.service.restart()
    }

    /// Asks `probe` until it gives a value, for at most `at_most`; a program that has ended is not waited for.
    ///
    /// # Errors
    /// The last error of `probe`, or how the program ended: with the end of its log.
    pub fn wait_for<T>(
        &self,
        what: &str,
        at_most: Duration,
        mut probe: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let outcome = wait_for(what, at_most, || {
            let ended = self.ended()?;
            match probe() {
                Ok(value) => Ok(Ok(value)),
                Err(error) => match ended {
                    Some(status) => Ok(Err(error.context(format!("the program ended ({status})")))),
                    None => Err(error),
                },
            }
        });
        outcome
            .and_then(|outcome| outcome)
            .with_context(|| format!("the program said:\n{}", self.service.last_lines()))
    }

    /// Waits until standard error or standard output has `text`.
    ///
    /// # Errors
    /// As [`wait_for`](Self::wait_for).
    pub fn wait_for_output(&self, text: &str, at_most: Duration) -> Result<()> {
        self.wait_for(&format!("the words {text:?}"), at_most, || {
            if self.log()?.contains(text) || self.stdout()?.contains(text) {
                return Ok(());
            }
            bail!("not said yet")
        })
    }
}
