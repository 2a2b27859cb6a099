//! Values as they stand in Redis, and how they are compressed.

use crate::cache::Copied;
use bytes::Bytes;
use stoke_core::value::{Compression, Negative, ValueSpec};

/// How hard Zstandard tries: its own default.
const ZSTD_LEVEL: i32 = 3;

/// A value as it stands in Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string: any bytes.
    String(Bytes),
    /// A hash: fields and their values, in the order in which they are written; at least one, each field once.
    Hash(Vec<(Bytes, Bytes)>),
    /// What another Redis has, with its own end: it lives until then, and no longer than its item says.
    Copied(Box<Copied>),
}

impl Value {
    /// What Redis' `TYPE` says of a loader's values; `None`: whatever their keys have where they are copied from.
    #[must_use]
    pub fn kind_of(spec: &ValueSpec) -> Option<&'static str> {
        match spec.form {
            _ if spec.copy.is_some() => None,
            stoke_core::value::Form::Hash => Some("hash"),
            _ => Some("string"),
        }
    }

    /// What stands for an absent row; `None` where a hash's names no field.
    #[must_use]
    pub fn negative(spec: &ValueSpec, negative: &Negative) -> Option<Self> {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        match spec.form {
            stoke_core::value::Form::Hash => {
                let (field, value) = negative.field()?;
                Some(Self::Hash(vec![(bytes(field), bytes(value))]))
            }
            _ => Some(Self::String(bytes(&negative.value))),
        }
    }

    /// Its bytes, where it is a string.
    #[must_use]
    pub fn string(&self) -> Option<&Bytes> {
        match self {
            Self::String(bytes) => Some(bytes),
            Self::Hash(_) | Self::Copied(_) => None,
        }
    }

    /// How many bytes it has: of a hash, those of its fields and their values.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::String(bytes) => bytes.len(),
            Self::Hash(fields) => fields.iter().map(|(f, v)| f.len() + v.len()).sum(),
            Self::Copied(copied) => copied.content.size_bytes(),
        }
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Self::String(bytes)
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::String(text.into())
    }
}

/// Compresses the values of one batch; its working memory is kept from one to the next.
#[derive(Default)]
pub(crate) struct Packer(Option<zstd::bulk::Compressor<'static>>);

impl Packer {
    /// The value as it is written; a hash stays as it is.
    ///
    /// # Errors
    /// Where there is no memory for it.
    pub(crate) fn pack(
        &mut self,
        value: Value,
        compression: Option<Compression>,
    ) -> std::io::Result<Value> {
        let (Value::String(plain), Some(Compression::Zstd)) = (&value, compression) else {
            return Ok(value);
        };
        let compressor = match &mut self.0 {
            Some(compressor) => compressor,
            none => none.insert(zstd::bulk::Compressor::new(ZSTD_LEVEL)?),
        };
        Ok(Value::String(compressor.compress(plain)?.into()))
    }
}

/// The most bytes that a compressed value of so many bytes takes.
pub(crate) fn compressed_bytes_max(plain_bytes: usize) -> usize {
    zstd::zstd_safe::compress_bound(plain_bytes)
}

/// Whether this is what `plain` was compressed to, by whatever version and level. Never takes more memory than `plain` has.
pub(crate) fn decompresses_to(compressed: &[u8], plain: &[u8]) -> bool {
    // A frame of nothing would be given no room at all.
    let room = plain.len().max(1);
    !compressed.is_empty()
        && zstd::bulk::decompress(compressed, room).is_ok_and(|found| found == plain)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use stoke_core::value::Form;

    use super::*;

    #[test]
    fn what_is_compressed_is_found_again_and_nothing_else_is() {
        let (mut packer, zstd) = (Packer::default(), Some(Compression::Zstd));
        for plain in ["", "x", "{\"id\":7}", &"lorem ipsum ".repeat(10_000)] {
            let plain = Bytes::copy_from_slice(plain.as_bytes());
            let Value::String(packed) = packer.pack(plain.clone().into(), zstd).unwrap() else {
                panic!("a string");
            };
            assert!(packed.len() <= compressed_bytes_max(plain.len()));
            assert!(decompresses_to(&packed, &plain));
            let other = [&plain[..], b"!"].concat();
            assert!(!decompresses_to(&packed, &other));
            assert!(plain.is_empty() || !decompresses_to(&packed, &plain[1..]));
            assert!(!decompresses_to(&plain, &plain));
        }
    }

    #[test]
    fn hashes_and_what_is_not_to_be_compressed_stay_as_they_are() {
        let hash = Value::Hash(vec![("a".into(), "b".into())]);
        let (mut packer, zstd) = (Packer::default(), Some(Compression::Zstd));
        assert_eq!(packer.pack(hash.clone(), zstd).unwrap(), hash);
        assert_eq!(packer.pack("plain".into(), None).unwrap(), "plain".into());
    }

    #[test]
    fn an_absent_row_stands_as_its_loaders_values_do() {
        let negative = Negative {
            value: "missing=1".into(),
            ttl: Duration::from_secs(1),
        };
        let of = |form| {
            let spec = ValueSpec {
                form,
                ..ValueSpec::default()
            };
            (Value::kind_of(&spec), Value::negative(&spec, &negative))
        };
        assert_eq!(of(Form::Array), (Some("string"), Some("missing=1".into())));
        let hash = Value::Hash(vec![("missing".into(), "1".into())]);
        assert_eq!(of(Form::Hash), (Some("hash"), Some(hash.clone())));
        assert_eq!(hash.size_bytes(), 8);
    }
}
