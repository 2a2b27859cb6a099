//! Records in the coordination store.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use stoke_core::job::Life;
use stoke_core::ledger::{Ack, Cap, Ledger};
use stoke_core::names::{JobName, Resource, WorkerName};
use stoke_core::records;
use stoke_store::record::{self, RECORD_VERSION, RecordError};
use stoke_store::{KeyValue, Revision};

/// The first byte says which record it is. What is read is read again as it was when it is written; what is refused is so
/// for its version, or for its form, and named by its key.
///
/// # Panics
/// Where that is not so.
pub fn store_record(bytes: &[u8]) {
    let Some((which, value)) = bytes.split_first() else {
        return;
    };
    match which {
        b'j' => survives::<records::Job>(value),
        b'l' => survives::<Life>(value),
        b'p' => survives::<records::Past>(value),
        b'a' => survives::<records::Assignment>(value),
        b'c' => survives::<records::Checkpoint>(value),
        b'm' => survives::<records::Member>(value),
        b'v' => survives::<records::Vigil>(value),
        b'g' => survives::<records::Guards>(value),
        b'r' => survives::<records::Request>(value),
        b't' => survives::<records::SourceTask>(value),
        b'L' => survives::<Ledger>(value),
        b'C' => survives::<Cap>(value),
        b'A' => survives::<Ack>(value),
        b'k' => names(value),
        _ => {}
    }
}

fn survives<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &[u8]) {
    let entry = |value: Bytes| KeyValue {
        key: "job/j".to_owned(),
        value,
        create_revision: Revision(1),
        mod_revision: Revision(1),
        lease: None,
    };
    match record::decode::<T>(&entry(Bytes::copy_from_slice(value))) {
        Ok(read) => {
            let written = record::encode(&read);
            let again = record::decode::<T>(&entry(written.clone()));
            let again = again.unwrap_or_else(|error| panic!("{error}: {read:?}"));
            assert_eq!(again, read);
            assert_eq!(record::encode(&again), written);
        }
        Err(RecordError::Newer { found, key, .. }) => {
            assert!(found > RECORD_VERSION && key == "job/j");
        }
        Err(RecordError::Malformed { key, .. }) => assert_eq!(key, "job/j"),
    }
}

/// Names in keys.
fn names(value: &[u8]) {
    let Ok(text) = std::str::from_utf8(value) else {
        return;
    };
    if let Some((resource, worker)) = records::keys::resource_and_worker(text) {
        assert_eq!(format!("{resource}/{worker}"), text);
        let key = records::keys::cap(&resource, &worker);
        assert_eq!(
            records::keys::resource_and_worker(&key[records::keys::CAPS.len()..]),
            Some((resource, worker))
        );
    }
    same::<Resource>(text);
    same::<WorkerName>(text);
    same::<JobName>(text);
    if let Ok(job) = text.parse::<JobName>() {
        assert_eq!(
            records::keys::past_job(&records::keys::past(&job)),
            Some(job)
        );
    }
}

fn same<T: std::str::FromStr + std::fmt::Display>(text: &str) {
    if let Ok(name) = text.parse::<T>() {
        assert_eq!(name.to_string(), text);
    }
}
