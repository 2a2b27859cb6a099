//! From what a caller sends to a checked job spec. Each fault names its field and what to do.

use std::time::Duration;

use stoke_core::job::{
    Batch, FileFormat, From, KeySource, Loader, Merge, Mode, OnBadLine, PRIORITY_MAX, Recipe, Spec,
    Work,
};
use stoke_core::ledger::Share;
use stoke_core::names::{LoaderName, OriginName};
use stoke_proto::v1;
use stoke_store::record;

use super::refusal::{Refusal, invalid};

/// How often an entry is tried where nothing is said.
const ATTEMPTS_DEFAULT: u32 = 5;
/// How often an entry may be tried at most.
const ATTEMPTS_MAX: u32 = 100;
/// How many keys one query takes where nothing is said.
const BATCH_KEYS_DEFAULT: u32 = 500;
/// How many keys one query may take.
const BATCH_KEYS_MAX: u32 = 10_000;
/// How many sources, loaders or labels a job may have: its record stays a few kilobytes.
const ITEMS_MAX: usize = 32;
/// The longest query, in bytes.
const QUERY_BYTES_MAX: usize = 16 * 1024;
/// The largest spec, in bytes as it is stored: what a caller writes is put into the store with every change of the
/// job's record, and must leave room there for the rest of it.
const SPEC_BYTES_MAX: usize = 128 * 1024;
/// The longest label, trigger or requester, in characters.
const TEXT_MAX: usize = 63;

/// Parses a job's spec.
pub(super) fn spec(spec: v1::JobSpec) -> Result<Spec, Refusal> {
    for (key, value) in &spec.labels {
        text("spec.labels", key)?;
        text(&format!("spec.labels[{key}]"), value)?;
    }
    few("spec.labels", spec.labels.len())?;
    text("spec.trigger", &spec.trigger)?;
    text("spec.requester", &spec.requester)?;
    if spec.priority > PRIORITY_MAX {
        return Err(invalid(
            "spec.priority",
            format!("must be from 0 to {PRIORITY_MAX}"),
        ));
    }
    let work = match spec.work {
        Some(v1::job_spec::Work::Batch(work)) => Work::Batch(batch(work)?),
        Some(v1::job_spec::Work::Continuous(_)) => {
            return Err(invalid(
                "spec.continuous",
                "continuous jobs are not accepted yet: use batch",
            ));
        }
        None => return Err(invalid("spec.work", "say what to do: set batch")),
    };
    let spec = Spec {
        labels: spec.labels.into_iter().collect(),
        trigger: spec.trigger,
        requester: spec.requester,
        priority: spec.priority,
        dry_run: spec.dry_run,
        work,
    };
    let bytes = record::encode(&spec).len();
    if bytes > SPEC_BYTES_MAX {
        return Err(invalid(
            "spec",
            format!(
                "takes {bytes} bytes, and {SPEC_BYTES_MAX} are possible: name loaders and sources of the workers' configuration instead"
            ),
        ));
    }
    Ok(spec)
}

fn batch(work: v1::BatchWork) -> Result<Batch, Refusal> {
    let mode = match work.mode() {
        v1::WriteMode::Unspecified | v1::WriteMode::Add => Mode::Add,
        v1::WriteMode::Refresh => Mode::Refresh,
        v1::WriteMode::Overwrite => Mode::Overwrite,
    };
    few("spec.batch.loaders", work.loaders.len())?;
    few("spec.batch.sources", work.sources.len())?;
    if work.loaders.is_empty() {
        return Err(invalid("spec.batch.loaders", "name at least one loader"));
    }
    if work.sources.is_empty() {
        return Err(invalid(
            "spec.batch.sources",
            "name at least one key source",
        ));
    }
    let loaders = each("spec.batch.loaders", work.loaders, loader)?;
    for (n, loader) in loaders.iter().enumerate() {
        if loaders[..n].iter().any(|other| other.name == loader.name) {
            return Err(invalid(
                format!("spec.batch.loaders[{n}].name"),
                format!("{} comes twice", loader.name),
            ));
        }
    }
    let sources = each("spec.batch.sources", work.sources, |at, source| {
        key_source(at, source, &loaders)
    })?;
    if work.attempts_max > ATTEMPTS_MAX {
        return Err(invalid(
            "spec.batch.attempts_max",
            format!("at most {ATTEMPTS_MAX} attempts are possible"),
        ));
    }
    Ok(Batch {
        sources,
        loaders,
        cache: name("spec.batch.cache", &work.cache)?,
        mode,
        allowed_failures: work.allowed_failures,
        attempts_max: if work.attempts_max == 0 {
            ATTEMPTS_DEFAULT
        } else {
            work.attempts_max
        },
    })
}

fn key_source(at: &str, source: v1::KeySource, loaders: &[Loader]) -> Result<KeySource, Refusal> {
    let merge = match source.merge() {
        v1::Merge::Unspecified | v1::Merge::Max => Merge::Max,
        v1::Merge::Sum => Merge::Sum,
    };
    let on_bad_line = match source.on_bad_line() {
        v1::OnBadLine::Unspecified | v1::OnBadLine::Fail => OnBadLine::Fail,
        v1::OnBadLine::Skip => OnBadLine::Skip,
    };
    // With one loader there is nothing to choose.
    let loader = if source.loader.is_empty() && loaders.len() == 1 {
        0
    } else {
        let wanted: LoaderName = name(&format!("{at}.loader"), &source.loader)?;
        let found = loaders.iter().position(|loader| loader.name == wanted);
        let found = found.and_then(|n| u32::try_from(n).ok());
        found.ok_or_else(|| {
            invalid(
                format!("{at}.loader"),
                format!("the job has no loader {wanted}"),
            )
        })?
    };
    let from = match source.from {
        None => {
            return Err(invalid(
                format!("{at}.from"),
                "set one of named, sql, file and upload",
            ));
        }
        Some(v1::key_source::From::Named(named)) => {
            From::Named(name(&format!("{at}.named"), &named)?)
        }
        Some(v1::key_source::From::Upload(_)) => From::Upload,
        Some(v1::key_source::From::Sql(sql)) => From::Sql {
            origin: name(&format!("{at}.sql.origin"), &sql.origin)?,
            query: query(&format!("{at}.sql.query"), sql.query)?,
        },
        Some(v1::key_source::From::File(file)) => {
            let format = match file.format() {
                v1::FileFormat::Unspecified => None,
                v1::FileFormat::Csv => Some(FileFormat::Csv),
                v1::FileFormat::Ndjson => Some(FileFormat::Ndjson),
            };
            if file.path.is_empty() {
                return Err(invalid(format!("{at}.file.path"), "name a file"));
            }
            From::File {
                path: file.path,
                format,
            }
        }
    };
    Ok(KeySource {
        loader,
        from,
        merge,
        on_bad_line,
    })
}

fn loader(at: &str, loader: v1::Loader) -> Result<Loader, Refusal> {
    let recipe = loader
        .sql
        .map(|sql| recipe(&format!("{at}.sql"), sql))
        .transpose()?;
    Ok(Loader {
        name: name(&format!("{at}.name"), &loader.name)?,
        recipe,
    })
}

fn recipe(at: &str, sql: v1::SqlLoader) -> Result<Recipe, Refusal> {
    let origin: OriginName = name(&format!("{at}.origin"), &sql.origin)?;
    let key_template = sql
        .key_template
        .parse()
        .map_err(|error| invalid(format!("{at}.key_template"), format!("{error}")))?;
    let ttl = sql
        .ttl
        .ok_or_else(|| invalid(format!("{at}.ttl"), "say how long entries live"))?;
    let ttl = Duration::try_from(ttl)
        .ok()
        .filter(|ttl| *ttl >= Duration::from_millis(1));
    let ttl = ttl.ok_or_else(|| invalid(format!("{at}.ttl"), "must be at least a millisecond"))?;
    if sql.ttl_jitter_permille > 900 {
        return Err(invalid(
            format!("{at}.ttl_jitter_permille"),
            "must be from 0 to 900",
        ));
    }
    if sql.batch_keys > BATCH_KEYS_MAX {
        return Err(invalid(
            format!("{at}.batch_keys"),
            format!("must be from 1 to {BATCH_KEYS_MAX}"),
        ));
    }
    Ok(Recipe {
        origin,
        query: query(&format!("{at}.query"), sql.query)?,
        key_template,
        key_column: (!sql.key_column.is_empty()).then_some(sql.key_column),
        ttl,
        ttl_jitter_permille: sql.ttl_jitter_permille,
        batch_keys: if sql.batch_keys == 0 {
            BATCH_KEYS_DEFAULT
        } else {
            sql.batch_keys
        },
    })
}

/// Parses a budget: what is 0 in `burst` and `in_flight` stays as it is.
pub(super) fn target(target: Option<v1::Allowance>, present: Share) -> Result<Share, Refusal> {
    let target = target.ok_or_else(|| invalid("target", "say what the budget shall be"))?;
    let or = |asked: u64, present: u64| if asked == 0 { present } else { asked };
    Ok(Share {
        rate_milli: target.qps_milli,
        burst: or(target.burst, present.burst),
        in_flight: or(target.in_flight, present.in_flight),
    })
}

/// Parses a name.
pub(super) fn name<T>(field: &str, text: &str) -> Result<T, Refusal>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    text.parse()
        .map_err(|error: T::Err| invalid(field, error.to_string()))
}

fn query(field: &str, query: String) -> Result<String, Refusal> {
    if query.trim().is_empty() {
        return Err(invalid(field, "write a query"));
    }
    if query.len() > QUERY_BYTES_MAX {
        return Err(invalid(
            field,
            format!(
                "is longer than {QUERY_BYTES_MAX} bytes: name a loader or source of the workers' configuration instead"
            ),
        ));
    }
    Ok(query)
}

fn text(field: &str, text: &str) -> Result<(), Refusal> {
    if text.chars().count() > TEXT_MAX {
        return Err(invalid(
            field,
            format!("is longer than {TEXT_MAX} characters"),
        ));
    }
    Ok(())
}

fn few(field: &str, count: usize) -> Result<(), Refusal> {
    if count > ITEMS_MAX {
        return Err(invalid(
            field,
            format!("has {count} items: at most {ITEMS_MAX} are possible"),
        ));
    }
    Ok(())
}

fn each<T, U>(
    at: &str,
    items: Vec<T>,
    parse: impl Fn(&str, T) -> Result<U, Refusal>,
) -> Result<Vec<U>, Refusal> {
    items
        .into_iter()
        .enumerate()
        .map(|(n, item)| parse(&format!("{at}[{n}]"), item))
        .collect()
}
