//! How busy a node is, and who its clients are: what tells whether watching it does harm.

use std::collections::HashSet;
use std::time::Duration;

use redis::Value;
use redis::aio::Monitor;

use super::answer::strange;
use super::error::CommandError;
use super::info::{field, text};
use super::scan::replied;
use super::{Cache, NodeAddr};
use crate::permit::{Permit, Stopped};

/// What our connections are called: see `login`.
pub(super) const OUR_NAME: &str = "stoke";

/// How a node is at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// How long it has computed, all in all: the thread that serves commands, where it tells that.
    pub(crate) cpu: Duration,
    /// The addresses of our own connections.
    pub(crate) ours: HashSet<String>,
    /// What it holds for the connection to which most is yet to be sent, of those that see what it is sent.
    pub(crate) buffer_bytes: u64,
}

impl Cache {
    /// What a node is sent, from now on. A token is taken for it.
    ///
    /// # Errors
    /// [`Stopped`] where the permit said so.
    pub(crate) async fn monitor(
        &self,
        permit: &dyn Permit,
        node: &NodeAddr,
    ) -> Result<Result<Monitor, CommandError>, Stopped> {
        permit.pass(1).await?;
        Ok(self.router.node(node).monitor().await)
    }

    /// How a node is. Two tokens are taken for it.
    ///
    /// # Errors
    /// [`Stopped`] where the permit said so.
    pub(crate) async fn load(
        &self,
        permit: &dyn Permit,
        node: &NodeAddr,
    ) -> Result<Result<Load, CommandError>, Stopped> {
        let mut command = redis::cmd("INFO");
        command.arg("cpu");
        let info = self.router.ask_one(permit, node, command).await?;
        let cpu = replied(info, node).and_then(|info| {
            let info = text(info).unwrap_or_default();
            cpu(&info).ok_or_else(|| strange(&Value::Nil, "INFO"))
        });
        let cpu = match cpu {
            Ok(cpu) => cpu,
            Err(error) => return Ok(Err(error)),
        };
        let mut command = redis::cmd("CLIENT");
        command.arg("LIST");
        let clients = self.router.ask_one(permit, node, command).await?;
        Ok(replied(clients, node).and_then(|clients| {
            let clients = text(clients).ok_or_else(|| strange(&Value::Nil, "CLIENT LIST"))?;
            let (ours, buffer_bytes) = told(&clients);
            Ok(Load {
                cpu,
                ours,
                buffer_bytes,
            })
        }))
    }
}

fn cpu(info: &str) -> Option<Duration> {
    let seconds = |name: &str| field(info, name)?.parse::<f64>().ok();
    let both = |sys: &str, user: &str| Some(seconds(sys)? + seconds(user)?);
    let main = both("used_cpu_sys_main_thread", "used_cpu_user_main_thread");
    let seconds = main.or_else(|| both("used_cpu_sys", "used_cpu_user"))?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Of the lines of CLIENT LIST: the addresses of our connections, and the largest output buffer of those in MONITOR.
fn told(clients: &str) -> (HashSet<String>, u64) {
    let (mut ours, mut buffer_bytes) = (HashSet::new(), 0);
    for line in clients.lines() {
        let of = |name: &str| {
            let mut fields = line.split(' ').filter_map(|field| field.split_once('='));
            fields.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        if of("name") == Some(OUR_NAME) || of("lib-name") == Some(OUR_NAME) {
            ours.extend(of("addr").map(str::to_owned));
        }
        if of("flags").is_some_and(|flags| flags.contains('O')) {
            let held = of("omem").and_then(|bytes| bytes.parse().ok());
            buffer_bytes = buffer_bytes.max(held.unwrap_or(0));
        }
    }
    (ours, buffer_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_that_serves_commands_is_what_counts_where_it_is_told() {
        let old = "used_cpu_sys:1.5\r\nused_cpu_user:0.25\r\nused_cpu_sys_children:9\r\n";
        assert_eq!(cpu(old), Some(Duration::from_millis(1750)));
        let new = format!("{old}used_cpu_sys_main_thread:0.5\r\nused_cpu_user_main_thread:0.1\r\n");
        assert_eq!(cpu(&new), Some(Duration::from_millis(600)));
        assert_eq!(cpu("used_cpu_sys:x"), None);
    }

    #[test]
    fn our_connections_and_the_buffers_of_those_that_watch_are_told_by_the_list_of_clients() {
        let clients = "id=3 addr=10.0.0.1:50 laddr=10.0.0.2:6379 fd=8 name=stoke flags=N omem=7 cmd=get\n\
            id=4 addr=10.0.0.1:51 name= flags=O omem=2048 cmd=monitor user=default\n\
            id=5 addr=10.0.0.1:52 name=app flags=N omem=99999\n\
            id=6 addr=10.0.0.1:53 name= flags=Oc omem=1 lib-name=stoke\n";
        let (ours, buffer_bytes) = told(clients);
        assert_eq!(
            ours,
            ["10.0.0.1:50", "10.0.0.1:53"].map(str::to_owned).into()
        );
        assert_eq!(buffer_bytes, 2048);
    }
}
