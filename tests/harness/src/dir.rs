//! The temporary folder of a server, removed even when its owner is killed.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// Waits for a word on its standard input. When that ends without one, its owner has died: it removes the folder $1,
/// for up to ten seconds, since servers that are dying at the same time may still be writing there.
const JANITOR: &str = r#"
trap '' INT TERM HUP
if read -r word; then exit 0; fi
tries=0
while [ -e "$1" ] && [ $tries -lt 100 ]; do
  rm -rf -- "$1" 2>/dev/null
  sleep 0.1
  tries=$((tries + 1))
done
"#;

static KEEP: AtomicBool = AtomicBool::new(false);

/// Servers that are started from now on outlive this process, and neither a drop ends them nor removes their folders:
/// for someone who wants to look around in what the quickstart has built. Nothing turns it off again.
pub fn keep_servers() {
    KEEP.store(true, Ordering::Relaxed);
}

pub(crate) fn servers_are_kept() -> bool {
    KEEP.load(Ordering::Relaxed)
}

/// A temporary folder that is removed on drop, and by a small shell process when its owner dies without dropping it.
#[derive(Debug)]
pub struct ServerDir {
    folder: Option<TempDir>,
    path: std::path::PathBuf,
    /// `None`: the folder is to be kept.
    janitor: Option<Child>,
}

impl ServerDir {
    /// A new folder among the system's temporary ones (`TMPDIR`), with `name` in its name. Only its owner can read it.
    ///
    /// # Errors
    /// It cannot be created, or `sh` cannot be started.
    pub fn new(name: &str) -> Result<Self> {
        let folder = TempDir::with_prefix(format!("stoke-{name}-"))
            .with_context(|| format!("making a folder for {name}"))?;
        let path = folder.path().to_owned();
        let janitor = if servers_are_kept() {
            None
        } else {
            Some(start_janitor(&path)?)
        };
        Ok(Self {
            folder: Some(folder),
            path,
            janitor,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ServerDir {
    fn drop(&mut self) {
        let Some(mut janitor) = self.janitor.take() else {
            if let Some(folder) = self.folder.take() {
                let _kept = folder.keep();
            }
            return;
        };
        drop(self.folder.take());
        if let Some(mut stdin) = janitor.stdin.take() {
            // Where the word does not arrive, the janitor has nothing left to remove.
            let _ = stdin.write_all(b"removed\n");
        }
        let _ = janitor.wait();
    }
}

fn start_janitor(folder: &Path) -> Result<Child> {
    Command::new("sh")
        .args(["-c", JANITOR, "stoke-janitor"])
        .arg(folder)
        .current_dir("/")
        // Out of the owner's group: a Ctrl-C at the terminal must not reach it before it has done its job.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting sh to remove a server's folder")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_folder_is_gone_with_what_is_in_it() {
        let dir = ServerDir::new("test").unwrap();
        let path = dir.path().to_owned();
        std::fs::create_dir(path.join("inner")).unwrap();
        std::fs::write(path.join("inner/file"), "content").unwrap();
        drop(dir);
        assert!(!path.exists());
    }
}
