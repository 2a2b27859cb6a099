//! A network that can be slow: passes bytes on to a port of this machine, each piece of an answer later than it came.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// Passes on until this process ends; connections end with either side's.
#[derive(Debug)]
pub struct Forwarder {
    port: u16,
    delay_ms: Arc<AtomicU64>,
}

impl Forwarder {
    /// To this port of 127.0.0.1, without delay.
    ///
    /// # Errors
    /// No port can be listened on.
    pub fn to(server: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listening")?;
        let port = listener.local_addr().context("asking for the port")?.port();
        let delay_ms = Arc::new(AtomicU64::new(0));
        let delay = Arc::clone(&delay_ms);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // Where the server is away, the connection just ends.
                if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)) {
                    let _ = join(&client, &server, &delay);
                }
            }
        });
        Ok(Self { port, delay_ms })
    }

    /// Where it listens, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on answers are so late.
    pub fn delay(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.delay_ms.store(millis, Ordering::SeqCst);
    }
}

fn join(client: &TcpStream, server: &TcpStream, delay: &Arc<AtomicU64>) -> std::io::Result<()> {
    let (from, to) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || pass_on(from, to, &AtomicU64::new(0)));
    let (from, to, delay) = (server.try_clone()?, client.try_clone()?, Arc::clone(delay));
    thread::spawn(move || pass_on(from, to, &delay));
    Ok(())
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, delay_ms: &AtomicU64) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        // The delay is what this is for; nobody waits for it in vain.
        thread::sleep(Duration::from_millis(delay_ms.load(Ordering::SeqCst)));
        if to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
