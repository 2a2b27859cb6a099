//! Key files.

use std::io::BufReader;

use stoke_core::job::OnBadLine;
use stoke_worker::doors;
use stoke_worker::source::file::{FileError, Format};
use stoke_worker::source::{Gathered, KEY_COLUMN, Rules, SourceFault, SourceRow, Whereabouts};
use tokio::sync::mpsc;

/// More chunks than the bytes of any input have rows for.
const CHUNKS_MAX: usize = 1 << 16;

/// What reading came to.
type Read = (Vec<SourceRow>, Result<Gathered, String>);

/// The first byte says the format, and what is done with bad lines. Whatever the pieces that the file comes in, it reads
/// the same. Rows have a key and as many values as there are columns, and are counted; what was left out is counted, its
/// first few shown; a file that is refused is so for a line that it has. Where bad lines are skipped, no good row is lost:
/// the rows of a file that is accepted are those of the same file read strictly.
///
/// # Panics
/// Where that is not so.
pub fn key_file(bytes: &[u8]) {
    let Some((how, file)) = bytes.split_first() else {
        return;
    };
    let format = match how & 3 {
        0 => Some(Format::Csv),
        1 => Some(Format::Ndjson),
        _ => None,
    };
    let on_bad_line = if how & 4 == 0 {
        OnBadLine::Fail
    } else {
        OnBadLine::Skip
    };
    let (rows, end) = read(file, format, on_bad_line, file.len().max(1));
    for pieces in [1, 7] {
        assert_eq!(
            read(file, format, on_bad_line, pieces),
            (rows.clone(), end.clone())
        );
    }
    for row in &rows {
        assert_eq!(row.values.len(), row.columns.len());
        assert!(
            row.get(KEY_COLUMN).is_some_and(|key| !key.is_empty()),
            "{row:?}"
        );
    }
    let Ok(gathered) = end else { return };
    assert_eq!(gathered.rows, rows.len() as u64);
    assert_eq!(gathered.examples.len() as u64, gathered.bad_lines.min(3));
    if gathered.bad_lines == 0 {
        let strictly = read(file, format, OnBadLine::Fail, file.len().max(1));
        assert_eq!(strictly, (rows, Ok(gathered)));
    }
}

fn read(file: &[u8], format: Option<Format>, on_bad_line: OnBadLine, pieces: usize) -> Read {
    let (sink, mut chunks) = mpsc::channel(CHUNKS_MAX);
    let rules = Rules {
        on_bad_line,
        ..Rules::default()
    };
    let reader = BufReader::with_capacity(pieces, file);
    let end = doors::key_file(reader, format, &rules, &sink);
    drop(sink);
    let mut rows = Vec::new();
    while let Ok(chunk) = chunks.try_recv() {
        assert!(!chunk.is_empty());
        rows.extend(chunk);
    }
    let end = end.map_err(|error| {
        assert_placed(&error, file);
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {cause:?}")
    });
    (rows, end)
}

fn assert_placed(error: &FileError, file: &[u8]) {
    let breaks = file.iter().filter(|byte| matches!(byte, b'\n' | b'\r'));
    let lines = breaks.count() as u64 + 1;
    match error {
        FileError::Content { source, .. } => match source {
            SourceFault::Header(bad) | SourceFault::Bad(bad) => {
                let Whereabouts::Line(line) = bad.at else {
                    panic!("{error:?}")
                };
                assert!((1..=lines).contains(&line), "{error:?}");
                assert!(!bad.to_string().chars().any(char::is_control), "{error:?}");
            }
            SourceFault::NoKey { .. } | SourceFault::DuplicateColumn(_) => {}
            SourceFault::MissingColumn { .. } | SourceFault::NoParts { .. } => {
                panic!("no template was given, and no parts")
            }
            SourceFault::Column { .. } => panic!("only Parquet has types"),
            SourceFault::WhichKey { .. } => panic!("a file has no pattern"),
        },
        other => panic!("memory can be read: {other:?}"),
    }
}
