//! Exit codes that scripts can use.

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is done.
    Succeeded = 0,
    /// The job is over, but entries failed.
    FailedEntries = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// The job was aborted.
    Aborted = 3,
    /// Something could not be reached.
    Unreachable = 4,
    /// Stopped by Ctrl-C while only looking on.
    Interrupted = 130,
}

/// Says with which code an error ends the command.
pub trait OrExit<T> {
    /// This one.
    fn or_exit(self, exit: Exit) -> Result<T, (Exit, anyhow::Error)>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Result<T, (Exit, anyhow::Error)> {
        self.map_err(|error| (exit, error.into()))
    }
}
