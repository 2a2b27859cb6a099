//! Key files in Parquet.
//!
//! One row group after another is read, and of it some hundred rows at a time of the columns that something is made of: what is in
//! memory is a page of each of those (Parquet's own unit, mostly a mebibyte), however large the file is. Columns that nobody asks
//! for are not even looked at, be they nested or not.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::data_type::DataType;
use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{ChunkReader, FileReader, RowGroupReader, SerializedFileReader};
use ::parquet::schema::types::SchemaDescriptor;

use super::{Ended, Sink, hand_on};
use crate::source::place::Place;
use crate::source::{Rows, SourceFault, Whereabouts};
use value::{Cell, Kind, described};

#[cfg(test)]
mod tests;
mod value;

/// How many rows are read at once, of each column.
const BATCH_ROWS: usize = 256;

/// Reads the file, or object, of this name.
pub(super) fn read_named(name: &Path, rows: &mut Rows, sink: &Sink) -> Result<(), Ended> {
    match Place::of(name).map_err(Ended::Unopened)? {
        Place::Path(path) => read(File::open(path).map_err(Ended::Unopened)?, rows, sink),
        #[cfg(feature = "object-stores")]
        Place::Object(url) => {
            use crate::source::objects::{Object, Ranged};
            let object = Object::open(&url, sink).map_err(Ended::Unopened)?;
            read(Ranged::new(object), rows, sink)
        }
        #[cfg(not(feature = "object-stores"))]
        Place::Object(_) => Err(Ended::Unopened(crate::source::place::not_built())),
    }
}

/// Reads all rows, or until nobody takes them.
pub(crate) fn read<R: ChunkReader + 'static>(
    file: R,
    rows: &mut Rows,
    sink: &Sink,
) -> Result<(), Ended> {
    let mut row = 0;
    // Its decoders panic at some files that are damaged. What they leave behind is not looked at again.
    let reading = AssertUnwindSafe(|| read_groups(file, &mut row, rows, sink));
    catch_unwind(reading).unwrap_or_else(|_| {
        let what = "it is damaged: its pages do not hold what they should";
        let source = io::Error::new(io::ErrorKind::InvalidData, what);
        let at = Whereabouts::Row(row + 1);
        Err(Ended::Unreadable { at, source })
    })
}

/// `row` is how many rows were read.
fn read_groups<R: ChunkReader + 'static>(
    file: R,
    row: &mut u64,
    rows: &mut Rows,
    sink: &Sink,
) -> Result<(), Ended> {
    let unreadable = |row: &u64| {
        let at = Whereabouts::Row(row + 1);
        move |source| Ended::Unreadable {
            at,
            source: of_parquet(source),
        }
    };
    let file = SerializedFileReader::new(file).map_err(unreadable(row))?;
    let schema = file.metadata().file_metadata().schema_descr();
    let names = schema.root_schema().get_fields().iter();
    let names: Vec<String> = names.map(|field| field.name().to_owned()).collect();
    rows.columns(names.clone())?;
    let columns = columns(schema, &names, rows)?;
    for group in 0..file.num_row_groups() {
        let group = file.get_row_group(group).map_err(unreadable(row))?;
        let expected = u64::try_from(group.metadata().num_rows()).unwrap_or(0);
        let mut batches = Batches::new(&*group, &columns).map_err(unreadable(row))?;
        let mut found = 0;
        while let Some(batch) = batches.next().map_err(unreadable(row))? {
            if sink.is_closed() {
                return Err(Ended::Stopped);
            }
            for cells in batch {
                *row += 1;
                found += 1;
                let values = values(&columns, &cells, names.len());
                hand_on(rows.row(Whereabouts::Row(*row), values)?, sink)?;
            }
        }
        if found != expected {
            let what = format!("a row group has {found} rows where it says {expected}");
            return Err(unreadable(row)(ParquetError::General(what)));
        }
    }
    Ok(())
}

/// A column that something is made of.
struct Column {
    /// Its place among all columns, and among those that are not made of others.
    place: usize,
    leaf: usize,
    name: String,
    kind: Kind,
}

/// The columns that are wanted.
fn columns(
    schema: &SchemaDescriptor,
    names: &[String],
    rows: &Rows,
) -> Result<Vec<Column>, SourceFault> {
    let column = |(place, name): (usize, &String)| {
        let fault = |what: String| SourceFault::Column {
            column: name.clone(),
            what,
        };
        let leaf =
            (0..schema.num_columns()).find(|leaf| schema.get_column_root_idx(*leaf) == place);
        let column = leaf.map(|leaf| (leaf, schema.column(leaf)));
        let flat = column
            .filter(|(_, column)| column.path().parts().len() == 1 && column.max_rep_level() == 0);
        let Some((leaf, column)) = flat else {
            return Err(fault(
                "it is nested: give what is wanted of it a column of its own".to_owned(),
            ));
        };
        let kind = Kind::of(&column).ok_or_else(|| {
            fault(format!(
                "nothing here makes a text of {}: give it as a text, a number or a time",
                described(&column)
            ))
        })?;
        Ok(Column {
            place,
            leaf,
            name: name.clone(),
            kind,
        })
    };
    rows.wanted(names).into_iter().map(column).collect()
}

/// A row's values, in the places of their columns; NULL where nobody asks.
fn values(
    columns: &[Column],
    cells: &[Option<Cell>],
    count: usize,
) -> Result<Vec<Option<String>>, String> {
    let mut values = vec![None; count];
    for (column, cell) in columns.iter().zip(cells) {
        if let Some(cell) = cell {
            let text = column.kind.text(cell);
            let text = text.map_err(|what| format!("{:?}: {what}", column.name))?;
            values[column.place] = Some(text);
        }
    }
    Ok(values)
}

/// The rows of a group, some at a time.
struct Batches {
    readers: Vec<ColumnReader>,
}

impl Batches {
    fn new(group: &dyn RowGroupReader, columns: &[Column]) -> Result<Self, ParquetError> {
        let readers = columns
            .iter()
            .map(|column| group.get_column_reader(column.leaf));
        Ok(Self {
            readers: readers.collect::<Result<_, _>>()?,
        })
    }

    /// The next rows, each with a cell for every column; `None` at the end.
    fn next(&mut self) -> Result<Option<impl Iterator<Item = Vec<Option<Cell>>>>, ParquetError> {
        let read = self.readers.iter_mut().map(cells);
        let columns: Vec<Vec<Option<Cell>>> = read.collect::<Result<_, _>>()?;
        let rows = columns.first().map_or(0, Vec::len);
        if columns.iter().any(|cells| cells.len() != rows) {
            let what = "its columns have different numbers of rows";
            return Err(ParquetError::General(what.to_owned()));
        }
        let mut columns: Vec<_> = columns.into_iter().map(Vec::into_iter).collect();
        let row = move |_| {
            columns
                .iter_mut()
                .map(|cells| cells.next().flatten())
                .collect()
        };
        Ok((rows > 0).then(|| (0..rows).map(row)))
    }
}

fn cells(reader: &mut ColumnReader) -> Result<Vec<Option<Cell>>, ParquetError> {
    match reader {
        ColumnReader::BoolColumnReader(reader) => cells_of(reader, Cell::Bool),
        ColumnReader::Int32ColumnReader(reader) => cells_of(reader, |n| Cell::Int(n.into())),
        ColumnReader::Int64ColumnReader(reader) => cells_of(reader, Cell::Int),
        ColumnReader::Int96ColumnReader(reader) => cells_of(reader, Cell::Int96),
        ColumnReader::FloatColumnReader(reader) => cells_of(reader, Cell::Float),
        ColumnReader::DoubleColumnReader(reader) => cells_of(reader, Cell::Double),
        ColumnReader::ByteArrayColumnReader(reader) => cells_of(reader, Cell::Bytes),
        ColumnReader::FixedLenByteArrayColumnReader(reader) => {
            cells_of(reader, |bytes| Cell::Bytes(bytes.into()))
        }
    }
}

fn cells_of<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    cell: impl Fn(T::T) -> Cell,
) -> Result<Vec<Option<Cell>>, ParquetError> {
    let (mut levels, mut values) = (Vec::new(), Vec::with_capacity(BATCH_ROWS));
    reader.read_records(BATCH_ROWS, Some(&mut levels), None, &mut values)?;
    let mut values = values.into_iter().map(cell);
    // A column that has no NULLs has no levels.
    if levels.is_empty() {
        return Ok(values.map(Some).collect());
    }
    let cell = |level: i16| if level > 0 { values.next() } else { None };
    Ok(levels.into_iter().map(cell).collect())
}

/// What is said of what the parser says: an error of the file itself, or of the store, is that.
fn of_parquet(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(source) => *source,
            Err(source) => io::Error::other(source),
        },
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}
