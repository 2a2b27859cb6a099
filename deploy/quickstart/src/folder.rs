//! The one temporary folder that everything is in, and the script in it that ends everything.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow};
use stoke_harness::{ServerDir, keep_servers};

const STOP: &str = include_str!("stop.sh");

/// A temporary folder. Removed on drop, and when this process dies without that; unless it is to be kept.
pub(crate) struct Folder {
    _dir: ServerDir,
    /// Without links: as the kernel names it.
    path: PathBuf,
}

impl Folder {
    /// Makes it, and has all servers that are started from now on make theirs in it. Only once in a process.
    pub(crate) fn new(keep: bool) -> Result<Self> {
        if keep {
            keep_servers();
        }
        let dir = ServerDir::new("quickstart")?;
        let path = fs::canonicalize(dir.path()).context("resolving the temporary folder")?;
        // PostgreSQL's own account, where this one is root's, passes through it.
        fs::set_permissions(&path, Permissions::from_mode(0o711))
            .with_context(|| format!("opening {} for others", path.display()))?;
        tempfile::env::override_temp_dir(&path).map_err(|other| {
            anyhow!("temporary folders are already made in {}", other.display())
        })?;
        let script = format!("set -- '{}' 0\n{STOP}", path.display());
        fs::write(path.join("stop"), script).context("writing the script that stops")?;
        Ok(Self { _dir: dir, path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Ends all servers in the folder, waits until they have ended and removes the folder; ends with `status`. It needs
    /// neither this process nor, while it works, the folder.
    pub(crate) fn stop(&self, status: u8) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", STOP, "stoke-quickstart-stop"]);
        command.arg(&self.path).arg(status.to_string());
        command
    }

    /// The same for people, with status 0.
    pub(crate) fn stop_line(&self) -> String {
        format!("sh {}", self.path.join("stop").display())
    }
}
