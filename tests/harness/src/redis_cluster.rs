//! Redis Cluster: several masters, without replicas but for those that are added.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::certificates::ServerTls;
use crate::ports::{free_port_with_bus, on_free_ports};
use crate::redis::Node;
use crate::wait::wait_for;

/// Hash slots of any cluster.
const SLOTS: usize = 16_384;

/// How long nodes that know of each other may take to agree on who owns which slots.
const AGREED_WITHIN: Duration = Duration::from_secs(60);

/// Options of every node. A node counts as lost after two seconds: soon enough to wait for in a test, late enough for
/// a busy machine.
const OPTIONS: &[(&str, &str)] = &[
    ("cluster-enabled", "yes"),
    ("cluster-config-file", "nodes.conf"),
    ("cluster-node-timeout", "2000"),
    ("cluster-announce-ip", "127.0.0.1"),
];

/// Beside them, where the nodes speak TLS with each other.
const TLS_OPTIONS: &[(&str, &str)] = &[("tls-cluster", "yes"), ("tls-replication", "yes")];

/// A Redis Cluster of masters, each with an equal run of slots. Its nodes are named by their ports.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Node>,
}

impl RedisCluster {
    /// Starts `masters` nodes, empty and without persistence, and waits until they all agree that the cluster is
    /// complete.
    ///
    /// # Errors
    /// Redis is not installed, or the cluster is not usable after a minute: with what is missing.
    pub fn start(masters: usize) -> Result<Self> {
        Self::start_with(masters, &[])
    }

    /// As [`start`](Self::start), with further options for every node, as in redis.conf.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(masters: usize, options: &[(&str, &str)]) -> Result<Self> {
        Self::start_as(masters, None, options)
    }

    /// As [`start_with`](Self::start_with), all nodes speaking TLS only, with clients and with each other.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with_tls(
        masters: usize,
        tls: ServerTls<'_>,
        options: &[(&str, &str)],
    ) -> Result<Self> {
        Self::start_as(masters, Some(tls), &[options, TLS_OPTIONS].concat())
    }

    fn start_as(
        masters: usize,
        tls: Option<ServerTls<'_>>,
        options: &[(&str, &str)],
    ) -> Result<Self> {
        let options = [OPTIONS, options].concat();
        let cluster = on_free_ports(|| {
            let nodes = (0..masters)
                .map(|_| Node::start_on(free_port_with_bus()?, tls, &options))
                .collect::<Result<Vec<_>>>()?;
            nodes.iter().try_for_each(Node::wait_until_ready)?;
            Ok(Self { nodes })
        })?;
        cluster.join()?;
        cluster.wait_until_agreed()?;
        Ok(cluster)
    }

    /// Starts a replica of a master, and waits until it has all that its master has. Returns its port.
    ///
    /// # Errors
    /// As [`start`](Self::start); there is no such master.
    pub fn add_replica(&mut self, master: u16) -> Result<u16> {
        let replica = on_free_ports(|| {
            let node = Node::start_on(free_port_with_bus()?, None, OPTIONS)?;
            node.wait_until_ready()?;
            Ok(node)
        })?;
        let port = replica.port;
        let id = self.cli(master, &["CLUSTER", "MYID"])?;
        expect_ok(
            &replica,
            &["CLUSTER", "MEET", "127.0.0.1", &master.to_string()],
        )?;
        self.nodes.push(replica);
        let replica = self.node(port)?;
        wait_for("the replica to know its master", AGREED_WITHIN, || {
            expect_ok(replica, &["CLUSTER", "REPLICATE", &id])
        })?;
        wait_for("the replica to follow its master", AGREED_WITHIN, || {
            let info = replica.cli(&["INFO", "replication"])?;
            ensure!(info.contains("master_link_status:up"), "{info}");
            Ok(())
        })?;
        self.wait_until_agreed()?;
        Ok(port)
    }

    /// How clients reach the nodes, with the password if they have one.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Node::url).collect()
    }

    /// The nodes' ports on 127.0.0.1, in the order of [`urls`](Self::urls) and of the slots.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.port).collect()
    }

    /// Runs `redis-cli` with `args` against a node and returns its output, which is also where errors of Redis are.
    /// With `-c` among the arguments it follows redirections.
    ///
    /// # Errors
    /// There is no such node, redis-cli is not installed, or it cannot connect.
    pub fn cli(&self, port: u16, args: &[&str]) -> Result<String> {
        self.node(port)?.cli(args)
    }

    /// How many keys all nodes hold together.
    ///
    /// # Errors
    /// As [`cli`](Self::cli).
    pub fn key_count(&self) -> Result<u64> {
        self.nodes
            .iter()
            .map(|node| {
                let answer = node.cli(&["DBSIZE"])?;
                answer
                    .parse::<u64>()
                    .with_context(|| format!("reading the number of keys from {answer:?}"))
            })
            .sum()
    }

    /// Ends a node by SIGKILL; what it held is lost.
    ///
    /// # Errors
    /// There is no such node.
    pub fn kill(&self, port: u16) -> Result<()> {
        self.node(port)?.service.end()
    }

    /// Starts a node again on the same port, killing it first if it runs: it is empty, and owns the slots it had.
    /// Waits until all nodes agree again.
    ///
    /// # Errors
    /// As [`start`](Self::start); also while another node is down.
    pub fn restart(&self, port: u16) -> Result<()> {
        self.node(port)?.restart()?;
        self.wait_until_agreed()
    }

    /// Stops a node (SIGSTOP): it neither answers nor closes connections until [`cont`](Self::cont).
    ///
    /// # Errors
    /// There is no such node.
    pub fn stop(&self, port: u16) -> Result<()> {
        self.node(port)?.service.signal(Signal::STOP)
    }

    /// Lets a node go on (SIGCONT).
    ///
    /// # Errors
    /// There is no such node.
    pub fn cont(&self, port: u16) -> Result<()> {
        self.node(port)?.service.signal(Signal::CONT)
    }

    /// The nodes' processes, in the order of their ports.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.nodes.iter().map(|node| node.service.pid()).collect()
    }

    /// Waits until every node knows all others and who owns each slot, and calls the cluster's state ok.
    ///
    /// # Errors
    /// They do not within a minute.
    pub fn wait_until_agreed(&self) -> Result<()> {
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        let wanted = [
            "cluster_state:ok",
            &format!("cluster_slots_ok:{SLOTS}"),
            &known,
        ];
        wait_for("the Redis cluster's nodes to agree", AGREED_WITHIN, || {
            for node in &self.nodes {
                let info = node.cli(&["CLUSTER", "INFO"])?;
                for want in wanted {
                    let found = info.lines().any(|line| line.trim_end() == want);
                    ensure!(found, "node {} does not say {want}, but: {info}", node.port);
                }
            }
            Ok(())
        })
    }

    /// Deals out the slots and introduces the nodes to each other.
    fn join(&self) -> Result<()> {
        let count = self.nodes.len();
        for (number, node) in self.nodes.iter().enumerate() {
            // A number per slot, as Redis before 7 knows no ranges.
            let slots: Vec<String> = (number * SLOTS / count..(number + 1) * SLOTS / count)
                .map(|slot| slot.to_string())
                .collect();
            let mut add = vec!["CLUSTER", "ADDSLOTS"];
            add.extend(slots.iter().map(String::as_str));
            expect_ok(node, &add)?;
            // Equal epochs would be told apart only by a conflict later on.
            expect_ok(
                node,
                &["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()],
            )?;
        }
        if let Some((first, others)) = self.nodes.split_first() {
            for other in others {
                expect_ok(
                    first,
                    &["CLUSTER", "MEET", "127.0.0.1", &other.port.to_string()],
                )?;
            }
        }
        Ok(())
    }

    fn node(&self, port: u16) -> Result<&Node> {
        self.nodes
            .iter()
            .find(|node| node.port == port)
            .with_context(|| format!("the cluster has no node on port {port}"))
    }
}

fn expect_ok(node: &Node, args: &[&str]) -> Result<()> {
    let answer = node.cli(args)?;
    ensure!(
        answer == "OK",
        "node {} answered {} with {answer}",
        node.port,
        args[..2].join(" ")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::ports::{PortTaken, free_port_with_taken_bus};

    use super::*;

    #[test]
    fn a_taken_bus_port_is_recognised() {
        let (port, _taken) = free_port_with_taken_bus().unwrap();
        let node = Node::start(port, OPTIONS).unwrap();
        let error = node.wait_until_ready().unwrap_err();
        assert!(error.is::<PortTaken>(), "{error:#}");
    }
}
