//! What a loader makes of a key's rows: the form of its value, whether it is compressed, and what stands in the cache where
//! there is no row.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::copy::CopySpec;
use crate::names::OriginName;
use crate::template::{NotATemplate, Template};

/// The longest name of a column, in bytes.
pub const COLUMN_BYTES_MAX: usize = 256;
/// The longest negative value, in bytes.
pub const NEGATIVE_BYTES_MAX: usize = 1024;

/// How values are made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueSpec {
    /// What they look like.
    #[serde(default)]
    pub form: Form,
    /// How they are compressed, if at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// What is stored for a key that has no row; nothing where this is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub negative: Option<Negative>,
    /// The column that says when a value must be gone; without it, or where it is NULL, only the time to live does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry_column: Option<String>,
    /// How a value that has become stale while it was written is found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<Versions>,
    /// They are not made of rows: they are copied from another Redis, as they are there. Then there is nothing else to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<CopySpec>,
}

/// How a value that has become stale while it was written is found: its row's version is read again, afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The column that is another one after each change of the row.
    pub column: String,
    /// The origin that is asked again, which knows every change that has been committed; the loader's own where it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<OriginName>,
}

/// What a value looks like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Form {
    /// A JSON object with the row's columns in their order. One row a key.
    #[default]
    Object,
    /// A JSON array of such objects, one for each of the key's rows, in the query's order.
    Array,
    /// A Redis hash with a field for each column that is not NULL. One row a key.
    Hash,
    /// A MessagePack map with the row's columns in their order. One row a key.
    MessagePack,
    /// The column of this name, as it is: text as text, binary as binary. One row a key.
    Column(String),
    /// Text with columns of the row in it. One row a key.
    Template(Template),
}

/// How values are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// As one Zstandard frame (RFC 8878), which says how long the value is.
    Zstd,
}

/// What is stored for a key that has no row, so that the application does not ask the origin again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Negative {
    /// The value, never compressed; at most [`NEGATIVE_BYTES_MAX`]. Of a hash one field, as `FIELD=VALUE`.
    pub value: String,
    /// How long it lives; it has no jitter.
    pub ttl: Duration,
}

/// A text that names no form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAForm {
    /// None of the names.
    #[error(
        "{0:?} is no form of a value: write object, array, hash, messagepack, column:NAME or template:TEXT"
    )]
    Unknown(String),
    /// `column:` and nothing, or a whole text.
    #[error("a column's name has from 1 to {COLUMN_BYTES_MAX} bytes")]
    Column,
    /// What follows `template:` is none.
    #[error("the template: {0}")]
    Template(#[source] NotATemplate),
}

/// Parts of a [`ValueSpec`] that cannot stand together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueFault {
    /// Redis compresses hashes by itself, if at all.
    #[error("a hash cannot be compressed: leave compression out, or choose another form")]
    CompressedHash,
    /// The negative value of a hash names no field.
    #[error("what stands for an absent row in a hash is one field: write it as FIELD=VALUE")]
    NoField,
    /// It is too long.
    #[error("what stands for an absent row has at most {NEGATIVE_BYTES_MAX} bytes")]
    NegativeTooLong,
    /// The column that says when a value must be gone has no name, or a text for one.
    #[error("the name of the column with the expiry has from 1 to {COLUMN_BYTES_MAX} bytes")]
    ExpiryColumn,
    /// That with the version.
    #[error("the name of the column with the version has from 1 to {COLUMN_BYTES_MAX} bytes")]
    VersionColumn,
    /// What is copied has all that from its key.
    #[error(
        "what is copied from another Redis is as it is there: form, compression, what stands for absent rows, and columns with expiry or version have no place"
    )]
    Copied,
    /// Where a key comes from depends on more than is known then.
    #[error(
        "from names {{key}}, and no other column: what else a key source gives serves the cache's key only"
    )]
    CopiedFrom,
}

impl ValueSpec {
    /// Whether nothing is said of it.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Looks whether its parts can stand together.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self) -> Result<(), ValueFault> {
        if let Some(copy) = &self.copy {
            let alone = Self {
                copy: Some(copy.clone()),
                ..Self::default()
            };
            return match copy.from.columns().eq(["key"]) {
                _ if *self != alone => Err(ValueFault::Copied),
                true => Ok(()),
                false => Err(ValueFault::CopiedFrom),
            };
        }
        let is_name = |name: &String| (1..=COLUMN_BYTES_MAX).contains(&name.len());
        if !self.expiry_column.as_ref().is_none_or(is_name) {
            return Err(ValueFault::ExpiryColumn);
        }
        if !self.versions.as_ref().is_none_or(|v| is_name(&v.column)) {
            return Err(ValueFault::VersionColumn);
        }
        let is_hash = self.form == Form::Hash;
        if is_hash && self.compression.is_some() {
            return Err(ValueFault::CompressedHash);
        }
        match &self.negative {
            Some(negative) if negative.value.len() > NEGATIVE_BYTES_MAX => {
                Err(ValueFault::NegativeTooLong)
            }
            Some(negative) if is_hash && negative.field().is_none() => Err(ValueFault::NoField),
            _ => Ok(()),
        }
    }
}

impl Negative {
    /// The field and its value, of a hash.
    #[must_use]
    pub fn field(&self) -> Option<(&str, &str)> {
        let (field, value) = self.value.split_once('=')?;
        (!field.is_empty()).then_some((field, value))
    }
}

impl Form {
    /// Whether several rows make one value.
    #[must_use]
    pub const fn takes_many_rows(&self) -> bool {
        matches!(self, Self::Array)
    }
}

impl FromStr for Form {
    type Err = NotAForm;

    fn from_str(text: &str) -> Result<Self, NotAForm> {
        if let Some(name) = text.strip_prefix("column:") {
            let fits = (1..=COLUMN_BYTES_MAX).contains(&name.len());
            return fits
                .then(|| Self::Column(name.to_owned()))
                .ok_or(NotAForm::Column);
        }
        if let Some(template) = text.strip_prefix("template:") {
            let template = Template::parse(template).map_err(NotAForm::Template)?;
            return Ok(Self::Template(template));
        }
        Ok(match text {
            "object" => Self::Object,
            "array" => Self::Array,
            "hash" => Self::Hash,
            "messagepack" => Self::MessagePack,
            other => {
                let shown = other.chars().take(COLUMN_BYTES_MAX).collect();
                return Err(NotAForm::Unknown(shown));
            }
        })
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object => f.write_str("object"),
            Self::Array => f.write_str("array"),
            Self::Hash => f.write_str("hash"),
            Self::MessagePack => f.write_str("messagepack"),
            Self::Column(name) => write!(f, "column:{name}"),
            Self::Template(template) => write!(f, "template:{}", template.as_str()),
        }
    }
}

impl TryFrom<String> for Form {
    type Error = NotAForm;

    fn try_from(text: String) -> Result<Self, NotAForm> {
        text.parse()
    }
}

impl From<Form> for String {
    fn from(form: Form) -> Self {
        form.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_as_they_are_written() {
        for text in [
            "object",
            "array",
            "hash",
            "messagepack",
            "column:body",
            "column:a:b c",
            "template:{id}|{name}",
        ] {
            let form: Form = text.parse().unwrap();
            assert_eq!(form.to_string(), text);
            let kept = serde_json::to_string(&form).unwrap();
            assert_eq!(serde_json::from_str::<Form>(&kept).unwrap(), form);
        }
    }

    #[test]
    fn what_is_no_form_is_refused_with_those_that_are() {
        let refused = |text: &str| text.parse::<Form>().unwrap_err().to_string();
        assert!(refused("json").contains("object, array, hash"));
        assert!(refused("Object").contains("no form"));
        assert!(refused("column:").contains("from 1 to 256"));
        assert!(refused(&format!("column:{}", "x".repeat(257))).contains("from 1 to 256"));
        assert!(refused("template:{id").contains("never closed"));
        assert!(refused("template:same for all").contains("no column is named"));
        assert!(refused(&"x".repeat(100_000)).len() < 1000);
    }

    #[test]
    fn what_cannot_stand_together_is_refused() {
        let negative = |value: &str| {
            Some(Negative {
                value: value.into(),
                ttl: Duration::from_secs(30),
            })
        };
        let of = |form, compression, negative| ValueSpec {
            form,
            compression,
            negative,
            ..ValueSpec::default()
        };
        let zstd = Some(Compression::Zstd);
        assert_eq!(
            of(Form::Hash, zstd, None).check(),
            Err(ValueFault::CompressedHash)
        );
        for value in ["", "null", "=1"] {
            let spec = of(Form::Hash, None, negative(value));
            assert_eq!(spec.check(), Err(ValueFault::NoField), "{value}");
        }
        let long = "x".repeat(NEGATIVE_BYTES_MAX + 1);
        let spec = of(Form::Object, None, negative(&long));
        assert_eq!(spec.check(), Err(ValueFault::NegativeTooLong));
        for name in ["", &long] {
            let expiry = ValueSpec {
                expiry_column: Some(name.into()),
                ..ValueSpec::default()
            };
            assert_eq!(expiry.check(), Err(ValueFault::ExpiryColumn));
            let versions = ValueSpec {
                versions: Some(Versions {
                    column: name.into(),
                    origin: None,
                }),
                ..ValueSpec::default()
            };
            assert_eq!(versions.check(), Err(ValueFault::VersionColumn));
        }
        for spec in [
            ValueSpec::default(),
            of(Form::Array, zstd, negative("")),
            of(Form::Hash, None, negative("missing=")),
            of(Form::Object, None, negative(&long[1..])),
        ] {
            assert_eq!(spec.check(), Ok(()));
        }
    }
}
