//! How values are made.

use std::time::Duration;

use clap::{Args as ClapArgs, ValueEnum};
use stoke_core::value::{Compression, Form, Negative, ValueFault, ValueSpec, Versions};

use super::values::ttl;

/// The form of values, and what stands for none.
#[derive(Debug, Default, ClapArgs)]
pub struct ValueArgs {
    /// What is stored of a key's rows: object (a JSON object of its one row), array (a JSON array of all its rows), hash (a Redis hash), messagepack, column:NAME (that column as it is), template:TEXT (text with {column}s of the row)
    #[arg(long = "value", value_name = "FORM", default_value_t)]
    pub form: Form,
    /// Compresses the values
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    pub compress: CompressArg,
    /// What is stored for a key that has no row; of a hash one field, as FIELD=VALUE [default: nothing]
    #[arg(long, value_name = "TEXT", requires = "absent_ttl")]
    pub absent_value: Option<String>,
    /// How long that lives, as 30s
    #[arg(long, value_name = "TIME", value_parser = ttl, requires = "absent_value")]
    pub absent_ttl: Option<Duration>,
    /// The column that says when a value must be gone, a time or seconds since 1970: entries live until then, and no longer than --ttl
    #[arg(long, value_name = "COLUMN")]
    pub expiry_column: Option<String>,
    /// The column that is another one after each change of the row: it is read again after each write, and what has become stale meanwhile is deleted and loaded again
    #[arg(long, value_name = "COLUMN")]
    pub version_column: Option<String>,
}

/// How values are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CompressArg {
    /// They are not
    #[default]
    None,
    /// Each as one Zstandard frame
    Zstd,
}

impl ValueArgs {
    /// How values are made.
    ///
    /// # Errors
    /// Where flags cannot stand together.
    pub fn spec(&self) -> Result<ValueSpec, ValueFault> {
        let negative = self.absent_value.clone().zip(self.absent_ttl);
        let spec = ValueSpec {
            form: self.form.clone(),
            compression: match self.compress {
                CompressArg::None => None,
                CompressArg::Zstd => Some(Compression::Zstd),
            },
            negative: negative.map(|(value, ttl)| Negative { value, ttl }),
            expiry_column: self.expiry_column.clone(),
            versions: self.version_column.clone().map(|column| Versions {
                column,
                origin: None,
            }),
            copy: None,
        };
        spec.check()?;
        Ok(spec)
    }
}
