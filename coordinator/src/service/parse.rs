//! From what a caller sends to a checked job spec. Each fault names its field and what to do.

mod caches;
mod copy;
mod faults;
mod filter;
mod gate;
mod log;
mod prune;
mod source;
mod usage;

pub(super) use filter::{Filter, filter};
pub(super) use gate::{Gate, Watched, gate, watched};
pub(super) use prune::prune;

use std::time::Duration;

use stoke_core::access_log::AccessLog;
use stoke_core::batch_keys::BATCH_KEYS_MAX;
use stoke_core::job::{
    Batch, Fit, Loader, Mode, PRIORITY_MAX, Recipe, SAMPLE_MAX, SECTION_ITEMS_MAX, Section, Spec,
    Which, Work, check_node,
};
use stoke_core::ledger::Share;
use stoke_core::names::OriginName;
use stoke_core::scan::{ROWS_DEFAULT, Scan};
use stoke_core::slot::slot_range;
use stoke_core::value::{Compression, Form, Negative, ValueSpec, Versions};
use stoke_proto::v1;
use stoke_store::record;

use self::faults::Faults;
use self::filter::labels;
use super::refusal::{Refusal, invalid};
use crate::view::Members;

/// How often an entry is tried where nothing is said.
const ATTEMPTS_DEFAULT: u32 = 5;
/// How often an entry may be tried at most.
const ATTEMPTS_MAX: u32 = 100;
/// How many sources, loaders or labels a job may have: its record stays a few kilobytes.
pub(super) const ITEMS_MAX: usize = 32;
/// The largest spec, in bytes as it is stored: what a caller writes is put into the store with every change of the
/// job's record, and must leave room there for the rest of it.
const SPEC_BYTES_MAX: usize = 128 * 1024;
/// The longest request id, in bytes.
pub(super) const REQUEST_ID_BYTES_MAX: usize = 128;
/// The largest share that may be taken off a time to live, in thousandths.
const TTL_JITTER_PERMILLE_MAX: u32 = 900;

/// The shortest time to live of an entry; as in the workers' configuration.
const TTL_MIN: Duration = Duration::from_secs(1);
/// The longest one: ten years; as in the workers' configuration.
const TTL_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);
/// The largest rate of a budget, in thousandths of a query a second; as in the coordinators' configuration.
const RATE_MILLI_MAX: u64 = 1_000_000_000 * 1000;
/// The largest burst of a budget; as there.
const BURST_MAX: u64 = 1_000_000;
/// The most queries of a budget that may be unanswered at one time; as there.
const IN_FLIGHT_MAX: u64 = 100_000;
/// For how long at least a budget can be set.
const LASTS_MIN: Duration = Duration::from_secs(1);
/// For how long at most.
const LASTS_MAX: Duration = Duration::from_secs(30 * 86_400);
/// The most rows a second.
const ROWS_MAX: u64 = 1_000_000_000_000;

/// Parses a request; what sources of the workers' configuration are, these members know.
///
/// # Errors
/// With all faults.
pub(super) fn create(request: v1::CreateJobRequest, members: &Members) -> Result<Spec, Refusal> {
    let mut faults = Faults::default();
    note_long_id(&mut faults, &request.request_id);
    let spec = match request.spec {
        Some(asked) => spec(&mut faults, asked, members),
        None => {
            faults.note("spec", "say what to do");
            None
        }
    };
    // Only a spec that is right in all its parts has a size worth speaking of.
    let bytes = spec.as_ref().map_or(0, |spec| record::encode(spec).len());
    if faults.is_empty() && bytes > SPEC_BYTES_MAX {
        let problem = format!(
            "takes {bytes} bytes of {SPEC_BYTES_MAX}: name loaders and sources of the workers' configuration"
        );
        faults.note("spec", problem);
    }
    faults.end(spec)
}

fn note_long_id(faults: &mut Faults, request_id: &str) {
    if request_id.len() > REQUEST_ID_BYTES_MAX {
        let problem = format!("is longer than {REQUEST_ID_BYTES_MAX} bytes");
        faults.note("request_id", problem);
    }
}

/// Parses a log of a job with these loaders.
///
/// # Errors
/// With all faults.
pub(super) fn access_log(
    log: v1::AccessLogSource,
    loaders: &[String],
) -> Result<AccessLog, Refusal> {
    let mut faults = Faults::default();
    let log = log::access_log(&mut faults, "log", log, "", loaders);
    faults.end(log)
}

/// Parses which entries of a job are to be verified: all where `sample` is 0.
///
/// # Errors
/// With all faults.
pub(super) fn verify(request: &v1::VerifyJobRequest) -> Result<Which, Refusal> {
    let mut faults = Faults::default();
    note_long_id(&mut faults, &request.request_id);
    faults.at_most("sample", request.sample, SAMPLE_MAX);
    faults.end(Some(match request.sample {
        0 => Which::All,
        most => Which::Sample(most),
    }))
}

/// Checks the request of a retry.
///
/// # Errors
/// With all faults.
pub(super) fn retry(request: &v1::RetryJobRequest) -> Result<(), Refusal> {
    let mut faults = Faults::default();
    note_long_id(&mut faults, &request.request_id);
    faults.end(Some(()))
}

fn spec(faults: &mut Faults, spec: v1::JobSpec, members: &Members) -> Option<Spec> {
    labels(faults, "spec.labels", &spec.labels);
    faults.text("spec.trigger", &spec.trigger);
    faults.text("spec.requester", &spec.requester);
    faults.at_most("spec.priority", spec.priority, PRIORITY_MAX);
    let work = match spec.work {
        Some(v1::job_spec::Work::Batch(work)) => batch(faults, work, members),
        Some(v1::job_spec::Work::Continuous(_)) => {
            let problem = "continuous jobs are not accepted yet: use batch";
            faults.note("spec.continuous", problem);
            None
        }
        None => {
            faults.note("spec.work", "say what to do: set batch");
            None
        }
    };
    Some(Spec {
        labels: spec.labels.into_iter().collect(),
        trigger: spec.trigger,
        requester: spec.requester,
        priority: spec.priority,
        dry_run: spec.dry_run,
        work: Work::Batch(work?),
    })
}

fn batch(faults: &mut Faults, work: v1::BatchWork, members: &Members) -> Option<Batch> {
    const AT: &str = "spec.batch";
    let mode = faults.one_of(&format!("{AT}.mode"), work.mode);
    faults.few("spec.batch.loaders", work.loaders.len());
    faults.few("spec.batch.sources", work.sources.len());
    if work.loaders.is_empty() {
        faults.note("spec.batch.loaders", "name at least one loader");
    }
    let names: Vec<String> = work.loaders.iter().map(|l| l.name.clone()).collect();
    let mut loaders = Vec::new();
    for (n, asked) in work.loaders.into_iter().take(ITEMS_MAX).enumerate() {
        let at = format!("{AT}.loaders[{n}]");
        if names[..n].contains(&asked.name) {
            faults.note(format!("{at}.name"), format!("{} comes twice", asked.name));
        }
        loaders.push(loader(faults, &at, asked));
    }
    let mut sources = Vec::new();
    for (n, asked) in work.sources.into_iter().take(ITEMS_MAX).enumerate() {
        let at = format!("{AT}.sources[{n}]");
        let source = source::key_source(faults, &at, asked, (&names, members));
        sources.push(source);
    }
    faults.at_most("spec.batch.attempts_max", work.attempts_max, ATTEMPTS_MAX);
    let caches = caches::caches(faults, &work.cache, &work.also);
    let fit = faults.one_of(&format!("{AT}.fit"), work.fit);
    let section = section(faults, work.section.unwrap_or_default());
    if !work.also.is_empty() && !section.nodes.is_empty() {
        let problem =
            "nodes are those of one cache: name one cache, or slots, which are the same in all";
        faults.note(format!("{AT}.section.nodes"), problem);
    }
    let (cache, also) = caches?;
    Some(Batch {
        sources: sources.into_iter().collect::<Option<_>>()?,
        loaders: loaders.into_iter().collect::<Option<_>>()?,
        cache,
        also,
        mode: match mode? {
            v1::WriteMode::Unspecified | v1::WriteMode::Add => Mode::Add,
            v1::WriteMode::Refresh => Mode::Refresh,
            v1::WriteMode::Overwrite => Mode::Overwrite,
            v1::WriteMode::Verify => Mode::Verify,
            v1::WriteMode::VerifyValues => Mode::VerifyValues,
        },
        allowed_failures: work.allowed_failures,
        attempts_max: if work.attempts_max == 0 {
            ATTEMPTS_DEFAULT
        } else {
            work.attempts_max
        },
        section,
        fit: match fit? {
            v1::Fit::Unspecified | v1::Fit::Cut => Fit::Cut,
            v1::Fit::Warn => Fit::Warn,
        },
    })
}

/// What of a cache is warmed. It may have faults; then it is not used.
fn section(faults: &mut Faults, section: v1::CacheSection) -> Section {
    const AT: &str = "spec.batch.section";
    let (slots, nodes) = (section.slots.len(), section.nodes.len());
    faults.at_most(&format!("{AT}.slots"), slots, SECTION_ITEMS_MAX);
    faults.at_most(&format!("{AT}.nodes"), nodes, SECTION_ITEMS_MAX);
    let mut known = Section::default();
    for (n, range) in section.slots.iter().take(SECTION_ITEMS_MAX).enumerate() {
        let range = slot_range(range.first.into(), range.last.into());
        known
            .slots
            .extend(faults.keep(&format!("{AT}.slots[{n}]"), range));
    }
    for (n, node) in section
        .nodes
        .into_iter()
        .take(SECTION_ITEMS_MAX)
        .enumerate()
    {
        let checked = check_node(&node).map(|()| node.clone());
        known
            .nodes
            .extend(faults.keep(&format!("{AT}.nodes[{n}]"), checked));
    }
    known
}

fn loader(faults: &mut Faults, at: &str, loader: v1::Loader) -> Option<Loader> {
    let name = faults.name(&format!("{at}.name"), &loader.name);
    let recipe = match (loader.sql, loader.copy) {
        (Some(_), Some(_)) => {
            faults.note(format!("{at}.copy"), "cannot stand beside sql: set either");
            return None;
        }
        (Some(sql), None) => Some(recipe(faults, &format!("{at}.sql"), sql)?),
        (None, Some(copy)) => Some(self::copy::recipe(faults, &format!("{at}.copy"), &copy)?),
        (None, None) => None,
    };
    Some(Loader {
        name: name?,
        recipe,
    })
}

fn recipe(faults: &mut Faults, at: &str, sql: v1::SqlLoader) -> Option<Recipe> {
    let origin: Option<OriginName> = faults.name(&format!("{at}.origin"), &sql.origin);
    let query = faults.query(&format!("{at}.query"), sql.query);
    let key_template = faults.keep(&format!("{at}.key_template"), sql.key_template.parse());
    if !sql.key_column.is_empty() && !sql.key_columns.is_empty() {
        let problem = "set key_column or key_columns, not both";
        faults.note(format!("{at}.key_columns"), problem);
    }
    let key_columns = [sql.key_column].into_iter().filter(|one| !one.is_empty());
    let key_columns = key_columns.chain(sql.key_columns);
    let ttl = ttl(faults, &format!("{at}.ttl"), sql.ttl);
    faults.at_most(
        &format!("{at}.ttl_jitter_permille"),
        sql.ttl_jitter_permille,
        TTL_JITTER_PERMILLE_MAX,
    );
    faults.at_most(&format!("{at}.batch_keys"), sql.batch_keys, BATCH_KEYS_MAX);
    let value = value_spec(
        faults,
        &format!("{at}.value"),
        sql.value.unwrap_or_default(),
    );
    Some(Recipe {
        origin: origin?,
        query: query?,
        key_template: key_template?,
        key_column: key_columns.collect(),
        ttl: ttl?,
        ttl_jitter_permille: sql.ttl_jitter_permille,
        batch_keys: sql.batch_keys.into(),
        scan: match sql.scan {
            Some(scan) => Some(self::scan(faults, &format!("{at}.scan"), scan, &value)?),
            None => None,
        },
        value: value?,
    })
}

/// How a recipe scans, with values of this kind.
fn scan(faults: &mut Faults, at: &str, scan: v1::Scan, value: &Option<ValueSpec>) -> Option<Scan> {
    let scan = Scan {
        by: faults.keep(&format!("{at}.by"), scan.by.parse())?,
        rows: if scan.rows == 0 {
            ROWS_DEFAULT
        } else {
            scan.rows
        },
    };
    let any = ValueSpec::default();
    faults.keep(at, scan.check(value.as_ref().unwrap_or(&any)))?;
    Some(scan)
}

fn value_spec(faults: &mut Faults, at: &str, value: v1::ValueSpec) -> Option<ValueSpec> {
    let form = match value.form.as_str() {
        "" => Some(Form::default()),
        form => faults.keep(&format!("{at}.form"), form.parse()),
    };
    let compression = match faults.one_of(&format!("{at}.compression"), value.compression)? {
        v1::Compression::Unspecified | v1::Compression::None => None,
        v1::Compression::Zstd => Some(Compression::Zstd),
    };
    let negative = match value.negative {
        Some(negative) => Some(Negative {
            ttl: ttl(faults, &format!("{at}.negative.ttl"), negative.ttl)?,
            value: negative.value,
        }),
        None => None,
    };
    let origin = match value.version_origin.as_str() {
        "" => None,
        origin => Some(faults.name(&format!("{at}.version_origin"), origin)?),
    };
    let versions = match value.version_column {
        column if !column.is_empty() => Some(Versions { column, origin }),
        _ if origin.is_some() => {
            let problem = "say which column has the version, in version_column";
            faults.note(format!("{at}.version_origin"), problem);
            return None;
        }
        _ => None,
    };
    let spec = ValueSpec {
        form: form?,
        compression,
        negative,
        expiry_column: (!value.expiry_column.is_empty()).then_some(value.expiry_column),
        versions,
        copy: None,
    };
    faults.keep(at, spec.check())?;
    Some(spec)
}

fn ttl(faults: &mut Faults, field: &str, ttl: Option<prost_types::Duration>) -> Option<Duration> {
    let Some(ttl) = ttl else {
        faults.note(field, "say how long entries live");
        return None;
    };
    let ttl = Duration::try_from(ttl)
        .ok()
        .filter(|ttl| (TTL_MIN..=TTL_MAX).contains(ttl));
    if ttl.is_none() {
        faults.note(field, "must be from a second to ten years (315360000 s)");
    }
    ttl
}

/// Parses a budget: what is 0 in `burst` and `in_flight`, or not set in `rows`, stays as it is.
pub(super) fn target(request: &v1::SetBudgetRequest, present: Share) -> Result<Share, Refusal> {
    let target = request
        .target
        .ok_or_else(|| invalid("target", "say what the budget shall be"))?;
    let any_rows = request.any_rows;
    let mut faults = Faults::default();
    if any_rows && target.rows.is_some() {
        faults.note("any_rows", "cannot stand beside target.rows: set either");
    }
    faults.at_most("target.qps_milli", target.qps_milli, RATE_MILLI_MAX);
    faults.at_most("target.burst", target.burst, BURST_MAX);
    faults.at_most("target.in_flight", target.in_flight, IN_FLIGHT_MAX);
    faults.at_most("target.rows", target.rows.unwrap_or(0), ROWS_MAX);
    let or = |asked: u64, present: u64| if asked == 0 { present } else { asked };
    faults.end(Some(Share {
        rate_milli: target.qps_milli,
        burst: or(target.burst, present.burst),
        in_flight: or(target.in_flight, present.in_flight),
        rows: match target.rows {
            _ if any_rows => Share::ANY_ROWS,
            rows => rows.unwrap_or(present.rows),
        },
    }))
}

/// Parses for how long something is asked: milliseconds.
pub(super) fn lasts(lasts: Option<prost_types::Duration>) -> Result<Option<u64>, Refusal> {
    let Some(lasts) = lasts else {
        return Ok(None);
    };
    let lasts = Duration::try_from(lasts)
        .ok()
        .filter(|lasts| (LASTS_MIN..=LASTS_MAX).contains(lasts))
        .ok_or_else(|| invalid("lasts", "must be from a second to 30 days (2592000 s)"))?;
    Ok(u64::try_from(lasts.as_millis()).ok())
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
