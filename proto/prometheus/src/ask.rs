//! One query, and the bytes of its answer.

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper_util::rt::TokioIo;
use stoke_core::explain::explain;
use tokio::net::TcpStream;

use crate::Server;

/// Why there is no answer to speak of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Nobody listens there.
    #[error("cannot connect to {authority}: {why}")]
    Connect {
        /// Where.
        authority: String,
        /// Why.
        why: String,
    },
    /// The connection broke before there was an answer.
    #[error("cannot ask: {0}")]
    Ask(String),
    /// It broke in the middle of the answer.
    #[error("cannot read the answer: {0}")]
    Read(String),
    /// The answer is too large.
    #[error(
        "its answer has more than {bytes_max} bytes: ask for fewer series, as by topk(10000, …)"
    )]
    TooLarge {
        /// The limit.
        bytes_max: usize,
    },
    /// The query makes no request.
    #[error("the query makes no request")]
    NoRequest,
    /// It answers by a status that is no success.
    #[error("it answers {status}{}{why}", if why.is_empty() { "" } else { ": " })]
    Refused {
        /// The status of HTTP.
        status: u16,
        /// In its own words.
        why: String,
    },
    /// What answers is no Prometheus, or one of another kind.
    #[error("{0}")]
    Strange(&'static str),
}

impl AskError {
    /// Whether the same query may well be answered later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Ask(_) | Self::Read(_) => true,
            Self::Refused { status, .. } => *status >= 500 || *status == 429 || *status == 408,
            Self::TooLarge { .. } | Self::NoRequest | Self::Strange(_) => false,
        }
    }
}

/// Asks a query: the status of HTTP, and the answer.
///
/// # Errors
/// Where there is none, or one of more bytes than these.
pub async fn ask(server: &Server, query: &str, bytes_max: usize) -> Result<(u16, Bytes), AskError> {
    let stream = TcpStream::connect(server.authority()).await;
    let stream = stream.map_err(|error| AskError::Connect {
        authority: server.authority(),
        why: error.to_string(),
    })?;
    let io = TokioIo::new(stream);
    let shaken = hyper::client::conn::http1::handshake(io).await;
    let (mut sender, connection) = shaken.map_err(|error| AskError::Ask(explain(&error)))?;
    let asking = async {
        let request = server.request(query).ok_or(AskError::NoRequest)?;
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|error| AskError::Ask(explain(&error)))?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), bytes_max).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => AskError::TooLarge { bytes_max },
            false => AskError::Read(error.to_string()),
        })?;
        Ok((status, body.to_bytes()))
    };
    // The connection is served by whoever waits for the answer, and ends with it.
    let mut connection = std::pin::pin!(connection);
    let mut asking = std::pin::pin!(asking);
    tokio::select! {
        answer = &mut asking => answer,
        _ = &mut connection => asking.await,
    }
}
