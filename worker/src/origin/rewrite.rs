//! A loader's query as its author writes it, with `:keys` or `:key`, made into the query that the database gets.
//!
//! Pure. Strings, quoted names and comments are stepped over as the dialect has them; but for the placeholders (and the
//! `IN ( )` around `:keys`) every byte stays as it is. What is no valid SQL otherwise is left for the database to say.
//!
//! | written | PostgreSQL gets | MySQL and MariaDB get | SQLite gets |
//! |---|---|---|---|
//! | `IN (:keys)` | `= ANY($1)` | `IN (?, ?, …)` | `IN (SELECT value FROM json_each(?1))` |
//! | `= ANY(:keys)`, `unnest(:keys)` … | `$1` for `:keys` | refused | refused |
//! | `json_each(:keys)` | | refused | `?1` for `:keys` |
//! | `:key` | `$1` | `?` | `?1` |
//! | `(a, b) IN (:keys)` | `IN (SELECT * FROM unnest($1, $2))` | `((a = ? AND b = ?) OR …)` for all of it | `IN (SELECT json_extract(value, '$[0]'), … FROM json_each(?1))` |
//!
//! PostgreSQL and SQLite get one parameter (PostgreSQL one for each part of a key), however often the placeholder is written. MySQL has no arrays, and counts each
//! `?`: a list there has a length ([`Rewritten::with_lists_of`]), and each placeholder parameters of its own. What is within
//! `/*! … */` is a part of MySQL's query.
//!
//! A `:key` right behind a letter, digit, quote or colon is none: that is a cast or an array slice.

use std::fmt;
use std::ops::Range;

mod lex;
mod row;

use lex::{Token, What, lex};
use row::{compared, list, row_before, typing};

/// Which SQL a database speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL's.
    Postgres,
    /// MySQL's and MariaDB's, without `ANSI_QUOTES` and `NO_BACKSLASH_ESCAPES`.
    MySql,
    /// SQLite's.
    Sqlite,
}

/// What a query is asked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// Many keys at once.
    Keys,
    /// One key.
    Key,
}

/// A query for the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The query, with one parameter for each part; MySQL's is that for a single key, and has its parameters at each of
    /// `lists`.
    pub sql: String,
    /// What the parameter is.
    pub placeholder: Placeholder,
    /// The columns that are compared with `:keys`, as the database spells them; empty for `:key`, and where one is no plain
    /// column.
    pub key_columns: Vec<String>,
    /// How many parts a key has: more than one where a row is compared with `:keys`.
    pub parts: usize,
    /// The query by which PostgreSQL says of which types the parts are; only where there are several.
    pub typing: Option<String>,
    /// Where in `sql` a key stands whose parameters MySQL counts one by one, in bytes, ascending; empty in other dialects.
    pub lists: Vec<Range<usize>>,
}

impl Rewritten {
    /// MySQL's query for lists of so many keys. In other dialects any number of keys is one parameter of `sql`.
    #[must_use]
    pub fn with_lists_of(&self, keys: usize) -> String {
        let between = if self.parts == 1 { ", " } else { " OR " };
        let more = keys.saturating_sub(1);
        let length = |list: &Range<usize>| (between.len() + list.len()) * more;
        let longer: usize = self.lists.iter().map(length).sum();
        let mut sql = String::with_capacity(self.sql.len() + longer);
        let mut copied = 0;
        for list in &self.lists {
            sql.push_str(&self.sql[copied..list.end]);
            for _ in 0..more {
                sql.push_str(between);
                sql.push_str(&self.sql[list.clone()]);
            }
            copied = list.end;
        }
        sql.push_str(&self.sql[copied..]);
        sql
    }
}

/// A place in a query, counted from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// The line.
    pub line: usize,
    /// The character in it.
    pub column: usize,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Why a query cannot be a loader's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    /// Nothing says where the keys belong.
    #[error(
        "the query has no placeholder: write IN (:keys) where a batch of keys belongs, or :key for one query a key"
    )]
    NoPlaceholder,
    /// `:keys` and `:key` in one query.
    #[error("the query has both :keys (at {keys}) and :key (at {key}): use one of them")]
    BothKinds {
        /// The first `:keys`.
        keys: At,
        /// The first `:key`.
        key: At,
    },
    /// A query for everything but the keys.
    #[error("NOT … IN (:keys) at {at} asks for all rows but those of the keys: write IN (:keys)")]
    Negated {
        /// The `:keys`.
        at: At,
    },
    /// `IN (:keys, …)`.
    #[error(
        ":keys at {at} does not stand alone in its IN ( ): write IN (:keys), and other conditions beside it"
    )]
    NotAlone {
        /// The `:keys`.
        at: At,
    },
    /// Two columns are compared with the keys.
    #[error(
        "the keys are compared with {first} (at {first_at}) and with {second} (at {second_at}): compare one column with :keys"
    )]
    DifferentColumns {
        /// The first column.
        first: String,
        /// Its `:keys`.
        first_at: At,
        /// The other column.
        second: String,
        /// Its `:keys`.
        second_at: At,
    },
    /// Keys of several parts in one place, and of another number in another.
    #[error(
        "the keys at {first_at} have {first} parts, and those at {second_at} have {second}: compare the same columns with :keys"
    )]
    DifferentParts {
        /// How many.
        first: usize,
        /// The first `:keys`.
        first_at: At,
        /// How many others.
        second: usize,
        /// Their `:keys`.
        second_at: At,
    },
    /// One key at a time has no parts.
    #[error(
        ":key at {at} is one value: for keys of several parts write (a, b) IN (:keys), with batch-keys = 1 where each is to be a query of its own"
    )]
    PartsOfKey {
        /// The `:key`.
        at: At,
    },
    /// MySQL and SQLite have no array parameters.
    #[error(":keys at {at} is not in IN ( ): {taken} only")]
    NotInList {
        /// The `:keys`.
        at: At,
        /// Who takes it where.
        taken: &'static str,
    },
    /// A parameter that nobody gives a value to.
    #[error(
        "the parameter {parameter} at {at} has no value: the only placeholders are :keys and :key"
    )]
    Foreign {
        /// As it is written.
        parameter: String,
        /// Where.
        at: At,
    },
    /// Keys in a query that is read whole.
    #[error(
        "{placeholder} at {at} asks for keys, and a scan has none: leave it out, or load by keys"
    )]
    KeysInScan {
        /// As it is written.
        placeholder: String,
        /// Where.
        at: At,
    },
    /// Two statements where there may be one.
    #[error("the query is more than one statement: remove what follows the ';' at {at}")]
    Several {
        /// The first `;`.
        at: At,
    },
    /// A string, quoted name or comment without its end.
    #[error("the {what} that begins at {at} has no end: close it")]
    Unterminated {
        /// What it is.
        what: &'static str,
        /// Where it begins.
        at: At,
    },
}

/// Makes a loader's query into the database's.
///
/// # Errors
/// Where the placeholders are not as the module's table has them.
pub fn rewrite(query: &str, dialect: Dialect) -> Result<Rewritten, RewriteError> {
    let tokens = lex(query, dialect)?;
    let at = |token: &Token| place(query, token.start);
    let first = |what: &What| tokens.iter().find(|token| token.what == *what);
    if let Some(token) = tokens.iter().find(|token| token.what == What::Foreign) {
        return Err(RewriteError::Foreign {
            parameter: query[token.start..token.end].to_owned(),
            at: at(token),
        });
    }
    let placeholder = match (first(&What::Keys), first(&What::Key)) {
        (None, None) => return Err(RewriteError::NoPlaceholder),
        (Some(keys), Some(key)) => {
            return Err(RewriteError::BothKinds {
                keys: at(keys),
                key: at(key),
            });
        }
        (Some(_), None) => Placeholder::Keys,
        (None, Some(_)) => Placeholder::Key,
    };
    let mut columns: Option<(Vec<String>, At)> = None;
    let mut parts: Option<(usize, At)> = None;
    let mut sql = String::with_capacity(query.len() + 32);
    let mut types = String::new();
    let mut copied = 0;
    let mut lists = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        let place = match token.what {
            What::Key if is_of_parts(query, &tokens, i, dialect) => {
                return Err(RewriteError::PartsOfKey { at: at(token) });
            }
            What::Key => Place::alone(token, dialect),
            What::Keys => place_of_keys(query, &tokens, i, dialect)?,
            _ => continue,
        };
        sql.push_str(&query[copied..place.start]);
        if dialect == Dialect::MySql {
            let start = sql.len() + place.element.start;
            lists.push(start..sql.len() + place.element.end);
        }
        sql.push_str(&place.text);
        if let Some((start, text)) = &place.typing {
            types.push_str(&query[copied..*start]);
            types.push_str(text);
        }
        copied = place.end;
        match parts {
            Some((first, first_at)) if first != place.parts => {
                return Err(RewriteError::DifferentParts {
                    first,
                    first_at,
                    second: place.parts,
                    second_at: at(token),
                });
            }
            Some(_) => {}
            None => parts = Some((place.parts, at(token))),
        }
        match &columns {
            _ if place.columns.is_empty() => {}
            Some((first, first_at)) if *first != place.columns => {
                return Err(RewriteError::DifferentColumns {
                    first: first.join(", "),
                    first_at: *first_at,
                    second: place.columns.join(", "),
                    second_at: at(token),
                });
            }
            Some(_) => {}
            None => columns = Some((place.columns, at(token))),
        }
    }
    sql.push_str(&query[copied..]);
    types.push_str(&query[copied..]);
    let parts = parts.map_or(1, |(parts, _)| parts);
    Ok(Rewritten {
        sql,
        placeholder,
        key_columns: columns.map_or(Vec::new(), |(names, _)| names),
        parts,
        typing: (dialect == Dialect::Postgres && parts > 1).then_some(types),
        lists,
    })
}

/// A query that is read whole, and takes no keys, as it can stand in brackets: without what ends it.
///
/// # Errors
/// Where it has placeholders, or is not one statement.
pub fn whole(query: &str, dialect: Dialect) -> Result<String, RewriteError> {
    refuse_several(query, dialect)?;
    let tokens = lex(query, dialect)?;
    let at = |token: &Token| place(query, token.start);
    for token in &tokens {
        let written = || query[token.start..token.end].to_owned();
        match token.what {
            What::Keys | What::Key => {
                return Err(RewriteError::KeysInScan {
                    placeholder: written(),
                    at: at(token),
                });
            }
            What::Foreign => {
                return Err(RewriteError::Foreign {
                    parameter: written(),
                    at: at(token),
                });
            }
            _ => {}
        }
    }
    let end = tokens.iter().find(|token| token.what == What::Punct(b';'));
    let end = end.map_or(query.len(), |end| end.start);
    Ok(query[..end].trim().to_owned())
}

/// Checks that a query is one statement: that nothing but comments follows a `;` in it.
///
/// # Errors
/// Where it is not, or where nobody can say, for something in it has no end.
pub fn refuse_several(query: &str, dialect: Dialect) -> Result<(), RewriteError> {
    let tokens = lex(query, dialect)?;
    let is_end = |token: &&Token| token.what == What::Punct(b';');
    match tokens.iter().find(is_end) {
        Some(end)
            if !tokens
                .iter()
                .skip_while(|t| t.start < end.start)
                .all(|t| is_end(&t)) =>
        {
            Err(RewriteError::Several {
                at: place(query, end.start),
            })
        }
        _ => Ok(()),
    }
}

/// What is put in place of which bytes of the query.
struct Place {
    start: usize,
    end: usize,
    text: String,
    /// A key of MySQL's list in `text`.
    element: Range<usize>,
    /// Empty where there is none, or no plain one.
    columns: Vec<String>,
    parts: usize,
    /// Where there are several: from where on what stands there instead in the query by which types are asked.
    typing: Option<(usize, String)>,
}

impl Place {
    /// Of a placeholder that stands for itself.
    fn alone(token: &Token, dialect: Dialect) -> Self {
        Self {
            start: token.start,
            end: token.end,
            text: parameter(dialect).to_owned(),
            element: 0..parameter(dialect).len(),
            columns: Vec::new(),
            parts: 1,
            typing: None,
        }
    }
}

/// Whether the `:key` that is token `i` is written as if it had parts: `:key.a`, or compared with a row.
fn is_of_parts(query: &str, tokens: &[Token], i: usize, dialect: Dialect) -> bool {
    let is = |j: Option<usize>, byte: u8| {
        j.and_then(|j| tokens.get(j))
            .is_some_and(|token| token.what == What::Punct(byte))
    };
    let has_dot = is(Some(i + 1), b'.') && tokens[i + 1].start == tokens[i].end;
    let row = |end: usize| row_before(query, &tokens[..end], dialect).is_some();
    let listed =
        is(i.checked_sub(1), b'(') && i >= 2 && tokens[i - 2].is_word(query, "IN") && row(i - 2);
    has_dot || listed || (is(i.checked_sub(1), b'=') && row(i - 1))
}

fn parameter(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => "$1",
        Dialect::MySql => "?",
        Dialect::Sqlite => "?1",
    }
}

/// What becomes of the `:keys` that is token `i`.
fn place_of_keys(
    query: &str,
    tokens: &[Token],
    i: usize,
    dialect: Dialect,
) -> Result<Place, RewriteError> {
    let keys = &tokens[i];
    let at = place(query, keys.start);
    let behind = |n: usize| i.checked_sub(n).map(|j| &tokens[j]);
    let is =
        |token: Option<&Token>, word: &str| token.is_some_and(|token| token.is_word(query, word));
    let opened = behind(1).is_some_and(|token| token.what == What::Punct(b'('));
    let closing = tokens
        .get(i + 1)
        .filter(|token| token.what == What::Punct(b')'));
    let alone = Place::alone(keys, dialect);
    if opened && is(behind(2), "IN") {
        let (Some(list), Some(closing)) = (behind(2), closing) else {
            return Err(RewriteError::NotAlone { at });
        };
        if is(behind(3), "NOT") || is_negated(query, &tokens[..i - 2]) {
            return Err(RewriteError::Negated { at });
        }
        if let Some(row) = row_before(query, &tokens[..i - 2], dialect) {
            let negated = row.before.checked_sub(1).map(|j| &tokens[j]);
            if is(negated, "NOT") {
                return Err(RewriteError::Negated { at });
            }
            return Ok(place_of_parts(row, list, closing, dialect));
        }
        let columns = column_before(query, &tokens[..i - 2], dialect);
        let columns = columns.into_iter().collect();
        let text = match dialect {
            Dialect::Postgres => "= ANY($1)",
            Dialect::MySql => return Ok(Place { columns, ..alone }),
            Dialect::Sqlite => "IN (SELECT value FROM json_each(?1))",
        };
        return Ok(Place {
            start: list.start,
            end: closing.end,
            text: text.to_owned(),
            columns,
            ..alone
        });
    }
    let listed = keys_in_list(query, tokens, i);
    if listed {
        return Err(RewriteError::NotAlone { at });
    }
    match dialect {
        Dialect::Postgres => {
            let any = opened
                && is(behind(2), "ANY")
                && behind(3).is_some_and(|token| token.what == What::Punct(b'='));
            let column = any
                .then(|| column_before(query, &tokens[..i - 3], dialect))
                .flatten();
            Ok(Place {
                columns: column.into_iter().collect(),
                ..alone
            })
        }
        Dialect::Sqlite if opened && is(behind(2), "json_each") => Ok(alone),
        Dialect::Sqlite => Err(RewriteError::NotInList {
            at,
            taken: "SQLite takes it in IN (:keys) and json_each(:keys)",
        }),
        Dialect::MySql => Err(RewriteError::NotInList {
            at,
            taken: "MySQL takes it in IN (:keys)",
        }),
    }
}

/// What becomes of a row, the `IN` behind it, and all up to its closing bracket.
fn place_of_parts(row: row::Row, word: &Token, closing: &Token, dialect: Dialect) -> Place {
    let (start, text) = match dialect {
        Dialect::MySql => (row.start, format!("({})", compared(&row.parts))),
        Dialect::Postgres | Dialect::Sqlite => (word.start, list(dialect, row.parts.len())),
    };
    Place {
        start,
        end: closing.end,
        element: 1..text.len().saturating_sub(1),
        text,
        columns: row.columns,
        parts: row.parts.len(),
        typing: Some((row.start, typing(&row.parts))),
    }
}

/// Whether the innermost parenthesis around token `i` is that of an `IN ( )` list.
fn keys_in_list(query: &str, tokens: &[Token], i: usize) -> bool {
    let mut depth = 0_u32;
    for j in (0..i).rev() {
        match tokens[j].what {
            What::Punct(b')') => depth += 1,
            What::Punct(b'(') if depth > 0 => depth -= 1,
            What::Punct(b'(') => {
                // A subquery's parenthesis may follow IN: whatever is in there is no list.
                let subquery = ["SELECT", "WITH", "VALUES", "TABLE"]
                    .iter()
                    .any(|w| tokens[j + 1].is_word(query, w));
                return !subquery && j > 0 && tokens[j - 1].is_word(query, "IN");
            }
            _ => {}
        }
    }
    false
}

/// Whether a `NOT` stands before the column that `before` ends with.
fn is_negated(query: &str, before: &[Token]) -> bool {
    let mut end = before.len();
    while end >= 2 && before[end - 1].is_name() && before[end - 2].what == What::Punct(b'.') {
        end -= 2;
    }
    end >= 2 && before[end - 1].is_name() && before[end - 2].is_word(query, "NOT")
}

/// The column that `before` ends with, without its table, as the database spells it.
fn column_before(query: &str, before: &[Token], dialect: Dialect) -> Option<String> {
    let last = match before {
        // A cast's type is no column: look before it.
        [.., column, cast, _type] if cast.what == What::Cast => column,
        // Nor is a collation.
        [.., column, collate, _collation] if collate.is_word(query, "COLLATE") => column,
        [.., column] => column,
        [] => return None,
    };
    let text = &query[last.start..last.end];
    match last.what {
        What::Quoted => {
            let close = if text.starts_with('[') {
                ']'
            } else {
                text.chars().next()?
            };
            let inner = &text[1..text.len() - 1];
            Some(if close == ']' {
                inner.to_owned()
            } else {
                inner.replace(&format!("{close}{close}"), &close.to_string())
            })
        }
        // PostgreSQL folds what is not quoted.
        What::Word if dialect == Dialect::Postgres => Some(text.to_lowercase()),
        What::Word => Some(text.to_owned()),
        _ => None,
    }
}

fn place(query: &str, offset: usize) -> At {
    let before = &query[..offset];
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    At {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

#[cfg(test)]
mod tests;
