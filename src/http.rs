//! The HTTP port: whether a process lives, whether it is fit for work, and its metrics.
//!
//! `/healthz` answers 200 while the process answers at all; `/readyz` 200 or 503 with the reason; `/metrics` in Prometheus'
//! text format. All else is 404. Everything is bounded: so many connections, each closed where it brings no request for
//! so long; no body is read. Absent: anything that changes anything.

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
/// How long a connection may bring no whole request.
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
                Ok((stream, address)) => return (Connection::new(stream, place), address),
                Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends where it has brought no whole request for [`SILENCE_MAX`]: since it was made, or since it was
/// last answered.
struct Connection {
    stream: TcpStream,
    silence: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: TcpStream, place: OwnedSemaphorePermit) -> Self {
        Self {
            stream,
            silence: Box::pin(tokio::time::sleep(SILENCE_MAX)),
            _place: place,
        }
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
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        self.silence.as_mut().reset(Instant::now() + SILENCE_MAX);
        Poll::Ready(written)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
