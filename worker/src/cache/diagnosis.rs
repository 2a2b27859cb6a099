//! What is there, where a connection did not come about and nothing says why: a Redis that speaks TLS closes one that does
//! not, a Redis without TLS waits for ever for the end of a handshake, and the driver keeps to itself what it could not read.
//!
//! Looked at once for each failed connection, over a connection of its own, by a PING without TLS and credentials.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::addr::NodeAddr;

/// What TLS begins an alert and a handshake with.
const TLS: [u8; 2] = [0x15, 0x16];

/// What the server at `addr` is, in words, where it fits badly with how we connect (`with_tls` or not).
pub(super) async fn diagnose(
    addr: &NodeAddr,
    with_tls: bool,
    time: Duration,
) -> Option<&'static str> {
    let answer = timeout(time, first_bytes(addr)).await.ok()??;
    match (&answer[..], with_tls) {
        ([b'+' | b'-', ..], true) => Some(
            "what answers is a Redis that speaks without TLS: write redis:// (redis+sentinel://), or give its port for TLS",
        ),
        ([first, ..], false) if TLS.contains(first) => Some(
            "what answers expects TLS: write rediss:// (rediss+sentinel://), or give its port without TLS",
        ),
        ([b'+' | b'-', ..], false) => None,
        ([first, ..], _) if !TLS.contains(first) => {
            Some("what answers is no Redis: check the port")
        }
        // It speaks TLS, or says nothing at all.
        (_, true) => Some(
            "it closed the connection: where it demands a client certificate, give one that it trusts, with cert-file and \
             key-file",
        ),
        (_, false) => Some(
            "it closed the connection: where it expects TLS, write rediss:// (rediss+sentinel://)",
        ),
    }
}

/// What comes first after a PING; empty where the connection is closed.
async fn first_bytes(addr: &NodeAddr) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect((addr.host(), addr.port())).await.ok()?;
    stream.write_all(b"PING\r\n").await.ok()?;
    let mut bytes = [0; 16];
    // One that was reset was closed as well.
    let length = stream.read(&mut bytes).await.unwrap_or(0);
    Some(bytes[..length].to_vec())
}
