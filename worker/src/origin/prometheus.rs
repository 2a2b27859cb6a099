//! Origins that are a Prometheus: an instant query is a key source, each series of its answer a row. Nothing is loaded from there.
//!
//! A row's columns are the series' labels, and its priority the number. The key is the label that the source names; else a label
//! `key`, the only label, or the one that is called as the column that the loader compares. A query takes a token, and is one
//! request: its answer is of one moment, and held until its rows were taken.

use std::borrow::Cow;
use std::time::Duration;

use stoke_core::usage::Series as Source;
use stoke_prometheus::{AskError, Series, Server};
use tokio::sync::mpsc;

use super::error::NoAnswer;
use super::meter::{Counters, Meter};
use super::{Engine as AnyEngine, Origin, OriginError};
use crate::catalog::PrometheusOrigin;
use crate::permit::{Permit, Stopped};
use crate::source::{
    BadLine, Gathered, KEY_COLUMN, PRIORITY_COLUMN, Rows, Rules, SourceFault, SourceRow,
    Whereabouts,
};

/// The largest answer: some 300,000 series.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// What is asked only to see whether it answers.
const ONE: &str = "vector(1)";
/// The label that is the name of what was measured, and of no use as a key.
const NAME_LABEL: &str = "__name__";

/// A Prometheus.
#[derive(Debug)]
pub(super) struct Engine {
    server: Server,
    doing: String,
    timeout: Duration,
    source_timeout: Duration,
}

/// Something else is asked of a Prometheus than series, or series of something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotThisKind {
    /// Loading, or SQL.
    #[error(
        "the origin is a Prometheus: its series are key sources (promql), and nothing is loaded from it"
    )]
    Loading,
    /// A query in PromQL.
    #[error("the origin is no Prometheus, and only that is asked in PromQL")]
    PromQl,
}

/// Loading from a Prometheus.
pub(super) fn nothing_loaded() -> OriginError {
    OriginError::permanent("ask a Prometheus for rows", NotThisKind::Loading)
}

impl Engine {
    pub(super) fn new(config: &PrometheusOrigin) -> Self {
        Self {
            server: config.server.clone(),
            doing: format!(
                "ask the Prometheus of origin {:?} at {:?}",
                config.name.as_str(),
                config.server
            ),
            timeout: config.statement_timeout,
            source_timeout: config.source_timeout,
        }
    }

    /// Where it is.
    pub(super) fn address(&self) -> String {
        self.server.authority()
    }

    /// Looks whether it answers.
    pub(super) async fn reach(&self, meter: &mut Meter<'_>) -> Result<(), OriginError> {
        let (status, body) = self.ask(meter, ONE, self.timeout).await?;
        let answered = stoke_prometheus::series(status, &body).map(drop);
        answered.map_err(|error| self.failed(error))
    }

    async fn ask(
        &self,
        meter: &mut Meter<'_>,
        query: &str,
        time: Duration,
    ) -> Result<(u16, bytes::Bytes), OriginError> {
        meter.pass(1).await?;
        let asking = stoke_prometheus::ask(&self.server, query, ANSWER_BYTES_MAX);
        match tokio::time::timeout(time, asking).await {
            Ok(asked) => asked.map_err(|error| self.failed(error)),
            Err(_) => Err(OriginError::transient(self.doing.clone(), NoAnswer(time))),
        }
    }

    async fn series(
        &self,
        meter: &mut Meter<'_>,
        source: &Source,
        rules: &Rules,
        sink: &mpsc::Sender<Vec<SourceRow>>,
    ) -> Result<Gathered, OriginError> {
        let (status, body) = self.ask(meter, &source.query, self.source_timeout).await?;
        let all = stoke_prometheus::series(status, &body).map_err(|error| self.failed(error))?;
        let mut rows = Rows::new(rules);
        for series in all {
            let series = series.map_err(|error| self.failed(error))?;
            meter.count_row();
            let at = Whereabouts::Row(meter.rows());
            let chunk = take(&mut rows, at, series, source.key_label.as_deref(), rules);
            let chunk = chunk.map_err(|fault| OriginError::permanent(&self.doing, fault))?;
            send(sink, chunk).await?;
        }
        let (last, gathered) = rows.finish();
        send(sink, last).await?;
        Ok(gathered)
    }

    fn failed(&self, error: AskError) -> OriginError {
        match error {
            AskError::Connect { .. } => OriginError::no_entry(&self.doing, error),
            AskError::Refused {
                status: 401 | 403, ..
            } => OriginError::shut_out(&self.doing, error),
            error if error.is_transient() => OriginError::transient(&self.doing, error),
            error => OriginError::permanent(&self.doing, error),
        }
    }
}

/// Takes a series as a row.
fn take(
    rows: &mut Rows,
    at: Whereabouts,
    series: Series<'_>,
    key_label: Option<&str>,
    rules: &Rules,
) -> Result<Option<Vec<SourceRow>>, SourceFault> {
    let written = series.written.as_bytes();
    match columns(series.labels, series.value, key_label, rules) {
        Ok(columns) => rows.object(at, columns, written),
        Err(what) => {
            rows.leave_out(BadLine::showing(at, what, written))?;
            Ok(None)
        }
    }
}

/// A series' columns with their values, or why it is no row.
fn columns(
    labels: Vec<(Cow<'_, str>, String)>,
    value: Option<String>,
    key_label: Option<&str>,
    rules: &Rules,
) -> Result<Vec<(String, Option<String>)>, String> {
    let value = value.ok_or("it is a histogram, and no number")?;
    let is_of_key = |name: &str| match key_label {
        Some(_) => name != KEY_COLUMN,
        None => true,
    };
    let value_of = |wanted: &str| {
        let found = labels.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.clone())
    };
    let mut named = labels.iter().filter(|(name, _)| name != NAME_LABEL);
    let only = named.next().filter(|_| named.next().is_none());
    let key = match (key_label, only) {
        (Some(label), _) => {
            Some(value_of(label).ok_or_else(|| format!("it has no label {label:?}"))?)
        }
        (None, _) if value_of(KEY_COLUMN).is_some() || !rules.key_parts.is_empty() => None,
        (None, Some((_, value))) => Some(value.clone()),
        (None, None) => {
            let compared = rules.compared.as_deref().and_then(value_of);
            Some(compared.ok_or("which of its labels is the key is not said: name it (key_label, key-label), or sum by (that label)")?)
        }
    };
    let others = labels
        .into_iter()
        .filter(|(name, _)| name != PRIORITY_COLUMN && is_of_key(name));
    let mut columns: Vec<(String, Option<String>)> = others
        .map(|(name, value)| (name.into_owned(), Some(value)))
        .collect();
    columns.extend(key.map(|key| (KEY_COLUMN.to_owned(), Some(key))));
    columns.push((PRIORITY_COLUMN.to_owned(), Some(value)));
    Ok(columns)
}

async fn send(
    sink: &mpsc::Sender<Vec<SourceRow>>,
    chunk: Option<Vec<SourceRow>>,
) -> Result<(), OriginError> {
    match chunk {
        Some(chunk) => Ok(sink.send(chunk).await.map_err(|_| Stopped)?),
        None => Ok(()),
    }
}

impl Origin {
    /// A Prometheus.
    #[must_use]
    pub fn open_prometheus(config: &PrometheusOrigin) -> Self {
        Self {
            name: config.name.clone(),
            dialect: None,
            counters: Counters::default(),
            primary: Some(AnyEngine::Prometheus(Box::new(Engine::new(config)))),
            replicas: None,
        }
    }

    /// Runs an instant query of a Prometheus, and sends a row for each of its series.
    ///
    /// # Errors
    /// As [`Origin::rank`].
    pub async fn series(
        &self,
        permit: &dyn Permit,
        source: &Source,
        rules: &Rules,
        sink: mpsc::Sender<Vec<SourceRow>>,
    ) -> Result<Gathered, OriginError> {
        let Some(AnyEngine::Prometheus(engine)) = &self.primary else {
            let doing = format!("ask origin {:?}", self.name.as_str());
            return Err(OriginError::permanent(doing, NotThisKind::PromQl));
        };
        let _place = permit.enter().await?;
        let mut meter = Meter::new(permit, &self.counters, "source");
        let read = engine.series(&mut meter, source, rules, &sink).await;
        meter.ended(&read);
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(
        labels: &[(&'static str, &str)],
        key_label: Option<&str>,
        rules: &Rules,
    ) -> Result<Vec<(String, String)>, String> {
        let labels = labels
            .iter()
            .map(|(name, value)| (Cow::Borrowed(*name), (*value).to_owned()));
        let row = columns(labels.collect(), Some("2.5".into()), key_label, rules)?;
        let text = |(name, value): (String, Option<String>)| (name, value.unwrap_or_default());
        Ok(row.into_iter().map(text).collect())
    }

    fn key(row: Result<Vec<(String, String)>, String>) -> Result<String, String> {
        let row = row?;
        let keys: Vec<_> = row.iter().filter(|(name, _)| name == KEY_COLUMN).collect();
        assert!(keys.len() < 2, "{row:?}");
        let of_priority = row.iter().filter(|(name, _)| name == PRIORITY_COLUMN);
        assert_eq!(
            of_priority
                .map(|(_, value)| value.as_str())
                .collect::<Vec<_>>(),
            ["2.5"]
        );
        Ok(keys.first().map_or("-", |(_, value)| value).to_owned())
    }

    #[test]
    fn the_key_is_the_label_that_is_named_or_that_can_only_be_it() {
        let any = Rules::default();
        let compares = Rules {
            compared: Some("id".into()),
            ..Rules::default()
        };
        let parts = Rules {
            key_parts: vec!["lang".into(), "id".into()],
            ..Rules::default()
        };
        let both = [("__name__", "views"), ("id", "7"), ("lang", "de")];
        assert_eq!(
            key(row(&[("__name__", "views"), ("id", "7")], None, &any)).unwrap(),
            "7"
        );
        assert_eq!(key(row(&both, Some("lang"), &any)).unwrap(), "de");
        assert_eq!(key(row(&both, None, &compares)).unwrap(), "7");
        assert_eq!(key(row(&both, None, &parts)).unwrap(), "-");
        assert_eq!(
            key(row(&[("key", "9"), ("id", "7")], None, &any)).unwrap(),
            "9"
        );
        assert_eq!(
            key(row(&[("key", "9"), ("id", "7")], Some("id"), &any)).unwrap(),
            "7"
        );
        assert_eq!(
            key(row(&[("id", "7"), ("priority", "1")], Some("id"), &any)).unwrap(),
            "7"
        );
        let unclear = key(row(&both, None, &any)).unwrap_err();
        assert!(unclear.contains("key-label"), "{unclear}");
        assert!(key(row(&[], None, &any)).unwrap_err().contains("sum by"));
        assert_eq!(
            key(row(&both, Some("product"), &any)).unwrap_err(),
            "it has no label \"product\""
        );
        let histogram = columns(Vec::new(), None, None, &any).unwrap_err();
        assert!(histogram.contains("histogram"), "{histogram}");
    }
}
