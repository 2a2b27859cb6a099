//! Asking Prometheus: one query, one number, or why there is none.
//!
//! What is asked decides about jobs, so nothing is guessed: no sample, several, what is no finite number, an error and a slow
//! answer are all no reading. A URL's user and password are sent, and never shown.

mod answer;

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{AUTHORIZATION, HOST, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use stoke_core::explain::explain;
use stoke_core::guard::Outcome;
use tokio::net::TcpStream;

/// The largest answer: one sample with all its labels takes a few kilobytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// A query, whom to ask, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Whom.
    pub server: Server,
    /// In PromQL.
    pub text: String,
    /// How often, and how long an answer may take.
    pub every: Duration,
}

/// A Prometheus.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    host: String,
    port: u16,
    /// What stands before `/api/v1`.
    path: String,
    authorization: Option<String>,
}

/// A text that names no Prometheus. It does not repeat the text, which may have a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAServer {
    /// It is no URL.
    #[error("it is no URL")]
    NotAUrl,
    /// It is `https://`.
    #[error("coordinators ask Prometheus without TLS")]
    Tls,
    /// It has a query.
    #[error("it has a query of its own")]
    HasQuery,
}

impl Server {
    /// Reads `http://[USER:PASSWORD@]HOST[:PORT][/PATH]`.
    ///
    /// # Errors
    /// Where it is none.
    pub fn parse(url: &str) -> Result<Self, NotAServer> {
        let url: Uri = url.parse().map_err(|_| NotAServer::NotAUrl)?;
        match url.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(NotAServer::Tls),
            _ => return Err(NotAServer::NotAUrl),
        }
        if url.query().is_some() {
            return Err(NotAServer::HasQuery);
        }
        let authority = url.authority().ok_or(NotAServer::NotAUrl)?;
        let login = authority.as_str().rsplit_once('@').map(|(login, _)| login);
        let host = authority.host().to_owned();
        if host.is_empty() {
            return Err(NotAServer::NotAUrl);
        }
        let authorization = login.map(|login| {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            let plain = [user, password].map(|part| percent_decode_str(part).decode_utf8_lossy());
            format!("Basic {}", STANDARD.encode(plain.join(":")))
        });
        Ok(Self {
            host,
            port: authority.port_u16().unwrap_or(80),
            path: url.path().trim_end_matches('/').to_owned(),
            authorization,
        })
    }

    fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.path)
    }
}

/// Asks once, for as long as there is until the next time.
///
/// # Errors
/// Why there is no number; without the server's user and password.
pub async fn ask(query: &Query) -> Outcome {
    match tokio::time::timeout(query.every, call(query)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!(
            "no answer within its interval of {:?}",
            query.every
        )),
    }
}

async fn call(query: &Query) -> Outcome {
    let server = &query.server;
    let stream = TcpStream::connect(server.authority())
        .await
        .map_err(|error| format!("cannot connect to {}: {error}", server.authority()))?;
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
        .await
        .map_err(|error| format!("cannot ask: {}", explain(&error)))?;
    let asking = async {
        let answer = sender.send_request(request(query)?).await;
        let answer = answer.map_err(|error| format!("cannot ask: {}", explain(&error)))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX);
        let body = body.collect().await;
        let body = body.map_err(|error| format!("cannot read the answer: {error}"))?;
        answer::number(status.as_u16(), &body.to_bytes())
    };
    // The connection is served by whoever waits for the answer, and ends with it.
    let mut connection = std::pin::pin!(connection);
    let mut asking = std::pin::pin!(asking);
    tokio::select! {
        answer = &mut asking => answer,
        _ = &mut connection => asking.await,
    }
}

fn request(query: &Query) -> Result<Request<Empty<Bytes>>, String> {
    let server = &query.server;
    let text = utf8_percent_encode(&query.text, NON_ALPHANUMERIC);
    let mut request = Request::get(format!("{}/api/v1/query?query={text}", server.path))
        .header(HOST, server.authority())
        .header(USER_AGENT, concat!("stoke/", env!("CARGO_PKG_VERSION")));
    if let Some(authorization) = &server.authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    request
        .body(Empty::new())
        .map_err(|_| "the query makes no request".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_shown_without_its_user_and_password() {
        let server = Server::parse("http://us%40er:p%3aw@prom:9090/base/").unwrap();
        assert_eq!(format!("{server:?}"), "http://prom:9090/base");
        let expected = format!("Basic {}", STANDARD.encode("us@er:p:w"));
        assert_eq!(server.authorization, Some(expected));
        let plain = Server::parse("http://[::1]").unwrap();
        assert_eq!(format!("{plain:?}"), "http://[::1]:80");
    }

    #[test]
    fn what_is_no_server_is_refused_without_being_repeated() {
        for (text, error) in [
            ("prom:9090", NotAServer::NotAUrl),
            ("ftp://prom", NotAServer::NotAUrl),
            ("", NotAServer::NotAUrl),
            ("https://u:pw@prom", NotAServer::Tls),
            ("http://prom/?query=up", NotAServer::HasQuery),
        ] {
            assert_eq!(Server::parse(text), Err(error), "{text}");
        }
    }
}
