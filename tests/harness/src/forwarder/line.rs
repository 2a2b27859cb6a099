//! One connection through a forwarder, and what its line does with bytes.

use std::net::{Shutdown, TcpStream};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What becomes of bytes between a client and the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Line {
    /// They pass.
    #[default]
    Open,
    /// Connections are closed, new ones at once.
    Refused,
    /// Connections come up, but whatever is sent over them is lost, either way. Once the line is open again, those that
    /// have lost something are closed: a stream has no holes.
    Swallowed,
    /// As [`Swallowed`](Self::Swallowed), but only what the client sends is lost.
    RequestsLost,
    /// As [`Swallowed`](Self::Swallowed), but only what the server sends is lost: what it was asked to do, it does.
    AnswersLost,
    /// Nothing passes until the line is another: then what was sent arrives, late.
    Held,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    ToServer,
    ToClient,
}

/// A connection of a client, and the one to the server that belongs to it.
#[derive(Debug)]
pub(super) struct Connection {
    client: TcpStream,
    server: TcpStream,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    line: Line,
    /// Something was lost.
    torn: bool,
    ended: bool,
}

impl Connection {
    /// One whose line is so.
    pub(super) fn new(client: &TcpStream, server: &TcpStream, line: Line) -> std::io::Result<Self> {
        let connection = Self {
            client: client.try_clone()?,
            server: server.try_clone()?,
            state: Mutex::default(),
            changed: Condvar::new(),
        };
        connection.set(line);
        Ok(connection)
    }

    /// From now on the line is so.
    pub(super) fn set(&self, line: Line) {
        let mut state = self.state();
        let healed = state.line != line && line == Line::Open;
        state.line = line;
        self.changed.notify_all();
        let closes = line == Line::Refused || (healed && state.torn);
        drop(state);
        if closes {
            self.end();
        }
    }

    /// Whether what goes this way arrives. Blocks while the line holds it.
    pub(super) fn lets_through(&self, direction: Direction) -> bool {
        let mut state = self.state();
        while state.line == Line::Held && !state.ended {
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        let passes = match state.line {
            Line::Open | Line::Held => true,
            Line::Refused | Line::Swallowed => false,
            Line::RequestsLost => direction == Direction::ToClient,
            Line::AnswersLost => direction == Direction::ToServer,
        };
        state.torn |= !passes;
        passes
    }

    /// Closes it on both sides.
    pub(super) fn end(&self) {
        // Where a side has closed already, there is nothing left to do.
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
        self.state().ended = true;
        self.changed.notify_all();
    }

    /// Whether it is closed.
    pub(super) fn has_ended(&self) -> bool {
        self.state().ended
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
