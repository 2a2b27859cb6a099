//! The files of a log, opened: found by their paths, URLs and globs, and decompressed where they are.

use std::collections::BTreeSet;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use super::LogError;
use crate::source::Sink;
use crate::source::compressed::decompressed;
use crate::source::place::{self, Place, shown};

/// What stands for the standard input.
pub(super) const STANDARD_INPUT: &str = "-";

/// The files that paths, URLs and globs name, each once, in the order of their names.
pub(super) fn files(names: &[String], sink: &Sink) -> Result<BTreeSet<PathBuf>, LogError> {
    let mut files = BTreeSet::new();
    for name in names {
        match Place::of(Path::new(name)).map_err(|source| failed(name, source))? {
            Place::Path(path) => of_pattern(&path, &mut files)?,
            Place::Object(pattern) => {
                let found = place::matching(&pattern, sink);
                let found = found.map_err(|source| failed(name, source))?;
                if found.is_empty() {
                    return Err(nothing_found(name));
                }
                files.extend(found.into_iter().map(PathBuf::from));
            }
        }
    }
    Ok(each_once(files))
}

/// The files of this machine that a path, or a glob, names.
fn of_pattern(path: &Path, files: &mut BTreeSet<PathBuf>) -> Result<(), LogError> {
    // What is no text is no pattern.
    let pattern = path.to_str().unwrap_or_default();
    if !pattern.contains(['*', '?', '[']) || path.exists() {
        files.insert(path.to_owned());
        return Ok(());
    }
    let mut any = false;
    let found = glob::glob(pattern).map_err(|source| LogError::Glob {
        path: pattern.to_owned(),
        what: source.to_string(),
    })?;
    for file in found {
        let file = file.map_err(|error| LogError::Open {
            path: error.path().to_owned(),
            source: error.into(),
        })?;
        // A pattern finds folders, too: those of older logs, say.
        if file.is_file() {
            any = true;
            files.insert(file);
        }
    }
    any.then_some(()).ok_or_else(|| nothing_found(pattern))
}

fn nothing_found(name: &str) -> LogError {
    LogError::NothingFound {
        path: name.to_owned(),
    }
}

fn failed(name: impl AsRef<Path>, source: io::Error) -> LogError {
    let path = shown(name.as_ref());
    LogError::Open { path, source }
}

/// Without those that are others under another name.
fn each_once(files: BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let mut known = BTreeSet::new();
    let is_new = |file: &PathBuf| {
        // One that is not there is told when it is opened.
        let same = std::fs::canonicalize(file).unwrap_or_else(|_| file.clone());
        known.insert(same)
    };
    files.into_iter().filter(is_new).collect()
}

/// A file's content.
pub(super) fn open(path: &Path, sink: &Sink) -> Result<Box<dyn BufRead>, LogError> {
    let opened = if path == Path::new(STANDARD_INPUT) {
        decompressed(io::stdin().lock())
    } else {
        place::open(path, sink).and_then(decompressed)
    };
    opened.map_err(|source| failed(path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_find_files_and_say_where_there_are_none() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["access.log", "access.log.1", "error.log", "odd[1].log"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("access.log.d")).unwrap();
        let found = |patterns: &[&str]| {
            let paths: Vec<String> = patterns
                .iter()
                .map(|name| folder.path().join(name).display().to_string())
                .collect();
            let (sink, _rows) = tokio::sync::mpsc::channel(1);
            files(&paths, &sink).map(|files| {
                let name =
                    |file: &PathBuf| file.file_name().unwrap().to_string_lossy().into_owned();
                files.iter().map(name).collect::<Vec<_>>()
            })
        };
        let link = folder.path().join("access.log.link");
        std::os::unix::fs::symlink(folder.path().join("access.log"), link).unwrap();
        assert_eq!(found(&["error.log", "error.log*"]).unwrap(), ["error.log"]);
        assert_eq!(
            found(&["access.log*", "access.log.1"]).unwrap(),
            ["access.log", "access.log.1"]
        );
        assert_eq!(found(&["odd[1].log"]).unwrap(), ["odd[1].log"]);
        let url = format!("file://{}/access.log*", folder.path().display());
        let (sink, _rows) = tokio::sync::mpsc::channel(1);
        let of_url = files(&[url], &sink).unwrap();
        assert_eq!(of_url.len(), 2, "{of_url:?}");
        assert_eq!(
            found(&["missing.log"]).unwrap(),
            ["missing.log"],
            "it is told when it is opened"
        );
        let error = found(&["*.gz"]).unwrap_err().to_string();
        assert!(error.contains("no file"), "{error}");
        assert!(found(&["[", "a***"]).is_err());
    }
}
