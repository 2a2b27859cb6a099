//! Seeing what a node is sent: MONITOR, on a connection of its own.

use redis::aio::Monitor;
use redis::{RedisError, Value};
use tokio::time::timeout;

use super::Node;
use crate::cache::answer::words;
use crate::cache::error::{CommandError, FailureKind};

impl Node {
    /// A connection on which the node shows each command that it is sent. It costs the node: see to it that it ends.
    ///
    /// # Errors
    /// Where it does not let us see that, or cannot be reached.
    pub(crate) async fn monitor(&self) -> Result<Monitor, CommandError> {
        self.check_monitor().await?;
        let failed = |error: RedisError| self.unreachable(&format!("cannot connect: {error}"));
        let settings = self.entry.settings.clone().set_skip_set_lib_name();
        let client = self.client(settings).map_err(failed)?;
        match timeout(self.entry.timeout, client.get_async_monitor()).await {
            Ok(monitor) => monitor.map_err(failed),
            Err(_) => Err(self.unreachable(&format!("no answer within {:?}", self.entry.timeout))),
        }
    }

    /// Looks whether it lets us, on a connection that is closed again: the crate takes a refusal for an answer, and waits for lines.
    async fn check_monitor(&self) -> Result<(), CommandError> {
        let mut connection = self.connect().await?;
        let mut command = redis::pipe();
        command.cmd("MONITOR");
        let answer = self.exchange(&mut connection, &command, 0).await?.pop();
        match answer {
            Some(Value::Okay) => Ok(()),
            Some(Value::ServerError(error)) => {
                let kind = match error.code() {
                    "NOPERM" | "NOAUTH" => FailureKind::Denied,
                    "LOADING" | "BUSY" => FailureKind::Unavailable,
                    _ => FailureKind::Refused,
                };
                let reason = format!("{}: {}", self.addr, words(&error));
                Err(CommandError::advised(kind, &reason))
            }
            _ => Err(self.unreachable("its answer to MONITOR is not one that Redis gives")),
        }
    }
}
