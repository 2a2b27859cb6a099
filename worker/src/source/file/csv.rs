//! Key files of comma-separated values.

mod records;

use std::io::{self, BufRead};

use super::{Ended, Sink, hand_on};
use crate::source::{BadLine, Rows, SourceFault, Whereabouts};
use records::Records;

/// How much of a record is parsed at once, in bytes.
const PARSED_BYTES: usize = 64 * 1024;

/// Reads a header line and records until the end, or until nobody takes the rows.
pub(super) fn read(reader: impl BufRead, rows: &mut Rows, sink: &Sink) -> Result<(), Ended> {
    let records = Records::new(reader, rows.skips());
    let mut reader = ::csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .buffer_capacity(PARSED_BYTES)
        .from_reader(records);
    let mut record = ::csv::ByteRecord::new();
    let mut has_header = false;
    loop {
        let more = reader.read_byte_record(&mut record);
        // What was passed over came before this record.
        let left_out = reader.get_mut().take_left_out();
        for bad in left_out.first {
            if has_header {
                rows.leave_out(bad)?;
            } else {
                return Err(SourceFault::Header(bad).into());
            }
        }
        rows.leave_out_more(left_out.more);
        let more = more.map_err(|error| Ended::Unreadable {
            at: Whereabouts::Line(reader.get_ref().record_line()),
            source: of_reader(error),
        })?;
        if !more {
            break;
        }
        let at = Whereabouts::Line(reader.get_ref().record_line());
        if !has_header {
            let names = texts(&record).map_err(|what| header_fault(at, what, &record))?;
            rows.columns(names)?;
            has_header = true;
            continue;
        }
        let values = texts(&record).and_then(|texts| {
            let (found, wanted) = (texts.len(), rows.column_count());
            if found == wanted {
                Ok(texts.into_iter().map(Some).collect())
            } else {
                let fields = if found == 1 { "field" } else { "fields" };
                Err(format!(
                    "it has {found} {fields} where the header has {wanted}"
                ))
            }
        });
        hand_on(rows.line(at, values, reader.get_ref().record())?, sink)?;
    }
    if !has_header {
        rows.columns(Vec::new())?;
    }
    Ok(())
}

/// What is said of a reader's error: of what kind it is must not be lost.
fn of_reader(error: ::csv::Error) -> io::Error {
    let kind = match error.kind() {
        ::csv::ErrorKind::Io(error) => error.kind(),
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

/// The fields as texts.
fn texts(record: &::csv::ByteRecord) -> Result<Vec<String>, String> {
    let text = |field: &[u8]| {
        let text = std::str::from_utf8(field).map_err(|_| "it is not UTF-8".to_owned())?;
        Ok(text.to_owned())
    };
    record.iter().map(text).collect()
}

fn header_fault(at: Whereabouts, what: String, record: &::csv::ByteRecord) -> SourceFault {
    SourceFault::Header(BadLine::showing(at, what, record.as_slice()))
}
