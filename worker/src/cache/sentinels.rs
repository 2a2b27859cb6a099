//! The sentinels of one master: whom they name, and whether that node says so, too.
//!
//! Whoever answered last is asked first, and who did not, last: sentinels learn of a fail-over one after another, and going from one to the next with
//! every question could lead back to the old master, which takes itself for one until it is told. Redis' guidelines for
//! clients of Sentinel ask for the rest: all are asked until one leads to a master, and its role is looked at.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use redis::{Pipeline, Value};

use super::addr::NodeAddr;
use super::answer::words;
use super::error::{CacheError, CommandError, FailureKind};
use super::node::{Entry, Nodes};
use stoke_core::advice::with_advice;

/// The longest name that DNS has.
const HOST_BYTES_MAX: usize = 255;

/// An answer that no sentinel gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The sentinels of one master.
pub(crate) struct Sentinels {
    /// As they call it.
    master: String,
    /// In the order in which they are asked.
    order: Mutex<Vec<NodeAddr>>,
    nodes: Nodes,
}

impl Sentinels {
    /// Those at `addrs`, entered as `entry` says.
    pub(crate) fn new(master: String, addrs: Vec<NodeAddr>, entry: Entry) -> Self {
        Self {
            master,
            order: Mutex::new(addrs),
            nodes: Nodes::new(entry),
        }
    }

    /// Where the master is: the first address that a sentinel names and whose node (of `nodes`) is a master. The node at
    /// `trusted` is one without being asked.
    ///
    /// # Errors
    /// [`CacheError::NoMaster`], with what came of each; [`CacheError::Denied`] where a node that was named does not let us in,
    /// and no other sentinel names a better one.
    pub(crate) async fn find(
        &self,
        nodes: &Nodes,
        trusted: Option<&NodeAddr>,
    ) -> Result<NodeAddr, CacheError> {
        let mut said = Vec::new();
        let mut denied = None;
        // Several sentinels name the same node, as a rule.
        let mut turned_down: BTreeMap<NodeAddr, String> = BTreeMap::new();
        for sentinel in self.order() {
            let named = match self.ask(&sentinel).await {
                Ok(named) => named,
                Err(reason) => {
                    self.ask_last(&sentinel);
                    said.push((sentinel, reason));
                    continue;
                }
            };
            if trusted == Some(&named) {
                self.ask_first(&sentinel);
                return Ok(named);
            }
            if !turned_down.contains_key(&named) {
                match nodes.get(&named).check_master().await {
                    Ok(()) => {
                        self.ask_first(&sentinel);
                        return Ok(named);
                    }
                    Err(error) => {
                        let kind = error.kind;
                        let reason = said_by(&named, error);
                        if matches!(kind, FailureKind::Denied | FailureKind::Refused) {
                            denied = Some((named.clone(), reason.clone()));
                        }
                        turned_down.insert(named.clone(), reason);
                    }
                }
            }
            let reason = &turned_down[&named];
            said.push((sentinel, format!("names {named}: {reason}")));
        }
        Err(match denied {
            Some((node, reason)) => CacheError::Denied {
                node,
                doing: "asking whether it is a master",
                reason,
            },
            None => CacheError::NoMaster {
                master: self.master.clone(),
                said,
            },
        })
    }

    /// Whom one sentinel names, or what is wrong with it.
    async fn ask(&self, sentinel: &NodeAddr) -> Result<NodeAddr, String> {
        let answer = self.nodes.get(sentinel).ask(&self.question()).await;
        let answer =
            answer.map_err(|error| format!("cannot be asked: {}", said_by(sentinel, error)))?;
        if let Value::ServerError(error) = &answer {
            return Err(format!("answers {}", with_advice(&words(error))));
        }
        match master_addr(&answer) {
            Ok(Some(named)) => Ok(named),
            Ok(None) => {
                let what =
                    "knows no master of this name (SENTINEL MASTERS tells those that it watches)";
                Err(what.to_owned())
            }
            Err(Malformed) => Err("gives an answer that cannot be understood".to_owned()),
        }
    }

    fn question(&self) -> Pipeline {
        let mut pipeline = redis::pipe();
        let command = pipeline.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME");
        command.arg(&self.master);
        pipeline
    }

    fn order(&self) -> Vec<NodeAddr> {
        self.with_order(|order| order.clone())
    }

    /// Asks this one first from now on.
    fn ask_first(&self, sentinel: &NodeAddr) {
        self.with_order(|order| {
            let place = order.iter().position(|one| one == sentinel);
            if let Some(place) = place {
                order[..=place].rotate_right(1);
            }
        });
    }

    /// Asks this one last from now on.
    fn ask_last(&self, sentinel: &NodeAddr) {
        self.with_order(|order| {
            if let Some(place) = order.iter().position(|one| one == sentinel) {
                order[place..].rotate_left(1);
            }
        });
    }

    /// Asks the one that is first now last from now on: it is the one that was waited for, as others that failed are behind it.
    pub(crate) fn ask_first_last(&self) {
        self.with_order(|order| order.rotate_left(1));
    }

    fn with_order<T>(&self, act: impl FnOnce(&mut Vec<NodeAddr>) -> T) -> T {
        // Whole at every instant, so a panic elsewhere leaves nothing half done.
        act(&mut self.order.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What happened at a node that is named beside it.
fn said_by(node: &NodeAddr, error: CommandError) -> String {
    match error.reason.strip_prefix(&format!("{node}: ")) {
        Some(rest) => rest.to_owned(),
        None => error.reason,
    }
}

/// The address in the answer to `SENTINEL GET-MASTER-ADDR-BY-NAME`: `[host, port]`, both as text, or nil where the sentinel
/// knows no such master.
pub(crate) fn master_addr(answer: &Value) -> Result<Option<NodeAddr>, Malformed> {
    let parts = match answer {
        Value::Nil => return Ok(None),
        Value::Array(parts) => parts,
        _ => return Err(Malformed),
    };
    let [host, port] = parts.as_slice() else {
        return Err(Malformed);
    };
    let host = text(host).ok_or(Malformed)?;
    let is_fine = |char: char| !char.is_control() && !char.is_whitespace();
    if host.is_empty() || host.len() > HOST_BYTES_MAX || !host.chars().all(is_fine) {
        return Err(Malformed);
    }
    match text(port).ok_or(Malformed)?.parse() {
        Ok(0) | Err(_) => Err(Malformed),
        Ok(port) => Ok(Some(NodeAddr::new(host, port))),
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn on(wire: &[u8]) -> Result<Option<String>, Malformed> {
        let named = master_addr(&redis::parse_redis_value(wire).unwrap());
        named.map(|addr| addr.map(|addr| addr.to_string()))
    }

    #[test]
    fn a_sentinel_names_an_address_or_nobody() {
        let named = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(
            on(b"*2\r\n$8\r\n10.0.0.1\r\n$4\r\n6379\r\n"),
            named("10.0.0.1:6379")
        );
        assert_eq!(
            on(b"*2\r\n$7\r\nfd00::1\r\n$4\r\n6379\r\n"),
            named("[fd00::1]:6379")
        );
        assert_eq!(
            on(b"*2\r\n$4\r\nhost\r\n$5\r\n65535\r\n"),
            named("host:65535")
        );
        assert_eq!(on(b"*-1\r\n"), Ok(None));
        assert_eq!(on(b"$-1\r\n"), Ok(None));
    }

    #[test]
    fn what_no_sentinel_answers_is_refused() {
        for wire in [
            &b"*0\r\n"[..],
            b"*1\r\n$4\r\nhost\r\n",
            b"*3\r\n$4\r\nhost\r\n$4\r\n6379\r\n$1\r\n1\r\n",
            b"*2\r\n$0\r\n\r\n$4\r\n6379\r\n",
            b"*2\r\n$4\r\nhost\r\n$1\r\n0\r\n",
            b"*2\r\n$4\r\nhost\r\n$5\r\n65536\r\n",
            b"*2\r\n$4\r\nhost\r\n$2\r\n-1\r\n",
            b"*2\r\n$4\r\nhost\r\n$0\r\n\r\n",
            b"*2\r\n$4\r\nhost\r\n:6379\r\n",
            b"*2\r\n$-1\r\n$4\r\n6379\r\n",
            b"*2\r\n$2\r\n\xff\xfe\r\n$4\r\n6379\r\n",
            b"*2\r\n$4\r\na\nb \r\n$4\r\n6379\r\n",
            b"+OK\r\n",
            b":1\r\n",
        ] {
            assert_eq!(on(wire), Err(Malformed), "{}", wire.escape_ascii());
        }
        let long = format!("*2\r\n$256\r\n{}\r\n$4\r\n6379\r\n", "a".repeat(256));
        assert_eq!(on(long.as_bytes()), Err(Malformed));
    }

    #[test]
    fn whoever_answered_is_asked_first_who_did_not_last_and_the_others_stay_in_order() {
        let addr = |port| NodeAddr::new("s", port);
        let entry = Entry {
            settings: redis::RedisConnectionInfo::default(),
            only_master: false,
            tls: None,
            timeout: std::time::Duration::from_secs(1),
        };
        let sentinels = Sentinels::new("main".into(), [1, 2, 3].map(addr).to_vec(), entry);
        let ports = |sentinels: &Sentinels| -> Vec<u16> {
            sentinels.order().iter().map(NodeAddr::port).collect()
        };
        sentinels.ask_first(&addr(3));
        assert_eq!(ports(&sentinels), [3, 1, 2]);
        sentinels.ask_first(&addr(3));
        assert_eq!(ports(&sentinels), [3, 1, 2]);
        sentinels.ask_first_last();
        assert_eq!(ports(&sentinels), [1, 2, 3]);
        sentinels.ask_last(&addr(2));
        assert_eq!(ports(&sentinels), [1, 3, 2]);
    }

    proptest! {
        #[test]
        fn no_host_or_port_breaks_it(
            host in proptest::collection::vec(any::<u8>(), 0..300),
            port in "[-+0-9 ]{0,7}",
        ) {
            let answer = Value::Array(vec![
                Value::BulkString(host),
                Value::BulkString(port.into_bytes()),
            ]);
            if let Ok(Some(addr)) = master_addr(&answer) {
                prop_assert!(!addr.host().is_empty() && addr.port() > 0);
            }
        }
    }
}
