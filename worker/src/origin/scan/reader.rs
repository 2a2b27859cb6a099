//! From the rows of a scan's statement to what is asked of them; the same for every database.

use bytes::Bytes;
use stoke_core::plan::KEY_BYTES_MAX;
use stoke_core::scan::Order;
use stoke_core::template::Template;

use super::{PAGE_BYTES_MAX, PageRow};
use crate::catalog::LoaderSpec;
use crate::origin::composite;
use crate::origin::encode::{Encoder, NoSuchColumn, Row, position};
use crate::origin::rewrite::Dialect;
use crate::origin::sheet::Reason;
use crate::origin::{DuplicateColumn, refuse_duplicates};

/// What a row takes here beside its texts, about.
const ROW_BYTES: usize = 200;

/// What is read of rows.
#[derive(Clone, Copy, Debug)]
pub(in crate::origin) enum Reads<'a> {
    /// The text of the first column, which is no place.
    Text,
    /// The place, in these columns.
    Place(&'a Order),
    /// All that this loader makes of them, and the place in these columns.
    Rows(&'a LoaderSpec, &'a Order),
}

/// What kind of places an order has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::origin) enum Places {
    /// Whole numbers of one column, written in decimal.
    Integers,
    /// Of one column, written as UUIDs, and in the order of their bytes.
    Uuids,
    /// Whatever they are, nobody can say here what lies between two of them.
    #[default]
    Others,
}

/// What a statement gave.
#[derive(Debug, Default)]
pub(in crate::origin) struct Taken {
    /// Of rows: each. Of places and texts: `at` alone is of use.
    pub(in crate::origin) rows: Vec<PageRow>,
    pub(in crate::origin) bytes: usize,
    pub(in crate::origin) places: Places,
}

impl Taken {
    /// Whether no more rows are taken, for they have too many bytes.
    pub(in crate::origin) const fn is_full(&self) -> bool {
        self.bytes > PAGE_BYTES_MAX
    }

    fn push(&mut self, row: PageRow) {
        let key = row.key.as_ref().map_or(0, Bytes::len);
        let value = row.made.as_ref().map_or(0, |made| made.value.size_bytes());
        self.bytes += ROW_BYTES + row.at.len() + key + value;
        self.rows.push(row);
    }
}

/// Why rows cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::origin) enum ReadError {
    #[error("the query gives no columns: write a SELECT")]
    NoColumns,
    #[error("the query gives no column {by:?} to scan by, but {}: select it", found.join(", "))]
    NoPlace { by: String, found: Vec<String> },
    #[error("the key's template names the column {name:?}, but the query gives {}: select it, or correct the template", found.join(", "))]
    NoKeyColumn { name: String, found: Vec<String> },
    #[error(transparent)]
    Column(#[from] NoSuchColumn),
    #[error(transparent)]
    Duplicate(#[from] DuplicateColumn),
    #[error("a row's {by:?} is no place to go on from: {reason}")]
    Place { by: String, reason: Reason },
}

/// Reads rows with certain columns.
#[derive(Debug)]
pub(in crate::origin) struct Reader {
    /// The columns with the place, and their names; none where no place is read.
    places: Vec<(usize, String)>,
    made: Option<(Key, Encoder)>,
    buffer: Vec<u8>,
}

/// Makes the cache keys.
#[derive(Debug)]
struct Key {
    template: Template,
    columns: Vec<(String, usize)>,
}

impl Reader {
    pub(in crate::origin) fn new(
        reads: Reads<'_>,
        columns: &[String],
        dialect: Dialect,
    ) -> Result<Self, ReadError> {
        if columns.is_empty() {
            return Err(ReadError::NoColumns);
        }
        refuse_duplicates(columns)?;
        let by = match reads {
            Reads::Text => &[],
            Reads::Place(by) | Reads::Rows(_, by) => by.columns(),
        };
        let place = |name: &String| {
            let found = position(columns, name, dialect);
            let found = found.ok_or_else(|| ReadError::NoPlace {
                by: name.clone(),
                found: columns.to_vec(),
            })?;
            Ok::<_, ReadError>((found, name.clone()))
        };
        let places = by.iter().map(place).collect::<Result<_, _>>()?;
        let made = match reads {
            Reads::Rows(loader, _) => Some((
                Key::new(&loader.key, columns, dialect)?,
                Encoder::new(loader, columns, dialect)?,
            )),
            Reads::Text | Reads::Place(_) => None,
        };
        Ok(Self {
            places,
            made,
            buffer: Vec::new(),
        })
    }

    /// The columns with the place, in the order's order.
    pub(in crate::origin) fn places(&self) -> impl Iterator<Item = usize> {
        self.places.iter().map(|(column, _)| *column)
    }

    /// Takes a row. `place` makes the text of a part of its place: of this number, in this column.
    pub(in crate::origin) fn read<R: Row>(
        &mut self,
        row: &R,
        place: impl Fn(&R, usize, usize) -> Result<String, Reason>,
        taken: &mut Taken,
    ) -> Result<(), ReadError> {
        let part_of = |part: usize| {
            let (column, by) = &self.places[part];
            let of_row = match row.is_null(*column) {
                Ok(true) => Err("it is NULL".to_owned()),
                Ok(false) => place(row, part, *column),
                Err(reason) => Err(reason),
            };
            of_row.map_err(|reason| ReadError::Place {
                by: by.clone(),
                reason,
            })
        };
        let at = match self.places.len() {
            0 => row.text_of(0).ok().flatten().unwrap_or_default(),
            1 => part_of(0)?,
            several => {
                let parts = (0..several).map(part_of).collect::<Result<Vec<_>, _>>()?;
                composite::argument(parts.iter().map(String::as_str))
            }
        };
        let (key, made) = match &self.made {
            Some((key, encoder)) => (key.of(row), encoder.encode(row, &mut self.buffer)),
            None => (Ok(Bytes::new()), Err(String::new())),
        };
        taken.push(PageRow { at, key, made });
        Ok(())
    }
}

impl Key {
    fn new(template: &Template, columns: &[String], dialect: Dialect) -> Result<Self, ReadError> {
        let column = |name: &str| {
            let found = position(columns, name, dialect);
            let found = found.ok_or_else(|| ReadError::NoKeyColumn {
                name: name.to_owned(),
                found: columns.to_vec(),
            })?;
            Ok::<_, ReadError>((name.to_owned(), found))
        };
        Ok(Self {
            columns: template.columns().map(column).collect::<Result<_, _>>()?,
            template: template.clone(),
        })
    }

    fn of(&self, row: &impl Row) -> Result<Bytes, Reason> {
        let mut texts = Vec::with_capacity(self.columns.len());
        for (name, column) in &self.columns {
            let text = row.text_of(*column)?;
            let text = text.filter(|text| !text.is_empty());
            let text = text.ok_or_else(|| {
                format!("the column {name:?}, of which its key is made, is empty or NULL")
            })?;
            texts.push((name.as_str(), text));
        }
        let text = |wanted: &str| {
            let found = texts.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, text)| text.as_bytes())
        };
        let key = self
            .template
            .fill(text)
            .map_err(|error| error.to_string())?;
        if key.len() > KEY_BYTES_MAX {
            return Err(format!(
                "its key has {} bytes, of at most {KEY_BYTES_MAX}",
                key.len()
            ));
        }
        Ok(key.into())
    }
}
