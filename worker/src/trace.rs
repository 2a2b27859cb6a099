//! Traces: a job's work belongs to the trace of the call that created the job, whichever process does it.
//!
//! Spans that are traced have the target [`TARGET`]: exporters take these and no others, and logs leave them out below
//! `debug`. Where nobody traces, a span is a look at a cached flag. The context travels as W3C's `traceparent`.

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector};
use opentelemetry::trace::TraceContextExt;
use tonic::metadata::{AsciiMetadataKey, MetadataMap};
use tonic::{Request, Status};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The target of spans that are traced.
pub const TARGET: &str = "stoke::trace";

/// The span, as a child of what `traceparent` names, where that is anything.
pub(crate) fn under(traceparent: &str, span: Span) -> Span {
    if !span.is_disabled() && !traceparent.is_empty() {
        let parent = opentelemetry::global::get_text_map_propagator(|propagator| {
            propagator.extract(&Only(traceparent))
        });
        // Refused only where nobody traces.
        let _ = span.set_parent(parent);
    }
    span
}

/// Adds the present span's context to a call, where it is traced: for clients.
///
/// # Errors
/// None: it is an interceptor.
pub fn traced(mut request: Request<()>) -> Result<Request<()>, Status> {
    inject(&Span::current().context(), request.metadata_mut());
    Ok(request)
}

fn inject(context: &Context, metadata: &mut MetadataMap) {
    if context.span().span_context().is_valid() {
        opentelemetry::global::get_text_map_propagator(|propagator| {
            propagator.inject_context(context, &mut Metadata(metadata));
        });
    }
}

/// A carrier that has nothing but a `traceparent`.
struct Only<'a>(&'a str);

impl Extractor for Only<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == "traceparent").then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}

struct Metadata<'a>(&'a mut MetadataMap);

impl Injector for Metadata<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (key.parse::<AsciiMetadataKey>(), value.parse()) {
            self.0.insert(key, value);
        }
    }
}
