//! Redis behind Sentinel: a master, a replica, and three sentinels that watch them.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::certificates::ServerTls;
use crate::ports::{free_port, on_free_ports};
use crate::redis::Node;
use crate::wait::wait_for;

/// What the sentinels call the master.
const MASTER: &str = "main";

/// How many sentinels there are, and how many of them must miss the master.
const SENTINELS: usize = 3;
const QUORUM: usize = 2;

/// After how long without an answer the master counts as lost: soon enough to wait for in a test, late enough for a busy
/// machine.
const DOWN_AFTER_MS: &str = "2000";

/// How long sentinels wait until they try a fail-over again.
const FAIL_OVER_TIMEOUT_MS: &str = "10000";

/// How long sentinels, master and replica may take to agree.
const AGREED_WITHIN: Duration = Duration::from_secs(60);

/// Beside the options of the nodes, where they speak TLS with each other.
const TLS_OPTIONS: &[(&str, &str)] = &[("tls-replication", "yes")];

/// A master and its replica, and the sentinels that watch them. The nodes are named by their ports.
#[derive(Debug)]
pub struct RedisSentinel {
    nodes: Vec<Node>,
    sentinels: Vec<Node>,
    tls: bool,
}

impl RedisSentinel {
    /// Starts them, empty and without persistence, and waits until the sentinels could fail over.
    ///
    /// # Errors
    /// Redis is not installed, or they are not usable after a minute: with what is missing.
    pub fn start() -> Result<Self> {
        Self::start_with(&[], &[])
    }

    /// As [`start`](Self::start), with further options for master and replica, and for the sentinels. A `requirepass` among
    /// the nodes' is used between them, too.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(nodes: &[(&str, &str)], sentinels: &[(&str, &str)]) -> Result<Self> {
        Self::start_as(None, nodes, sentinels)
    }

    /// As [`start_with`](Self::start_with), all speaking TLS only.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with_tls(tls: ServerTls<'_>, nodes: &[(&str, &str)]) -> Result<Self> {
        Self::start_as(Some(tls), &[nodes, TLS_OPTIONS].concat(), TLS_OPTIONS)
    }

    fn start_as(
        tls: Option<ServerTls<'_>>,
        nodes: &[(&str, &str)],
        sentinels: &[(&str, &str)],
    ) -> Result<Self> {
        let password = nodes.iter().rfind(|(name, _)| *name == "requirepass");
        let mut options = nodes.to_vec();
        options.extend(password.map(|(_, password)| ("masterauth", *password)));
        // A replica is sent its data at once.
        options.push(("repl-diskless-sync-delay", "0"));
        let start = |options: &[(&str, &str)]| {
            on_free_ports(|| {
                let node = Node::start_on(free_port()?, tls, options)?;
                node.wait_until_ready()?;
                Ok(node)
            })
        };
        let master = start(&options)?;
        let address = format!("127.0.0.1 {}", master.port);
        options.push(("replicaof", &address));
        let replica = start(&options)?;
        wait_for("the replica to follow its master", AGREED_WITHIN, || {
            follows(&replica)
        })?;

        let lines = [
            format!("monitor {MASTER} {address} {QUORUM}"),
            format!("down-after-milliseconds {MASTER} {DOWN_AFTER_MS}"),
            format!("failover-timeout {MASTER} {FAIL_OVER_TIMEOUT_MS}"),
        ];
        let entry = password.map(|(_, password)| format!("auth-pass {MASTER} {password}"));
        let lines = lines.iter().chain(&entry);
        let mut watching: Vec<(&str, &str)> =
            lines.map(|line| ("sentinel", line.as_str())).collect();
        watching.extend(sentinels);
        let start = || {
            on_free_ports(|| {
                let node = Node::start_sentinel(free_port()?, tls, &watching)?;
                node.wait_until_ready()?;
                Ok(node)
            })
        };
        let all = Self {
            nodes: vec![master, replica],
            sentinels: (0..SENTINELS).map(|_| start()).collect::<Result<_>>()?,
            tls: tls.is_some(),
        };
        all.wait_until_watched()?;
        Ok(all)
    }

    /// How clients reach it: all sentinels in one URL, with the nodes' password if they have one.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_for(MASTER)
    }

    /// The same, for a master of another name.
    #[must_use]
    pub fn url_for(&self, master: &str) -> String {
        let s = if self.tls { "s" } else { "" };
        let password = self.nodes.first().and_then(Node::password);
        let entry = password.map_or(String::new(), |password| format!(":{password}@"));
        let sentinels = self.sentinel_ports();
        let sentinels: Vec<_> = sentinels
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        format!(
            "redis{s}+sentinel://{entry}{}/{master}",
            sentinels.join(",")
        )
    }

    /// The ports of master and replica, whichever of them is which by now.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.port).collect()
    }

    /// The sentinels' ports on 127.0.0.1.
    #[must_use]
    pub fn sentinel_ports(&self) -> Vec<u16> {
        self.sentinels.iter().map(|node| node.port).collect()
    }

    /// The master's port, as all sentinels say: after a fail-over they hear of it one after the other.
    ///
    /// # Errors
    /// They do not come to agree, or cannot be asked.
    pub fn master(&self) -> Result<u16> {
        wait_for("the sentinels to agree", AGREED_WITHIN, || self.agreed())
    }

    /// The master's port, where all sentinels say the same now.
    fn agreed(&self) -> Result<u16> {
        let named = self
            .sentinels
            .iter()
            .map(named_by)
            .collect::<Result<Vec<_>>>()?;
        match named.as_slice() {
            [first, others @ ..] if others.iter().all(|other| other == first) => Ok(*first),
            _ => bail!("the sentinels name {named:?}"),
        }
    }

    /// The port of the node that is not the master.
    ///
    /// # Errors
    /// As [`master`](Self::master).
    pub fn replica(&self) -> Result<u16> {
        let master = self.master()?;
        let other = self.ports().into_iter().find(|port| *port != master);
        other.context("there is no other node")
    }

    /// Runs `redis-cli` with `args` against a node or a sentinel and returns its output, which is also where errors are.
    ///
    /// # Errors
    /// There is no such node, redis-cli is not installed, or it cannot connect.
    pub fn cli(&self, port: u16, args: &[&str]) -> Result<String> {
        self.node(port)?.cli(args)
    }

    /// Has the sentinels promote the replica while the master lives, as an operator does, and waits until all of them name it.
    /// Returns its port. The old master takes writes, which are lost, until the sentinels make it a replica some ten seconds
    /// later.
    ///
    /// # Errors
    /// They do not within a minute.
    pub fn fail_over(&self) -> Result<u16> {
        let promoted = self.replica()?;
        let first = self.sentinels.first().context("there is no sentinel")?;
        // Until it has seen the replica well for long enough it refuses.
        wait_for("a sentinel to fail over", AGREED_WITHIN, || {
            let answer = first.cli(&["SENTINEL", "FAILOVER", MASTER])?;
            ensure!(answer == "OK", "it answers {answer}");
            Ok(())
        })?;
        self.wait_until_master(promoted)?;
        Ok(promoted)
    }

    /// As [`fail_over`](Self::fail_over), losing nothing: the master takes no writes any more, the replica has all that it has,
    /// and writes that wait at the old master are refused by what is a replica then.
    ///
    /// # Errors
    /// As [`fail_over`](Self::fail_over).
    pub fn hand_over(&self) -> Result<u16> {
        let old = self.node(self.master()?)?;
        expect_ok(old, &["CLIENT", "PAUSE", "600000", "WRITE"])?;
        self.wait_until_replicated()?;
        let new = self.fail_over()?;
        // Sentinels would not: to them a node that holds up their PUBLISH is down.
        expect_ok(old, &["REPLICAOF", "127.0.0.1", &new.to_string()])?;
        expect_ok(old, &["CLIENT", "UNPAUSE"])?;
        Ok(new)
    }

    /// Waits until the replica has all that the master has.
    ///
    /// # Errors
    /// It has not within a minute.
    pub fn wait_until_replicated(&self) -> Result<()> {
        let (master, replica) = (self.node(self.master()?)?, self.node(self.replica()?)?);
        wait_for("the replica to have all", AGREED_WITHIN, || {
            let at_least = field(master, "master_repl_offset")?;
            let has = field(replica, "slave_repl_offset")?;
            let (at_least, has): (u64, u64) = (at_least.parse()?, has.parse()?);
            ensure!(has >= at_least, "it has {has} of {at_least}");
            Ok(())
        })
    }

    /// Waits until all sentinels name this node, and it is a master.
    ///
    /// # Errors
    /// They do not within a minute.
    pub fn wait_until_master(&self, port: u16) -> Result<()> {
        let node = self.node(port)?;
        wait_for(
            "the sentinels to name another master",
            AGREED_WITHIN,
            || {
                let named = self.agreed()?;
                ensure!(named == port, "they name {named}");
                let role = field(node, "role")?;
                ensure!(role == "master", "{port} is a {role}");
                Ok(())
            },
        )
    }

    /// Has all sentinels forget the nodes that are not the master: what they do to these then is left to the caller.
    ///
    /// # Errors
    /// One refuses.
    pub fn forget_replicas(&self) -> Result<()> {
        for sentinel in &self.sentinels {
            let answer = sentinel.cli(&["SENTINEL", "RESET", MASTER])?;
            ensure!(answer == "1", "sentinel {} answers {answer}", sentinel.port);
        }
        Ok(())
    }

    /// Waits until this node is a replica that has all that its master has.
    ///
    /// # Errors
    /// It is not within a minute.
    pub fn wait_until_replica(&self, port: u16) -> Result<()> {
        let node = self.node(port)?;
        wait_for("a node to be a replica", AGREED_WITHIN, || follows(node))
    }

    /// Ends a node or a sentinel by SIGKILL; what it held is lost.
    ///
    /// # Errors
    /// There is no such node.
    pub fn kill(&self, port: u16) -> Result<()> {
        self.node(port)?.service.end()
    }

    /// Starts a node or a sentinel again on the same port, killing it first if it runs.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart(&self, port: u16) -> Result<()> {
        self.node(port)?.restart()
    }

    /// Stops a node or a sentinel (SIGSTOP): it neither answers nor closes connections until [`cont`](Self::cont).
    ///
    /// # Errors
    /// There is no such node.
    pub fn stop(&self, port: u16) -> Result<()> {
        self.node(port)?.service.signal(Signal::STOP)
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// There is no such node.
    pub fn cont(&self, port: u16) -> Result<()> {
        self.node(port)?.service.signal(Signal::CONT)
    }

    /// Waits until each sentinel knows the others and the replica, and could fail over.
    fn wait_until_watched(&self) -> Result<()> {
        wait_for("the sentinels to know each other", AGREED_WITHIN, || {
            for sentinel in &self.sentinels {
                let port = sentinel.port;
                let quorum = sentinel.cli(&["SENTINEL", "CKQUORUM", MASTER])?;
                let usable = format!("OK {SENTINELS} usable Sentinels");
                ensure!(quorum.starts_with(&usable), "sentinel {port} says {quorum}");
                let replicas = sentinel.cli(&["SENTINEL", "REPLICAS", MASTER])?;
                let up = replicas.contains("master-link-status\nok");
                ensure!(up, "sentinel {port} knows of its replicas: {replicas}");
            }
            Ok(())
        })
    }

    fn node(&self, port: u16) -> Result<&Node> {
        let mut all = self.nodes.iter().chain(&self.sentinels);
        let found = all.find(|node| node.port == port);
        found.with_context(|| format!("there is no node or sentinel on port {port}"))
    }
}

fn expect_ok(node: &Node, args: &[&str]) -> Result<()> {
    let answer = node.cli(args)?;
    let asked = args.join(" ");
    ensure!(
        answer == "OK",
        "{} answers {asked} with {answer}",
        node.port
    );
    Ok(())
}

/// The port that a sentinel names.
fn named_by(sentinel: &Node) -> Result<u16> {
    let answer = sentinel.cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER])?;
    let port = answer.lines().last().unwrap_or_default().trim();
    let port = port.parse();
    port.with_context(|| format!("sentinel {} answers {answer:?}", sentinel.port))
}

/// Whether a node is a replica that has all that its master had.
fn follows(node: &Node) -> Result<()> {
    let role = field(node, "role")?;
    ensure!(role == "slave", "{} is a {role}", node.port);
    let link = field(node, "master_link_status")?;
    ensure!(link == "up", "its link is {link}");
    Ok(())
}

/// What a node says of its replication.
fn field(node: &Node, name: &str) -> Result<String> {
    let info = node.cli(&["INFO", "replication"])?;
    let lines = info.lines();
    let mut found = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let value = found.next();
    let value = value.with_context(|| format!("{} has no {name}: {info}", node.port))?;
    Ok(value.trim_end().to_owned())
}
