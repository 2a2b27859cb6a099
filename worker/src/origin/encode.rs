//! From a row to a value, in the form that its loader asks for.
//!
//! Pure, and the same for every database: how a column's value is written is the database's [`Row`], what they make up
//! together is decided here.

use bytes::Bytes;
use stoke_core::template::Template;
use stoke_core::value::Form;

use super::rewrite::Dialect;
use super::sheet::Reason;
use super::{Made, expiry};
use crate::catalog::LoaderSpec;
use crate::value::Value;

mod messagepack;

/// NULL in JSON.
const NULL: &[u8] = b"null";

/// A row as its database gives it. Columns are counted from 0.
pub(super) trait Row {
    /// Whether a column is NULL.
    fn is_null(&self, column: usize) -> Result<bool, Reason>;

    /// Writes a column that is not NULL as JSON.
    fn json(&self, column: usize, out: &mut Vec<u8>) -> Result<(), Reason>;

    /// Writes a column that is not NULL as text.
    fn text(&self, column: usize, out: &mut Vec<u8>) -> Result<(), Reason>;

    /// Writes a column as JSON, be it NULL.
    fn json_or_null(&self, column: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        if self.is_null(column)? {
            out.extend_from_slice(NULL);
            return Ok(());
        }
        self.json(column, out)
    }

    /// What a column that is not NULL holds.
    fn scalar(&self, column: usize) -> Result<Scalar<'_>, Reason>;

    /// A key that stands in a column, written into `text`; `None` where it is none.
    fn key<'t>(&self, column: usize, text: &'t mut Vec<u8>) -> Option<&'t str> {
        text.clear();
        if self.is_null(column).ok()? {
            return None;
        }
        self.text(column, text).ok()?;
        std::str::from_utf8(text).ok()
    }

    /// A column as text; `None` is NULL.
    fn text_of(&self, column: usize) -> Result<Option<String>, Reason> {
        if self.is_null(column)? {
            return Ok(None);
        }
        let mut text = Vec::new();
        self.text(column, &mut text)?;
        let text = String::from_utf8(text);
        text.map(Some).map_err(|_| not_utf8(column))
    }
}

/// Why a text cannot be used, though it may be one to its database.
fn not_utf8(column: usize) -> Reason {
    format!("the text in column number {} is not UTF-8", column + 1)
}

/// What a column holds, for forms that tell more kinds of values apart than JSON does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar<'r> {
    Bool(bool),
    Integer(i64),
    Unsigned(u64),
    Single(f32),
    Double(f64),
    Bytes(&'r [u8]),
    /// What its text form says.
    Text,
    /// What its JSON form says: documents and arrays.
    Json,
}

impl Scalar<'_> {
    /// A whole number of 64 bits, signed or not.
    pub(super) fn whole(number: i128) -> Option<Self> {
        let signed = i64::try_from(number).map(Self::Integer);
        signed
            .or_else(|_| u64::try_from(number).map(Self::Unsigned))
            .ok()
    }
}

/// Makes a loader's values.
#[derive(Debug)]
pub(super) struct Encoder {
    columns: Columns,
    /// The columns with the expiry and the version.
    expiry: Option<usize>,
    version: Option<usize>,
    bytes_max: u64,
}

/// What a form takes of which columns.
#[derive(Debug)]
enum Columns {
    /// What stands before each column's value in a JSON object.
    Object(Vec<Vec<u8>>),
    /// Each column's field.
    Hash(Vec<Bytes>),
    /// What stands before each column's value in a MessagePack map.
    MessagePack(Vec<Vec<u8>>),
    /// One, by its number.
    Column(usize),
    /// Those that a template names, by name and number.
    Template(Template, Vec<(String, usize)>),
}

/// A loader names a column that the query does not give.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the loader names the column {wanted:?}, but the query gives {}: select it", found.join(", "))]
pub(super) struct NoSuchColumn {
    wanted: String,
    found: Vec<String>,
}

/// The column of this name: the one that is spelled the same or, where the database takes upper and lower case for one, the
/// first that it would take for it.
pub(super) fn position(columns: &[String], wanted: &str, dialect: Dialect) -> Option<usize> {
    let exactly = columns.iter().position(|column| column == wanted);
    let folds = dialect != Dialect::Postgres;
    exactly.or_else(|| {
        let alike = |column: &String| folds && column.eq_ignore_ascii_case(wanted);
        columns.iter().position(alike)
    })
}

impl Encoder {
    /// For a loader whose query gives these columns.
    pub(super) fn new(
        loader: &LoaderSpec,
        columns: &[String],
        dialect: Dialect,
    ) -> Result<Self, NoSuchColumn> {
        let number = |wanted: &str| {
            position(columns, wanted, dialect).ok_or_else(|| NoSuchColumn {
                wanted: wanted.to_owned(),
                found: columns.to_vec(),
            })
        };
        let columns = match &loader.value.form {
            Form::Object | Form::Array => objects(columns),
            Form::Hash => {
                let field = |name: &String| Bytes::copy_from_slice(name.as_bytes());
                Columns::Hash(columns.iter().map(field).collect())
            }
            Form::MessagePack => {
                Columns::MessagePack(columns.iter().map(|name| messagepack::key(name)).collect())
            }
            Form::Column(name) => Columns::Column(number(name)?),
            Form::Template(template) => {
                let named = template
                    .columns()
                    .map(|name| Ok((name.to_owned(), number(name)?)));
                Columns::Template(template.clone(), named.collect::<Result<_, _>>()?)
            }
        };
        let named = |column: Option<&String>| column.map(|name| number(name)).transpose();
        let versions = loader.value.versions.as_ref();
        Ok(Self {
            columns,
            expiry: named(loader.value.expiry_column.as_ref())?,
            version: named(versions.map(|versions| &versions.column))?,
            bytes_max: loader.max_value_bytes,
        })
    }

    /// For JSON objects of rows with these columns, however large.
    pub(super) fn of_objects(columns: &[String]) -> Self {
        Self {
            columns: objects(columns),
            expiry: None,
            version: None,
            bytes_max: u64::MAX,
        }
    }

    /// Makes the value of one row; of a form that takes many, a row's part of it. `buffer` is only there to be used again.
    pub(super) fn encode(&self, row: &impl Row, buffer: &mut Vec<u8>) -> Result<Made, Reason> {
        let expires_at = match self.expiry {
            Some(column) => expiry::expires_at(row, column)?,
            None => None,
        };
        let version = match self.version {
            Some(column) if row.is_null(column)? => {
                return Err("the column with the version is NULL".into());
            }
            Some(column) => {
                buffer.clear();
                raw(row, column, buffer)?;
                Some(Bytes::copy_from_slice(buffer))
            }
            None => None,
        };
        Ok(Made {
            value: self.value(row, buffer)?,
            expires_at,
            version,
        })
    }

    fn value(&self, row: &impl Row, buffer: &mut Vec<u8>) -> Result<Value, Reason> {
        buffer.clear();
        match &self.columns {
            Columns::Hash(fields) => return self.hash(fields, row, buffer),
            Columns::Object(prefixes) => self.object(prefixes, row, buffer)?,
            Columns::MessagePack(keys) => self.messagepack(keys, row, buffer)?,
            Columns::Column(column) => raw(row, *column, buffer)?,
            Columns::Template(template, named) => {
                *buffer = self.template(template, named, row)?;
            }
        }
        self.check(buffer.len())?;
        Ok(Value::String(Bytes::copy_from_slice(buffer)))
    }

    fn object(
        &self,
        prefixes: &[Vec<u8>],
        row: &impl Row,
        out: &mut Vec<u8>,
    ) -> Result<(), Reason> {
        for (column, prefix) in prefixes.iter().enumerate() {
            out.extend_from_slice(prefix);
            row.json_or_null(column, out)?;
            // With the brace that closes it, it is one byte more.
            self.check(out.len() + 1)?;
        }
        out.extend_from_slice(if prefixes.is_empty() { b"{}" } else { b"}" });
        Ok(())
    }

    fn hash(
        &self,
        fields: &[Bytes],
        row: &impl Row,
        buffer: &mut Vec<u8>,
    ) -> Result<Value, Reason> {
        let mut hash = Vec::with_capacity(fields.len());
        let mut bytes = 0;
        for (column, field) in fields.iter().enumerate() {
            if row.is_null(column)? {
                continue;
            }
            buffer.clear();
            raw(row, column, buffer)?;
            bytes += field.len() + buffer.len();
            self.check(bytes)?;
            hash.push((field.clone(), Bytes::copy_from_slice(buffer)));
        }
        if hash.is_empty() {
            return Err("all columns are NULL, and Redis has no hash without fields".into());
        }
        Ok(Value::Hash(hash))
    }

    fn messagepack(
        &self,
        keys: &[Vec<u8>],
        row: &impl Row,
        out: &mut Vec<u8>,
    ) -> Result<(), Reason> {
        messagepack::map(keys.len(), out);
        let mut text = Vec::new();
        for (column, key) in keys.iter().enumerate() {
            out.extend_from_slice(key);
            if row.is_null(column)? {
                messagepack::nil(out);
            } else {
                messagepack::column(row, column, &mut text, out)?;
            }
            self.check(out.len())?;
        }
        Ok(())
    }

    /// A NULL is nothing in a template.
    fn template(
        &self,
        template: &Template,
        named: &[(String, usize)],
        row: &impl Row,
    ) -> Result<Vec<u8>, Reason> {
        let mut texts = Vec::with_capacity(named.len());
        for (name, column) in named {
            let mut text = Vec::new();
            if !row.is_null(*column)? {
                row.text(*column, &mut text)?;
            }
            // A template names a column more than once, if at all, in a text of a thousand bytes.
            self.check(text.len())?;
            texts.push((name.as_str(), text));
        }
        let text = |wanted: &str| {
            let found = texts.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, text)| text.as_slice())
        };
        template.fill(text).map_err(|missing| missing.to_string())
    }

    fn check(&self, bytes: usize) -> Result<(), Reason> {
        check_size(bytes as u64, self.bytes_max)
    }
}

/// Looks whether a value of at least so many bytes may be stored.
pub(super) fn check_size(bytes: u64, max: u64) -> Result<(), Reason> {
    if bytes <= max {
        return Ok(());
    }
    Err(format!(
        "the value has {bytes} bytes or more, and the loader's max-value-bytes is {max}"
    ))
}

/// Writes a column as it is: binary as binary, all else as text.
fn raw(row: &impl Row, column: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
    if row.is_null(column)? {
        return Err("the column that is the value is NULL: leave such rows out of the query to have their keys absent".into());
    }
    match row.scalar(column)? {
        Scalar::Bytes(bytes) => {
            out.extend_from_slice(bytes);
            Ok(())
        }
        _ => row.text(column, out),
    }
}

fn objects(columns: &[String]) -> Columns {
    Columns::Object(columns.iter().enumerate().map(member).collect())
}

/// What stands before a column's value in a JSON object.
fn member((column, name): (usize, &String)) -> Vec<u8> {
    let mut prefix = vec![if column == 0 { b'{' } else { b',' }];
    let name = serde_json::Value::from(name.as_str()).to_string();
    prefix.extend_from_slice(name.as_bytes());
    prefix.push(b':');
    prefix
}

#[cfg(test)]
mod tests;
