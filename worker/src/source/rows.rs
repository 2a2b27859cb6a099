//! From a source's columns and values to rows: what is an entry, and what becomes of what is none.

use std::sync::Arc;

use stoke_core::job::OnBadLine;
use stoke_core::names::LoaderName;
use stoke_core::plan::KEY_BYTES_MAX;
use stoke_core::template::Template;
use stoke_core::units::Priority;

use crate::origin::composite;

use super::bad::{BadLine, Gathered, shown};
use super::{
    CHUNK_BYTES, CHUNK_ROWS, COUNT_COLUMN, KEY_COLUMN, PRIORITY_COLUMN, SourceFault, SourceRow,
    Whereabouts, listed,
};

/// What makes a row an entry, and what is done with rows that are none.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// What is done with lines (rows) that are no entries.
    pub on_bad_line: OnBadLine,
    /// The template of the cache keys, and the loader that it is of: a source that lacks one of its columns cannot be
    /// read.
    pub template: Option<(LoaderName, Template)>,
    /// The columns that the parts of a key are in, where keys have several: they take the place of `key`.
    pub key_parts: Vec<String>,
    /// The loader, by its place among the job's.
    pub loader: u32,
    /// Whether it copies keys of a Redis: what is found there goes to it whole.
    pub copies: bool,
    /// The column that it compares with its keys, where those have no parts and that is known.
    pub compared: Option<String>,
}

impl Rules {
    /// The columns that a source must have: the key, or its parts, and what the template names.
    pub(crate) fn columns(&self) -> Vec<String> {
        let mut columns = match self.key_parts.as_slice() {
            [] => vec![KEY_COLUMN.to_owned()],
            parts => parts.to_vec(),
        };
        let template = self
            .template
            .iter()
            .flat_map(|(_, template)| template.columns());
        for column in template {
            // A key of parts is a column, too.
            if column != KEY_COLUMN && columns.iter().all(|known| known != column) {
                columns.push(column.to_owned());
            }
        }
        columns
    }

    /// Which of the columns says how often a key is asked for: `priority`, or where there is none, `count`, unless the
    /// key is made of it.
    #[must_use]
    pub fn priority_among(&self, columns: &[String]) -> Option<usize> {
        let place = |wanted: &str| columns.iter().position(|name| name == wanted);
        let is_of_key = || self.columns().iter().any(|column| column == COUNT_COLUMN);
        place(PRIORITY_COLUMN).or_else(|| place(COUNT_COLUMN).filter(|_| !is_of_key()))
    }
}

/// The columns of a source, checked.
#[derive(Clone, Debug)]
struct Header {
    /// Those of the source; behind them `key`, where it is made of parts.
    columns: Arc<[String]>,
    key: KeyFrom,
    priority: Option<usize>,
}

/// What a row's key is.
#[derive(Clone, Debug)]
enum KeyFrom {
    Column(usize),
    /// A JSON array of these.
    Parts(Vec<usize>),
}

impl Header {
    /// Finds `key`, or its parts, and `priority` or `count` among the columns.
    fn new(mut columns: Vec<String>, rules: &Rules) -> Result<Self, SourceFault> {
        let parts = &rules.key_parts;
        for (i, name) in columns.iter().enumerate() {
            if columns[..i].contains(name) {
                return Err(SourceFault::DuplicateColumn(name.clone()));
            }
        }
        let place = |wanted: &str| columns.iter().position(|name| name == wanted);
        let of_parts: Option<Vec<usize>> = parts.iter().map(|part| place(part)).collect();
        let key = match (place(KEY_COLUMN), of_parts) {
            (_, Some(of_parts)) if !of_parts.is_empty() => KeyFrom::Parts(of_parts),
            (Some(key), _) => KeyFrom::Column(key),
            (None, _) if parts.is_empty() => return Err(SourceFault::NoKey { found: columns }),
            (None, _) => {
                return Err(SourceFault::NoParts {
                    wanted: parts.clone(),
                    found: columns,
                });
            }
        };
        let priority = rules.priority_among(&columns);
        if let KeyFrom::Parts(_) = key {
            columns.push(KEY_COLUMN.to_owned());
        }
        Ok(Self {
            columns: columns.into(),
            key,
            priority,
        })
    }

    fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|name| name == column)
    }

    fn is_of<'a>(&self, names: impl Iterator<Item = &'a str>) -> bool {
        self.given().iter().map(String::as_str).eq(names)
    }

    /// The columns that the source has.
    fn given(&self) -> &[String] {
        match self.key {
            KeyFrom::Column(_) => &self.columns,
            KeyFrom::Parts(_) => &self.columns[..self.columns.len() - 1],
        }
    }

    /// What a row says; one that says nothing is one request.
    fn priority_of(&self, values: &[Option<String>]) -> Result<Priority, String> {
        let said = self
            .priority
            .and_then(|index| Some((&self.columns[index], values[index].as_deref()?)));
        match said {
            None | Some((_, "")) => Ok(Priority::ONE),
            Some((column, text)) => priority(column, text),
        }
    }

    /// Checks the key among a row's values; where it is made of parts, its column is added to them.
    fn take_key(&self, values: &mut Vec<Option<String>>) -> Result<(), String> {
        let index = match &self.key {
            KeyFrom::Column(index) => *index,
            KeyFrom::Parts(parts) => {
                let part = |&index: &usize| {
                    let value = values[index].as_deref();
                    value.ok_or_else(|| {
                        format!("{:?}, a part of the key, is NULL", self.columns[index])
                    })
                };
                let parts: Vec<&str> = parts.iter().map(part).collect::<Result<_, _>>()?;
                let key = composite::argument(parts.into_iter());
                values.push(Some(key));
                values.len() - 1
            }
        };
        let key = values[index].as_deref().unwrap_or_default();
        if key.is_empty() {
            return Err("the key is empty or NULL".to_owned());
        }
        check_length("key", key.len())
    }
}

/// Gathers a source's rows into chunks that are worth sending, by its rules.
#[derive(Debug)]
pub(crate) struct Rows {
    rules: Rules,
    header: Option<Header>,
    chunk: Vec<SourceRow>,
    chunk_bytes: usize,
    gathered: Gathered,
}

impl Rows {
    pub(crate) fn new(rules: &Rules) -> Self {
        Self {
            rules: rules.clone(),
            header: None,
            chunk: Vec::new(),
            chunk_bytes: 0,
            gathered: Gathered::default(),
        }
    }

    /// The columns of all rows to come. What is wrong with them is wrong with every row: it is never skipped.
    ///
    /// # Errors
    /// Where there is no `key`, or two of one name, or a column of the template is missing.
    pub(crate) fn columns(&mut self, columns: Vec<String>) -> Result<(), SourceFault> {
        let header = Header::new(columns, &self.rules)?;
        if let Some((loader, template)) = &self.rules.template
            && let Some(column) = template.columns().find(|column| !header.has(column))
        {
            return Err(SourceFault::MissingColumn {
                loader: loader.clone(),
                column: column.to_owned(),
                found: header.columns.to_vec(),
            });
        }
        self.header = Some(header);
        Ok(())
    }

    pub(crate) fn column_count(&self) -> usize {
        self.header
            .as_ref()
            .map_or(0, |header| header.given().len())
    }

    /// Of which columns something is made: where there is no template, whoever takes the rows may want any.
    #[cfg(feature = "parquet")]
    pub(crate) fn wanted<'c>(&self, columns: &'c [String]) -> Vec<(usize, &'c String)> {
        let priority = self.rules.priority_among(columns);
        let named = self.rules.columns();
        let is_wanted = |(place, column): &(usize, &String)| {
            self.rules.template.is_none()
                || *column == KEY_COLUMN
                || priority == Some(*place)
                || named.contains(column)
        };
        columns.iter().enumerate().filter(is_wanted).collect()
    }

    /// Whether a list is a key.
    pub(crate) fn has_parts(&self) -> bool {
        !self.rules.key_parts.is_empty()
    }

    pub(crate) fn skips(&self) -> bool {
        self.rules.on_bad_line == OnBadLine::Skip
    }

    /// A row of the columns; an error says what keeps it from having values. Gives a chunk back when it is full.
    ///
    /// # Errors
    /// Where it is no entry, and such rows are not skipped.
    pub(crate) fn row(
        &mut self,
        at: Whereabouts,
        values: Result<Vec<Option<String>>, String>,
    ) -> Result<Option<Vec<SourceRow>>, SourceFault> {
        self.take(at, values, None)
    }

    /// A line of the columns, whose text is shown where it is no entry.
    ///
    /// # Errors
    /// As [`Rows::row`].
    pub(crate) fn line(
        &mut self,
        at: Whereabouts,
        values: Result<Vec<Option<String>>, String>,
        content: &[u8],
    ) -> Result<Option<Vec<SourceRow>>, SourceFault> {
        self.take(at, values, Some(content))
    }

    /// A key to copy, with the parts that are the columns behind `key`. One that is no text has none, and is told by its
    /// cache key alone.
    ///
    /// # Errors
    /// As [`Rows::row`].
    pub(crate) fn key(
        &mut self,
        at: Whereabouts,
        key: &[u8],
        parts: &[&[u8]],
        priority: Priority,
    ) -> Result<Option<Vec<SourceRow>>, SourceFault> {
        match self.entry_of_key(key, parts) {
            Ok(row) => Ok(self.push(SourceRow { priority, ..row })),
            Err(what) => {
                self.leave_out(BadLine::showing(at, what, key))?;
                Ok(None)
            }
        }
    }

    fn entry_of_key(&self, key: &[u8], parts: &[&[u8]]) -> Result<SourceRow, String> {
        let Some(header) = &self.header else {
            return Err("it comes before the columns".to_owned());
        };
        if key.is_empty() {
            return Err("the key is empty".to_owned());
        }
        check_length("key", key.len())?;
        let columns = || {
            header
                .columns
                .iter()
                .zip([key].into_iter().chain(parts.iter().copied()))
        };
        let cache_key = match &self.rules.template {
            None => Vec::new(),
            Some((_, template)) => {
                let of = |name: &str| {
                    columns()
                        .find(|(column, _)| *column == name)
                        .map(|(_, part)| part)
                };
                template.fill(of).map_err(|missing| missing.to_string())?
            }
        };
        check_length("cache key", cache_key.len())?;
        let text = |part: &[u8]| std::str::from_utf8(part).ok().map(str::to_owned);
        let values: Vec<Option<String>> = columns().map(|(_, part)| text(part)).collect();
        if values.first().is_some_and(Option::is_none) && cache_key != key {
            return Err(
                "the key is not UTF-8: such keys are copied under their own names only".to_owned(),
            );
        }
        Ok(SourceRow {
            columns: Arc::clone(&header.columns),
            values,
            priority: Priority::ONE,
            loader: self.rules.loader,
            cache_key,
        })
    }

    /// A line with columns of its own. Most have those of the line before, which then are shared.
    ///
    /// # Errors
    /// As [`Rows::row`].
    pub(crate) fn object(
        &mut self,
        at: Whereabouts,
        members: Vec<(String, Option<String>)>,
        content: &[u8],
    ) -> Result<Option<Vec<SourceRow>>, SourceFault> {
        let names = || members.iter().map(|(name, _)| name.as_str());
        if !self.header.as_ref().is_some_and(|last| last.is_of(names())) {
            let columns = names().map(str::to_owned).collect();
            match Header::new(columns, &self.rules) {
                Ok(header) => self.header = Some(header),
                Err(fault) => {
                    self.leave_out(BadLine::showing(at, fault, content))?;
                    return Ok(None);
                }
            }
        }
        let values = members.into_iter().map(|(_, value)| value).collect();
        self.take(at, Ok(values), Some(content))
    }

    /// A row with a priority that was counted. Where it is no entry, `bad` tells of it, and of how many lines it is.
    ///
    /// # Errors
    /// As [`Rows::row`].
    pub(crate) fn counted(
        &mut self,
        values: Result<Vec<Option<String>>, String>,
        priority: Priority,
        (bad, lines): (impl FnOnce(String) -> BadLine, u64),
    ) -> Result<Option<Vec<SourceRow>>, SourceFault> {
        match values.and_then(|values| self.entry(values, Some(priority))) {
            Ok(row) => Ok(self.push(row)),
            Err(what) => {
                self.leave_out(bad(what))?;
                self.leave_out_more(lines.saturating_sub(1));
                Ok(None)
            }
        }
    }

    fn take(
        &mut self,
        at: Whereabouts,
        values: Result<Vec<Option<String>>, String>,
        content: Option<&[u8]>,
    ) -> Result<Option<Vec<SourceRow>>, SourceFault> {
        match values.and_then(|values| self.entry(values, None)) {
            Ok(row) => Ok(self.push(row)),
            Err(what) => {
                let bad = match content {
                    Some(content) => BadLine::showing(at, what, content),
                    None => BadLine::new(at, what),
                };
                self.leave_out(bad)?;
                Ok(None)
            }
        }
    }

    /// Leaves a line out, where that is allowed.
    ///
    /// # Errors
    /// Where it is not.
    pub(crate) fn leave_out(&mut self, bad: BadLine) -> Result<(), SourceFault> {
        if !self.skips() {
            return Err(SourceFault::Bad(bad));
        }
        self.gathered.leave_out(&bad);
        Ok(())
    }

    /// So many lines more were left out, of which nothing is shown.
    pub(crate) fn leave_out_more(&mut self, lines: u64) {
        self.gathered.bad_lines += lines;
    }

    /// The row of these values, or why it is no entry. Where the priority was not counted, the row says it.
    fn entry(
        &self,
        mut values: Vec<Option<String>>,
        counted: Option<Priority>,
    ) -> Result<SourceRow, String> {
        let Some(header) = &self.header else {
            return Err("it comes before the columns".to_owned());
        };
        debug_assert_eq!(values.len(), header.given().len());
        header.take_key(&mut values)?;
        let priority = match counted {
            Some(counted) => counted,
            None => header.priority_of(&values)?,
        };
        let cache_key = match &self.rules.template {
            None => Vec::new(),
            Some((loader, template)) => cache_key(header, &values, loader, template)?,
        };
        Ok(SourceRow {
            columns: Arc::clone(&header.columns),
            values,
            priority,
            loader: self.rules.loader,
            cache_key,
        })
    }

    /// Adds a row; gives the chunk back when it is full.
    fn push(&mut self, row: SourceRow) -> Option<Vec<SourceRow>> {
        self.gathered.rows += 1;
        self.chunk_bytes += row.values.iter().flatten().map(String::len).sum::<usize>();
        self.chunk_bytes += row.cache_key.len();
        self.chunk.push(row);
        let full = self.chunk.len() >= CHUNK_ROWS || self.chunk_bytes >= CHUNK_BYTES;
        full.then(|| {
            self.chunk_bytes = 0;
            std::mem::take(&mut self.chunk)
        })
    }

    /// The source has ended: the last rows, if there are any, and what there was in all.
    pub(crate) fn finish(self) -> (Option<Vec<SourceRow>>, Gathered) {
        let last = (!self.chunk.is_empty()).then_some(self.chunk);
        (last, self.gathered)
    }
}

/// The priority that a text stands for that is not there for nothing: an empty one is none.
pub(crate) fn priority_of(text: &[u8]) -> Result<Priority, String> {
    // What is not UTF-8 is no number, whatever stands in its place.
    priority(PRIORITY_COLUMN, &String::from_utf8_lossy(text))
}

/// An empty priority of a column is none, and never comes here.
fn priority(column: &str, text: &str) -> Result<Priority, String> {
    let requests = text.trim().parse().ok();
    requests
        .and_then(|requests| Priority::from_requests(requests).ok())
        .ok_or_else(|| {
            format!(
                "the {column} {} is not a number from 0 to {}",
                shown(text.as_bytes()),
                Priority::REQUESTS_MAX
            )
        })
}

fn cache_key(
    header: &Header,
    values: &[Option<String>],
    loader: &LoaderName,
    template: &Template,
) -> Result<Vec<u8>, String> {
    let value = |column: &str| {
        let index = header.columns.iter().position(|name| name == column)?;
        values[index].as_deref().map(str::as_bytes)
    };
    let key = template.fill(value).map_err(|missing| {
        let column = missing.column;
        if header.has(&column) {
            format!("the column {column:?}, which the key template of loader {loader} names, is NULL")
        } else {
            let found = listed(&header.columns);
            format!("the key template of loader {loader} names the column {column:?}, which is not among {found}")
        }
    })?;
    if key.is_empty() {
        return Err(format!(
            "the cache key by the template of loader {loader} is empty"
        ));
    }
    check_length("cache key", key.len())?;
    Ok(key)
}

fn check_length(what: &str, bytes: usize) -> Result<(), String> {
    if bytes > KEY_BYTES_MAX {
        return Err(format!(
            "the {what} has {bytes} bytes: at most {KEY_BYTES_MAX} are possible"
        ));
    }
    Ok(())
}
