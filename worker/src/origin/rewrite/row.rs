//! Rows that are compared with keys of several parts: `(tenant_id, id) IN (:keys)`.

use super::lex::{Token, What};
use super::{Dialect, column_before};

/// The words that a row may follow. Any other is the name of a function, and the bracket behind it holds arguments.
const BEFORE_ROWS: [&str; 14] = [
    "WHERE", "AND", "OR", "NOT", "ON", "HAVING", "WHEN", "THEN", "ELSE", "CASE", "SELECT",
    "FILTER", "BY", "XOR",
];

/// A row's place in a query, and its parts.
#[derive(Debug)]
pub(super) struct Row {
    /// How many tokens precede it.
    pub(super) before: usize,
    /// Where it begins, in bytes.
    pub(super) start: usize,
    /// Two at least, as they are written; in brackets what is no plain column.
    pub(super) parts: Vec<String>,
    /// The columns' names, as the database spells them; empty where one is no plain column.
    pub(super) columns: Vec<String>,
}

/// The row that `before` ends with.
pub(super) fn row_before(query: &str, before: &[Token], dialect: Dialect) -> Option<Row> {
    let (last, _) = before.split_last()?;
    if last.what != What::Punct(b')') {
        return None;
    }
    let open = opening(before)?;
    let mut first = open;
    if let Some(word) = open.checked_sub(1).map(|i| &before[i])
        && word.is_name()
    {
        if word.is_word(query, "ROW") {
            first = open - 1;
        } else if !BEFORE_ROWS.iter().any(|known| word.is_word(query, known)) {
            return None;
        }
    }
    let inner = &before[open + 1..before.len() - 1];
    let parts: Vec<&[Token]> = split(inner);
    if parts.len() < 2 || parts.iter().any(|part| part.is_empty()) {
        return None;
    }
    let columns: Option<Vec<String>> = parts
        .iter()
        .map(|part| column_before(query, part, dialect))
        .collect();
    let text = |part: &&[Token]| {
        let text = &query[part.first()?.start..part.last()?.end];
        let plain = |token: &Token| token.is_name() || token.what == What::Punct(b'.');
        Some(match part.iter().all(plain) {
            true => text.to_owned(),
            false => format!("({text})"),
        })
    };
    Some(Row {
        before: first,
        start: before[first].start,
        parts: parts.iter().filter_map(text).collect(),
        columns: columns.unwrap_or_default(),
    })
}

/// Where the bracket is that the last of `tokens` closes.
fn opening(tokens: &[Token]) -> Option<usize> {
    let mut depth = 0_u32;
    for (i, token) in tokens.iter().enumerate().rev() {
        match token.what {
            What::Punct(b')') => depth += 1,
            What::Punct(b'(') => {
                depth -= 1;
                if depth == 0 {
                    return Some(i);
                }
            }
            _ => {}
        }
    }
    None
}

/// What is between the commas that are in no brackets of their own.
fn split(tokens: &[Token]) -> Vec<&[Token]> {
    let mut depth = 0_u32;
    tokens
        .split(|token| {
            match token.what {
                What::Punct(b'(' | b'[') => depth += 1,
                What::Punct(b')' | b']') => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && token.what == What::Punct(b',')
        })
        .collect()
}

/// What PostgreSQL and SQLite get in place of `IN (:keys)` behind a row.
///
/// Seen by `EXPLAIN` on tables of 100,000 rows and more with an index over both columns: PostgreSQL 15 makes the arrays' rows
/// distinct and looks each up by the index, with plans for these arrays as with generic ones; SQLite 3.40 searches the index by
/// both columns.
pub(super) fn list(dialect: Dialect, parts: usize) -> String {
    let each = |one: &dyn Fn(usize) -> String| (0..parts).map(one).collect::<Vec<_>>().join(", ");
    if dialect == Dialect::Sqlite {
        let values = each(&|i| format!("json_extract(value, '$[{i}]')"));
        return format!("IN (SELECT {values} FROM json_each(?1))");
    }
    let arrays = each(&|i| format!("${}", i + 1));
    format!("IN (SELECT * FROM unnest({arrays}))")
}

/// A key in MySQL, in place of the row and all: `a = ? AND b = ?`.
///
/// MariaDB 10.11 reads ranges of the index for up to 10,000 of them (its planning takes 6 ms for 500, and 1.6 s for 10,000). It is no
/// list of rows, `(a, b) IN ((?, ?), …)`, though that is planned sooner: there it does not find rows by texts that are not in
/// the column's character set, and says nothing.
pub(super) fn compared(parts: &[String]) -> String {
    let compared = parts.iter().map(|part| format!("{part} = ?"));
    format!("({})", compared.collect::<Vec<_>>().join(" AND "))
}

/// What lets PostgreSQL say of which types the arrays are: the parts compared one by one, with the same parameters.
pub(super) fn typing(parts: &[String]) -> String {
    let compared = parts
        .iter()
        .enumerate()
        .map(|(i, part)| format!("{part} = ANY(${})", i + 1));
    format!("({})", compared.collect::<Vec<_>>().join(" AND "))
}
