//! A network that can be slow, or cut: passes bytes on to a port of this machine, for each client process as it is told.

mod line;
mod owner;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;

pub use self::line::Line;
use self::line::{Connection, Direction};
use crate::ports::listen_on_free_port;

/// How long to let go by between two looks whether a server that was away is back.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Passes on until this process ends; connections end with either side's.
#[derive(Debug)]
pub struct Forwarder {
    port: u16,
    roads: Arc<Roads>,
}

/// What all connections of a forwarder share.
#[derive(Debug, Default)]
struct Roads {
    delay_ms: AtomicU64,
    rules: Mutex<Rules>,
}

#[derive(Debug, Default)]
struct Rules {
    /// Where clients connect to.
    port: u16,
    for_all: Line,
    /// By process id; these go before what is for all.
    for_one: BTreeMap<u32, Line>,
    /// By the client's address; those that have ended leave.
    connections: BTreeMap<SocketAddr, Arc<Connection>>,
}

impl Forwarder {
    /// To this port of 127.0.0.1, without delay.
    ///
    /// # Errors
    /// No port can be listened on.
    pub fn to(server: u16) -> Result<Self> {
        // Below the ports of outgoing connections: none of those takes it while nobody listens there.
        let (port, listener) = listen_on_free_port()?;
        let roads = Arc::new(Roads::default());
        roads.rules().port = port;
        let shared = Arc::clone(&roads);
        thread::spawn(move || accept(listener, port, server, &shared));
        Ok(Self { port, roads })
    }

    /// Where it listens, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on answers are so late.
    pub fn delay(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.roads.delay_ms.store(millis, Ordering::SeqCst);
    }

    /// From now on the line is so for all clients but those of [`set_for`](Self::set_for): for connections that there are,
    /// and for new ones.
    pub fn set(&self, line: Line) {
        let mut rules = self.roads.rules();
        rules.for_all = line;
        rules.apply();
    }

    /// From now on the line is so for this client process, which must be one of this user's.
    pub fn set_for(&self, pid: u32, line: Line) {
        let mut rules = self.roads.rules();
        rules.for_one.insert(pid, line);
        rules.apply();
    }
}

/// Takes connections for ever. While the server is away nobody listens here either: a client must see what it would see without
/// a forwarder, a refused connection, and not one that comes up and ends.
fn accept(mut listener: TcpListener, port: u16, server: u16, roads: &Arc<Roads>) {
    loop {
        let Ok((client, _)) = listener.accept() else {
            continue;
        };
        if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)) {
            let _ = join(client, server, roads);
            continue;
        }
        drop((client, listener));
        listener = loop {
            thread::sleep(LOOK_EVERY);
            let is_back = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).is_ok();
            if is_back && let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                break listener;
            }
        };
    }
}

impl Roads {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rules {
    fn line_of(&self, client: SocketAddr) -> Line {
        // Asked only where somebody is treated apart: it reads a good part of /proc.
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let owned_by = |pid: &u32| owner::owns(*pid, client, here);
        let own = self.for_one.iter().find(|(pid, _)| owned_by(pid));
        own.map_or(self.for_all, |(_, line)| *line)
    }

    fn apply(&mut self) {
        self.connections
            .retain(|_, connection| !connection.has_ended());
        for (client, connection) in &self.connections {
            connection.set(self.line_of(*client));
        }
    }
}

fn join(client: TcpStream, server: TcpStream, roads: &Arc<Roads>) -> std::io::Result<()> {
    let address = client.peer_addr()?;
    let connection = {
        // Under the lock, so that no change of a rule passes between the look and the entry.
        let mut rules = roads.rules();
        let line = rules.line_of(address);
        let connection = Arc::new(Connection::new(&client, &server, line)?);
        rules.connections.insert(address, Arc::clone(&connection));
        connection
    };
    let (from, to) = (client.try_clone()?, server.try_clone()?);
    let (there, late) = (Arc::clone(&connection), Arc::clone(roads));
    thread::spawn(move || pass_on(from, to, Direction::ToServer, &there, &late));
    let (back, late) = (connection, Arc::clone(roads));
    thread::spawn(move || pass_on(server, client, Direction::ToClient, &back, &late));
    Ok(())
}

fn pass_on(
    mut from: TcpStream,
    mut to: TcpStream,
    direction: Direction,
    connection: &Connection,
    roads: &Roads,
) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        if direction == Direction::ToClient {
            // The delay is what this is for; nobody waits for it in vain.
            thread::sleep(Duration::from_millis(roads.delay_ms.load(Ordering::SeqCst)));
        }
        if connection.lets_through(direction) && to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    connection.end();
}
