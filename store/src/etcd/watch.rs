//! A watch in etcd: one stream, from its beginning to its end.

use async_trait::async_trait;
use etcd_client::{Error, WatchResponse, WatchStream};
use tracing::debug;

use super::convert::Namespace;
use crate::{Change, Watch, WatchEvent};

/// A stream that etcd has accepted.
pub(super) struct Begun {
    stream: WatchStream,
    /// Told at once where the revision to begin from was gone.
    compacted: bool,
}

/// A watch of some of Stoke's keys.
pub(super) struct EtcdWatch {
    names: Namespace,
    stream: WatchStream,
    compacted: bool,
    ended: bool,
}

impl EtcdWatch {
    /// Waits until etcd has said that the watch stands, so that its refusal is not taken for a silent end.
    pub(super) async fn begin(mut stream: WatchStream) -> Result<Begun, Error> {
        let Some(first) = stream.message().await? else {
            return Err(Error::WatchError("the stream ended at once".to_owned()));
        };
        if first.canceled() && first.compact_revision() == 0 {
            return Err(Error::WatchError(first.cancel_reason().to_owned()));
        }
        Ok(Begun {
            stream,
            compacted: first.canceled(),
        })
    }

    fn end(&mut self, event: Option<WatchEvent>) -> Option<WatchEvent> {
        self.ended = true;
        event
    }

    fn changes(&self, message: &WatchResponse) -> Vec<Change> {
        message
            .events()
            .iter()
            .filter_map(|event| self.names.change(event))
            .collect()
    }
}

impl Begun {
    pub(super) fn naming(self, names: Namespace) -> EtcdWatch {
        EtcdWatch {
            names,
            stream: self.stream,
            compacted: self.compacted,
            ended: false,
        }
    }
}

#[async_trait]
impl Watch for EtcdWatch {
    async fn next(&mut self) -> Option<WatchEvent> {
        if self.ended {
            return None;
        }
        if self.compacted {
            return self.end(Some(WatchEvent::Compacted));
        }
        loop {
            // Safe to cancel: a message is taken from the stream whole or not at all.
            let message = match self.stream.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return self.end(None),
                Err(error) => {
                    debug!(%error, "a watch broke");
                    return self.end(None);
                }
            };
            if message.compact_revision() != 0 {
                return self.end(Some(WatchEvent::Compacted));
            }
            if message.canceled() {
                debug!(reason = message.cancel_reason(), "etcd ended a watch");
                return self.end(None);
            }
            let changes = self.changes(&message);
            if !changes.is_empty() {
                return Some(WatchEvent::Changes(changes));
            }
        }
    }
}
