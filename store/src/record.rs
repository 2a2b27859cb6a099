//! How records are written in the store: JSON with a format version, `{"v":1, …}`.
//!
//! Within a version, fields may be added: whoever does not know a field passes over it. What an older process would
//! misread needs a new version, which older processes refuse. So a record's type must be a struct with named fields (or
//! an internally tagged enum), none of them called `v`, and must not deny unknown fields.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::KeyValue;

/// The version that this process writes, and the newest that it reads.
pub const RECORD_VERSION: u32 = 1;

/// A record that this process cannot read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A newer process wrote it.
    #[error(
        "the record {key:?} in the coordination store has format version {found}, and this process reads versions up \
         to {known}: upgrade this process"
    )]
    Newer {
        /// The record's key.
        key: String,
        /// The record's version.
        found: u32,
        /// The newest version that this process reads.
        known: u32,
    },
    /// It is not what Stoke writes.
    #[error("the record {key:?} in the coordination store is malformed")]
    Malformed {
        /// The record's key.
        key: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

#[derive(Serialize)]
struct Versioned<'a, T> {
    v: u32,
    #[serde(flatten)]
    record: &'a T,
}

#[derive(Deserialize)]
struct Version {
    v: u32,
}

/// A record as the store holds it.
///
/// # Panics
/// Where `T` is no struct with named fields: a mistake in the program, whatever the data.
pub fn encode<T: Serialize>(record: &T) -> Bytes {
    let versioned = Versioned {
        v: RECORD_VERSION,
        record,
    };
    Bytes::from(serde_json::to_vec(&versioned).expect("a record is a struct with named fields"))
}

/// The record that `entry` holds.
///
/// # Errors
/// [`RecordError::Newer`] for a version above [`RECORD_VERSION`], [`RecordError::Malformed`] for what is no record.
pub fn decode<T: DeserializeOwned>(entry: &KeyValue) -> Result<T, RecordError> {
    let malformed = |source| RecordError::Malformed {
        key: entry.key.clone(),
        source,
    };
    // The version is parsed on its own and first: a newer record need not look like `T` at all. (Flattening when reading
    // would also break maps with integers as keys.)
    let Version { v: found } = serde_json::from_slice(&entry.value).map_err(malformed)?;
    if found > RECORD_VERSION {
        return Err(RecordError::Newer {
            key: entry.key.clone(),
            found,
            known: RECORD_VERSION,
        });
    }
    serde_json::from_slice(&entry.value).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::Revision;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Checkpoint {
        owner: String,
        positions: BTreeMap<u16, u64>,
    }

    fn stored(value: impl Into<Bytes>) -> KeyValue {
        KeyValue {
            key: "ckpt/j/w".to_owned(),
            value: value.into(),
            create_revision: Revision(2),
            mod_revision: Revision(2),
            lease: None,
        }
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            owner: "w".to_owned(),
            positions: BTreeMap::from([(7, 42)]),
        }
    }

    #[test]
    fn a_record_comes_back_as_it_was_with_its_version_beside_its_fields() {
        let bytes = encode(&checkpoint());
        assert_eq!(
            std::str::from_utf8(&bytes).unwrap(),
            r#"{"v":1,"owner":"w","positions":{"7":42}}"#
        );
        assert_eq!(decode::<Checkpoint>(&stored(bytes)).unwrap(), checkpoint());
    }

    #[test]
    fn a_field_that_a_newer_process_added_is_passed_over() {
        let value = r#"{"v":1,"owner":"w","positions":{"7":42},"zone":"b"}"#;
        assert_eq!(decode::<Checkpoint>(&stored(value)).unwrap(), checkpoint());
    }

    #[test]
    fn a_newer_version_is_refused_with_what_to_do() {
        let error = decode::<Checkpoint>(&stored(r#"{"v":2,"anything":[]}"#)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the record \"ckpt/j/w\" in the coordination store has format version 2, and this process reads versions \
             up to 1: upgrade this process"
        );
    }

    #[test]
    fn what_is_no_record_is_malformed() {
        for value in [
            "",
            "{}",
            "[]",
            r#"{"v":"1"}"#,
            r#"{"v":1,"owner":3}"#,
            "\u{0}",
        ] {
            let error = decode::<Checkpoint>(&stored(value)).unwrap_err();
            assert!(
                matches!(&error, RecordError::Malformed { key, .. } if key == "ckpt/j/w"),
                "{value:?} gave {error:?}"
            );
        }
    }
}
