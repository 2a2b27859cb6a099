//! The way to the coordinators: who they are, the store says; whoever answers will do, the leader first.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use stoke_core::records::{Leader, Peer, keys};
use stoke_proto::MESSAGE_BYTES_MAX;
use stoke_proto::v1::access_service_client::AccessServiceClient;
use stoke_proto::v1::worker_service_client::WorkerServiceClient;
use stoke_store::{Keys, Store, StoreError, record};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};

use crate::trace::traced;

/// How long a connection may take to come up.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How often an open connection is probed, so that a coordinator that vanished is noticed.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
/// How long a probe may take.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// How many bytes an in-process connection holds in each direction.
const PIPE_BYTES: usize = 256 * 1024;

/// How to reach an address.
#[derive(Clone, Debug)]
pub enum Dial {
    /// Over the network.
    Network,
    /// In this process: the other end of each new connection goes to whoever serves.
    InProcess(mpsc::Sender<DuplexStream>),
}

/// No coordinator could be reached.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The store does not say who there is.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// None of them answers.
    #[error("no coordinator answers")]
    Nobody,
}

/// The way to the coordinators.
#[derive(Clone)]
pub struct Link {
    store: Arc<dyn Store>,
    dial: Dial,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("dial", &self.dial)
            .finish_non_exhaustive()
    }
}

/// Adds the present trace to each call.
pub type Traced = InterceptedService<Channel, fn(Request<()>) -> Result<Request<()>, Status>>;
/// A connection to a coordinator.
pub type Client = WorkerServiceClient<Traced>;

impl Link {
    /// The coordinators that this store names.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, dial: Dial) -> Self {
        Self { store, dial }
    }

    /// Connects to the leader.
    ///
    /// # Errors
    /// Where there is none, or it does not answer.
    pub async fn leader(&self) -> Result<Client, LinkError> {
        let addresses = self.addresses().await?;
        let leader = addresses.leader.ok_or(LinkError::Nobody)?;
        connect(&self.dial, &leader).await.ok_or(LinkError::Nobody)
    }

    /// Connects to the leader, for what applications report.
    ///
    /// # Errors
    /// Where there is none, or it does not answer.
    pub(crate) async fn accesses(&self) -> Result<AccessServiceClient<Traced>, LinkError> {
        let addresses = self.addresses().await?;
        let leader = addresses.leader.ok_or(LinkError::Nobody)?;
        let channel = connect_channel(&self.dial, &leader).await;
        let channel = channel.ok_or(LinkError::Nobody)?;
        let traced: fn(Request<()>) -> Result<Request<()>, Status> = traced;
        let client = AccessServiceClient::with_interceptor(channel, traced);
        Ok(client.max_decoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// Connects to the leader or, where it does not answer, to any other coordinator.
    ///
    /// # Errors
    /// Where none answers.
    pub async fn any(&self) -> Result<Client, LinkError> {
        Ok(self.nearest().await?.client)
    }

    /// As [`Link::any`], with whom it found.
    ///
    /// # Errors
    /// Where none answers.
    pub(crate) async fn nearest(&self) -> Result<Found, LinkError> {
        let addresses = self.addresses().await?;
        for address in addresses.leader.iter().chain(&addresses.others) {
            if let Some(found) = self.find(address).await {
                return Ok(found);
            }
        }
        Err(LinkError::Nobody)
    }

    /// Connects to the leader, where that is another than this one, and answers.
    pub(crate) async fn leader_other_than(&self, address: &str) -> Option<Found> {
        let leader = self.addresses().await.ok()?.leader?;
        if leader == address {
            return None;
        }
        self.find(&leader).await
    }

    async fn find(&self, address: &str) -> Option<Found> {
        Some(Found {
            client: connect(&self.dial, address).await?,
            address: address.to_owned(),
        })
    }

    async fn addresses(&self) -> Result<Addresses, StoreError> {
        let ranges = [
            Keys::One(keys::LEADER.to_owned()),
            Keys::Prefix(keys::PEERS.to_owned()),
        ];
        let found = self.store.read(&ranges).await?;
        let mut addresses = Addresses::default();
        for entry in &found.entries {
            if entry.key == keys::LEADER {
                addresses.leader = record::decode::<Leader>(entry)
                    .ok()
                    .map(|leader| leader.address);
            } else if let Ok(peer) = record::decode::<Peer>(entry) {
                addresses.others.push(peer.address);
            }
        }
        let leader = addresses.leader.clone();
        addresses
            .others
            .retain(|address| Some(address) != leader.as_ref());
        Ok(addresses)
    }
}

/// A coordinator that answers.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) address: String,
    pub(crate) client: Client,
}

#[derive(Debug, Default)]
struct Addresses {
    leader: Option<String>,
    others: Vec<String>,
}

/// Connects to an address in the way that `dial` says. `None`: it does not answer, or is no address.
pub async fn connect_channel(dial: &Dial, address: &str) -> Option<Channel> {
    let endpoint = Endpoint::from_shared(address.to_owned())
        .ok()?
        .connect_timeout(CONNECT_MAX)
        .http2_keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    match dial {
        Dial::Network => endpoint.connect().await.ok(),
        Dial::InProcess(doorstep) => {
            let doorstep = doorstep.clone();
            let connector = tower::service_fn(move |_: Uri| {
                let doorstep = doorstep.clone();
                async move {
                    let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
                    let gone = |_| std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
                    doorstep.send(theirs).await.map_err(gone)?;
                    Ok::<_, std::io::Error>(TokioIo::new(ours))
                }
            });
            endpoint.connect_with_connector(connector).await.ok()
        }
    }
}

async fn connect(dial: &Dial, address: &str) -> Option<Client> {
    let channel = connect_channel(dial, address).await?;
    let traced: fn(Request<()>) -> Result<Request<()>, Status> = traced;
    let client = WorkerServiceClient::with_interceptor(channel, traced);
    Some(client.max_decoding_message_size(MESSAGE_BYTES_MAX))
}
