//! What a journal's file says: a snapshot, then changes, in frames of which each is written and synced as one.
//!
//! A frame is `"SLOG" · version (u16) · kind (u16) · length of the body (u32) · CRC of the body (u32) · CRC of these 16
//! bytes (u32) · body`, all little-endian. The next frame is begun only when the one before is on the disk. So a frame that
//! is not whole, with nothing whole behind it, is one whose writing was interrupted: nobody was told of what is in it, and it
//! is cut off. With a whole frame behind it, it was whole once: the file is damaged, and nothing is guessed.
//!
//! Pure: bytes in, contents out. Whatever the bytes are, it takes no more memory than a few times their number.

use std::collections::BTreeMap;

use bytes::Bytes;
use crc::{CRC_32_ISCSI, Crc};

use super::body::{self, BadBody};
use crate::{Change, KeyValue, Revision};

/// The format that this program writes, and the newest that it reads.
pub const LOG_VERSION: u16 = 1;

const MAGIC: [u8; 4] = *b"SLOG";
const HEADER_BYTES: usize = 20;
const SNAPSHOT: u16 = 1;
const CHANGES: u16 = 2;
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// What a store holds at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Identifies the store's data.
    pub cluster_id: u64,
    /// Its revision.
    pub revision: Revision,
    /// By key; those on leases too, which have ended with the process that wrote them.
    pub entries: BTreeMap<String, KeyValue>,
}

/// What a log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// What the store holds after the last whole frame.
    pub contents: Contents,
    /// How many bytes of the file are whole frames.
    pub whole_bytes: usize,
}

/// Why a log cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogFault {
    /// It does not begin as a log does.
    #[error("it is no log of a store")]
    NotALog,
    /// A newer program wrote it.
    #[error(
        "the record at byte {at} has format version {found}, and this program reads versions up to {LOG_VERSION}: use the program that wrote it, or a newer one"
    )]
    Newer {
        /// Where in the file.
        at: usize,
        /// Its version.
        found: u16,
    },
    /// Something that was written whole is not whole any more.
    #[error("it is damaged at byte {at}: {what}")]
    Damaged {
        /// Where in the file.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
}

/// Reads a log. What stands behind the last whole frame is an interrupted write.
///
/// # Errors
/// See [`LogFault`].
pub fn read(bytes: &[u8]) -> Result<Log, LogFault> {
    if !bytes.starts_with(&MAGIC) {
        return Err(LogFault::NotALog);
    }
    let damaged = |at, what| LogFault::Damaged { at, what };
    let (contents, mut at) = match frame(bytes, 0)? {
        Some(Frame {
            kind: SNAPSHOT,
            body,
            end,
        }) => (body::snapshot(body).map_err(|bad| damaged(0, bad.0))?, end),
        Some(_) => return Err(damaged(0, "it does not begin with a snapshot")),
        None => return Err(damaged(0, "the snapshot that it begins with is not whole")),
    };
    let mut contents = contents;
    while at < bytes.len() {
        let Some(next) = frame(bytes, at)? else {
            if (at + 1..bytes.len()).any(|later| matches!(frame(bytes, later), Ok(Some(_)))) {
                return Err(damaged(
                    at,
                    "the record there is not whole, but one behind it is",
                ));
            }
            break;
        };
        if next.kind != CHANGES {
            return Err(damaged(at, "the record there is none of changes"));
        }
        body::apply(next.body, &mut contents).map_err(|BadBody(what)| damaged(at, what))?;
        at = next.end;
    }
    Ok(Log {
        contents,
        whole_bytes: at,
    })
}

/// The frame of all that a store holds: what a log begins with. `None` where it takes more than 4 GiB.
#[must_use]
pub fn snapshot(contents: &Contents) -> Option<Vec<u8>> {
    framed(SNAPSHOT, &body::of_snapshot(contents))
}

/// The frame of changes as [`push`] made them. `None` where they take more than 4 GiB.
#[must_use]
pub fn changes(body: &[u8]) -> Option<Vec<u8>> {
    framed(CHANGES, body)
}

/// Appends the changes of one revision to those of a frame to be.
pub fn push(body: &mut Vec<u8>, revision: Revision, changes: &[Change]) {
    body::push(body, revision, changes);
}

struct Frame<'a> {
    kind: u16,
    body: &'a [u8],
    end: usize,
}

/// The frame at this place, where there is a whole one.
fn frame(bytes: &[u8], at: usize) -> Result<Option<Frame<'_>>, LogFault> {
    let Some((header, rest)) = bytes[at..].split_first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let word = |from: usize| u32::from_le_bytes([0, 1, 2, 3].map(|n| header[from + n]));
    let half = |from: usize| u16::from_le_bytes([header[from], header[from + 1]]);
    if header[..4] != MAGIC || CRC.checksum(&header[..16]) != word(16) {
        return Ok(None);
    }
    let found = half(4);
    if found > LOG_VERSION {
        return Err(LogFault::Newer { at, found });
    }
    let length = usize::try_from(word(8)).unwrap_or(usize::MAX);
    let Some(body) = rest.get(..length) else {
        return Ok(None);
    };
    Ok((CRC.checksum(body) == word(12)).then_some(Frame {
        kind: half(6),
        body,
        end: at + HEADER_BYTES + length,
    }))
}

fn framed(kind: u16, body: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(body.len()).ok()?;
    let mut frame = Vec::with_capacity(HEADER_BYTES + body.len());
    frame.extend_from_slice(&MAGIC);
    frame.extend_from_slice(&LOG_VERSION.to_le_bytes());
    frame.extend_from_slice(&kind.to_le_bytes());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&CRC.checksum(body).to_le_bytes());
    let header = CRC.checksum(&frame);
    frame.extend_from_slice(&header.to_le_bytes());
    frame.extend_from_slice(body);
    Some(frame)
}

/// A value of its own: a slice of a log would keep all of it in memory.
pub(super) fn owned(value: &[u8]) -> Bytes {
    Bytes::copy_from_slice(value)
}
