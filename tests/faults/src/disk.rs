//! A small disk of its own for a folder, that can be full: mounted in a name space that only those see who enter it, which
//! needs no rights where the kernel lets users make name spaces.

use std::fs::{File, remove_file};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use stoke_harness::{Launch, Program};

const MOUNTED_WITHIN: Duration = Duration::from_secs(10);
/// What is written at once.
static CHUNK: [u8; 64 << 10] = [0; 64 << 10];

/// A disk; it is gone when this is dropped and everybody who entered has ended.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    holder: Program,
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one of so many MiB on this folder.
    pub(crate) fn mount(folder: &Path, mebibytes: u32) -> Result<Self> {
        let mount = format!(
            "mount -t tmpfs -o size={mebibytes}m tmpfs \"$1\" && echo mounted && exec sleep infinity"
        );
        let holder = Program::new("unshare")?
            .args([
                "--user",
                "--map-root-user",
                "--mount",
                "sh",
                "-c",
                &mount,
                "sh",
            ])
            .arg(folder)
            .start()?;
        holder
            .wait_for_output("mounted", MOUNTED_WITHIN)
            .context("mounting a small disk in a name space of its own")?;
        Ok(Self {
            holder,
            folder: folder.to_owned(),
        })
    }

    /// A launch of `program` that finds the disk where the folder is.
    pub(crate) fn launch(&self, program: &Path) -> Result<Launch> {
        let launch = Program::new("nsenter")?
            .args(["--target", &self.holder.pid().to_string()])
            .args(["--user", "--mount", "--preserve-credentials", "--"]);
        Ok(launch.arg(program))
    }

    /// Fills it to the last byte.
    pub(crate) fn fill(&self) -> Result<()> {
        let path = self.filler();
        let mut file = File::create(&path).context("filling the disk")?;
        loop {
            match file.write(&CHUNK) {
                Ok(written) if written > 0 => {}
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => bail!("filling the disk: {error}"),
            }
        }
    }

    /// Makes room again.
    pub(crate) fn free(&self) -> Result<()> {
        remove_file(self.filler()).context("making room on the disk")
    }

    /// As seen from outside.
    fn filler(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.pid()));
        let inside = self.folder.strip_prefix("/").unwrap_or(&self.folder);
        root.join(inside).join("filler")
    }
}

#[cfg(test)]
mod tests {
    use stoke_harness::ServerDir;

    use super::*;

    #[test]
    fn whoever_enters_finds_it_full_until_there_is_room_again() {
        let folder = ServerDir::new("disk").unwrap();
        let disk = SmallDisk::mount(folder.path(), 1).unwrap();
        let writes = |name: &str| {
            let path = folder.path().join(name);
            let shell = format!("echo something > {}", path.display());
            let program = disk.launch(Path::new("sh")).unwrap().args(["-c", &shell]);
            let status = program.start().unwrap().wait(MOUNTED_WITHIN).unwrap();
            status.success()
        };
        assert!(writes("a"));
        disk.fill().unwrap();
        assert!(!writes("b"));
        disk.free().unwrap();
        assert!(writes("c"));
        assert!(
            !folder.path().join("a").exists(),
            "outside there is no disk"
        );
    }
}
