//! `stoke warm`: the one-liner on one's own data.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use stoke_coordinator::wire::value_spec;
use stoke_core::names::{JobName, Resource};
use stoke_core::value::Form;
use stoke_proto::v1;
use stoke_worker::ReachError;
use stoke_worker::catalog::{
    CacheConfig, Catalog, OriginConfig, OriginVigil, RedisOrigin, SOURCE_TIMEOUT_DEFAULT,
    STATEMENT_TIMEOUT_DEFAULT, SecretUrl, TlsFiles,
};
use stoke_worker::origin::rewrite::Dialect;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tonic::Code;

use crate::Outcome;
use crate::args::{CompressArg, CopyArg, FitArg, ModeArg, OnBadLineArg, WarmArgs};
use crate::client::{job_of, refusal};
use crate::commands::print_job;
use crate::config::share;
use crate::embedded::Embedded;
use crate::exit::{self, Exit, Failure, OrExit};
use crate::print::say;
use crate::show::progress::Progress;
use crate::show::style::Palette;
use crate::state::{self, Asked, State};

/// What the origin and the cache are called in here.
const ORIGIN: &str = "origin";
/// What the cache is called in here.
const CACHE: &str = "cache";
/// Queries a second where nothing is said.
const QPS_DEFAULT: f64 = 100.0;
/// Commands a second to a Redis that is copied from, where nothing is said.
const COMMANDS_DEFAULT: f64 = 10_000.0;
/// How often creating the job is tried while the coordinator and the workers are getting ready.
const CREATE_ATTEMPTS: usize = 100;
/// How long between two attempts.
const CREATE_AGAIN: Duration = Duration::from_millis(50);

/// Warms, and says what came of it.
pub async fn warm(args: &WarmArgs, palette: Palette) -> Outcome {
    let catalog = catalog(args).or_exit(Exit::Usage)?;
    let spec = spec(args).or_exit(Exit::Usage)?;
    let qps = args.qps.unwrap_or_else(|| {
        let (qps, what) = match catalog.redis_origins.is_empty() {
            true => (QPS_DEFAULT, "queries"),
            false => (COMMANDS_DEFAULT, "commands"),
        };
        say(format!(
            "at most {qps} {what} a second (set --qps for another rate)"
        ));
        qps
    });
    let origin = format!("origin/{ORIGIN}")
        .parse::<Resource>()
        .or_exit(Exit::Usage)?;
    let budgets = BTreeMap::from([(
        origin,
        share(qps, args.in_flight.max(u64::from(args.workers)), None),
    )]);
    let state = match &args.state {
        Some(folder) => State::in_folder(folder, &asked(args, &catalog)).await?,
        None => State::in_memory(),
    };
    stoke_worker::reach(&catalog)
        .await
        .map_err(|error| match error {
            ReachError::Configuration(error) => (Exit::Usage, error.into()),
            ReachError::Unreachable(_) => (Exit::Unreachable, error.into()),
        })?;
    let stores = (state.store.clone(), state.plans.clone());
    let mut embedded = Embedded::start(budgets, &catalog, args.workers, stores)
        .await
        .or_exit(Exit::Unreachable)?;
    let ended = tokio::select! {
        ended = follow(&mut embedded, spec, &state) => ended,
        // Nobody would be answered any more.
        failed = state.store.failed() => return Err(anyhow::Error::from(failed)).or_exit(Exit::Unreachable),
    };
    embedded.stop().await;
    let job = ended?;
    print_job(&job, args.output, palette)?;
    Ok(exit::of_job(&job))
}

/// Creates the job, or finds the one that an earlier process left, and follows it to its end; Ctrl-C (or SIGTERM) aborts it,
/// and a second one leaves at once.
async fn follow(
    embedded: &mut Embedded,
    spec: v1::JobSpec,
    state: &State,
) -> Result<v1::Job, Failure> {
    let mut told = Told::new().or_exit(Exit::Unreachable)?;
    let created = match &state.unfinished {
        Some(job) => found(embedded, job).await?,
        None => create(embedded, spec).await?,
    };
    let request = v1::WatchJobRequest {
        name: created.name.clone(),
    };
    let watched = embedded
        .jobs
        .watch_job(request)
        .await
        .map_err(|status| refusal::failure(&status))?;
    let mut watched = watched.into_inner();
    let mut progress = Progress::new();
    let mut last = created;
    let mut aborted = false;
    loop {
        tokio::select! {
            message = watched.message() => match message.map_err(|status| refusal::failure(&status))? {
                Some(v1::WatchJobResponse { job: Some(job) }) => {
                    progress.job(&job);
                    last = job;
                }
                Some(_) => {}
                None => break,
            },
            signal = told.heard() => {
                if std::mem::replace(&mut aborted, true) {
                    progress.note("left without waiting for the abort to be confirmed");
                    std::process::exit(Exit::Aborted as i32);
                }
                progress.note("aborting; once more to leave at once");
                let request = v1::AbortJobRequest { name: last.name.clone(), reason: signal.into() };
                // Refused, the job is over already: the watch shows it.
                if let Err(status) = embedded.jobs.abort_job(request).await {
                    progress.note(status.message());
                }
            }
        }
    }
    progress.finish();
    Ok(last)
}

/// What tells this process to stop.
struct Told {
    interrupts: Signal,
    terminations: Signal,
}

impl Told {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupts: signal(SignalKind::interrupt())?,
            terminations: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next of them, and says what it was.
    async fn heard(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupts.recv() => "Ctrl-C",
            _ = self.terminations.recv() => "SIGTERM",
        }
    }
}

/// The job that an earlier process left; says how far that one has come with it.
async fn found(embedded: &mut Embedded, job: &JobName) -> Result<v1::Job, Failure> {
    let name = job.to_string();
    let found = embedded.jobs.get_job(v1::GetJobRequest { name }).await;
    let job = job_of(
        found
            .map_err(|status| refusal::failure(&status))?
            .into_inner()
            .job,
    )?;
    let progress = job.progress.unwrap_or_default();
    say(format!(
        "going on with job {}, which was interrupted: {} of {} entries have an outcome already",
        job.name,
        progress.planned - progress.pending,
        progress.planned
    ));
    Ok(job)
}

/// Creates the job, as soon as somebody leads and somebody can do it.
async fn create(embedded: &mut Embedded, spec: v1::JobSpec) -> Result<v1::Job, Failure> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let request = v1::CreateJobRequest {
            request_id: state::REQUEST_ID.into(),
            spec: Some(spec.clone()),
        };
        match embedded.jobs.create_job(request).await {
            Ok(created) => {
                return created
                    .into_inner()
                    .job
                    .context("no job")
                    .or_exit(Exit::Unreachable);
            }
            Err(status)
                if attempts < CREATE_ATTEMPTS
                    && matches!(status.code(), Code::Unavailable | Code::FailedPrecondition) =>
            {
                tokio::time::sleep(CREATE_AGAIN).await;
            }
            Err(status) => return Err(refusal::failure(&status)),
        }
    }
}

/// What the command line asks for, flag by flag, as far as it says what is warmed: how fast, and with what password, may
/// differ from run to run.
fn asked(args: &WarmArgs, catalog: &Catalog) -> Asked {
    let caches = catalog.caches.values().flat_map(|cache| &cache.urls);
    let caches: Vec<String> = caches.map(SecretUrl::without_secrets).collect();
    let databases = catalog.origins.values().map(|origin| &origin.url);
    let redis = catalog.redis_origins.values();
    let redis = redis.flat_map(|origin| &origin.redis.urls);
    let origins = databases.chain(redis);
    let origins: Vec<String> = origins.map(SecretUrl::without_secrets).collect();
    let seconds = |time: Duration| humantime::format_duration(time).to_string();
    let labels = args
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"));
    let labels: Vec<String> = labels.collect();
    let flags = [
        ("origin", Some(origins.join(","))),
        ("cache", Some(caches.join(","))),
        ("rank", args.rank.clone()),
        (
            "keys",
            args.keys.as_ref().map(|path| path.display().to_string()),
        ),
        ("scan", args.scan.as_ref().map(ToString::to_string)),
        ("load", args.load.clone()),
        (
            "copy",
            args.copy.map(|how| format!("{how:?}").to_lowercase()),
        ),
        ("from", args.from.as_ref().map(ToString::to_string)),
        ("key", args.key.clone()),
        ("key-column", args.key_column.clone()),
        ("ttl", args.ttl.map(seconds)),
        ("ttl-jitter", Some(args.ttl_jitter.to_string())),
        (
            "value",
            (args.value.form != Form::default()).then(|| args.value.form.to_string()),
        ),
        (
            "compress",
            (args.value.compress == CompressArg::Zstd).then(|| "zstd".to_owned()),
        ),
        ("absent-value", args.value.absent_value.clone()),
        ("absent-ttl", args.value.absent_ttl.map(seconds)),
        ("expiry-column", args.value.expiry_column.clone()),
        ("version-column", args.value.version_column.clone()),
        ("mode", Some(format!("{:?}", args.mode).to_lowercase())),
        ("batch-keys", Some(args.batch_keys.to_string())),
        ("slots", args.section.slots_text()),
        ("nodes", args.section.nodes_text()),
        (
            "fit",
            (args.fit != FitArg::Cut).then(|| format!("{:?}", args.fit).to_lowercase()),
        ),
        ("allowed-failures", Some(args.allowed_failures.to_string())),
        (
            "on-bad-line",
            Some(format!("{:?}", args.on_bad_line).to_lowercase()),
        ),
        ("label", (!labels.is_empty()).then(|| labels.join(","))),
        ("dry-run", args.dry_run.then(|| "true".to_owned())),
    ];
    let given = flags.into_iter();
    Asked::new(given.filter_map(|(flag, value)| Some((flag.to_owned(), value?))))
}

/// What the workers in this process know: one origin and one cache.
fn catalog(args: &WarmArgs) -> anyhow::Result<Catalog> {
    check_kind(args)?;
    let name = ORIGIN.parse::<stoke_core::names::OriginName>()?;
    let mut catalog = Catalog {
        caches: BTreeMap::from([(CACHE.parse()?, redis("--cache", CACHE, &args.cache)?)]),
        allow_sql_in_jobs: true,
        allow_files_in_jobs: true,
        ..Catalog::default()
    };
    if copies(args) {
        let urls = std::slice::from_ref(&args.origin);
        let origin = RedisOrigin {
            name: name.clone(),
            redis: redis("--origin", ORIGIN, urls)?,
            statement_timeout: STATEMENT_TIMEOUT_DEFAULT,
            source_timeout: SOURCE_TIMEOUT_DEFAULT,
        };
        catalog.redis_origins.insert(name, origin);
        return Ok(catalog);
    }
    let url = SecretUrl::new(&args.origin).context("--origin")?;
    let dialect = match url.scheme() {
        "postgres" | "postgresql" => Dialect::Postgres,
        "mysql" | "mariadb" => Dialect::MySql,
        "sqlite" => Dialect::Sqlite,
        other => anyhow::bail!(
            "--origin: {other}: is nothing that stoke loads from: use postgres://, mysql://, sqlite: or redis://"
        ),
    };
    // Its faults are found here, with what to do about them, rather than by each worker.
    let load = args.load.as_deref().unwrap_or_default();
    stoke_worker::origin::rewrite::rewrite(load, dialect).context("--load")?;
    let origin = OriginConfig {
        name: name.clone(),
        url,
        dialect,
        statement_timeout: STATEMENT_TIMEOUT_DEFAULT,
        source_timeout: SOURCE_TIMEOUT_DEFAULT,
        tls: TlsFiles::default(),
        vigil: OriginVigil::default(),
    };
    catalog.origins.insert(name, origin);
    Ok(catalog)
}

/// Whether keys of another Redis are copied.
fn copies(args: &WarmArgs) -> bool {
    let scheme = args.origin.split_once("://");
    scheme.is_some_and(|(scheme, _)| scheme.starts_with("redis"))
}

/// A Redis, by the URLs that a flag has.
fn redis(flag: &'static str, name: &str, texts: &[String]) -> anyhow::Result<CacheConfig> {
    let urls = texts.iter().flat_map(|text| urls_in(text));
    let urls: Vec<SecretUrl> = urls
        .map(SecretUrl::new)
        .collect::<Result<_, _>>()
        .context(flag)?;
    anyhow::ensure!(!urls.is_empty(), "{flag}: name the Redis");
    Ok(CacheConfig {
        name: name.parse()?,
        urls,
        password: None,
        sentinel_login: None,
        tls: TlsFiles::default(),
    })
}

/// Looks whether the flags go with what is loaded from.
fn check_kind(args: &WarmArgs) -> anyhow::Result<()> {
    let value = &args.value;
    let (copies, of_queries) = (
        copies(args),
        [
            ("--rank", args.rank.is_some()),
            ("--load", args.load.is_some()),
            ("--key-column", args.key_column.is_some()),
            ("--value", value.form != Form::default()),
            ("--compress", value.compress != CompressArg::None),
            ("--absent-value", value.absent_value.is_some()),
            ("--expiry-column", value.expiry_column.is_some()),
            ("--version-column", value.version_column.is_some()),
        ],
    );
    let of_copies = [
        ("--scan", args.scan.is_some()),
        ("--copy", args.copy.is_some()),
        ("--from", args.from.is_some()),
    ];
    let given = |flags: &[(&'static str, bool)]| {
        flags
            .iter()
            .find(|(_, given)| *given)
            .map(|(flag, _)| *flag)
    };
    match (copies, given(&of_queries), given(&of_copies)) {
        (true, Some(flag), _) => anyhow::bail!(
            "{flag}: the origin is a Redis, whose keys are copied as they are: leave it out"
        ),
        (false, _, Some(flag)) => anyhow::bail!(
            "{flag}: only keys of a Redis are copied, and the origin is none: leave it out, or give --origin redis://…"
        ),
        (true, None, _) => {}
        (false, ..) => {
            anyhow::ensure!(
                args.load.is_some(),
                "--load: give the SQL that loads a batch of keys, as SELECT … WHERE id IN (:keys)"
            );
            anyhow::ensure!(
                args.key.is_some(),
                "--key: give the cache keys, as product:{{key}}"
            );
            anyhow::ensure!(
                args.ttl.is_some(),
                "--ttl: say how long entries live, as 5m"
            );
        }
    }
    Ok(())
}

/// The URLs in a text with commas between them. A comma within one, between its hosts, is followed by no scheme.
fn urls_in(text: &str) -> Vec<&str> {
    let begins = |(at, _): &(usize, &str)| {
        let scheme = text[at + 1..].trim_start().split_once("://");
        scheme
            .is_some_and(|(scheme, _)| scheme.starts_with("redis") && !scheme.contains([',', '@']))
    };
    let mut urls = Vec::new();
    let mut from = 0;
    for (at, _) in text.match_indices(',').filter(begins) {
        urls.push(&text[from..at]);
        from = at + 1;
    }
    urls.push(&text[from..]);
    urls
}

/// The job.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the share is from 0 to 0.9"
)]
fn spec(args: &WarmArgs) -> anyhow::Result<v1::JobSpec> {
    let scan = args.scan.as_ref().map(|pattern| v1::ScanSource {
        origin: ORIGIN.into(),
        r#match: pattern.to_string(),
        count: args.scan_count,
    });
    let from = match (&args.rank, &args.keys) {
        (Some(query), _) => v1::key_source::From::Sql(v1::SqlSource {
            origin: ORIGIN.into(),
            query: query.clone(),
        }),
        (None, Some(path)) => v1::key_source::From::File(v1::FileSource {
            path: path
                .to_str()
                .context("--keys: the path is not UTF-8")?
                .to_owned(),
            format: v1::FileFormat::Unspecified.into(),
        }),
        (None, None) => v1::key_source::From::Scan(scan.context("give --rank, --keys or --scan")?),
    };
    let mode = match args.mode {
        ModeArg::Add => v1::WriteMode::Add,
        ModeArg::Refresh => v1::WriteMode::Refresh,
        ModeArg::Overwrite => v1::WriteMode::Overwrite,
    };
    let on_bad_line = match args.on_bad_line {
        OnBadLineArg::Fail => v1::OnBadLine::Fail,
        OnBadLineArg::Skip => v1::OnBadLine::Skip,
    };
    let ttl = args.ttl.map(prost_types::Duration::try_from);
    let ttl = ttl.transpose().context("--ttl")?;
    let key_template = args.key.clone().unwrap_or_else(|| "{key}".into());
    let ttl_jitter_permille = (args.ttl_jitter * 1000.0).round() as u32;
    let mut loader = v1::Loader {
        name: "load".into(),
        ..v1::Loader::default()
    };
    if copies(args) {
        loader.copy = Some(v1::CopyLoader {
            origin: ORIGIN.into(),
            from: args
                .from
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            key_template,
            how: match args.copy {
                None | Some(CopyArg::Auto) => v1::CopyHow::Auto,
                Some(CopyArg::Dump) => v1::CopyHow::Dump,
                Some(CopyArg::Typed) => v1::CopyHow::Typed,
            }
            .into(),
            ttl,
            ttl_jitter_permille: ttl.map_or(0, |_| ttl_jitter_permille),
            batch_keys: args.batch_keys,
        });
    } else {
        loader.sql = Some(v1::SqlLoader {
            origin: ORIGIN.into(),
            query: args.load.clone().unwrap_or_default(),
            key_template,
            key_column: args.key_column.clone().unwrap_or_default(),
            ttl,
            ttl_jitter_permille,
            batch_keys: args.batch_keys,
            value: value_spec(&args.value.spec()?),
        });
    }
    let batch = v1::BatchWork {
        sources: vec![v1::KeySource {
            loader: "load".into(),
            from: Some(from),
            merge: v1::Merge::Max.into(),
            on_bad_line: on_bad_line.into(),
        }],
        loaders: vec![loader],
        cache: CACHE.into(),
        mode: mode.into(),
        allowed_failures: args.allowed_failures,
        attempts_max: 0,
        section: args.section.section(),
        fit: v1::Fit::from(args.fit).into(),
    };
    Ok(v1::JobSpec {
        labels: args.labels.iter().cloned().collect(),
        dry_run: args.dry_run,
        trigger: "warm".into(),
        work: Some(v1::job_spec::Work::Batch(batch)),
        ..v1::JobSpec::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_divide_urls_but_not_the_hosts_of_one() {
        let cases: [(&str, &[&str]); 5] = [
            ("redis://a", &["redis://a"]),
            ("redis://a,rediss://b/1", &["redis://a", "rediss://b/1"]),
            (
                "redis+sentinel://a,b:1/main",
                &["redis+sentinel://a,b:1/main"],
            ),
            (
                "redis+sentinel://a,b/main,redis+sentinel://c/main",
                &["redis+sentinel://a,b/main", "redis+sentinel://c/main"],
            ),
            (
                "redis://:pass,word@a, redis://b",
                &["redis://:pass,word@a", " redis://b"],
            ),
        ];
        for (text, urls) in cases {
            assert_eq!(urls_in(text), urls);
        }
    }
}
