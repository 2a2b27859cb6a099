//! `stoke warm`: the one-liner on one's own data.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use stoke_coordinator::wire::value_spec;
use stoke_core::names::{JobName, Resource};
use stoke_core::scan::Scan;
use stoke_core::value::Form;
use stoke_proto::v1;
use stoke_worker::ReachError;
use stoke_worker::catalog::{Catalog, RedisOrigin, SecretUrl};
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
use crate::told::Told;

mod catalog;
mod live;
mod log;

use self::catalog::{cache_name, catalog, copies, shown};

/// What the origin and the cache are called in here.
const ORIGIN: &str = "origin";
/// What the Redis or Prometheus is called in here that keys are read from.
const KEYS: &str = "keys";
/// What the cache is called in here; further ones have a number behind it.
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
        let (qps, what) = match copies(args) {
            false => (QPS_DEFAULT, "queries"),
            true => (COMMANDS_DEFAULT, "commands"),
        };
        say(format!(
            "at most {qps} {what} a second (set --qps for another rate)"
        ));
        qps
    });
    let origin = format!("origin/{ORIGIN}")
        .parse::<Resource>()
        .or_exit(Exit::Usage)?;
    let in_flight = args.in_flight.max(u64::from(args.workers));
    let mut budgets = BTreeMap::from([(origin, share(qps, in_flight, None))]);
    if args.keys_from.is_some() || args.promql.is_some() {
        let keys = format!("origin/{KEYS}")
            .parse::<Resource>()
            .or_exit(Exit::Usage)?;
        budgets.insert(keys, share(COMMANDS_DEFAULT, in_flight, None));
    }
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
    // In the order of their names, which is that of the flags.
    let mut caches = catalog.caches.values().map(shown);
    let cache = caches.next();
    let also: Vec<String> = caches.collect();
    let databases = catalog.origins.values().map(|origin| &origin.url);
    let of_redis = |name: &'static str| {
        let is_it = move |origin: &&RedisOrigin| origin.name.as_str() == name;
        let redis = catalog.redis_origins.values().filter(is_it);
        redis.flat_map(|origin| &origin.redis.urls)
    };
    let redis = of_redis(ORIGIN);
    let origins = databases.chain(redis);
    let origins: Vec<String> = origins.map(SecretUrl::without_secrets).collect();
    let keys_from: Vec<String> = of_redis(KEYS).map(SecretUrl::without_secrets).collect();
    let seconds = |time: Duration| humantime::format_duration(time).to_string();
    let labels = args
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"));
    let labels: Vec<String> = labels.collect();
    let flags = [
        ("origin", Some(origins.join(","))),
        ("cache", cache),
        ("also-cache", (!also.is_empty()).then(|| also.join(" "))),
        ("rank", args.rank.clone()),
        (
            "keys",
            args.keys.as_ref().map(|path| path.display().to_string()),
        ),
        ("match", args.pattern.as_ref().map(ToString::to_string)),
        (
            "keys-from",
            (!keys_from.is_empty()).then(|| keys_from.join(",")),
        ),
        ("counter", args.counter.clone()),
        (
            "counter-limit",
            args.counter_limit.map(|limit| limit.to_string()),
        ),
        (
            "hot-keys",
            args.hot_keys.then(|| args.frequency_min.to_string()),
        ),
        ("monitor", args.monitor.map(seconds)),
        ("promql", args.promql.clone()),
        ("key-label", args.key_label.clone()),
        ("load", args.load.clone()),
        (
            "copy",
            args.copy.map(|how| format!("{how:?}").to_lowercase()),
        ),
        ("from", args.from.as_ref().map(ToString::to_string)),
        ("query", args.query.clone()),
        ("scan-by", args.scan_by.as_ref().map(ToString::to_string)),
        (
            "scan-rows",
            args.scan_by.as_ref().map(|_| args.scan_rows.to_string()),
        ),
        ("key", args.key.clone()),
        (
            "key-column",
            (!args.key_column.is_empty()).then(|| args.key_column.join(",")),
        ),
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
            args.on_bad_line
                .map(|what| format!("{what:?}").to_lowercase()),
        ),
        ("label", (!labels.is_empty()).then(|| labels.join(","))),
        ("dry-run", args.dry_run.then(|| "true".to_owned())),
    ];
    let given = flags.into_iter().chain(log::given(&args.log));
    Asked::new(given.filter_map(|(flag, value)| Some((flag.to_owned(), value?))))
}

/// The job.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the share is from 0 to 0.9"
)]
fn spec(args: &WarmArgs) -> anyhow::Result<v1::JobSpec> {
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
        (None, None) if args.promql.is_some() => {
            v1::key_source::From::Prometheus(v1::PrometheusSource {
                origin: KEYS.into(),
                query: args.promql.clone().unwrap_or_default(),
                key_label: args.key_label.clone().unwrap_or_default(),
            })
        }
        (None, None) => match (live::source(args), args.log.source()) {
            (Some(of_redis), _) => of_redis,
            (None, Some(log)) => v1::key_source::From::Log(log),
            (None, None) => v1::key_source::From::Scan(v1::ScanSource {}),
        },
    };
    let mode = match args.mode {
        ModeArg::Add => v1::WriteMode::Add,
        ModeArg::Refresh => v1::WriteMode::Refresh,
        ModeArg::Overwrite => v1::WriteMode::Overwrite,
    };
    let on_bad_line = match args.on_bad_line {
        None => v1::OnBadLine::Unspecified,
        Some(OnBadLineArg::Fail) => v1::OnBadLine::Fail,
        Some(OnBadLineArg::Skip) => v1::OnBadLine::Skip,
    };
    let value = args.value.spec()?;
    if let Some(by) = args.scan_by.clone() {
        let rows = args.scan_rows;
        Scan { by, rows }.check(&value).context("--scan-by")?;
    }
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
            batch_keys: args.batch_keys.into(),
        });
    } else {
        loader.sql = Some(v1::SqlLoader {
            origin: ORIGIN.into(),
            query: (args.load.clone().or_else(|| args.query.clone())).unwrap_or_default(),
            key_template,
            key_column: String::new(),
            key_columns: args.key_column.clone(),
            ttl,
            ttl_jitter_permille,
            batch_keys: args.batch_keys.into(),
            value: value_spec(&value),
            scan: args.scan_by.as_ref().map(|by| v1::Scan {
                by: by.to_string(),
                rows: args.scan_rows,
            }),
        });
    }
    let batch = v1::BatchWork {
        sources: vec![v1::KeySource {
            loader: "load".into(),
            from: Some(from),
            merge: v1::Merge::Unspecified.into(),
            on_bad_line: on_bad_line.into(),
            ..v1::KeySource::default()
        }],
        loaders: vec![loader],
        cache: CACHE.into(),
        also: (1..=args.also_cache.len()).map(cache_name).collect(),
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
