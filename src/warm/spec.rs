//! The job that the command line asks for.

use anyhow::Context;
use stoke_coordinator::wire::value_spec;
use stoke_core::scan::Scan;
use stoke_proto::v1;

use super::catalog::{cache_name, copies};
use super::{CACHE, KEYS, ORIGIN, live};
use crate::args::{CopyArg, ModeArg, OnBadLineArg, WarmArgs};

/// What is asked for, with one loader and one key source.
pub(super) fn spec(args: &WarmArgs) -> anyhow::Result<v1::JobSpec> {
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
    let batch = v1::BatchWork {
        sources: vec![v1::KeySource {
            loader: "load".into(),
            from: Some(from(args)?),
            merge: v1::Merge::Unspecified.into(),
            on_bad_line: on_bad_line.into(),
            ..v1::KeySource::default()
        }],
        loaders: vec![loader(args)?],
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

/// What is read for keys.
fn from(args: &WarmArgs) -> anyhow::Result<v1::key_source::From> {
    Ok(match (&args.rank, &args.keys) {
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
    })
}

/// How they are loaded.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the share is from 0 to 0.9"
)]
fn loader(args: &WarmArgs) -> anyhow::Result<v1::Loader> {
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
    Ok(loader)
}
