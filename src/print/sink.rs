//! Where the lists go that a command prints: standard output, or a file.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::Reader;
use crate::exit::{Exit, Failure, OrExit};

/// Where a list goes.
pub enum Sink {
    /// Standard output.
    Stdout,
    /// A file that has its name only when it is complete; what was begun is removed.
    File {
        /// Its name.
        path: PathBuf,
        /// What is removed where it does not become complete.
        begun: Begun,
        /// What is written to.
        writer: std::io::BufWriter<std::fs::File>,
    },
}

/// A file in the making: gone with this, unless it was made complete.
pub struct Begun(Option<PathBuf>);

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Where it cannot be removed, it is still not taken for the whole.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Sink {
    /// The file, or standard output where there is none.
    ///
    /// # Errors
    /// Where the file cannot be created.
    pub fn new(file: Option<&Path>) -> Result<Self, Failure> {
        match file {
            None => Ok(Self::Stdout),
            Some(path) => Self::file(path).or_exit(Exit::Usage),
        }
    }

    fn file(path: &Path) -> anyhow::Result<Self> {
        let mut name = path
            .file_name()
            .context("--file: names no file")?
            .to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let part = path.with_file_name(name);
        let file = std::fs::File::create_new(&part)
            .with_context(|| format!("--file: cannot create {}", part.display()))?;
        Ok(Self::File {
            path: path.to_owned(),
            begun: Begun(Some(part)),
            writer: std::io::BufWriter::new(file),
        })
    }

    /// Adds to it.
    ///
    /// # Errors
    /// Where it cannot be written for another reason than that nobody reads it.
    pub fn write(&mut self, bytes: &[u8]) -> Result<Reader, Failure> {
        match self {
            Self::Stdout => super::data(bytes),
            Self::File { path, writer, .. } => writer
                .write_all(bytes)
                .map(|()| Reader::Listens)
                .with_context(|| format!("cannot write {}", path.display()))
                .or_exit(Exit::Unreachable),
        }
    }

    /// It is complete.
    ///
    /// # Errors
    /// Where that cannot be written.
    pub fn finish(self) -> anyhow::Result<()> {
        let Self::File {
            path,
            mut begun,
            mut writer,
        } = self
        else {
            return Ok(());
        };
        let failed = || format!("cannot write {}", path.display());
        writer.flush().with_context(failed)?;
        writer.get_ref().sync_all().with_context(failed)?;
        if let Some(part) = &begun.0 {
            std::fs::rename(part, &path).with_context(failed)?;
        }
        begun.0 = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_file_has_its_name_only_when_it_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan.csv");
        let mut sink = Sink::file(&path).unwrap();
        sink.write(b"half").unwrap();
        assert!(!path.exists());
        drop(sink);
        assert_eq!(files(dir.path()), Vec::<String>::new());

        let mut sink = Sink::file(&path).unwrap();
        sink.write(b"whole").unwrap();
        sink.finish().unwrap();
        assert_eq!(files(dir.path()), ["plan.csv"]);
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
    }
}
