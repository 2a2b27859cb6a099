//! An object as a stream of bytes.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use object_store::Error;
use tokio_util::task::AbortOnDropHandle;

use super::{Object, wait};

/// How much is asked for at once, in bytes: a request takes some hundredths of a second, however little it is for. Two of these
/// are in memory: the one that is read, and the next, which comes meanwhile.
pub(super) const PART_BYTES: u64 = 4 << 20;

/// An object from its beginning on.
#[derive(Debug)]
pub(in crate::source) struct Stream {
    object: Object,
    part: Bytes,
    /// The next part, on its way.
    ahead: Option<AbortOnDropHandle<Result<Bytes, Error>>>,
    /// How much was asked for.
    asked: u64,
}

impl Stream {
    pub(super) fn new(object: Object) -> Self {
        let mut stream = Self {
            object,
            part: Bytes::new(),
            ahead: None,
            asked: 0,
        };
        stream.ask();
        stream
    }

    /// Asks for the next part, where there is one.
    fn ask(&mut self) {
        let end = self.object.bytes.min(self.asked + PART_BYTES);
        if self.asked < end {
            let part = self.object.clone().part(self.asked..end);
            self.ahead = Some(AbortOnDropHandle::new(self.object.runtime.spawn(part)));
            self.asked = end;
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.part.is_empty()
            && let Some(ahead) = self.ahead.take()
        {
            let (runtime, sink) = (&self.object.runtime, &self.object.sink);
            let part = async {
                ahead
                    .await
                    .unwrap_or_else(|source| Err(Error::JoinError { source }))
            };
            self.part = wait(runtime, sink, part)?;
            self.ask();
        }
        let length = buf.len().min(self.part.len());
        self.part.copy_to_slice(&mut buf[..length]);
        Ok(length)
    }
}
