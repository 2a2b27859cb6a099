//! Ports of 127.0.0.1 that nobody listens on.
//!
//! A free port can be taken before the server that it was chosen for binds it. So ports come from below the range
//! that the kernel gives to outgoing connections, none is handed out twice by one process, different processes begin
//! in different places, and who starts a server does it [`on_free_ports`].

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

/// The ports that are handed out: [`BASE`] and as many above. They end [`BUS_OFFSET`] below Linux' outgoing ports, so
/// that a Redis node's second port lies below those too.
const BASE: u16 = 12_000;
const COUNT: u16 = 10_000;

/// Redis listens for its cluster's nodes this far above its port (that can be changed from Redis 7 on only).
const BUS_OFFSET: u16 = 10_000;

/// How often a server whose port was taken meanwhile is started anew, on other ports.
const STARTS_MAX: u32 = 5;

/// A port of 127.0.0.1 that nobody listened on just now, and that this process has not been given before (unless it
/// was given thousands).
///
/// # Errors
/// All ports that are handed out, 12000 to 21999, are in use.
pub fn free_port() -> Result<u16> {
    listen_on_free_port().map(|(port, _)| port)
}

/// As [`free_port`], for a Redis node: the port of its cluster bus is free too.
pub(crate) fn free_port_with_bus() -> Result<u16> {
    free_port_with_taken_bus().map(|(port, _)| port)
}

/// A free port's number and its listener, which nobody can take between the look and the use: a child that another
/// thread begins holds every open socket for a moment, that of the look too.
pub(crate) fn listen_on_free_port() -> Result<(u16, TcpListener)> {
    first_port(|port| Some((port, listen(port)?)))
}

/// As [`free_port_with_bus`], with the bus' port listened on.
pub(crate) fn free_port_with_taken_bus() -> Result<(u16, TcpListener)> {
    first_port(|port| {
        listen(port)
            .and(listen(port + BUS_OFFSET))
            .map(|bus| (port, bus))
    })
}

/// A server could not bind its port.
#[derive(Debug)]
pub(crate) struct PortTaken {
    /// The end of what the server said.
    pub(crate) log: String,
}

impl std::fmt::Display for PortTaken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "its port is in use; it said:\n{}", self.log)
    }
}

impl std::error::Error for PortTaken {}

/// Calls `start`, which chooses free ports and starts a server on them, again when the server found them taken.
pub(crate) fn on_free_ports<T>(start: impl Fn() -> Result<T>) -> Result<T> {
    for _ in 1..STARTS_MAX {
        match start() {
            Err(error) if error.is::<PortTaken>() => {}
            outcome => return outcome,
        }
    }
    start()
}

/// What `take` makes of the first port that it can use.
fn first_port<T>(take: impl Fn(u16) -> Option<T>) -> Result<T> {
    static NEXT: OnceLock<AtomicU32> = OnceLock::new();
    let next = NEXT.get_or_init(|| {
        AtomicU32::new(RandomState::new().build_hasher().finish() as u32 % u32::from(COUNT))
    });
    for _ in 0..COUNT {
        let step = next.fetch_add(1, Ordering::Relaxed) % u32::from(COUNT);
        if let Some(taken) = take(BASE + step as u16) {
            return Ok(taken);
        }
    }
    bail!("no port of {BASE} to {} is free", BASE + COUNT - 1)
}

fn listen(port: u16) -> Option<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_port_that_somebody_listens_on_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(listen(listener.local_addr().unwrap().port()).is_none());
    }

    #[test]
    fn no_port_is_given_twice() {
        let mut ports: Vec<u16> = (0..100).map(|_| free_port().unwrap()).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 100);
    }

    #[test]
    fn a_server_that_finds_its_port_taken_gets_another_start_and_any_other_error_none() {
        let taken = || PortTaken { log: String::new() };
        let starts = Cell::new(0);
        let outcome = on_free_ports(|| {
            starts.set(starts.get() + 1);
            if starts.get() < 3 {
                bail!(taken())
            }
            Ok(starts.get())
        });
        assert_eq!(outcome.unwrap(), 3);

        starts.set(0);
        on_free_ports::<()>(|| {
            starts.set(starts.get() + 1);
            bail!(taken())
        })
        .unwrap_err();
        assert_eq!(starts.get(), STARTS_MAX);

        starts.set(0);
        on_free_ports::<()>(|| {
            starts.set(starts.get() + 1);
            bail!("broken")
        })
        .unwrap_err();
        assert_eq!(starts.get(), 1);
    }
}
