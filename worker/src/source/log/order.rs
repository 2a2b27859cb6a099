//! In which order the files of a log are read: rotation leaves the newest under the first name.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use stoke_core::access_log::AccessLog;

use super::format::Format;
use super::open;
use super::reading::without_end;
use crate::source::Sink;
use crate::source::file::without_mark;
use crate::source::place::Place;

/// So far it is looked for the first access that says when.
const LOOKED_AT: u64 = 1 << 20;

/// The files in the order of their first accesses; one that does not say when that was stands where it was written last. Where any is
/// no file (objects would be fetched for it, and what can be read only once would be lost), they are as they come, in the order of
/// their names. `further` is what lines must have.
pub(super) fn in_order(
    files: BTreeSet<PathBuf>,
    log: &AccessLog,
    further: &[String],
    sink: &Sink,
) -> Vec<PathBuf> {
    if files.len() < 2 {
        return files.into_iter().collect();
    }
    let mut times = Vec::with_capacity(files.len());
    for file in &files {
        match time_of(file, log, further, sink) {
            Some(time) => times.push(time),
            None => return files.into_iter().collect(),
        }
    }
    let mut timed: Vec<(i64, PathBuf)> = times.into_iter().zip(files).collect();
    timed.sort_by_key(|(time, _)| *time);
    timed.into_iter().map(|(_, file)| file).collect()
}

/// What a file is ordered by; `None` where it is no file.
fn time_of(path: &Path, log: &AccessLog, further: &[String], sink: &Sink) -> Option<i64> {
    if path == Path::new(open::STANDARD_INPUT) {
        return None;
    }
    let written = match Place::of(path).ok()? {
        Place::Path(path) => written(&path)?,
        Place::Object(_) => return None,
    };
    first_access(path, log, further, sink).or(Some(written))
}

/// When a file was written last, in seconds since 1970; `None` where it is no file.
fn written(path: &Path) -> Option<i64> {
    let about = std::fs::metadata(path)
        .ok()
        .filter(|about| about.is_file())?;
    let since = about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// When the first access was that says so.
fn first_access(path: &Path, log: &AccessLog, further: &[String], sink: &Sink) -> Option<i64> {
    let mut reader = open::open(path, sink).ok()?;
    let start = without_mark(&mut reader).ok()?;
    let mut reader = io::BufReader::new(io::Cursor::new(start).chain(reader).take(LOOKED_AT));
    let (mut format, mut line) = (None, Vec::new());
    // What cannot be read is told when it is its turn.
    while reader.read_until(b'\n', &mut line).ok()? > 0 {
        let text = without_end(&line);
        if !text.trim_ascii().is_empty() {
            if format.is_none() {
                let known = Format::of(&log.lines, &log.fields, further, text);
                format = known.ok().map(|(format, _)| format);
            }
            let access = format.as_ref().and_then(|format| format.read(text).ok());
            if let Some(time) = access.and_then(|access| access.at) {
                return Some(time);
            }
        }
        line.clear();
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use stoke_core::access_log::{Fields, Filter, Lines, UrlRule};

    use super::*;

    fn log() -> AccessLog {
        AccessLog {
            paths: Vec::new(),
            lines: Lines::Auto,
            fields: Fields::default(),
            urls: vec![UrlRule {
                pattern: "/p/{id}".parse().unwrap(),
                loader: 0,
            }],
            filter: Filter::default(),
            half_life_s: None,
        }
    }

    /// The names of files with this content, in the order in which they are read.
    fn order(files: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let content: BTreeMap<PathBuf, &str> = files
            .iter()
            .map(|(name, content)| (folder.path().join(name), *content))
            .collect();
        for (path, content) in &content {
            std::fs::write(path, content).unwrap();
        }
        let (sink, _rows) = tokio::sync::mpsc::channel(1);
        let ordered = in_order(content.into_keys().collect(), &log(), &[], &sink);
        let names = ordered.iter().filter_map(|path| path.file_name()?.to_str());
        names.collect::<Vec<_>>().join(" ")
    }

    fn at(day: u32) -> String {
        format!("127.0.0.1 - - [{day:02}/Nov/2026:00:00:00 +0000] \"GET /p/1 HTTP/1.1\" 200 5\n")
    }

    #[test]
    fn what_is_read_only_once_is_not_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("a.log");
        std::fs::write(&new, at(3)).unwrap();
        let (sink, _rows) = tokio::sync::mpsc::channel(1);
        for other in ["-", "s3://bucket/b.log"] {
            let files = BTreeSet::from([PathBuf::from(other), new.clone()]);
            let expected: Vec<PathBuf> = files.iter().cloned().collect();
            assert_eq!(in_order(files, &log(), &[], &sink), expected, "{other}");
        }
    }

    #[test]
    fn what_rotation_has_left_is_read_from_the_oldest_on() {
        let (old, older, new) = (at(2), at(1), format!("half a line\n\n{}", at(3)));
        let rotated = [("a.log", &*new), ("a.log.1", &*old), ("a.log.2", &*older)];
        assert_eq!(order(&rotated), "a.log.2 a.log.1 a.log");
        assert_eq!(order(&[("a", &new), ("b", &old), ("c", "")]), "b a c");
        assert_eq!(order(&[("a", &old), ("b", &old)]), "a b");
        // What does not say was written now.
        let json = r#"{"uri":"/p/1"}"#;
        assert_eq!(order(&[("a", json), ("b", &new), ("c", &old)]), "c b a");
        let zeros = "\0".repeat(2 << 20);
        assert_eq!(order(&[("a", &zeros), ("b", &new), ("c", &old)]), "c b a");
        let header = "time,url\n2026-11-01T00:00:00Z,/p/1\n";
        assert_eq!(order(&[("a", &old), ("b", header)]), "b a");
    }
}
