//! Traces: from the caller's context, through its call, to the job, whose work belongs to the same trace.
//!
//! Spans that are traced have the target [`TARGET`]: exporters take these and no others, and logs leave them out below
//! `debug`. Where nobody traces, a span is a look at a cached flag. The context travels as W3C's `traceparent`.

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector};
use opentelemetry::trace::TraceContextExt;
use tonic::codegen::http::HeaderMap;
use tonic::metadata::MetadataMap;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The target of spans that are traced.
pub const TARGET: &str = "stoke::trace";

/// The span, as a child of what `traceparent` names, where that is anything.
pub(crate) fn under(traceparent: &str, span: Span) -> Span {
    if !span.is_disabled() && !traceparent.is_empty() {
        // Refused only where nobody traces.
        let _ = span.set_parent(context_of(traceparent));
    }
    span
}

/// The `traceparent` of a call's headers; nothing where there is none.
pub(crate) fn of_headers(headers: &HeaderMap) -> &str {
    let header = headers.get("traceparent");
    header.and_then(|value| value.to_str().ok()).unwrap_or("")
}

/// The `traceparent` of what is done in the present span or, where that is not traced, of its caller's; nothing where
/// neither is. Never the caller's words as they came: what is no trace context does not go on.
pub(crate) fn present(metadata: &MetadataMap) -> String {
    let own = Span::current().context();
    if own.span().span_context().is_valid() {
        return traceparent(&own);
    }
    let header = metadata.get("traceparent");
    let header = header.and_then(|value| value.to_str().ok()).unwrap_or("");
    traceparent(&context_of(header))
}

fn context_of(traceparent: &str) -> Context {
    opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.extract(&Only(traceparent))
    })
}

fn traceparent(context: &Context) -> String {
    let mut slot = Slot::default();
    if context.span().span_context().is_valid() {
        opentelemetry::global::get_text_map_propagator(|propagator| {
            propagator.inject_context(context, &mut slot);
        });
    }
    slot.0
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

#[derive(Default)]
struct Slot(String);

impl Injector for Slot {
    fn set(&mut self, key: &str, value: String) {
        if key == "traceparent" {
            self.0 = value;
        }
    }
}
