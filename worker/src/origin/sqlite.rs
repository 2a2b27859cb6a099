//! Origins in SQLite: a file, opened for reading only.
//!
//! Values have the type that is stored, whatever the column declares: numbers, texts, `"\\x…"` for blobs, null. Keys are
//! sent as JSON strings, and compared by the column's affinity.
//!
//! The library runs in this process, so preparing a statement sends nothing; a token is taken for opening the file, for
//! a check of a loader, and for each query.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use sqlx::sqlite::SqliteArguments;
use sqlx::{
    Arguments as _, AssertSqlSafe, Column as _, Executor as _, Row as _, SqlSafeStr as _,
    Statement as _,
};
use tokio::sync::mpsc;

mod parts;
mod scan;
mod session;
mod value;

use self::parts::Asked;
use self::session::{Doors, Session};
use self::value::ReadRow;
use super::encode::{Encoder, Row as _};
use super::error::{NoAnswer, OriginError};
use super::idle::Idle;
use super::meter::Meter;
use super::probe::ProbeFault;
use super::rewrite::{Dialect, Placeholder, Rewritten};
use super::sheet::{AskedKey, RowsPerKey, Sheet};
use super::{composite, key_columns, refuse_duplicates};
use crate::catalog::{LoaderSpec, OriginConfig};
use crate::permit::Stopped;
use crate::source::{Gathered, Rows, Rules, SourceFault, SourceRow, Whereabouts};

/// How much longer than the statement timeout we wait for an answer.
const GRACE: Duration = Duration::from_secs(5);

/// A SQLite file.
#[derive(Debug)]
pub(super) struct Engine {
    doors: Doors,
    idle: Idle<Session>,
    statement_timeout: Duration,
    source_timeout: Duration,
}

/// What a loader needs besides a session.
struct Recipe {
    sql: Arc<str>,
    placeholder: Placeholder,
    /// How many parts a key has.
    parts: usize,
    /// One for each part of a key; none where whatever row comes is the answer.
    key_columns: Vec<usize>,
    encoder: Encoder,
}

/// A file's URL has parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the URL has parameters: write it as sqlite:path; the file is opened for reading in any case"
)]
struct UrlParameters;

impl Engine {
    pub(super) fn new(config: &OriginConfig) -> Result<Self, OriginError> {
        let path = config.url.expose_rest();
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.contains('?') {
            let doing = format!("use the URL of origin {:?}", config.name.as_str());
            return Err(OriginError::permanent(doing, UrlParameters));
        }
        Ok(Self {
            doors: Doors::new(Path::new(path)),
            idle: Idle::default(),
            statement_timeout: config.statement_timeout,
            source_timeout: config.source_timeout,
        })
    }

    pub(super) fn set_idle_max(&self, max: usize) {
        self.idle.set_max(max);
    }

    /// Opens the file, and closes it again.
    pub(super) async fn reach(&self, meter: &mut Meter<'_>) -> Result<(), OriginError> {
        self.open(meter).await.map(drop)
    }

    pub(super) async fn prepare(
        &self,
        meter: &mut Meter<'_>,
        loader: &LoaderSpec,
        query: &Rewritten,
    ) -> Result<(), OriginError> {
        // A session that has it prepared would not read the file's schema again: a table may have been altered since.
        let mut session = self.open(meter).await?;
        meter.pass(1).await?;
        self.recipe(&mut session, loader, query).await?;
        self.idle.give_back(session);
        Ok(())
    }

    pub(super) async fn load<'k>(
        &self,
        meter: &mut Meter<'_>,
        loader: &LoaderSpec,
        query: &Rewritten,
        keys: &[&'k str],
    ) -> Result<Sheet<'k>, OriginError> {
        let doing = || format!("run the query of loader {:?}", loader.name.as_str());
        let mut session = self.session(meter).await?;
        let recipe = self.recipe(&mut session, loader, query).await?;
        let mut sheet = Sheet::new(keys, RowsPerKey::of(loader), |key| match recipe.parts {
            1 => Ok(key.into()),
            parts => {
                let parts = composite::parts(key, parts)?;
                Ok(composite::argument(parts.iter().map(String::as_str)).into())
            }
        });
        let batch_keys = match recipe.placeholder {
            Placeholder::Keys => loader.batch_keys.most() as usize,
            Placeholder::Key => 1,
        };
        let to_ask = sheet.to_ask();
        for batch in to_ask.chunks(batch_keys) {
            let numbers = by_number(batch);
            let asked = match recipe.parts {
                1 => Asked::default(),
                parts => Asked::new(batch, parts),
            };
            let argument = match (recipe.placeholder, batch) {
                (Placeholder::Key, [(_, key)]) => key.to_string(),
                _ => {
                    let keys: Vec<&str> = batch.iter().map(|(_, key)| &**key).collect();
                    match recipe.parts {
                        1 => serde_json::to_string(&keys)
                            .map_err(|error| OriginError::permanent(doing(), error))?,
                        // They are JSON already.
                        _ => format!("[{}]", keys.join(",")),
                    }
                }
            };
            let answered = match (recipe.key_columns.as_slice(), batch) {
                (&[column], _) => Answered::By {
                    column,
                    numbers: &numbers,
                },
                ([], [(slot, _)]) => Answered::Only(*slot),
                ([], _) => Answered::Nobody,
                (columns, _) => Answered::ByParts {
                    columns,
                    asked: &asked,
                },
            };
            meter.pass_expecting(1, batch.len() as u64).await?;
            session.begin(self.statement_timeout);
            let limit = self.statement_timeout + GRACE;
            let rows = receive(
                meter,
                &mut session,
                &recipe,
                argument,
                &answered,
                &mut sheet,
            );
            match tokio::time::timeout(limit, rows).await {
                Ok(Ok(())) => session.end(),
                Ok(Err(error)) => return Err(OriginError::from_driver(doing(), error)),
                Err(_) => return Err(OriginError::transient(doing(), NoAnswer(limit))),
            }
        }
        self.idle.give_back(session);
        Ok(sheet)
    }

    pub(super) async fn rank(
        &self,
        meter: &mut Meter<'_>,
        query: &str,
        rules: &Rules,
        sink: mpsc::Sender<Vec<SourceRow>>,
    ) -> Result<Gathered, OriginError> {
        const DOING: &str = "run the key source's query";
        let permanent = |error: SourceFault| OriginError::permanent(DOING, error);
        let driver = |error| OriginError::from_driver(DOING, error);
        let mut session = self.session(meter).await?;
        let columns = columns(&mut session, query).await.map_err(driver)?;
        let mut gathering = Rows::new(rules);
        gathering.columns(columns.clone()).map_err(permanent)?;
        meter.pass(1).await?;
        session.begin(self.source_timeout);
        let mut rows = sqlx::query(AssertSqlSafe(query.to_owned())).fetch(&mut session.connection);
        let mut number = 0;
        loop {
            meter.expect_row().await?;
            let Some(row) = rows.try_next().await.map_err(driver)? else {
                break;
            };
            number += 1;
            meter.count_expected_row();
            let at = Whereabouts::Row(number);
            let values = (0..columns.len())
                .map(|index| ReadRow(&row).text_of(index))
                .collect();
            if let Some(full) = gathering.row(at, values).map_err(permanent)? {
                sink.send(full).await.map_err(|_| Stopped)?;
            }
        }
        drop(rows);
        let (last, gathered) = gathering.finish();
        if let Some(last) = last {
            sink.send(last).await.map_err(|_| Stopped)?;
        }
        session.end();
        self.idle.give_back(session);
        Ok(gathered)
    }

    /// The number that a probe's query gives, which is ended after `time`, or after the statement timeout where that is
    /// shorter.
    pub(super) async fn probe(
        &self,
        meter: &mut Meter<'_>,
        query: &str,
        time: Duration,
    ) -> Result<f64, ProbeFault> {
        let driver = |error| OriginError::from_driver("run the probe's query", error);
        let mut session = self.session(meter).await?;
        meter.pass(1).await.map_err(OriginError::from)?;
        session.begin(self.statement_timeout.min(time));
        let mut rows = once(query).fetch(&mut session.connection);
        let Some(row) = rows.try_next().await.map_err(driver)? else {
            return Err(ProbeFault::NoRow);
        };
        meter.count_row();
        if row.len() != 1 {
            return Err(ProbeFault::Columns(row.len()));
        }
        let number = value::number(&row)?;
        if rows.try_next().await.map_err(driver)?.is_some() {
            return Err(ProbeFault::Rows);
        }
        drop(rows);
        session.end();
        self.idle.give_back(session);
        Ok(number)
    }

    /// Sends a canary, and takes whatever comes.
    pub(super) async fn canary(
        &self,
        meter: &mut Meter<'_>,
        query: &str,
    ) -> Result<(), OriginError> {
        let driver = |error| OriginError::from_driver("send a canary", error);
        let mut session = self.session(meter).await?;
        meter.pass(1).await?;
        session.begin(self.statement_timeout);
        let mut rows = once(query).fetch(&mut session.connection);
        while let Some(_row) = rows.try_next().await.map_err(driver)? {
            meter.count_row();
        }
        drop(rows);
        session.end();
        self.idle.give_back(session);
        Ok(())
    }

    async fn recipe(
        &self,
        session: &mut Session,
        loader: &LoaderSpec,
        query: &Rewritten,
    ) -> Result<Recipe, OriginError> {
        let doing = || format!("prepare the query of loader {:?}", loader.name.as_str());
        let columns = columns(session, &query.sql)
            .await
            .map_err(|error| OriginError::from_driver(doing(), error))?;
        refuse_duplicates(&columns).map_err(|error| OriginError::permanent(doing(), error))?;
        let key_columns = key_columns(loader, query, &columns, Dialect::Sqlite);
        let key_columns = key_columns.map_err(|error| OriginError::permanent(doing(), error))?;
        let encoder = Encoder::new(loader, &columns, Dialect::Sqlite);
        Ok(Recipe {
            sql: query.sql.as_str().into(),
            placeholder: query.placeholder,
            parts: query.parts,
            key_columns,
            encoder: encoder.map_err(|error| OriginError::permanent(doing(), error))?,
        })
    }

    /// A new session, for which room is made among the idle ones.
    async fn open(&self, meter: &mut Meter<'_>) -> Result<Session, OriginError> {
        let lease = self.idle.make_room();
        self.doors.open(meter, lease).await
    }

    async fn session(&self, meter: &mut Meter<'_>) -> Result<Session, OriginError> {
        match self.idle.take() {
            Some(session) => Ok(session),
            None => self.open(meter).await,
        }
    }
}

/// A query that is not kept prepared.
fn once(query: &str) -> sqlx::query::Query<'static, sqlx::Sqlite, SqliteArguments> {
    sqlx::query(AssertSqlSafe(query.to_owned())).persistent(false)
}

/// The names of a query's columns.
async fn columns(session: &mut Session, query: &str) -> Result<Vec<String>, sqlx::Error> {
    let statement = session
        .connection
        .prepare(AssertSqlSafe(query.to_owned()).into_sql_str())
        .await?;
    Ok(statement
        .columns()
        .iter()
        .map(|column| column.name().to_owned())
        .collect())
}

/// Which slots a row answers.
enum Answered<'n> {
    /// That of the only key that was asked for.
    Only(usize),
    /// Those of the key in this column: of its text, or of all texts that read as its number.
    By {
        column: usize,
        numbers: &'n HashMap<i64, Vec<usize>>,
    },
    /// Those of the keys whose parts are in these columns.
    ByParts {
        columns: &'n [usize],
        asked: &'n Asked,
    },
    /// None: there is neither.
    Nobody,
}

/// The slots of the keys that are whole numbers. Which of them are the same key, only the stored type says: to a number
/// "7" and "007" are one, to a text they are two.
fn by_number(keys: &[AskedKey<'_>]) -> HashMap<i64, Vec<usize>> {
    let mut numbers: HashMap<i64, Vec<usize>> = HashMap::new();
    for (slot, key) in keys {
        if let Ok(number) = key.parse() {
            numbers.entry(number).or_default().push(*slot);
        }
    }
    numbers
}

/// Sends a query and enters its rows into the sheet.
async fn receive(
    meter: &mut Meter<'_>,
    session: &mut Session,
    recipe: &Recipe,
    argument: String,
    answered: &Answered<'_>,
    sheet: &mut Sheet<'_>,
) -> Result<(), sqlx::Error> {
    let mut arguments = SqliteArguments::default();
    arguments.add(argument).map_err(sqlx::Error::Encode)?;
    let query = sqlx::query_with(AssertSqlSafe(Arc::clone(&recipe.sql)), arguments);
    let mut rows = query.fetch(&mut session.connection);
    let mut buffer = Vec::new();
    while let Some(row) = rows.try_next().await? {
        meter.count_row();
        let slots: Vec<usize> = match answered {
            Answered::Only(slot) => vec![*slot],
            Answered::Nobody => Vec::new(),
            Answered::ByParts { columns, asked } => {
                let key = columns.iter().map(|&column| value::key(&row, column));
                match key.collect::<Option<Vec<_>>>() {
                    None => sheet.slot(None).into_iter().collect(),
                    Some(key) => match asked.slots(&key) {
                        none if none.is_empty() => {
                            let key = parts::argument(&key);
                            sheet.slot(Some(&key)).into_iter().collect()
                        }
                        slots => slots,
                    },
                }
            }
            Answered::By { column, numbers } => match value::key(&row, *column) {
                Some(value::Key::Number(number)) if numbers.contains_key(&number) => {
                    numbers[&number].clone()
                }
                Some(value::Key::Number(number)) => {
                    sheet.slot(Some(&number.to_string())).into_iter().collect()
                }
                Some(value::Key::Text(text)) => sheet.slot(Some(&text)).into_iter().collect(),
                None => sheet.slot(None).into_iter().collect(),
            },
        };
        if slots.is_empty() {
            continue;
        }
        let value = recipe.encoder.encode(&ReadRow(&row), &mut buffer);
        for slot in slots {
            sheet.answer(slot, value.clone());
        }
    }
    Ok(())
}
