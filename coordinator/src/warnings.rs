//! What a job should be warned of: it goes on all the same, and whoever set it off may want to know.
//!
//! Warnings are made anew from the job's records whenever somebody looks, so they come and go with what they speak of. Wall
//! clocks are good enough: nothing is decided by them.

use std::collections::BTreeMap;
use std::time::Duration;

use stoke_core::expiry::{self, Basis, Pace};
use stoke_core::job::{Batch, Fit, Phase, Work};
use stoke_core::names::{LoaderName, Resource};
use stoke_core::records::{LoaderTerms, Room, SourceReport};

use crate::view::JobView;

/// Something to know about a job that does not stop it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Warning {
    /// What it speaks of: at most one of each kind.
    pub(crate) kind: &'static str,
    /// What is so, and what to do.
    pub(crate) what: String,
}

/// The job takes longer than what it loads first lives.
const EXPIRY: &str = "expiry";

/// The cache has no room for the plan, or it could not be found out.
const CAPACITY: &str = "capacity";

/// All that the job should be warned of.
#[must_use]
pub(crate) fn of(job: &JobView, now_ms: u64) -> Vec<Warning> {
    expires(job, now_ms)
        .into_iter()
        .chain(is_too_large(job))
        .collect()
}

/// Whether the cache has no room for the plan, and what was done about it.
fn is_too_large(job: &JobView) -> Option<Warning> {
    let what = match job.record.value.room.as_ref()? {
        Room::Limited => return None,
        Room::Unknown(why) => {
            format!("whether the cache has room for the plan is not known: {why}")
        }
        Room::Fits { full: None, .. } => return None,
        Room::Fits {
            entries,
            full: Some(node),
        } => {
            let planned = job.planned();
            let rest = planned.saturating_sub(*entries);
            let Work::Batch(batch) = &job.record.value.spec.work;
            let done = match batch.fit {
                _ if job.record.value.spec.dry_run && batch.fit == Fit::Cut => "would be skipped",
                Fit::Cut => "are skipped",
                Fit::Warn => "are warmed all the same, as was asked",
            };
            let begin = if job.cut() > 0 { "cut: " } else { "" };
            format!(
                "{begin}the cache has room for {entries} of {planned} keys, for node {node} has no more; the other {rest}, of the \
                 lowest priority, {done}; give it more memory, or warm fewer keys"
            )
        }
    };
    Some(Warning {
        kind: CAPACITY,
        what,
    })
}

/// Whether the job takes longer than the entries live that it loads first.
fn expires(job: &JobView, now_ms: u64) -> Option<Warning> {
    let Work::Batch(batch) = &job.record.value.spec.work;
    // Who only looks writes nothing that could expire.
    if batch.mode.is_verify() {
        return None;
    }
    let (loader, lives) = shortest_lived(job, batch)?;
    let (takes, basis) = length(job, batch, now_ms)?;
    if takes <= lives {
        return None;
    }
    let lives = format!(
        "the entries of loader {loader} live for {} (their time to live less its jitter)",
        about(lives)
    );
    let takes = about(takes);
    let what = match basis {
        Basis::Measured => {
            format!(
                "it took {takes}, and {lives}: the first had expired before the last were loaded"
            )
        }
        Basis::Budgets | Basis::Pace => {
            let by = if basis == Basis::Budgets {
                "at the present budgets"
            } else {
                "at its pace so far"
            };
            format!(
                "it takes about {takes} {by}, and {lives}: the first expire before the last are loaded; raise the budget or the \
                 time to live, or warm fewer keys"
            )
        }
    };
    Some(Warning { kind: EXPIRY, what })
}

/// The loader whose entries live shortest, of those that have entries, and for how long at least.
fn shortest_lived<'a>(job: &'a JobView, batch: &'a Batch) -> Option<(&'a LoaderName, Duration)> {
    let entries = &job.record.value.plan.as_ref()?.entries_by_loader;
    let loaders = batch
        .loaders
        .iter()
        .zip(&job.record.value.terms)
        .zip(entries);
    let with_entries = loaders.filter(|(_, entries)| **entries > 0);
    let lives = with_entries.filter_map(|((loader, terms), _)| {
        let lives = Duration::from_millis(terms.lives_ms?);
        Some((&loader.name, lives))
    });
    lives.min_by_key(|(_, lives)| *lives)
}

/// How long the job takes from its first entry to its last. A dry run's is that of the job that it stands for.
fn length(job: &JobView, batch: &Batch, now_ms: u64) -> Option<(Duration, Basis)> {
    let record = &job.record.value;
    let plan = record.plan.as_ref()?;
    let by_budgets = by_budgets(job, batch);
    let is_dry = record.spec.dry_run;
    let started_ms = match job.life.value.phase {
        Phase::Pending | Phase::Planning => None,
        // Nothing came of it: there is nothing to expire.
        Phase::Failed | Phase::Aborted | Phase::Succeeded if !is_dry && job.tally().warmed == 0 => {
            return None;
        }
        _ => record.started_ms,
    };
    let until_ms = record.ended_ms.unwrap_or(now_ms);
    let elapsed = started_ms.map(|started_ms| until_ms.saturating_sub(started_ms));
    let pace = Pace {
        entries: plan.entries,
        settled: if is_dry {
            0
        } else {
            job.tally().entries_settled() - job.cut()
        },
        elapsed: Duration::from_millis(elapsed.unwrap_or(0)),
    };
    expiry::projected(pace, by_budgets)
}

/// How long all entries take at the present budgets: the slowest of what they take decides. `None` where an origin has none,
/// or one of zero; a cache without one is as fast as it is.
fn by_budgets(job: &JobView, batch: &Batch) -> Option<Duration> {
    let record = &job.record.value;
    let plan = record.plan.as_ref()?;
    let mut queries: BTreeMap<Resource, u64> = BTreeMap::new();
    let mut writes = 0;
    for (terms, entries) in record.terms.iter().zip(&plan.entries_by_loader) {
        if *entries == 0 {
            continue;
        }
        terms.origin.as_ref()?;
        for (origin, of_origin) in terms.queries(*entries) {
            *queries.entry(Resource::Origin(origin.clone())).or_default() += of_origin;
        }
        writes += terms.keys(*entries) * terms.writes_each();
    }
    for cache in batch.caches().cloned().map(Resource::Cache) {
        if job.targets.contains_key(&cache) {
            queries.insert(cache, writes);
        }
    }
    let times = queries.into_iter().map(|(resource, queries)| {
        let target = job.targets.get(&resource)?;
        expiry::at_rate(queries, target.rate_milli)
    });
    times.collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// What the workers say of a job's loaders, in their order; of several the first that says it. `sources`: what reading the job's
/// key sources gave, in their order.
pub(crate) fn terms<'a>(
    batch: &Batch,
    sources: &[SourceReport],
    members: impl Iterator<Item = &'a stoke_core::records::Member> + Clone,
) -> Vec<LoaderTerms> {
    let of = |loader: &stoke_core::job::Loader| match &loader.recipe {
        Some(recipe) => LoaderTerms {
            origin: Some(recipe.origin.clone()),
            version_origin: recipe.origin_of_versions().cloned(),
            batch_keys: Some(recipe.keys_a_query()),
            copies: recipe.value.copy.is_some(),
            lives_ms: Some(ms(expiry::shortest(recipe.ttl, recipe.ttl_jitter_permille))),
            scan_rows: recipe.scan.as_ref().map(|_| 0),
        },
        None => LoaderTerms {
            origin: (members.clone()).find_map(|member| member.loaders.get(&loader.name).cloned()),
            version_origin: (members.clone())
                .find_map(|member| member.version_origins.get(&loader.name).cloned()),
            batch_keys: (members.clone())
                .find_map(|member| member.batch_keys.get(&loader.name).copied()),
            copies: (members.clone()).any(|member| member.copies.contains(&loader.name)),
            // Workers may differ while a configuration is rolled out: any of them may write the first.
            lives_ms: (members.clone())
                .filter_map(|member| member.lives_ms.get(&loader.name).copied())
                .min(),
            scan_rows: (members.clone())
                .any(|member| member.scans.contains(&loader.name))
                .then_some(0),
        },
    };
    let mut terms: Vec<LoaderTerms> = batch.loaders.iter().map(of).collect();
    for (source, report) in batch.sources.iter().zip(sources) {
        let of_loader = usize::try_from(source.loader)
            .ok()
            .and_then(|n| terms.get_mut(n));
        if let Some(rows) = of_loader.and_then(|terms| terms.scan_rows.as_mut()) {
            *rows += report.rows_estimated;
        }
    }
    terms
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A span in its two largest units: 45s, 3m 20s, 2h 5m, 3d 4h.
fn about(time: Duration) -> String {
    const UNITS: [(u64, char); 4] = [(86_400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')];
    let seconds = time.as_secs();
    let largest = UNITS.iter().position(|(unit, _)| seconds >= *unit);
    let Some(largest) = largest else {
        return format!("{}ms", time.as_millis());
    };
    let (unit, name) = UNITS[largest];
    let mut text = format!("{}{name}", seconds / unit);
    if let Some((smaller, name)) = UNITS.get(largest + 1)
        && seconds % unit / smaller > 0
    {
        text.push_str(&format!(" {}{name}", seconds % unit / smaller));
    }
    text
}

#[cfg(test)]
mod tests;
