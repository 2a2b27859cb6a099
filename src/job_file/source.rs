//! A job's key sources.

use std::path::Path;

use stoke_coordinator::wire::redis_key_source;
use stoke_core::job::{OnBadLine, Weight};
use stoke_core::names::{FeedName, LoaderName, OriginName, SourceName};
use stoke_core::pattern::Pattern;
use stoke_proto::v1::key_source::From;
use stoke_proto::v1::{self, FileFormat, Merge};

use super::Upload;
use super::recipe::query;
use crate::config::{
    Item, LogLoaders, ON_BAD_LINE, Table, access_log, of_redis, redis_source, series,
};

const MERGE: [(&str, Merge); 2] = [("max", Merge::Max), ("sum", Merge::Sum)];
const FORMAT: [(&str, FileFormat); 3] = [
    ("csv", FileFormat::Csv),
    ("ndjson", FileFormat::Ndjson),
    ("parquet", FileFormat::Parquet),
];
/// What a source may read, of which one is to be given.
const ONE_OF: &str = "give one of named, origin and query, origin and match, counter, hot-keys or monitor, origin and promql, file, log, upload, inline, feed";

/// `[[sources]]`, and which of them are uploads.
pub(super) fn sources(
    file: &Table<'_>,
    folder: &Path,
) -> Option<(Vec<v1::KeySource>, Vec<Upload>)> {
    // Loaders that scan need none; those of the workers' configuration, only the cluster knows.
    let few = match file.optional("sources") {
        Some(_) => super::some_but_few(file, "sources", "[[sources]] with named = \"NAME\""),
        None => Some(()),
    };
    let loaders = file.names_in_list("loaders", "name");
    let mut sources = Vec::new();
    let mut uploads = Vec::new();
    file.list("sources", |position, table| {
        let loader = loader(table, &loaders);
        let merge = table.optional("merge").map(|item| item.one_of(&MERGE));
        let on_bad_line = table.optional("on-bad-line");
        let on_bad_line = on_bad_line.map(|item| item.one_of(&ON_BAD_LINE));
        let weight = table
            .optional("weight")
            .map(|item| item.number(Weight::RANGE));
        let from = from(table, folder, &loaders);
        if let (Some((_, Some(file))), Ok(source)) = (&from, u32::try_from(position)) {
            let file = file.clone();
            uploads.push(Upload { source, file });
        }
        let source = || {
            Some(v1::KeySource {
                loader: loader?,
                merge: merge.unwrap_or(Some(Merge::Unspecified))?.into(),
                on_bad_line: on_bad_line
                    .map_or(Some(v1::OnBadLine::Unspecified), |way| {
                        Some(match way? {
                            OnBadLine::Fail => v1::OnBadLine::Fail,
                            OnBadLine::Skip => v1::OnBadLine::Skip,
                        })
                    })?
                    .into(),
                from: Some(from?.0),
                weight: match weight {
                    Some(weight) => Some(weight?),
                    None => None,
                },
            })
        };
        sources.push(source());
    });
    few?;
    let sources: Option<Vec<v1::KeySource>> = sources.into_iter().collect();
    Some((sources?, uploads))
}

/// The loader of a source's keys; with one loader there is nothing to choose.
fn loader(table: &Table<'_>, loaders: &[&str]) -> Option<String> {
    match table.optional("loader") {
        Some(item) => {
            let name: LoaderName = item.name_of("loader", loaders, "[[loaders]]")?;
            Some(name.to_string())
        }
        // The log's patterns say which; of a source of the workers' configuration, that does.
        None if table
            .optional("urls")
            .or_else(|| table.optional("named"))
            .is_some() =>
        {
            Some(String::new())
        }
        None if loaders.len() > 1 => {
            table.lacks(
                "it does not say which loader loads its keys",
                format!("add loader, one of {}", loaders.join(", ")),
            );
            None
        }
        None => Some(String::new()),
    }
}

/// What is read, and the file where that is an upload.
fn from(
    table: &Table<'_>,
    folder: &Path,
    loaders: &[&str],
) -> Option<(From, Option<std::path::PathBuf>)> {
    let given = [
        "named", "origin", "query", "promql", "counter", "hot-keys", "monitor", "file", "log",
        "upload",
    ];
    let alone = [table.optional("inline"), table.optional("feed")];
    let others = given.into_iter().filter_map(|key| table.optional(key));
    let mut all = alone.iter().flatten().cloned().chain(others);
    if alone.iter().any(Option::is_some) {
        if let (Some(first), Some(second)) = (all.next(), all.next()) {
            table.contradiction(&first, &second, ONE_OF);
            return None;
        }
        return in_itself(table, &alone);
    }
    drop(all);
    let log = table.optional("log");
    let keys = ["named", "origin", "query", "file", "upload"].map(|key| table.optional(key));
    let format = table.optional("format");
    let [named, origin, sql, path, upload] = &keys;
    let of_redis = of_redis(table);
    let kind = of_redis.as_ref().map(|given| given.item.clone());
    if let (Some(kind), Some(sql)) = (&kind, sql) {
        table.contradiction(kind, sql, ONE_OF);
        return None;
    }
    let of_origin = [origin, sql, &kind].into_iter().flatten().next();
    let kinds = [
        named.as_ref(),
        of_origin,
        path.as_ref(),
        log.as_ref(),
        upload.as_ref(),
    ];
    let mut given = kinds.into_iter().flatten();
    if let (Some(first), Some(second)) = (given.next(), given.next()) {
        table.contradiction(first, second, ONE_OF);
        return None;
    }
    let promql = table.optional("promql");
    let series = series(table, promql.as_ref());
    if let Some(promql) = &promql {
        let others = [named, sql, path, upload, &kind, &log];
        if let Some(other) = others.into_iter().flatten().next() {
            table.contradiction(promql, other, ONE_OF);
            return None;
        }
        let Some(origin) = origin else {
            return lacks(promql, "origin");
        };
        let series = series?.of(origin.name::<OriginName>()?);
        let series = v1::PrometheusSource {
            origin: series.origin.to_string(),
            query: series.query,
            key_label: series.key_label.unwrap_or_default(),
        };
        return Some((From::Prometheus(series), None));
    }
    if let Some(log) = &log {
        let loaders = LogLoaders {
            loaders,
            table: "[[loaders]]",
        };
        return Some((From::Log(access_log(table, log, loaders)?), None));
    }
    let format = match (&format, path) {
        (None, _) => Some(FileFormat::Unspecified),
        (Some(item), Some(_)) => item.one_of(&FORMAT),
        (Some(item), None) => {
            item.lacks("only a file has a format", "remove it");
            None
        }
    };
    let from = match &keys {
        [Some(named), ..] => From::Named(named.name::<SourceName>()?.to_string()),
        [_, Some(origin), Some(sql), ..] => {
            let (origin, query) = (origin.name::<OriginName>(), query(sql));
            From::Sql(v1::SqlSource {
                origin: origin?.to_string(),
                query: query?,
            })
        }
        [_, Some(origin), None, ..] if of_redis.is_some() => {
            let (origin, given) = (origin.name::<OriginName>()?, of_redis?);
            redis_key_source(&redis_source(table, &given, origin)?)?
        }
        [_, Some(alone), None, ..] => {
            return lacks(
                alone,
                "query, promql (or, of a Redis, match, counter, hot-keys or monitor)",
            );
        }
        [_, None, Some(alone), ..] => return lacks(alone, "origin"),
        [_, _, _, Some(path), _] => {
            let path = path.filled();
            From::File(v1::FileSource {
                path: path?.to_owned(),
                format: format?.into(),
            })
        }
        [.., Some(upload)] => {
            let file = upload.file_beside(folder);
            format?;
            return Some((From::Upload(v1::UploadSource {}), Some(file?)));
        }
        [None, None, None, None, None] if of_redis.is_some() => {
            return kind.as_ref().and_then(|alone| lacks(alone, "origin"));
        }
        [None, None, None, None, None] => {
            table.lacks("nothing says what is read", ONE_OF);
            return None;
        }
    };
    format?;
    Some((from, None))
}

/// Keys in the file, or what applications report: neither names anything of a worker's.
fn in_itself(
    table: &Table<'_>,
    [inline, feed]: &[Option<Item<'_>>; 2],
) -> Option<(From, Option<std::path::PathBuf>)> {
    let format = table.optional("format").map(|item| item.one_of(&FORMAT));
    let pattern = table.optional("match").map(|item| {
        item.parsed(
            Pattern::parse,
            "write it as \"product:{id}\", or \"product:*\"",
        )
    });
    let top = table
        .optional("top")
        .map(|item| item.integer(1..=u64::from(u32::MAX)));
    let from = match (inline, feed) {
        (Some(content), _) => From::Inline(v1::InlineSource {
            content: content.filled()?.to_owned(),
            format: format.unwrap_or(Some(FileFormat::Unspecified))?.into(),
        }),
        (None, feed) => From::Reported(v1::ReportedSource {
            feed: feed.as_ref()?.name::<FeedName>()?.to_string(),
            top: u32::try_from(top.unwrap_or(Some(0))?).ok()?,
            r#match: match pattern {
                Some(pattern) => pattern?.to_string(),
                None => String::new(),
            },
        }),
    };
    Some((from, None))
}

fn lacks<T>(item: &Item<'_>, other: &str) -> Option<T> {
    item.lacks(format!("it stands without {other}"), format!("add {other}"));
    None
}
