//! An object as a file that is read here and there, as Parquet is.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

use super::{Object, wait};

/// How much is asked for at once, in bytes: about a page of a column.
const BLOCK_BYTES: u64 = 1 << 20;
/// So many blocks are kept: of each column that is read one, mostly.
const BLOCKS_MAX: usize = 16;

/// An object, and the blocks of it that were read last.
#[derive(Clone, Debug)]
pub(in crate::source) struct Ranged {
    object: Object,
    blocks: Arc<Mutex<VecDeque<(u64, Bytes)>>>,
}

impl Ranged {
    pub(in crate::source) fn new(object: Object) -> Self {
        Self {
            object,
            blocks: Arc::default(),
        }
    }

    /// A block by its number; empty behind the end.
    fn block(&self, number: u64) -> io::Result<Bytes> {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = blocks.iter().position(|(known, _)| *known == number)
            && let Some(known) = blocks.remove(at)
        {
            let block = known.1.clone();
            blocks.push_back(known);
            return Ok(block);
        }
        let start = number.saturating_mul(BLOCK_BYTES).min(self.object.bytes);
        let end = self.object.bytes.min(start.saturating_add(BLOCK_BYTES));
        let block = self.part(start, end)?;
        if blocks.len() == BLOCKS_MAX {
            blocks.pop_front();
        }
        blocks.push_back((number, block.clone()));
        Ok(block)
    }

    fn part(&self, start: u64, end: u64) -> io::Result<Bytes> {
        if start >= end {
            return Ok(Bytes::new());
        }
        let part = self.object.clone().part(start..end);
        wait(&self.object.runtime, &self.object.sink, part)
    }
}

impl Length for Ranged {
    fn len(&self) -> u64 {
        self.object.bytes
    }
}

impl ChunkReader for Ranged {
    type T = RangedRead;

    fn get_read(&self, start: u64) -> Result<RangedRead> {
        Ok(RangedRead {
            ranged: self.clone(),
            at: start,
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let end = start.saturating_add(length as u64);
        if end > self.object.bytes {
            let what = format!("it ends before byte {end}");
            return Err(ParquetError::EOF(what));
        }
        // What is larger would only push out what is needed again.
        if length as u64 > BLOCK_BYTES {
            return Ok(self.part(start, end)?);
        }
        let mut bytes = BytesMut::zeroed(length);
        self.get_read(start)?.read_exact(&mut bytes)?;
        Ok(bytes.freeze())
    }
}

/// An object from some byte on.
#[derive(Debug)]
pub(in crate::source) struct RangedRead {
    ranged: Ranged,
    at: u64,
}

impl Read for RangedRead {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let block = self.ranged.block(self.at / BLOCK_BYTES)?;
        let within = usize::try_from(self.at % BLOCK_BYTES).unwrap_or(usize::MAX);
        let rest = block.get(within..).unwrap_or_default();
        let length = buf.len().min(rest.len());
        buf[..length].copy_from_slice(&rest[..length]);
        self.at += length as u64;
        Ok(length)
    }
}
