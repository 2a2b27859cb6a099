//! What tells a command to stop: Ctrl-C, or SIGTERM, which the kernel keeps from the first process of a container that does not listen
//! for it.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What tells this process to stop.
pub struct Told {
    interrupts: Signal,
    terminations: Signal,
}

impl Told {
    /// Listens from now on.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupts: signal(SignalKind::interrupt())?,
            terminations: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next of them, and says what it was.
    pub async fn heard(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupts.recv() => "Ctrl-C",
            _ = self.terminations.recv() => "SIGTERM",
        }
    }
}
