//! One Redis node: its one connection, made when it is first needed and again when it broke, and the nodes by address.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, Pipeline};
use redis::{RedisConnectionInfo, RedisError, TlsCertificates, Value};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::addr::NodeAddr;
use super::diagnosis::diagnose;
use super::error::{CommandError, FailureKind};
use super::login;
use super::lookups::Tally;
use crate::metrics::CacheMetrics;
use crate::vitals::Vitals;

mod monitor;

/// The slowest network that a large flush is given time for.
const BYTES_PER_SECOND_MIN: usize = 4 * 1024 * 1024;

/// How every node is entered.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) settings: RedisConnectionInfo,
    /// Whether a replica is turned away from: behind sentinels, where an address can lose its role.
    pub(crate) only_master: bool,
    /// Where TLS is to be spoken.
    pub(crate) tls: Option<TlsCertificates>,
    pub(crate) timeout: Duration,
}

/// A connection, and which of the node's it is.
#[derive(Clone)]
pub(crate) struct Connection {
    inner: MultiplexedConnection,
    generation: u64,
}

#[derive(Default)]
struct Current {
    connection: Option<MultiplexedConnection>,
    /// Counts the connections, so that one that is found broken late does not take its successor away.
    generation: u64,
}

/// One Redis node.
pub(crate) struct Node {
    addr: NodeAddr,
    entry: Entry,
    current: Mutex<Current>,
    /// Held while connecting: one at a time.
    connecting: Semaphore,
    metrics: Measure,
    lookups: Tally,
}

/// What a cache's calls are measured with, once somebody measures them.
pub(crate) type Measure = Arc<OnceLock<Measures>>;

/// What a cache's calls tell.
#[derive(Debug)]
pub(crate) struct Measures {
    pub(crate) metrics: CacheMetrics,
    pub(crate) vitals: Option<Arc<Vitals>>,
}

impl Node {
    pub(crate) fn new(addr: NodeAddr, entry: Entry) -> Self {
        Self {
            addr,
            entry,
            current: Mutex::default(),
            connecting: Semaphore::new(1),
            metrics: Measure::default(),
            lookups: Tally::default(),
        }
    }

    /// The same, measured.
    fn measured(mut self, metrics: &Measure) -> Self {
        self.metrics = Arc::clone(metrics);
        self
    }

    pub(crate) const fn addr(&self) -> &NodeAddr {
        &self.addr
    }

    /// What of its hits and misses is our own.
    pub(crate) const fn lookups(&self) -> &Tally {
        &self.lookups
    }

    /// Whether there is a connection, which may be broken without our knowing.
    pub(crate) fn is_connected(&self) -> bool {
        self.with_current(|current| current.connection.is_some())
    }

    /// The node's connection, made where there is none.
    pub(crate) async fn connection(&self) -> Result<Connection, CommandError> {
        if let Some(connection) = self.existing() {
            return Ok(connection);
        }
        // It is never closed, so there is no error to look at.
        let _turn = self.connecting.acquire().await;
        if let Some(connection) = self.existing() {
            return Ok(connection);
        }
        let inner = match self.connect().await {
            Ok(inner) => inner,
            Err(error) => {
                self.note_lost();
                if error.kind == FailureKind::Unreachable
                    && let Some(vitals) = self.vitals()
                {
                    vitals.found_ill();
                }
                return Err(self.explained(error).await);
            }
        };
        Ok(self.with_current(|current| {
            current.generation += 1;
            current.connection = Some(inner.clone());
            Connection {
                inner,
                generation: current.generation,
            }
        }))
    }

    /// Sends a pipeline, and waits for one answer to each of its commands; `bytes` is about its size. Where that goes
    /// wrong, no command's answer is known, and the connection is thrown away: what it still has in hand must not
    /// be sent later, and a name may lead elsewhere by now.
    pub(crate) async fn send(
        &self,
        mut connection: Connection,
        pipeline: &Pipeline,
        bytes: usize,
    ) -> Result<Vec<Value>, CommandError> {
        let begun = Instant::now();
        let on_its_way = self.vitals().map(Vitals::sent);
        let answers = self.exchange(&mut connection.inner, pipeline, bytes).await;
        if let Some(pipeline) = on_its_way {
            pipeline.answered(is_ill(&answers));
        }
        if answers.is_err() {
            self.discard(&connection);
            self.note_lost();
        } else if let Some(measures) = self.metrics.get() {
            measures.metrics.answered(begun.elapsed());
        }
        answers
    }

    /// Sends one command and gives its reply, which may be an error of the server's.
    pub(crate) async fn ask(&self, command: &Pipeline) -> Result<Value, CommandError> {
        let connection = self.connection().await?;
        let mut answers = self.send(connection, command, 0).await?;
        Ok(answers.pop().unwrap_or(Value::Nil))
    }

    /// Looks whether it is a master, and throws its connection away where it is none.
    pub(crate) async fn check_master(&self) -> Result<(), CommandError> {
        let connection = self.connection().await?;
        let answer = self
            .send(connection.clone(), &login::role(), 0)
            .await?
            .pop();
        let checked = login::check_role(answer, &self.addr);
        if checked.is_err() {
            self.discard(&connection);
        }
        checked
    }

    /// Throws a connection away, unless that has been done already.
    pub(crate) fn discard(&self, connection: &Connection) {
        self.with_current(|current| {
            if current.generation == connection.generation {
                current.connection = None;
            }
        });
    }

    fn note_lost(&self) {
        if let Some(measures) = self.metrics.get() {
            measures.metrics.connection_lost();
        }
    }

    fn vitals(&self) -> Option<&Arc<Vitals>> {
        self.metrics.get()?.vitals.as_ref()
    }

    /// The error with what is there in place of what was expected, where the error alone does not tell.
    async fn explained(&self, error: CommandError) -> CommandError {
        let tells_nothing = ["broken pipe", "timed out", "no answer within", "eof"];
        let words = error.reason.to_lowercase();
        if error.kind != FailureKind::Unreachable
            || !tells_nothing.iter().any(|sign| words.contains(sign))
        {
            return error;
        }
        let with_tls = self.entry.tls.is_some();
        match diagnose(&self.addr, with_tls, self.entry.timeout).await {
            Some(what) => {
                CommandError::new(FailureKind::Unreachable, format!("{}: {what}", self.addr))
            }
            None => error,
        }
    }

    fn existing(&self) -> Option<Connection> {
        self.with_current(|current| {
            let inner = current.connection.clone()?;
            Some(Connection {
                inner,
                generation: current.generation,
            })
        })
    }

    /// Connects, and then logs in by commands of our own: the crate would not tell what the server says to that.
    async fn connect(&self) -> Result<MultiplexedConnection, CommandError> {
        let failed = |error: RedisError| self.unreachable(&format!("cannot connect: {error}"));
        let nobody = RedisConnectionInfo::default().set_skip_set_lib_name();
        // Answers have the time that `exchange` gives them.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.entry.timeout))
            .set_response_timeout(None);
        let client = self.client(nobody).map_err(failed)?;
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        let mut connection = connecting.await.map_err(failed)?;
        let Entry {
            settings,
            only_master,
            ..
        } = &self.entry;
        let commands = login::commands(settings, *only_master);
        let answers = self.exchange(&mut connection, &commands, 0).await?;
        login::check(answers, settings, *only_master, &self.addr)?;
        Ok(connection)
    }

    /// What makes connections to it, which log in with these.
    fn client(&self, settings: RedisConnectionInfo) -> Result<Client, RedisError> {
        let (host, port) = (self.addr.host().to_owned(), self.addr.port());
        let addr = match &self.entry.tls {
            None => ConnectionAddr::Tcp(host, port),
            Some(_) => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            },
        };
        let info = addr.into_connection_info()?.set_redis_settings(settings);
        match &self.entry.tls {
            None => Client::open(info),
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
        }
    }

    /// Sends a pipeline, and waits for one answer to each of its commands.
    async fn exchange(
        &self,
        connection: &mut MultiplexedConnection,
        pipeline: &Pipeline,
        bytes: usize,
    ) -> Result<Vec<Value>, CommandError> {
        let seconds = u64::try_from(bytes / BYTES_PER_SECOND_MIN).unwrap_or(u64::MAX);
        let time = self.entry.timeout + Duration::from_secs(seconds);
        let count = pipeline.len();
        match timeout(time, connection.send_packed_commands(pipeline, 0, count)).await {
            Ok(Ok(answers)) if answers.len() == count => Ok(answers),
            Ok(Ok(_)) => Err(self.unreachable("the answers are not as many as the commands")),
            Ok(Err(error)) => Err(self.unreachable(&error.to_string())),
            Err(_) => Err(self.unreachable(&format!("no answer within {time:?}"))),
        }
    }

    fn unreachable(&self, reason: &str) -> CommandError {
        CommandError::advised(
            FailureKind::Unreachable,
            &format!("{}: {reason}", self.addr),
        )
    }

    fn with_current<T>(&self, act: impl FnOnce(&mut Current) -> T) -> T {
        // Whole at every instant, so a panic elsewhere leaves nothing half done.
        act(&mut self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether a pipeline's answers speak of the node's health: none came, or one of them is that of a node that cannot serve, or
/// has no memory left.
fn is_ill(answers: &Result<Vec<Value>, CommandError>) -> bool {
    /// As the server writes them; a slot that is being moved (`TRYAGAIN`, `MOVED`, `ASK`) is no illness.
    const ILL: [&str; 7] = [
        "LOADING",
        "CLUSTERDOWN",
        "MASTERDOWN",
        "NOREPLICAS",
        "BUSY",
        "OOM",
        "MISCONF",
    ];
    let Ok(answers) = answers else { return true };
    answers.iter().any(|answer| match answer {
        Value::ServerError(error) => ILL.contains(&error.code()),
        _ => false,
    })
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

/// The nodes by address, each made when it is first asked for.
pub(crate) struct Nodes {
    entry: Entry,
    known: Mutex<HashMap<NodeAddr, Arc<Node>>>,
    /// For all of them.
    pub(crate) metrics: Measure,
}

impl Nodes {
    pub(crate) fn new(entry: Entry) -> Self {
        Self {
            entry,
            known: Mutex::default(),
            metrics: Measure::default(),
        }
    }

    /// The number of the database that is used.
    pub(crate) fn database(&self) -> u64 {
        self.entry.settings.db().try_into().unwrap_or_default()
    }

    /// The node at `addr`.
    pub(crate) fn get(&self, addr: &NodeAddr) -> Arc<Node> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let node = known.entry(addr.clone()).or_insert_with(|| {
            let node = Node::new(addr.clone(), self.entry.clone());
            Arc::new(node.measured(&self.metrics))
        });
        Arc::clone(node)
    }

    /// What of each node's hits and misses is our own, since it is known.
    pub(crate) fn lookups(&self) -> Vec<(NodeAddr, (u64, u64))> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = known
            .iter()
            .map(|(addr, node)| (addr.clone(), node.lookups.counts()));
        counts.collect()
    }

    /// Forgets all nodes but these: nodes come and go, and a cluster may live for years.
    pub(crate) fn retain(&self, addrs: &[NodeAddr]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|addr, _| addrs.contains(addr));
    }
}
