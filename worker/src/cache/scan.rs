//! Reading which keys there are, node by node.

use bytes::Bytes;
use redis::Value;

use super::answer::{Answer, classify, strange};
use super::error::{CommandError, FailureKind};
use super::info::{field, text};
use super::typed::scanned;
use super::{Cache, NodeAddr};
use crate::permit::{Permit, Stopped};

/// What a SCAN gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// Where the next one goes on; 0: there is none.
    pub(crate) cursor: u64,
    /// Keys, of which some may come again.
    pub(crate) keys: Vec<Bytes>,
}

impl Cache {
    /// The nodes that own slots, as the cluster says now.
    pub(crate) async fn masters(&self) -> Vec<NodeAddr> {
        self.router.fresh_map().await.nodes().to_vec()
    }

    /// Asks one node for some keys that match.
    ///
    /// # Errors
    /// [`Stopped`] where the permit said so.
    pub(crate) async fn scan(
        &self,
        permit: &dyn Permit,
        node: &NodeAddr,
        cursor: u64,
        glob: &str,
        count: u32,
    ) -> Result<Result<Scanned, CommandError>, Stopped> {
        let mut command = redis::cmd("SCAN");
        command
            .arg(cursor)
            .arg("MATCH")
            .arg(glob)
            .arg("COUNT")
            .arg(count);
        let answer = self.router.ask_one(permit, node, command).await?;
        Ok(replied(answer, node).and_then(|reply| {
            let (cursor, keys) = scanned(reply).ok_or_else(|| strange(&Value::Nil, "SCAN"))?;
            Ok(Scanned { cursor, keys })
        }))
    }

    /// How a node stands, as it says itself: which run of the server it is, and in a cluster its id, its epoch and its slots, those
    /// on the move among them in brackets. Something else is said once it has started anew, or a slot came or went.
    ///
    /// # Errors
    /// [`Stopped`] where the permit said so.
    pub(crate) async fn said_by(
        &self,
        permit: &dyn Permit,
        node: &NodeAddr,
    ) -> Result<Result<String, CommandError>, Stopped> {
        let mut command = redis::cmd("INFO");
        command.arg("server");
        let answer = self.router.ask_one(permit, node, command).await?;
        let run_id = replied(answer, node).and_then(|reply| {
            let info = text(reply).unwrap_or_default();
            let run_id = field(&info, "run_id").map(str::to_owned);
            run_id.ok_or_else(|| strange(&Value::Nil, "INFO"))
        });
        let run_id = match run_id {
            Ok(run_id) if self.is_cluster() => run_id,
            alone => return Ok(alone),
        };
        let mut command = redis::cmd("CLUSTER");
        command.arg("NODES");
        let answer = self.router.ask_one(permit, node, command).await?;
        Ok(replied(answer, node).and_then(|reply| {
            let said = text(reply).and_then(|nodes| said_of_itself(&nodes));
            let said = said.ok_or_else(|| strange(&Value::Nil, "CLUSTER NODES"))?;
            Ok(format!("{run_id} {said}"))
        }))
    }
}

/// The reply; that the node redirects, or is another now, is an error that may pass.
pub(super) fn replied(
    answer: Result<Value, CommandError>,
    node: &NodeAddr,
) -> Result<Value, CommandError> {
    match classify(answer?, node) {
        Answer::Reply(reply) => Ok(reply),
        Answer::Moved(_) | Answer::Ask(_) => {
            let reason = format!("{node}: it redirects a command about itself");
            Err(CommandError::new(FailureKind::Unavailable, reason))
        }
        Answer::Later(error) | Answer::Demoted(error) | Answer::Failed(error) => Err(error),
    }
}

/// Of the lines of CLUSTER NODES the node's own: `id address flags master ping pong epoch link slots…`, without what changes by
/// itself.
fn said_of_itself(nodes: &str) -> Option<String> {
    let own = nodes.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_own = words.get(2)?.split(',').any(|flag| flag == "myself");
        is_own.then_some(words)
    })?;
    let [id, _, _, _, _, _, epoch, _, slots @ ..] = own.as_slice() else {
        return None;
    };
    Some(format!("{id} {epoch} {}", slots.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_tells_its_slots_and_those_on_the_move_and_nothing_that_changes_by_itself() {
        let nodes = "\
            aa 10.0.0.2:7002@17002 master - 0 1426238317239 2 connected 5461-16383\n\
            bb 10.0.0.1:7001@17001,host myself,master - 0 99 7 connected 0-5460 [93-<-aa] [77->-aa]\n";
        let said = said_of_itself(nodes).unwrap();
        assert_eq!(said, "bb 7 0-5460 [93-<-aa] [77->-aa]");
        assert_eq!(
            said_of_itself("aa 10.0.0.2:7002@17002 master - 0 1 2 connected"),
            None
        );
        assert_eq!(said_of_itself("bb x myself"), None);
    }
}
