//! The HTTP port: whether a process lives, whether it is fit for work, and its metrics.
//!
//! `/healthz` answers 200 while the process answers at all; `/readyz` 200 or 503 with the reason; `/metrics` in Prometheus'
//! text format. All else is 404. Everything is bounded: so many connections, each closed where it brings no request for
//! so long, or does not take what it asked for; no body is read. Absent: anything that changes anything.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus::{Registry, TextEncoder};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_util::task::AbortOnDropHandle;

/// How many connections are open at one time; more wait until one closes.
const CONNECTIONS_MAX: usize = 64;
/// How long a connection may bring no whole request, or not take an answer.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long until a connection is accepted again after that failed: for want of files, mostly.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// Says whether the process is fit for work or, if not, why.
pub type Ready = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

#[derive(Clone)]
struct Shown {
    registry: Registry,
    ready: Ready,
}

/// Serves until it is dropped.
///
/// # Errors
/// Where nobody can listen there.
pub async fn serve(
    listen: SocketAddr,
    registry: Registry,
    ready: Ready,
) -> anyhow::Result<AbortOnDropHandle<()>> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("http-listen: cannot listen on {listen}"))?;
    tracing::info!(%listen, "serves health and metrics over HTTP");
    let bounded = Bounded {
        listener,
        places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        silence_max: SILENCE_MAX,
    };
    let router = router(registry, ready);
    let serving = tokio::spawn(async move {
        // It ends with an error only where it was given a faulty listener.
        let _ = axum::serve(bounded, router).await;
    });
    Ok(AbortOnDropHandle::new(serving))
}

fn router(registry: Registry, ready: Ready) -> Router {
    Router::new()
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics))
        .with_state(Shown { registry, ready })
}

async fn readiness(State(shown): State<Shown>) -> impl IntoResponse {
    match (shown.ready)() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn metrics(State(shown): State<Shown>) -> impl IntoResponse {
    match TextEncoder::new().encode_to_string(&shown.registry.gather()) {
        Ok(text) => {
            let kind = [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)];
            (StatusCode::OK, kind, text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// A listener that bounds its connections, in number and in patience.
struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
    silence_max: Duration,
}

impl axum::serve::Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            // Never closed, so there is always a place in the end.
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
                return std::future::pending().await;
            };
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    return (Connection::new(stream, self.silence_max, place), address);
                }
                Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends where for `silence_max` it has neither brought a whole request nor taken anything of an answer:
/// since it was made, or since it last took something.
struct Connection {
    stream: TcpStream,
    silence_max: Duration,
    silence: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: TcpStream, silence_max: Duration, place: OwnedSemaphorePermit) -> Self {
        Self {
            stream,
            silence_max,
            silence: Box::pin(tokio::time::sleep(silence_max)),
            _place: place,
        }
    }

    /// What became of sending; it fails where the other side has let it wait for too long. (While answers cannot be sent,
    /// nobody reads, so reading would not notice.)
    fn in_time<T>(
        &mut self,
        context: &mut Context<'_>,
        sent: Poll<std::io::Result<T>>,
    ) -> Poll<std::io::Result<T>> {
        if sent.is_pending() && self.silence.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(std::io::ErrorKind::TimedOut.into()));
        }
        sent
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.silence.as_mut().poll(context).is_ready() {
            // As if the other side had closed it.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write(context, bytes);
        let written = ready!(self.in_time(context, sent));
        let until = Instant::now() + self.silence_max;
        self.silence.as_mut().reset(until);
        Poll::Ready(written)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        let sent = Pin::new(&mut self.stream).poll_flush(context);
        self.in_time(context, sent)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        let sent = Pin::new(&mut self.stream).poll_shutdown(context);
        self.in_time(context, sent)
    }
}

#[cfg(test)]
mod tests {
    use prometheus::IntCounter;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Answers that fill all buffers between the two after a few.
    const PAGE_BYTES: usize = 1 << 20;

    /// Serves with one place, which who is silent has for a moment only.
    async fn one_place() -> (SocketAddr, AbortOnDropHandle<()>) {
        let registry = Registry::new();
        let long = IntCounter::new("long", "x".repeat(PAGE_BYTES)).unwrap();
        registry.register(Box::new(long)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bounded = Bounded {
            listener,
            places: Arc::new(Semaphore::new(1)),
            silence_max: Duration::from_millis(100),
        };
        let router = router(registry, Arc::new(|| Ok(())));
        let serving = tokio::spawn(async move {
            let _ = axum::serve(bounded, router).await;
        });
        (address, AbortOnDropHandle::new(serving))
    }

    /// Asks for the place until it is free; without end where it never is.
    async fn gets_the_place(address: SocketAddr) {
        loop {
            let mut next = TcpStream::connect(address).await.unwrap();
            let asked = next
                .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                .await;
            let mut answer = String::new();
            // On a slow machine even this one may have been too slow.
            if asked.is_ok()
                && next.read_to_string(&mut answer).await.is_ok()
                && answer.ends_with("alive\n")
            {
                return;
            }
        }
    }

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn who_asks_again_and_again_and_takes_no_answer_loses_its_place() {
        let (address, _serving) = one_place().await;
        let mut greedy = TcpStream::connect(address).await.unwrap();
        let asked = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(64);
        greedy.write_all(&asked).await.unwrap();
        let got = tokio::time::timeout(PATIENCE, gets_the_place(address)).await;
        assert!(got.is_ok(), "the place is never free again");
        drop(greedy);
    }

    #[tokio::test]
    async fn who_asks_for_nothing_loses_its_place() {
        let (address, _serving) = one_place().await;
        let silent = TcpStream::connect(address).await.unwrap();
        let got = tokio::time::timeout(PATIENCE, gets_the_place(address)).await;
        assert!(got.is_ok(), "the place is never free again");
        drop(silent);
    }
}
