//! Around every call of the API: its span, how long it took, how it ended, and how many are open.
//!
//! A call lasts until its answer begins: a refusal and a single message are known then, and a stream has begun. Whoever
//! serves a stream beyond that holds the call open ([`Calls::hold`]). Methods that the API does not have count as one.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use prost::Message;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;
use tonic::{Code, Status};
use tracing::{Instrument, Span, debug_span};

use crate::metrics::Metrics;
use crate::trace;

/// What a method is called that the API does not have: callers must not make up series.
const OTHER: &str = "other";

/// The calls of a coordinator.
#[derive(Debug)]
pub(crate) struct Calls {
    metrics: Arc<Metrics>,
    /// By path: `/stoke.v1.JobService/GetJob`.
    methods: BTreeMap<String, Arc<Method>>,
    other: Arc<Method>,
    /// The coordinator's, for logs.
    span: Span,
}

#[derive(Debug)]
struct Method {
    /// `JobService/GetJob`.
    name: String,
    open: AtomicU64,
}

impl Method {
    fn new(name: String) -> Arc<Self> {
        let open = AtomicU64::new(0);
        Arc::new(Self { name, open })
    }
}

impl Calls {
    /// Of the API that these descriptors describe; what is logged meanwhile is logged in `span`.
    pub(crate) fn new(descriptors: &[u8], metrics: Arc<Metrics>, span: Span) -> Self {
        let described = prost_types::FileDescriptorSet::decode(descriptors).unwrap_or_default();
        let mut methods = BTreeMap::new();
        for file in &described.file {
            for service in &file.service {
                for method in &service.method {
                    let name = format!("{}/{}", service.name(), method.name());
                    let path = format!("/{}.{name}", file.package());
                    methods.insert(path, Method::new(name));
                }
            }
        }
        Self {
            metrics,
            methods,
            other: Method::new(OTHER.to_owned()),
            span,
        }
    }

    /// How many calls are open, by method.
    pub(crate) fn open(&self) -> impl Iterator<Item = (String, u64)> {
        let all = self.methods.values().chain([&self.other]);
        all.map(|method| (method.name.clone(), method.open.load(Ordering::Relaxed)))
    }

    /// A service of the API, whose calls are told of.
    pub(crate) fn around<S>(self: &Arc<Self>, service: S) -> Around<S> {
        Around {
            service,
            calls: Arc::clone(self),
        }
    }

    /// Counts a call of this path as open, for as long as its stream lasts.
    pub(crate) fn hold(&self, path: &str) -> Held {
        Held::new(self.methods.get(path).unwrap_or(&self.other))
    }

    fn begin(&self, path: &str) -> Open {
        Open {
            held: self.hold(path),
            metrics: Arc::clone(&self.metrics),
            begun: Instant::now(),
            code: Code::Cancelled,
        }
    }
}

/// A service whose calls are told of.
#[derive(Clone, Debug)]
pub(crate) struct Around<S> {
    service: S,
    calls: Arc<Calls>,
}

impl<S: NamedService> NamedService for Around<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Around<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let open = self.calls.begin(request.uri().path());
        let span = debug_span!(
            target: trace::TARGET, "call", otel.name = open.held.0.name, otel.kind = "server", rpc.system = "grpc",
            rpc.grpc.status_code = tracing::field::Empty
        );
        let span = trace::under(trace::of_headers(request.headers()), span);
        let answering = self.service.call(request).instrument(span.clone());
        let answering = answering.instrument(self.calls.span.clone());
        Box::pin(async move {
            // All of it, and not only the code: it is open until the answer begins.
            let mut open = open;
            let answer = answering.await?;
            // A refusal says so at once; whatever begins to answer has not refused.
            let refused = Status::from_header_map(answer.headers());
            open.code = refused.map_or(Code::Ok, |status| status.code());
            span.record("rpc.grpc.status_code", open.code as i32);
            Ok(answer)
        })
    }
}

/// A call that is being answered. Dropped, it has been: cancelled, unless it was noted how.
struct Open {
    held: Held,
    metrics: Arc<Metrics>,
    begun: Instant,
    code: Code,
}

impl Drop for Open {
    fn drop(&mut self) {
        let (method, code) = (&self.held.0.name, name(self.code));
        self.metrics.called(method, code, self.begun.elapsed());
    }
}

/// Counts as an open call until it is dropped.
#[derive(Debug)]
pub(crate) struct Held(Arc<Method>);

impl Held {
    fn new(method: &Arc<Method>) -> Self {
        method.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(method))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A code as gRPC writes it.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
