//! The plan of a job, with what the job says of its loaders, and what a dry run found.

use std::time::Duration;

use anyhow::anyhow;
use stoke_coordinator::wire;
use stoke_core::job::Merge;
use stoke_core::plan::Entry;
use stoke_core::units::Priority;
use stoke_proto::v1;
use v1::key_source::From;

use super::input::{Entries, Input};
use crate::args::EstimateArgs;
use crate::client::{Cluster, jobs, refusal};
use crate::commands::status;
use crate::exit::{Exit, Failure, OrExit};
use crate::show::estimate::{About, Source};
use crate::show::job::batch;

/// Reads a job's plan.
pub(super) async fn read(args: &EstimateArgs, name: &str) -> Result<Input, Failure> {
    let cluster = Cluster::new(&args.cluster.coordinator)?;
    let job = status::get(&cluster, name).await?;
    if scans(&job) {
        return Err(anyhow!(
            "the job {name} scans: its plan has ranges of rows, whose keys and demand nobody knows before they are read. Estimate a list of its \
             keys with how often each is asked for (FILE), or an access log (--log)"
        ))
        .or_exit(Exit::Usage);
    }
    let request = v1::ExportPlanRequest { name: name.into() };
    let exported = cluster.call(|channel| {
        let request = request.clone();
        async move { jobs(channel).export_plan(request).await }
    });
    let mut exported = exported.await?;
    let mut entries = Entries::new(Merge::Max)?;
    loop {
        let message = exported.message().await;
        let Some(message) = message.map_err(|status| refusal::failure(&status))? else {
            break;
        };
        let batch = entries_of(&message.entries.unwrap_or_default());
        entries = entries.add(batch).await?;
    }
    let about = About {
        source: Source::Job,
        name: name.to_owned(),
        bad_lines: 0,
        bad_line_examples: Vec::new(),
        log: None,
    };
    let recipes = Recipes::of(&job);
    let forecast = job.forecast.as_ref();
    let drift = (job.popularity.as_ref()).and_then(|popularity| popularity.drift.as_ref());
    Ok(Input {
        drift: drift.map(wire::drift),
        batch_keys: forecast.and_then(keys_a_query).or(recipes.batch_keys),
        ttl: recipes.ttl,
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        plan_bytes: forecast.map(|forecast| forecast.cache_bytes as f64),
        ..Input::of(entries, about)
    })
}

/// Whether some of its plan are ranges, be it the plan of another job.
fn scans(job: &v1::Job) -> bool {
    let has_ranges = job.progress.is_some_and(|progress| progress.ranges > 0);
    let sources = job.spec.as_ref().and_then(batch);
    let sources = sources.map_or(&[][..], |batch| &batch.sources);
    let scan = |source: &v1::KeySource| matches!(source.from, Some(From::Scan(_)));
    has_ranges || sources.iter().any(scan)
}

fn entries_of(batch: &v1::EntryBatch) -> Vec<Entry> {
    let priority = |n: usize| match batch.priorities.get(n) {
        Some(milli) => Priority::from_milli(*milli),
        None => Priority::ONE,
    };
    let keys = batch.keys.iter().enumerate();
    let entries = keys.map(|(n, key)| Entry {
        key: key.to_vec().into(),
        loader: 0,
        argument: "".into(),
        priority: priority(n),
    });
    entries.collect()
}

/// How many keys a dry run's queries would ask for, on average.
fn keys_a_query(forecast: &v1::Forecast) -> Option<u32> {
    let entries: u64 = forecast.loaders.iter().map(|loader| loader.entries).sum();
    let queries: u64 = forecast
        .loaders
        .iter()
        .map(|loader| loader.origin_queries)
        .sum();
    let keys = entries.checked_div(queries)?;
    u32::try_from(keys.max(1)).ok()
}

/// What a job's own recipes say; loaders of the workers' configuration are known there only.
#[derive(Debug, Default, PartialEq)]
struct Recipes {
    /// The smallest of the loaders'.
    batch_keys: Option<u32>,
    /// The shortest of the loaders'.
    ttl: Option<Duration>,
}

impl Recipes {
    fn of(job: &v1::Job) -> Self {
        let loaders = job.spec.as_ref().and_then(batch);
        let loaders = loaders.map_or(&[][..], |batch| &batch.loaders);
        let each = loaders
            .iter()
            .map(|loader| match (&loader.sql, &loader.copy) {
                (Some(sql), _) => (sql.batch_keys, sql.ttl),
                (None, Some(copy)) => (copy.batch_keys, copy.ttl),
                (None, None) => (0, None),
            });
        let each: Vec<(u32, Option<prost_types::Duration>)> = each.collect();
        let ttls = each
            .iter()
            .filter_map(|(_, ttl)| Duration::try_from((*ttl)?).ok());
        Self {
            // 0: the workers choose.
            batch_keys: each
                .iter()
                .map(|(keys, _)| *keys)
                .filter(|keys| *keys > 0)
                .min(),
            ttl: ttls.min(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_say_batches_and_times_to_live_where_they_do() {
        let loader = |batch_keys, seconds: Option<i64>| v1::Loader {
            sql: Some(v1::SqlLoader {
                batch_keys,
                ttl: seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
                ..v1::SqlLoader::default()
            }),
            ..v1::Loader::default()
        };
        let job = |loaders| v1::Job {
            spec: Some(v1::JobSpec {
                work: Some(v1::job_spec::Work::Batch(v1::BatchWork {
                    loaders,
                    ..v1::BatchWork::default()
                })),
                ..v1::JobSpec::default()
            }),
            ..v1::Job::default()
        };
        let said = Recipes::of(&job(vec![
            loader(0, Some(600)),
            loader(200, Some(60)),
            loader(300, None),
        ]));
        assert_eq!(said.batch_keys, Some(200));
        assert_eq!(said.ttl, Some(Duration::from_secs(60)));
        let named = v1::Loader::default();
        assert_eq!(Recipes::of(&job(vec![named])), Recipes::default());
        assert_eq!(Recipes::of(&v1::Job::default()), Recipes::default());
    }

    #[test]
    fn a_dry_run_says_how_many_keys_a_query_asks_for() {
        let loader = |entries, origin_queries| v1::LoaderForecast {
            entries,
            origin_queries,
            ..v1::LoaderForecast::default()
        };
        let forecast = |loaders| v1::Forecast {
            loaders,
            ..v1::Forecast::default()
        };
        assert_eq!(
            keys_a_query(&forecast(vec![loader(1000, 4), loader(200, 2)])),
            Some(200)
        );
        assert_eq!(keys_a_query(&forecast(Vec::new())), None);
    }
}
