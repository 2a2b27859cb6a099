//! Reading one key source: rows become entries (the loader's template makes their cache keys) and go up to the leader.

use std::time::SystemTime;

use bytes::Bytes;
use stoke_core::copy::CopySpec;
use stoke_core::estimate::{History, KeptOfTop, key_hash};
use stoke_core::explain::explain;
use stoke_core::job::{self, OnBadLine, Work};
use stoke_core::names::{OriginName, Resource};
use stoke_proto::v1::send_source_request::Part;
use stoke_proto::v1::{
    self, EntryBatch, LogReport, MonitorReport, SendSourceRequest, SourceVerdict,
};
use tokio::sync::mpsc;

use super::planning::{Doing, Failure, PARTS_MAX};
use super::recipe::{self, Readable};
use super::{reported, scan_cut};
use crate::gate::ClientPermit;
use crate::origin::{Origin, OriginError, Watched};
use crate::source::{Gathered, Rules, SourceRow, file, log};

/// How many counts of a log's history are kept: some 30 MB at most.
const HISTORY_COUNTS_MAX: usize = 1 << 18;
/// Why reading ends before its time.
pub(super) const NOT_TAKEN: &str = "the leader does not take it any more";

/// Reads the source and sends its entries; says how that ended.
pub(super) async fn read(
    doing: &Doing,
    index: u32,
    parts: &mpsc::Sender<SendSourceRequest>,
) -> SourceVerdict {
    let Work::Batch(batch) = &doing.record.spec.work;
    let source = usize::try_from(index)
        .ok()
        .and_then(|n| batch.sources.get(n));
    let Some(source) = source else {
        return Failure::lasting("the job has no such source").verdict();
    };
    let catalog = &doing.shared.catalog;
    let loader = usize::try_from(source.loader)
        .ok()
        .and_then(|n| batch.loaders.get(n));
    let Some(spec) = loader.and_then(|loader| recipe::loader(loader, catalog)) else {
        return Failure::lasting("this worker does not know the source's loader").verdict();
    };
    if source.from == job::From::Scan {
        return scan_cut::cut(doing, &spec, source.loader, parts).await;
    }
    let Some((readable, on_bad_line)) = recipe::source(source, batch, catalog) else {
        let reason = "this worker does not know this source, does not allow it in jobs, or has keys of other loaders there than \
                      when the job was created";
        return Failure::lasting(reason).verdict();
    };
    if let (true, Some(copy)) = (readable.gives_whole_keys(), &spec.value.copy)
        && !copy.is_of_same_name()
    {
        let reason = format!(
            "loader {} copies from {}, but what is found in a Redis are whole keys: leave from out",
            spec.name,
            copy.from.as_str()
        );
        return Failure::lasting(reason).verdict();
    }
    let rules = match &readable {
        Readable::Log(log) if !log.urls.is_empty() => {
            let rules = log
                .urls
                .iter()
                .map(|rule| self::rules(doing, rule.loader, on_bad_line));
            rules.collect::<Result<Vec<_>, _>>()
        }
        _ => self::rules(doing, source.loader, on_bad_line).map(|rules| vec![rules]),
    };
    let rules = match rules {
        Ok(rules) => rules,
        Err(failure) => return failure.verdict(),
    };
    let (sink, mut chunks) = mpsc::channel::<Vec<SourceRow>>(PARTS_MAX);
    // When it ends early, `chunks` closes, and reading ends with it.
    let forwarding = async move {
        loop {
            let rows = tokio::select! {
                rows = chunks.recv() => rows,
                // Of a source whose lines are all left out, nothing may come for long.
                () = parts.closed() => return Err(NOT_TAKEN),
            };
            let Some(rows) = rows else {
                return Ok(());
            };
            let part = Some(Part::Entries(batch_of(rows)));
            if parts.send(SendSourceRequest { part }).await.is_err() {
                return Err(NOT_TAKEN);
            }
        }
    };
    let (ending, forwarded) = tokio::join!(rows(doing, readable, rules, sink), forwarding);
    if let Err(error) = forwarded {
        return Failure::lasting(error).verdict();
    }
    let gathered = ending.gathered;
    if gathered.bad_lines > 0 {
        let (entries, bad_lines, examples) =
            (gathered.rows, gathered.bad_lines, &gathered.examples);
        tracing::warn!(job = %doing.job, source = index, entries, bad_lines, ?examples, "left out bad lines of a key source");
    }
    let (error, transient) = match ending.failure {
        Some(failure) => (failure.reason, failure.transient),
        None => (String::new(), false),
    };
    SourceVerdict {
        error,
        transient,
        origin_queries: ending.queries,
        origin_rows: ending.origin_rows,
        bad_lines: gathered.bad_lines,
        bad_line_examples: gathered.examples,
        log: ending.log,
        monitor: ending.monitor,
        ..SourceVerdict::default()
    }
}

/// What makes rows entries of a loader of the job.
fn rules(doing: &Doing, loader: u32, on_bad_line: OnBadLine) -> Result<Rules, Failure> {
    let Work::Batch(batch) = &doing.record.spec.work;
    let of_job = usize::try_from(loader)
        .ok()
        .and_then(|n| batch.loaders.get(n));
    let spec = of_job.and_then(|of_job| recipe::loader(of_job, &doing.shared.catalog));
    let Some(spec) = spec else {
        return Err(Failure::lasting(
            "this worker does not know a loader of the source",
        ));
    };
    // An origin that is not known here fails the loader when it is prepared.
    let origin = doing.shared.origins.get(&spec.origin);
    let key_parts = origin.map(|origin| origin.key_parts(&spec)).transpose();
    let compared = origin.and_then(|origin| origin.compared(&spec));
    Ok(Rules {
        on_bad_line,
        // One that asks for other names is given what it makes those of.
        copies: (spec.value.copy.as_ref()).is_some_and(CopySpec::is_of_same_name),
        compared,
        key_parts: key_parts
            .map_err(|error| Failure::from(&error))?
            .unwrap_or_default(),
        template: Some((spec.name, spec.key)),
        loader,
    })
}

/// How reading ended.
#[derive(Debug, Default)]
struct Ending {
    failure: Option<Failure>,
    gathered: Gathered,
    log: Option<LogReport>,
    monitor: Option<MonitorReport>,
    queries: u64,
    origin_rows: u64,
}

impl From<Gathered> for Ending {
    fn from(gathered: Gathered) -> Self {
        Self {
            gathered,
            ..Self::default()
        }
    }
}

impl From<Failure> for Ending {
    fn from(failure: Failure) -> Self {
        Self {
            failure: Some(failure),
            ..Self::default()
        }
    }
}

/// Reads all rows into the sink.
async fn rows(
    doing: &Doing,
    readable: Readable,
    all_rules: Vec<Rules>,
    sink: mpsc::Sender<Vec<SourceRow>>,
) -> Ending {
    let rules = all_rules.first().cloned().unwrap_or_default();
    let rules = &rules;
    match readable {
        Readable::Log(wanted) => {
            let now = SystemTime::now();
            let learning = Learning(History::of_at_most(HISTORY_COUNTS_MAX));
            match log::read_observed(wanted, all_rules, now, sink, learning).await {
                Ok((read, learned)) => Ending {
                    gathered: read.gathered,
                    log: Some(LogReport {
                        lines: read.lines,
                        filtered: read.filtered,
                        unmatched: read.unmatched,
                        unmatched_example: read.unmatched_example.unwrap_or_default(),
                        drift: learned.drift().await,
                    }),
                    ..Ending::default()
                },
                Err(error) => Failure::lasting(explain(&error)).into(),
            }
        }
        Readable::Sql { origin, query } => {
            let asked = async |origin: &Origin, permit: &ClientPermit| {
                origin.rank(permit, &query, rules, sink).await
            };
            of_origin(doing, &origin, asked).await
        }
        Readable::Keyspace {
            origin,
            pattern,
            count,
        } => {
            let asked = async |origin: &Origin, permit: &ClientPermit| {
                origin.scan(permit, &pattern, count, rules, sink).await
            };
            of_origin(doing, &origin, asked).await
        }
        Readable::Counter(counter) => {
            let asked = async |origin: &Origin, permit: &ClientPermit| {
                origin.counter(permit, &counter, rules, sink).await
            };
            of_origin(doing, &counter.origin, asked).await
        }
        Readable::HotKeys(hot) => {
            let asked = async |origin: &Origin, permit: &ClientPermit| {
                origin.hot_keys(permit, &hot, rules, sink).await
            };
            of_origin(doing, &hot.origin, asked).await
        }
        Readable::Monitor(monitor) => {
            let mut watched = None;
            let asked = async |origin: &Origin, permit: &ClientPermit| {
                let (gathered, seen) = origin.monitor(permit, &monitor, rules, sink).await?;
                watched = Some(monitor_report(&seen));
                Ok(gathered)
            };
            let ending = of_origin(doing, &monitor.origin, asked).await;
            Ending {
                monitor: watched,
                ..ending
            }
        }
        Readable::Prometheus(series) => {
            let asked = async |origin: &Origin, permit: &ClientPermit| {
                origin.series(permit, &series, rules, sink).await
            };
            of_origin(doing, &series.origin, asked).await
        }
        Readable::Inline { content, format } => {
            let read = file::read_content("in the job", content, format, rules, sink).await;
            match read {
                Ok(gathered) => gathered.into(),
                Err(error) => Failure::lasting(explain(&error)).into(),
            }
        }
        Readable::Reported(wanted) => match reported::read(doing, &wanted, rules, sink).await {
            Ok(gathered) => gathered.into(),
            Err(failure) => failure.into(),
        },
        Readable::File { path, format } => {
            match crate::source::file::read(&path, format, rules, sink).await {
                Ok(gathered) => Ending {
                    gathered,
                    ..Ending::default()
                },
                Err(error) => Failure::lasting(explain(&error)).into(),
            }
        }
    }
}

/// Learns, while a log is read, how what it is asked for drifts.
struct Learning(History);

impl log::Observer for Learning {
    fn see(&mut self, seen: log::Seen<'_>) {
        self.0.observe(key_hash(seen.key));
    }
}

impl Learning {
    /// What it has learned; `None` where there is too little to tell.
    async fn drift(self) -> Option<v1::Drift> {
        let told = tokio::task::spawn_blocking(move || self.0.drift());
        // It ends without a result only when the runtime shuts down.
        let drift = told.await.ok().flatten()?;
        let of_top = |of: &KeptOfTop| v1::KeptOfTop {
            top: of.top,
            kept: of.kept,
            deviation: of.deviation,
        };
        Some(v1::Drift {
            requests: drift.requests,
            sampled: drift.sampled,
            fading: drift.fading.map(|fading| v1::Fading {
                chance: fading.chance,
                left: fading.left,
            }),
            tops: drift.told().iter().map(of_top).collect(),
        })
    }
}

/// What watching a Redis came to, of all its nodes.
fn monitor_report(watched: &Watched) -> MonitorReport {
    /// How many are told of, of the nodes that were left early.
    const STOPPED_MAX: usize = 3;
    let nodes = &watched.nodes;
    let count = |nodes: usize| u32::try_from(nodes).unwrap_or(u32::MAX);
    let stopped = nodes.iter().filter_map(|node| node.stopped.clone());
    MonitorReport {
        nodes: count(nodes.iter().filter(|node| node.begun).count()),
        masters: count(watched.masters),
        lines: nodes.iter().map(|node| node.lines).sum(),
        bytes: nodes.iter().map(|node| node.bytes).sum(),
        accesses: nodes.iter().map(|node| node.accesses).sum(),
        cpu_before_permille: (nodes.iter().map(|node| node.cpu_before_permille).max()).unwrap_or(0),
        cpu_permille_max: (nodes.iter().map(|node| node.cpu_permille_max).max()).unwrap_or(0),
        buffer_bytes_max: (nodes.iter().map(|node| node.buffer_bytes_max).max()).unwrap_or(0),
        stopped: stopped.take(STOPPED_MAX).collect(),
    }
}

/// Reads rows of an origin, through its gate.
async fn of_origin(
    doing: &Doing,
    name: &OriginName,
    ask: impl AsyncFnOnce(&Origin, &ClientPermit) -> Result<Gathered, OriginError>,
) -> Ending {
    let (shared, resource) = (&doing.shared, Resource::Origin(name.clone()));
    let (Some(origin), Some(gate)) = (shared.origins.get(name), shared.gates.get(&resource)) else {
        return Failure::lasting(format!("this worker does not know the {resource}")).into();
    };
    let permit = doing.permit(gate);
    let read = ask(origin, &permit).await;
    let queries = permit.taken();
    match read {
        Ok(gathered) => Ending {
            queries,
            origin_rows: gathered.rows + gathered.bad_lines,
            gathered,
            ..Ending::default()
        },
        Err(error) => Ending {
            queries,
            ..Failure::from(&error).into()
        },
    }
}

/// Rows as entries in columns.
fn batch_of(rows: Vec<SourceRow>) -> EntryBatch {
    let mut batch = EntryBatch::default();
    for row in rows {
        batch.priorities.push(row.priority.as_milli());
        batch.loaders.push(row.loader);
        let (cache_key, key) = row.into_keys();
        batch.arguments.push(key);
        batch.keys.push(Bytes::from(cache_key));
    }
    batch
}
