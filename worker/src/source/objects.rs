//! Objects of stores as files: read in parts, by blocking tasks.
//!
//! An object is asked for part after part, each with a request of its own: a reader that pauses holds no connection, and what is in
//! memory is bounded, however large the object is. One that is replaced meanwhile is no longer read, where the store tells versions
//! apart. Credentials come from this process' environment, by the stores' usual names (`AWS_ACCESS_KEY_ID` and so on), and from
//! nowhere else. Waiting ends when nobody takes the rows any more.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt,
    ObjectStoreScheme, RetryConfig,
};
use stoke_core::advice::with_advice;
use stoke_core::explain::explain;
use stoke_core::place::ObjectUrl;
use tokio::runtime::Handle;
use url::Url;

use super::Sink;

mod matching;
#[cfg(feature = "parquet")]
mod ranged;
mod stream;
#[cfg(test)]
mod tests;

pub(super) use matching::matching;
#[cfg(feature = "parquet")]
pub(super) use ranged::Ranged;
pub(super) use stream::Stream;

/// How often a request is repeated at most, and for how long: then the source has failed.
const RETRIES_MAX: usize = 5;
const RETRIES_TIME_MAX: Duration = Duration::from_secs(60);

/// An object that is there.
#[derive(Clone, Debug)]
pub(super) struct Object {
    store: Arc<dyn ObjectStore>,
    path: Path,
    bytes: u64,
    /// Its version, where the store tells one that can be asked for.
    version: Option<String>,
    runtime: Handle,
    sink: Sink,
}

impl Object {
    /// Looks for the object that a URL names. Within a blocking task of a runtime only.
    pub(super) fn open(url: &ObjectUrl<'_>, sink: &Sink) -> io::Result<Self> {
        let (store, path) = store(url)?;
        Self::of(store, path, sink)
    }

    fn of(store: Arc<dyn ObjectStore>, path: Path, sink: &Sink) -> io::Result<Self> {
        let runtime = Handle::current();
        let meta = wait(&runtime, sink, store.head(&path))?;
        // A weak one never matches.
        let version = meta.e_tag.filter(|tag| !tag.starts_with("W/"));
        Ok(Self {
            store,
            path,
            bytes: meta.size,
            version,
            runtime,
            sink: sink.clone(),
        })
    }

    /// Its content from the beginning on.
    pub(super) fn stream(self) -> Stream {
        Stream::new(self)
    }

    /// What it has in a range, which lies within it.
    async fn part(self, range: Range<u64>) -> Result<Bytes, Error> {
        let wanted = range.end - range.start;
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            if_match: self.version.clone(),
            ..GetOptions::default()
        };
        let part = self.store.get_opts(&self.path, options).await?;
        let part = part.bytes().await?;
        if part.len() as u64 != wanted {
            let source = "the store gave another number of bytes than it was asked for".into();
            return Err(Error::Generic {
                store: "range",
                source,
            });
        }
        Ok(part)
    }
}

/// Waits for a store, as long as somebody takes the rows.
fn wait<T>(
    runtime: &Handle,
    sink: &Sink,
    doing: impl Future<Output = Result<T, Error>>,
) -> io::Result<T> {
    runtime.block_on(async {
        tokio::select! {
            biased;
            done = doing => done.map_err(failed),
            () = sink.closed() => Err(io::Error::other("nobody takes the rows any more")),
        }
    })
}

/// The store of a URL, and where in it the object lies.
fn store(url: &ObjectUrl<'_>) -> io::Result<(Arc<dyn ObjectStore>, Path)> {
    // What would begin a query or a fragment is part of a key.
    let key = url.key.replace('?', "%3F").replace('#', "%23");
    let (scheme, authority) = (url.scheme, url.authority);
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
    let parsed = Url::parse(&format!("{scheme}://{authority}/{key}"));
    let parsed = parsed.map_err(|error| invalid(format!("it is no URL: {error}")))?;
    let (kind, path) = ObjectStoreScheme::parse(&parsed).map_err(|error| {
        invalid(format!(
            "it names no object: {}",
            without_queries(&explain(&error))
        ))
    })?;
    let store = built(&kind, &parsed).map_err(failed)?;
    Ok((store, path))
}

fn built(kind: &ObjectStoreScheme, url: &Url) -> Result<Arc<dyn ObjectStore>, Error> {
    // All TLS of this program is ring's; somebody may have said so before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let retries = RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: RETRIES_MAX,
        retry_timeout: RETRIES_TIME_MAX,
    };
    Ok(match kind {
        ObjectStoreScheme::AmazonS3 => Arc::new(
            object_store::aws::AmazonS3Builder::from_env()
                .with_url(url.as_str())
                .with_retry(retries)
                .build()?,
        ),
        ObjectStoreScheme::GoogleCloudStorage => Arc::new(
            object_store::gcp::GoogleCloudStorageBuilder::from_env()
                .with_url(url.as_str())
                .with_retry(retries)
                .build()?,
        ),
        ObjectStoreScheme::MicrosoftAzure => Arc::new(
            object_store::azure::MicrosoftAzureBuilder::from_env()
                .with_url(url.as_str())
                .with_retry(retries)
                .build()?,
        ),
        // As it was written: whoever writes http: knows that everybody reads along.
        ObjectStoreScheme::Http => Arc::new(
            object_store::http::HttpBuilder::new()
                .with_url(&url[..url::Position::BeforePath])
                .with_client_options(ClientOptions::new().with_allow_http(url.scheme() == "http"))
                .with_retry(retries)
                .build()?,
        ),
        _ => {
            let source = "there is no such store".into();
            return Err(Error::Generic {
                store: "URL",
                source,
            });
        }
    })
}

/// What is said of a store's error. Of none it is said that it lies in the content: what was not read might be all right.
fn failed(error: Error) -> io::Error {
    let (kind, what) = match &error {
        Error::NotFound { .. } => (
            io::ErrorKind::NotFound,
            "there is no such object".to_owned(),
        ),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => (
            io::ErrorKind::PermissionDenied,
            "the store does not let this worker in: give its environment credentials that may read the object (as AWS_ACCESS_KEY_ID \
             and AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY)"
                .to_owned(),
        ),
        Error::Precondition { .. } => (
            io::ErrorKind::StaleNetworkFileHandle,
            "the object was replaced while it was read: start again".to_owned(),
        ),
        Error::NotSupported { .. } | Error::NotImplemented { .. } => (
            io::ErrorKind::Unsupported,
            format!(
                "the server must tell an object's size (HEAD) and serve ranges of it: {}",
                without_queries(&explain(&error))
            ),
        ),
        _ => (
            io::ErrorKind::NetworkDown,
            with_advice(&without_queries(&explain(&error))),
        ),
    };
    io::Error::new(kind, what)
}

/// A text without the queries of URLs in it: some stores are let in by those.
fn without_queries(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('?') {
        kept.push_str(&rest[..at]);
        let query = &rest[at..];
        let end = query.find(|char: char| char.is_whitespace() || "\"')".contains(char));
        rest = &query[end.unwrap_or(query.len())..];
    }
    kept.push_str(rest);
    kept
}

/// The objects of a folder and of those within it, as the store tells of them.
async fn listed(
    store: &dyn ObjectStore,
    folder: Option<&Path>,
    mut each: impl FnMut(Path) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut objects = store.list(folder);
    while let Some(object) = objects.try_next().await? {
        each(object.location)?;
    }
    Ok(())
}
