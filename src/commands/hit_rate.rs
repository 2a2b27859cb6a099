//! `stoke hit-rate`: how many requests find their keys in a cache, and whether that is as many as when it is warm.
//!
//! A cache of a cluster's workers is looked at by them, and what Stoke asks itself is taken out. One that is given by its URL is asked
//! from here, and nobody tells what of its counts is Stoke's.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, anyhow};
use stoke_coordinator::watching::{Look, Looker, Watching};
use stoke_core::explain::explain;
use stoke_core::hit_rate::{Counters, Judge, Looks, Steady};
use stoke_proto::v1;
use stoke_worker::cache::{Cache, CacheConfig};
use stoke_worker::permit::Unlimited;

use crate::args::{HitRateArgs, OutputArg};
use crate::client::again::Again;
use crate::client::{Cluster, broken, caches};
use crate::exit::{Exit, Failure, OrExit};
use crate::print::Reader;
use crate::show::hit_rate::{HitRateReport, text};
use crate::told::Told;
use crate::{Outcome, print};

/// For how long nobody need answer, once somebody has, before nobody seems to be there.
const PATIENCE: Duration = Duration::from_secs(60);

/// Shows intervals.
pub async fn hit_rate(args: &HitRateArgs) -> Outcome {
    let mut shown = Shown { args };
    let is_url = |text: &String| text.contains("://");
    let showing = async {
        match (is_url(&args.cache), args.reference.as_ref().map(is_url)) {
            (true, None | Some(true)) => by_url(args, &mut shown).await,
            (false, None | Some(false)) => by_name(args, &mut shown).await,
            _ => Err(anyhow!(
                "--reference: name both caches as the workers do, or both by their URLs"
            ))
            .or_exit(Exit::Usage),
        }
    };
    let mut told = Told::new().or_exit(Exit::Unreachable)?;
    let over = async {
        match args.until_warm {
            true => tokio::time::sleep(args.timeout).await,
            false => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = showing => ended,
        () = over => Ok(Exit::NotMet),
        _ = told.heard() => Ok(Exit::Interrupted),
    }
}

/// What was asked for, as long as it goes on.
struct Shown<'a> {
    args: &'a HitRateArgs,
}

impl Shown<'_> {
    /// Shows an interval, and says with what it ends where it was the last.
    fn interval(&mut self, interval: &v1::WatchHitRateResponse) -> Result<Option<Exit>, Failure> {
        let reader = print::data(match self.args.output.output {
            OutputArg::Json => print::json(&HitRateReport::new(interval)),
            OutputArg::Text => text(interval),
        })?;
        let is_warm = interval.warmth() == v1::Warmth::Warm;
        let is_last = match self.args.until_warm {
            true => is_warm,
            false => reader == Reader::Gone || !self.args.watch,
        };
        // Where no node has told anything, `troubles` say why.
        let exit = match interval.nodes.is_empty() {
            true => Exit::Unreachable,
            false => Exit::Succeeded,
        };
        Ok(is_last.then_some(exit))
    }
}

/// By the workers of a cluster.
async fn by_name(args: &HitRateArgs, shown: &mut Shown<'_>) -> Outcome {
    let cluster = Cluster::new(&args.output.cluster.coordinator)?;
    let request = v1::WatchHitRateRequest {
        cache: args.cache.clone(),
        interval: args.interval.try_into().ok(),
        reference: args.reference.clone().unwrap_or_default(),
        steady_state: args.steady_state.unwrap_or(0.0),
        epsilon: args.epsilon,
    };
    let mut again = Again::new(PATIENCE, false);
    loop {
        match once(&cluster, &request, &mut again, shown).await {
            Ok(exit) => return Ok(exit),
            // Another coordinator begins anew.
            Err(failure) => {
                let broke = |error: &anyhow::Error| {
                    print::say(format!("the watch broke, and is begun again: {error:#}"));
                };
                again.after(failure, broke).await?;
            }
        }
    }
}

/// One watch, to the last interval that is to be shown.
async fn once(
    cluster: &Cluster,
    request: &v1::WatchHitRateRequest,
    again: &mut Again,
    shown: &mut Shown<'_>,
) -> Outcome {
    let opened = cluster.call(|channel| {
        let request = request.clone();
        async move { caches(channel).watch_hit_rate(request).await }
    });
    let mut watched = opened.await?;
    again.answered();
    loop {
        match watched.message().await {
            Ok(Some(interval)) => {
                if let Some(exit) = shown.interval(&interval)? {
                    return Ok(exit);
                }
            }
            Ok(None) => {
                return Err(anyhow!("it ended before it was told to")).or_exit(Exit::Unreachable);
            }
            Err(status) => return Err(broken(&status)),
        }
    }
}

/// By asking the nodes from here.
async fn by_url(args: &HitRateArgs, shown: &mut Shown<'_>) -> Outcome {
    let cache = Looked::at("--cache", &args.cache).await?;
    let reference = match &args.reference {
        Some(url) => Some(Looked::at("--reference", url).await?),
        None => None,
    };
    let steady = match (&reference, args.steady_state) {
        (Some(_), _) => Steady::Reference,
        (None, Some(steady)) => Steady::Known(steady),
        (None, None) => Steady::Unknown,
    };
    let judge = Judge::new(steady, args.epsilon);
    let mut watching = Watching::begin(cache, reference, args.interval, judge).await;
    loop {
        let interval = watching.interval().await;
        if let Some(exit) = shown.interval(&interval)? {
            return Ok(exit);
        }
    }
}

/// A cache whose nodes are asked.
struct Looked(Cache);

impl Looked {
    async fn at(flag: &str, url: &str) -> Result<Self, Failure> {
        let urls: Vec<&str> = url.split(',').collect();
        let config = CacheConfig::parse(&urls, None).context(flag.to_owned());
        let cache = Cache::connect(config.or_exit(Exit::Usage)?).await;
        let cache = cache.context(flag.to_owned()).or_exit(Exit::Unreachable)?;
        Ok(Self(cache))
    }
}

impl Looker for Looked {
    async fn look(&mut self) -> Look {
        let mut look = Look::default();
        let asked = match self.0.info_of_all(&Unlimited).await {
            Ok(asked) => asked,
            Err(error) => {
                look.troubles.push(explain(&error));
                return look;
            }
        };
        for answer in asked {
            match answer {
                Ok(node) => {
                    let counters = Counters {
                        run_id: node.run_id,
                        all: Looks {
                            hits: node.keyspace_hits,
                            misses: node.keyspace_misses,
                        },
                        own: BTreeMap::new(),
                    };
                    look.nodes.insert(node.address, counters);
                }
                Err(error) => look.troubles.push(error.to_string()),
            }
        }
        look
    }
}
