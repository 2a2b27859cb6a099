//! What the frames of a log hold, in bytes: numbers little-endian, texts and values with their length before them.

use std::collections::BTreeMap;

use super::log::{Contents, owned};
use crate::{Change, KeyValue, LeaseId, Revision};

const DELETE: u8 = 0;
const PUT: u8 = 1;
/// The fewest bytes that a change takes: an empty key's deletion.
const CHANGE_BYTES_MIN: usize = 5;

/// What is wrong with a body whose checksum is right: another program wrote it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadBody(pub(super) &'static str);

const ENDS_EARLY: BadBody = BadBody("the record there ends too early");

pub(super) fn of_snapshot(contents: &Contents) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend_from_slice(&contents.cluster_id.to_le_bytes());
    body.extend_from_slice(&contents.revision.0.to_le_bytes());
    for entry in contents.entries.values() {
        put_entry(&mut body, entry);
    }
    body
}

pub(super) fn snapshot(body: &[u8]) -> Result<Contents, BadBody> {
    let mut rest = Rest(body);
    let mut contents = Contents {
        cluster_id: rest.number()?,
        revision: Revision(rest.number()?),
        entries: BTreeMap::new(),
    };
    while !rest.0.is_empty() {
        let entry = rest.entry()?;
        let may_be = entry.create_revision.0 >= 1
            && entry.create_revision <= entry.mod_revision
            && entry.mod_revision <= contents.revision;
        let is_next = contents
            .entries
            .last_key_value()
            .is_none_or(|(last, _)| *last < entry.key);
        if !may_be || !is_next {
            return Err(BadBody("the snapshot has entries that no store could have"));
        }
        contents.entries.insert(entry.key.clone(), entry);
    }
    Ok(contents)
}

pub(super) fn push(body: &mut Vec<u8>, revision: Revision, changes: &[Change]) {
    body.extend_from_slice(&revision.0.to_le_bytes());
    put_length(body, changes.len());
    for change in changes {
        match change {
            Change::Put(entry) => {
                body.push(PUT);
                put_entry(body, entry);
            }
            Change::Delete { key, .. } => {
                body.push(DELETE);
                put_bytes(body, key.as_bytes());
            }
        }
    }
}

/// Makes the changes of a body to what a store held before.
pub(super) fn apply(body: &[u8], contents: &mut Contents) -> Result<(), BadBody> {
    let mut rest = Rest(body);
    while !rest.0.is_empty() {
        let revision = Revision(rest.number()?);
        if Some(revision.0) != contents.revision.0.checked_add(1) {
            return Err(BadBody("the record there does not follow the one before"));
        }
        let count = rest.length()?;
        if count > rest.0.len() / CHANGE_BYTES_MIN {
            return Err(ENDS_EARLY);
        }
        for _ in 0..count {
            match rest.byte()? {
                PUT => {
                    let entry = rest.entry()?;
                    let before = contents.entries.get(&entry.key);
                    let created = before.map_or(revision, |entry| entry.create_revision);
                    if (entry.create_revision, entry.mod_revision) != (created, revision) {
                        return Err(BadBody(
                            "the record there has a put that no store could make",
                        ));
                    }
                    contents.entries.insert(entry.key.clone(), entry);
                }
                DELETE => {
                    let key = rest.text()?;
                    if contents.entries.remove(&key).is_none() {
                        return Err(BadBody("the record there deletes what is not there"));
                    }
                }
                _ => return Err(BadBody("the record there has a change of no known kind")),
            }
        }
        contents.revision = revision;
    }
    Ok(())
}

fn put_entry(body: &mut Vec<u8>, entry: &KeyValue) {
    body.extend_from_slice(&entry.create_revision.0.to_le_bytes());
    body.extend_from_slice(&entry.mod_revision.0.to_le_bytes());
    // The store's leases are counted from 1.
    let lease = entry.lease.map_or(0, |lease| lease.0);
    body.extend_from_slice(&lease.to_le_bytes());
    put_bytes(body, entry.key.as_bytes());
    put_bytes(body, &entry.value);
}

fn put_bytes(body: &mut Vec<u8>, bytes: &[u8]) {
    put_length(body, bytes.len());
    body.extend_from_slice(bytes);
}

/// Keys, values and transactions have at most [`crate::TXN_BYTES_MAX`] bytes.
fn put_length(body: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).unwrap_or_else(|_| unreachable!("transactions are bounded"));
    body.extend_from_slice(&length.to_le_bytes());
}

/// What is left to read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], BadBody> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ENDS_EARLY)?;
        self.0 = rest;
        Ok(taken)
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], BadBody> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(ENDS_EARLY)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, BadBody> {
        self.chunk().map(|[byte]| byte)
    }

    fn number(&mut self) -> Result<u64, BadBody> {
        self.chunk().map(u64::from_le_bytes)
    }

    fn length(&mut self) -> Result<usize, BadBody> {
        let length = self.chunk().map(u32::from_le_bytes)?;
        usize::try_from(length).map_err(|_| ENDS_EARLY)
    }

    fn bytes(&mut self) -> Result<&'a [u8], BadBody> {
        let length = self.length()?;
        self.take(length)
    }

    fn text(&mut self) -> Result<String, BadBody> {
        let text = std::str::from_utf8(self.bytes()?);
        let text = text.map_err(|_| BadBody("the record there has a key that is no UTF-8"))?;
        Ok(text.to_owned())
    }

    fn entry(&mut self) -> Result<KeyValue, BadBody> {
        let create_revision = Revision(self.number()?);
        let mod_revision = Revision(self.number()?);
        let lease = self.chunk().map(i64::from_le_bytes)?;
        Ok(KeyValue {
            create_revision,
            mod_revision,
            lease: (lease != 0).then_some(LeaseId(lease)),
            key: self.text()?,
            value: owned(self.bytes()?),
        })
    }
}
