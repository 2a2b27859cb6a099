//! The files of a log, opened: found by their paths and globs, and decompressed where they are.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::LogError;

/// How a file begins that gzip has made, and one of zstd's.
const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
/// How much is read at once, in bytes.
const BUFFER_BYTES: usize = 256 * 1024;

/// What stands for the standard input.
pub(super) const STANDARD_INPUT: &str = "-";

/// The files that paths and globs name, each once, in the order of their names.
pub(super) fn files(paths: &[String]) -> Result<BTreeSet<PathBuf>, LogError> {
    let mut files = BTreeSet::new();
    for path in paths {
        if !path.contains(['*', '?', '[']) || Path::new(path).exists() {
            files.insert(PathBuf::from(path));
            continue;
        }
        let mut any = false;
        let found = glob::glob(path).map_err(|source| LogError::Glob {
            path: path.clone(),
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
        if !any {
            return Err(LogError::NothingFound { path: path.clone() });
        }
    }
    Ok(each_once(files))
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
pub(super) fn open(path: &Path) -> Result<Box<dyn BufRead>, LogError> {
    let failed = |source| LogError::Open {
        path: path.to_owned(),
        source,
    };
    if path == Path::new(STANDARD_INPUT) {
        return decompressed(io::stdin().lock()).map_err(failed);
    }
    let file = File::open(path).map_err(failed)?;
    decompressed(file).map_err(failed)
}

/// The content, by how it begins and not by any name.
fn decompressed(reader: impl Read + 'static) -> io::Result<Box<dyn BufRead>> {
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, reader);
    let mut start = Vec::with_capacity(ZSTD.len());
    reader
        .by_ref()
        .take(ZSTD.len() as u64)
        .read_to_end(&mut start)?;
    let (is_gzip, is_zstd) = (start.starts_with(GZIP), start.starts_with(ZSTD));
    let whole = io::Cursor::new(start).chain(reader);
    // Several of them behind one another are one file, as after `cat`.
    Ok(if is_gzip {
        Box::new(BufReader::with_capacity(
            BUFFER_BYTES,
            flate2::bufread::MultiGzDecoder::new(whole),
        ))
    } else if is_zstd {
        Box::new(BufReader::with_capacity(
            BUFFER_BYTES,
            zstd::Decoder::with_buffer(whole)?,
        ))
    } else {
        Box::new(whole)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn content(bytes: &[u8]) -> io::Result<String> {
        let mut text = String::new();
        decompressed(io::Cursor::new(bytes.to_vec()))?.read_to_string(&mut text)?;
        Ok(text)
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_file_is_read_as_what_it_is_whatever_it_is_called() {
        assert_eq!(content(b"").unwrap(), "");
        assert_eq!(content(b"a").unwrap(), "a");
        assert_eq!(content(b"plain\n").unwrap(), "plain\n");
        assert_eq!(content(&gzip("a\nb\n")).unwrap(), "a\nb\n");
        let two = [gzip("a\n"), gzip("b\n")].concat();
        assert_eq!(content(&two).unwrap(), "a\nb\n");
        let frame = |text: &str| zstd::encode_all(text.as_bytes(), 1).unwrap();
        assert_eq!(
            content(&[frame("a\n"), frame("b\n")].concat()).unwrap(),
            "a\nb\n"
        );
        for cut in [gzip(&"line\n".repeat(1000)), frame(&"line\n".repeat(1000))] {
            let error = content(&cut[..cut.len() - 9]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

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
            files(&paths).map(|files| {
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
