//! A small disk of its own for a folder, that can be full: mounted in a name space that only those see who enter it. That
//! needs no rights where the kernel lets users make name spaces; where it does not, root's.

use std::fs::{File, remove_file};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use stoke_harness::{Launch, Program};

const MOUNTED_WITHIN: Duration = Duration::from_secs(10);
/// What is written at once.
static CHUNK: [u8; 64 << 10] = [0; 64 << 10];

/// A way to a name space of one's own: what makes it, and what enters it.
#[derive(Clone, Copy, Debug)]
struct Way {
    make: &'static [&'static str],
    enter: &'static [&'static str],
}

/// Any user's way; where that is closed, root's; and root's where the root is no mount of its own, as in a changed one.
const WAYS: [Way; 3] = [
    Way {
        make: &["--user", "--map-root-user", "--mount"],
        enter: &["--user", "--mount", "--preserve-credentials"],
    },
    Way {
        make: &["--mount"],
        enter: &["--mount"],
    },
    Way {
        make: &["--mount", "--propagation", "unchanged"],
        enter: &["--mount", "--root", "--wd"],
    },
];

/// A disk; it is gone when this is dropped and everybody who entered has ended.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    holder: Program,
    way: Way,
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one of so many MiB on this folder.
    pub(crate) fn mount(folder: &Path, mebibytes: u32) -> Result<Self> {
        let [users, roots, changed] = WAYS;
        let mount = |way| Self::mount_in(way, folder, mebibytes);
        mount(users)
            .or_else(|closed| mount(roots).context(format!("{closed:#}")))
            .or_else(|closed| mount(changed).context(format!("{closed:#}")))
            .context("mounting a small disk in a name space of its own")
    }

    fn mount_in(way: Way, folder: &Path, mebibytes: u32) -> Result<Self> {
        let mount = format!(
            "mount -t tmpfs -o size={mebibytes}m tmpfs \"$1\" && echo mounted && exec sleep infinity"
        );
        let holder = Program::new("unshare")?
            .args(way.make)
            .args(["sh", "-c", &mount, "sh"])
            .arg(folder)
            .start()?;
        holder.wait_for_output("mounted", MOUNTED_WITHIN)?;
        Ok(Self {
            holder,
            way,
            folder: folder.to_owned(),
        })
    }

    /// A launch of `program` that finds the disk where the folder is.
    pub(crate) fn launch(&self, program: &Path) -> Result<Launch> {
        let launch = Program::new("nsenter")?
            .args(["--target", &self.holder.pid().to_string()])
            .args(self.way.enter);
        Ok(launch.arg("--").arg(program))
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
        let disk = match SmallDisk::mount(folder.path(), 1) {
            Ok(disk) => disk,
            // As in a container without rights. The campaign needs them; what else is tested does not.
            Err(error) if format!("{error:#}").contains("not permitted") => {
                println!("nothing is mounted on this machine, and nothing seen: {error:#}");
                return;
            }
            Err(error) => panic!("{error:#}"),
        };
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
