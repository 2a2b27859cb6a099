//! Whether the databases and caches of a catalog can be reached, before anything is asked of them.
//!
//! An origin (each of its replicas, too) is connected to once and left again: no statement is sent, and it is done before there is a job or a budget.
//! (Where a PostgreSQL refuses a setting of the start-up message, a second connection follows, as it does for a worker's
//! first.) A cache is asked who owns what, and each owner after one key that nobody has.

use std::fmt;
use std::sync::Arc;

use futures::future::join_all;
use stoke_core::advice::with_advice;
use stoke_core::explain::explain;
use stoke_core::names::{CacheName, OriginName, Resource};

use crate::cache::CacheError;
use crate::catalog::Catalog;
use crate::metrics::{self, Metrics};
use crate::origin::{Origin, Origins};
use crate::permit::Unlimited;
use crate::worker::{Caches, StartError};

/// Why something cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// The configuration is wrong: nothing was connected to.
    #[error(transparent)]
    Configuration(#[from] StartError),
    /// Some of it cannot be reached, or does not let us in, or does not serve.
    #[error("{}", lines(.0))]
    Unreachable(Vec<Unreached>),
}

/// One that cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreached {
    /// Which.
    pub resource: Resource,
    /// Why, in one line with its address and what to do, and without credentials.
    pub text: String,
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn lines(all: &[Unreached]) -> String {
    let texts: Vec<&str> = all.iter().map(|one| one.text.as_str()).collect();
    texts.join("\n")
}

/// Looks at all of a catalog's origins and caches, side by side.
///
/// # Errors
/// [`ReachError`], with all that is in the way.
pub async fn reach(catalog: &Catalog) -> Result<(), ReachError> {
    let origins = Origins::new(catalog).map_err(StartError::from)?;
    let caches = Caches::new(catalog)?;
    let at_origins = join_all(
        origins
            .iter()
            .map(|origin| reach_origin(origin.name(), origin)),
    );
    let at_caches = join_all(catalog.caches.keys().map(|name| reach_cache(name, &caches)));
    let (of_origins, of_caches) = futures::future::join(at_origins, at_caches).await;
    let of_caches = of_caches.into_iter().flatten();
    let unreached: Vec<Unreached> = of_origins.into_iter().flatten().chain(of_caches).collect();
    if unreached.is_empty() {
        Ok(())
    } else {
        Err(ReachError::Unreachable(unreached))
    }
}

/// The database, or each of its replicas, that cannot be reached.
async fn reach_origin(name: &OriginName, origin: &Origin) -> Vec<Unreached> {
    let errors = origin.reach_each(&Unlimited).await.into_iter();
    let unreached = errors.map(|error| Unreached {
        resource: Resource::Origin(name.clone()),
        text: error.explain(),
    });
    unreached.collect()
}

async fn reach_cache(name: &CacheName, caches: &Caches) -> Option<Unreached> {
    let reaching = async {
        let unmeasured = Arc::new(Metrics::new(&metrics::none()));
        match caches.connect(name, &unmeasured, None).await {
            Some(Ok(cache)) => cache.check().await,
            Some(Err(error)) => Err(error),
            None => Ok(()),
        }
    };
    let error = reaching.await.err()?;
    Some(Unreached {
        resource: Resource::Cache(name.clone()),
        text: cache_text(name, &error),
    })
}

/// What is said of a cache that cannot be used.
pub(crate) fn cache_text(name: &CacheName, error: &CacheError) -> String {
    let text = format!("cache {:?}: {}", name.as_str(), explain(error));
    // What the commands met has its advice in it.
    if text.ends_with(')') {
        text
    } else {
        with_advice(&text)
    }
}
