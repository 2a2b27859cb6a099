//! What a cache holds for keys, compared with what it should. No more is read than tells the two apart.

use bytes::Bytes;
use stoke_core::value::Compression;

use super::Goer;
use super::target::Target;
use crate::cache::{CommandError, FailureKind, HashFields, HashSize};
use crate::permit::Stopped;
use crate::value::{Value, compressed_bytes_max, decompresses_to};

/// What a key should have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'v> {
    pub(super) key: &'v [u8],
    /// The value, before it is compressed; `None`: whether there is any.
    pub(super) value: Option<&'v Value>,
    pub(super) compression: Option<Compression>,
}

/// What a key has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Nothing (or an empty string).
    Nothing,
    /// What it should.
    Same,
    /// Something else: lengths and places of what differs, never what it is.
    Other(String),
}

impl Goer {
    /// Compares what keys have with what they should; one answer for each, in their order.
    pub(super) async fn held(
        &self,
        target: &Target,
        wanted: &[Wanted<'_>],
    ) -> Result<Vec<Result<Held, CommandError>>, Stopped> {
        let mut strings = Vec::new();
        let mut hashes = Vec::new();
        for wanted in wanted {
            match wanted.value {
                Some(Value::Hash(fields)) => hashes.push(HashFields {
                    key: wanted.key,
                    fields,
                }),
                _ => strings.push((wanted.key, wanted.last_byte())),
            }
        }
        let permit = self.permit_for(target);
        let mut strings = target.cache.peek_as(&permit, &strings).await?.into_iter();
        let mut hashes = self.held_hashes(target, &hashes).await?.into_iter();
        let held = |wanted: &Wanted<'_>| {
            let held = match wanted.value {
                Some(Value::Hash(_)) => hashes.next(),
                _ => strings
                    .next()
                    .map(|read| read.map(|there| wanted.judge(&there))),
            };
            match held {
                Some(Err(error)) if error.kind == FailureKind::WrongType => {
                    Ok(Held::Other("it is of another type".into()))
                }
                Some(held) => held,
                None => unreachable!("one answer for each key"),
            }
        };
        Ok(wanted.iter().map(held).collect())
    }

    /// First their sizes are looked at, and only where these are right their values.
    async fn held_hashes(
        &self,
        target: &Target,
        hashes: &[HashFields<'_>],
    ) -> Result<Vec<Result<Held, CommandError>>, Stopped> {
        let permit = self.permit_for(target);
        let sizes = target.cache.measure_hashes_as(&permit, hashes).await?;
        let judged = hashes.iter().zip(sizes);
        let judged: Vec<_> = judged
            .map(|(hash, size)| size.map(|size| judge_size(hash.fields, &size)))
            .collect();
        let alike = hashes.iter().zip(&judged);
        let alike: Vec<HashFields<'_>> = alike
            .filter(|(_, judged)| matches!(judged, Ok(None)))
            .map(|(hash, _)| *hash)
            .collect();
        let read = target.cache.read_hashes_as(&permit, &alike).await?;
        let mut read = read.into_iter();
        let held =
            |(hash, judged): (&HashFields<'_>, Result<Option<Held>, CommandError>)| match judged? {
                Some(held) => Ok(held),
                None => read.next().map_or(Ok(Held::Nothing), |values| {
                    values.map(|values| judge_fields(hash.fields, &values))
                }),
            };
        Ok(hashes.iter().zip(judged).map(held).collect())
    }
}

impl Wanted<'_> {
    /// Up to which byte a string is read: one more than it should have, so that a longer one is told from it whatever its
    /// length is; any at all where it should not be there.
    fn last_byte(&self) -> usize {
        match (self.value, self.compression) {
            (Some(Value::String(value)), None) => value.len(),
            (Some(Value::String(value)), Some(Compression::Zstd)) => {
                compressed_bytes_max(value.len())
            }
            _ => 0,
        }
    }

    /// Judges a string by its first bytes, up to [`Wanted::last_byte`].
    fn judge(&self, there: &[u8]) -> Held {
        let Some(Value::String(value)) = self.value else {
            return match there {
                [] => Held::Nothing,
                _ => Held::Other("it is there".into()),
            };
        };
        let is_same = match self.compression {
            None => there == value,
            Some(Compression::Zstd) => decompresses_to(there, value),
        };
        match (is_same, there, self.compression) {
            (true, ..) => Held::Same,
            (false, [], _) => Held::Nothing,
            (false, _, None) => Held::Other(difference(there, value)),
            (false, _, Some(Compression::Zstd)) => Held::Other(format!(
                "it is not {} bytes, compressed with zstd, or others",
                value.len()
            )),
        }
    }
}

/// How a string differs from what it should be.
fn difference(there: &[u8], value: &[u8]) -> String {
    match there.len().cmp(&value.len()) {
        std::cmp::Ordering::Less => format!("{} bytes instead of {}", there.len(), value.len()),
        std::cmp::Ordering::Greater => format!("more than {} bytes", value.len()),
        std::cmp::Ordering::Equal => {
            let same = there.iter().zip(value).take_while(|(a, b)| a == b);
            let first = same.count() + 1;
            format!("of {} bytes, number {first} is the first", value.len())
        }
    }
}

/// Judges a hash by its size; `None` where that is as it should be.
fn judge_size(fields: &[(Bytes, Bytes)], size: &HashSize) -> Option<Held> {
    if size.fields == 0 {
        return Some(Held::Nothing);
    }
    if size.fields != fields.len() as u64 {
        let how = format!("{} fields instead of {}", size.fields, fields.len());
        return Some(Held::Other(how));
    }
    let mut pairs = fields.iter().zip(&size.values);
    let ((field, value), found) =
        pairs.find(|((_, value), found)| value.len() as u64 != **found)?;
    Some(Held::Other(format!(
        "{found} bytes instead of {} in the field {:?}",
        value.len(),
        String::from_utf8_lossy(field)
    )))
}

/// Judges a hash of the right size by the values of its fields.
fn judge_fields(fields: &[(Bytes, Bytes)], values: &[Option<Bytes>]) -> Held {
    let mut pairs = fields.iter().zip(values);
    match pairs.find(|((_, value), found)| found.as_ref() != Some(value)) {
        None => Held::Same,
        Some(((field, _), None)) => Held::Other(format!(
            "there is no field {:?}",
            String::from_utf8_lossy(field)
        )),
        Some(((field, value), Some(found))) => Held::Other(format!(
            "in the field {:?}: {}",
            String::from_utf8_lossy(field),
            difference(found, value)
        )),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value::Packer;

    fn wanted(value: &Value) -> Wanted<'_> {
        Wanted {
            key: b"k",
            value: Some(value),
            compression: None,
        }
    }

    #[test]
    fn a_difference_tells_lengths_and_places_only() {
        let value = Value::from("{\"id\":1}");
        for (there, says) in [
            (&b"secret"[..], "6 bytes instead of 8"),
            (b"{\"id\":2}", "of 8 bytes, number 7 is the first"),
            (b"{\"id\":1}9", "more than 8 bytes"),
        ] {
            let Held::Other(how) = wanted(&value).judge(there) else {
                panic!("{there:?}");
            };
            assert_eq!(how, says);
        }
    }

    #[test]
    fn compressed_values_are_compared_by_what_they_are_made_of() {
        let compression = Some(Compression::Zstd);
        let value = Value::from("some text, some text, some text");
        let packed = Packer::default().pack(value.clone(), compression);
        let Value::String(packed) = packed.unwrap() else {
            panic!("a string");
        };
        let wanted = Wanted {
            compression,
            ..wanted(&value)
        };
        assert!(wanted.last_byte() >= packed.len());
        assert_eq!(wanted.judge(&packed), Held::Same);
        assert_eq!(wanted.judge(b""), Held::Nothing);
        for there in [&b"some text, some text, some text"[..], &packed[1..]] {
            let Held::Other(how) = wanted.judge(there) else {
                panic!("{there:?}");
            };
            assert!(how.contains("31 bytes") && !how.contains("some"), "{how}");
        }
    }

    #[test]
    fn hashes_differ_in_number_in_length_or_in_a_value() {
        let fields = [("a".into(), "11".into()), ("b".into(), "22".into())];
        let of_size = |fields_there, values: [u64; 2]| {
            let size = HashSize {
                fields: fields_there,
                values: values.into(),
            };
            judge_size(&fields, &size)
        };
        let other = |how: &str| Held::Other(how.into());
        assert_eq!(of_size(2, [2, 2]), None);
        assert_eq!(of_size(0, [0, 0]), Some(Held::Nothing));
        let three = other("3 fields instead of 2");
        assert_eq!(of_size(3, [2, 2]), Some(three));
        let short = other("0 bytes instead of 2 in the field \"b\"");
        assert_eq!(of_size(2, [2, 0]), Some(short));
        let judge = |b: Option<&'static str>| {
            judge_fields(&fields, &[Some("11".into()), b.map(Bytes::from)])
        };
        assert_eq!(judge(Some("22")), Held::Same);
        assert_eq!(judge(None), other("there is no field \"b\""));
        let second = "in the field \"b\": of 2 bytes, number 2 is the first";
        assert_eq!(judge(Some("23")), other(second));
    }

    proptest! {
        /// However long the value in the cache is: what is read of it tells it from the wanted one.
        #[test]
        fn no_other_value_passes(value in prop::collection::vec(0u8..3, 1..6), there in prop::collection::vec(0u8..3, 0..8)) {
            let row = Value::String(value.clone().into());
            let wanted = wanted(&row);
            let read = &there[..there.len().min(wanted.last_byte() + 1)];
            prop_assert_eq!(wanted.judge(read) == Held::Same, value == there);
            let none = Wanted { value: None, ..wanted };
            let seen = &there[..there.len().min(none.last_byte() + 1)];
            prop_assert_eq!(none.judge(seen) == Held::Nothing, there.is_empty());
        }
    }
}
