//! Starts child processes that the kernel ends when this process dies.
//!
//! `setpriv` asks the kernel for that signal and then becomes the child's program, so that the child's id stays.
//! The kernel sends it when the *thread* that started the child ends, hence one thread that lives as long as the
//! process starts them all.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// A command, and where to send what became of it.
type Order = (Command, Sender<io::Result<Child>>);

/// Spawns `command` on the thread that outlives all others.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    let (answer, answered) = channel();
    let order = (command, answer);
    spawner()?.send(order).map_err(|_| stopped())?;
    answered.recv().map_err(|_| stopped())?
}

fn spawner() -> io::Result<Sender<Order>> {
    static SPAWNER: Mutex<Option<Sender<Order>>> = Mutex::new(None);
    let mut spawner = SPAWNER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(orders) = spawner.as_ref() {
        return Ok(orders.clone());
    }
    // Unbounded in type only: everyone who sends an order waits for its answer.
    let (orders, incoming) = channel::<Order>();
    thread::Builder::new()
        .name("spawner".to_owned())
        .spawn(move || {
            for (mut command, answer) in incoming {
                // Nobody listens any more only where the caller panicked; the child then dies with this process.
                let _ = answer.send(command.spawn());
            }
        })?;
    Ok(spawner.insert(orders).clone())
}

fn stopped() -> io::Error {
    io::Error::other("the thread that starts processes is gone")
}
