//! An OTLP collector that keeps what it gets: spans with who sent them, and the names of metrics.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use stoke_harness::Authority;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

/// A span that has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    pub role: String,
    pub instance: String,
    pub name: String,
    pub trace: Vec<u8>,
    pub id: Vec<u8>,
    pub parent: Vec<u8>,
}

#[derive(Debug, Default)]
struct Kept {
    spans: Vec<Arrived>,
    /// By role.
    metrics: BTreeSet<(String, String)>,
}

/// Where a collector is reached.
pub struct Addresses {
    pub plain: String,
    pub tls: String,
    /// Whom to trust there.
    pub authority: Authority,
}

/// A collector, in this process.
#[derive(Clone, Debug, Default)]
pub struct Collector(Arc<Mutex<Kept>>);

impl Collector {
    /// Starts one; tells its addresses, too.
    pub async fn start() -> (Self, Addresses) {
        let collector = Self::default();
        let authority = Authority::new().unwrap();
        let own = authority.for_this_machine().unwrap();
        let read = |file: &Path| std::fs::read(file).unwrap();
        let identity = Identity::from_pem(read(&own.certificate), read(&own.key));
        let tls = ServerTlsConfig::new().identity(identity);
        let plain = collector.serve(Server::builder()).await;
        let guarded = collector.serve(Server::builder().tls_config(tls).unwrap());
        let addresses = Addresses {
            plain: format!("http://{plain}"),
            tls: format!("https://{}", guarded.await),
            authority,
        };
        (collector, addresses)
    }

    async fn serve(&self, mut server: Server) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = server
            .add_service(TraceServiceServer::new(self.clone()))
            .add_service(MetricsServiceServer::new(self.clone()))
            .serve_with_incoming(TcpIncoming::from(listener));
        tokio::spawn(serving);
        address
    }

    pub fn spans(&self) -> Vec<Arrived> {
        self.0.lock().unwrap().spans.clone()
    }

    /// The metrics that have arrived, with the role of who sent them.
    pub fn metrics(&self) -> BTreeSet<(String, String)> {
        self.0.lock().unwrap().metrics.clone()
    }
}

fn attribute(resource: Option<&Resource>, key: &str) -> String {
    let attributes = resource.map(|resource| &resource.attributes);
    let found = attributes
        .into_iter()
        .flatten()
        .find(|attribute| attribute.key == key);
    match found.and_then(|found| found.value.clone()?.value) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{key} of the resource is {other:?}"),
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut kept = self.0.lock().unwrap();
        for resource in request.into_inner().resource_spans {
            let of = |key| attribute(resource.resource.as_ref(), key);
            assert_eq!(of("service.name"), "stoke");
            for span in resource.scope_spans.into_iter().flat_map(|s| s.spans) {
                kept.spans.push(Arrived {
                    role: attribute(resource.resource.as_ref(), "stoke.role"),
                    instance: attribute(resource.resource.as_ref(), "service.instance.id"),
                    name: span.name,
                    trace: span.trace_id,
                    id: span.span_id,
                    parent: span.parent_span_id,
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let mut kept = self.0.lock().unwrap();
        for resource in request.into_inner().resource_metrics {
            let role = attribute(resource.resource.as_ref(), "stoke.role");
            for metric in resource.scope_metrics.into_iter().flat_map(|s| s.metrics) {
                kept.metrics.insert((role.clone(), metric.name));
            }
        }
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}
