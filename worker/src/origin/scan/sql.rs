//! The statements of a scan, as each database has them.

use super::reader::Reads;
use crate::catalog::LoaderSpec;
use crate::origin::OriginError;
use crate::origin::rewrite::{self, Dialect};

/// What the query's rows are called in a statement around it.
const ROWS: &str = "stoke_rows";

/// Where the rows lie that a statement reads.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::origin) struct Bounds<'a> {
    /// Behind this place.
    pub(in crate::origin) after: Option<&'a str>,
    /// Up to this one, it included.
    pub(in crate::origin) until: Option<&'a str>,
}

impl<'a> Bounds<'a> {
    /// The places that are parameters of the statement, in their order.
    pub(super) fn places(self) -> Vec<&'a str> {
        self.after.into_iter().chain(self.until).collect()
    }
}

/// A statement of a scan.
#[derive(Debug)]
pub(in crate::origin) struct Statement<'a> {
    /// What it is for, in errors.
    pub(in crate::origin) doing: String,
    pub(in crate::origin) sql: String,
    /// Its parameters: places of the column that [`Reads`] names.
    pub(in crate::origin) bounds: Vec<&'a str>,
    /// How many rows it gives at most.
    pub(in crate::origin) rows: u64,
    pub(in crate::origin) reads: Reads<'a>,
}

/// A loader's query without what may follow it.
pub(super) fn whole(loader: &LoaderSpec, dialect: Dialect) -> Result<String, OriginError> {
    let doing = || format!("use the query of loader {:?}", loader.name.as_str());
    rewrite::whole(&loader.query, dialect).map_err(|error| OriginError::permanent(doing(), error))
}

/// So many rows of a query between these bounds, from the first on.
pub(super) fn page(
    query: &str,
    by: &str,
    bounds: Bounds<'_>,
    limit: u64,
    dialect: Dialect,
) -> String {
    let column = column(by, dialect);
    let lies = lies(&column, bounds, dialect);
    format!(
        "SELECT {ROWS}.* FROM ({query}\n) AS {ROWS} WHERE {lies} ORDER BY {column} LIMIT {limit}"
    )
}

/// Which end of a query's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    First,
    Last,
}

/// The place at an end of a query's rows.
pub(super) fn end(query: &str, by: &str, end: End, dialect: Dialect) -> String {
    let column = column(by, dialect);
    let lies = lies(&column, Bounds::default(), dialect);
    let order = match end {
        End::First => "",
        End::Last => " DESC",
    };
    format!(
        "SELECT {column} FROM ({query}\n) AS {ROWS} WHERE {lies} ORDER BY {column}{order} LIMIT 1"
    )
}

/// The place of the row that lies so many rows behind another.
pub(super) fn step(
    query: &str,
    by: &str,
    after: Option<&str>,
    rows: u64,
    dialect: Dialect,
) -> String {
    let column = column(by, dialect);
    let bounds = Bounds { after, until: None };
    let lies = lies(&column, bounds, dialect);
    let skipped = rows.saturating_sub(1);
    format!(
        "SELECT {column} FROM ({query}\n) AS {ROWS} WHERE {lies} ORDER BY {column} LIMIT 1 OFFSET {skipped}"
    )
}

/// How many rows a query gives, about: in JSON, or (SQLite) as their number.
pub(super) fn estimate(query: &str, dialect: Dialect) -> String {
    match dialect {
        Dialect::Postgres => format!("EXPLAIN (FORMAT JSON) {query}"),
        Dialect::MySql => format!("EXPLAIN FORMAT=JSON {query}"),
        Dialect::Sqlite => format!("SELECT count(*) FROM ({query}\n) AS {ROWS}"),
    }
}

fn column(by: &str, dialect: Dialect) -> String {
    format!("{ROWS}.{}", crate::origin::versions::quoted(by, dialect))
}

fn lies(column: &str, bounds: Bounds<'_>, dialect: Dialect) -> String {
    let parameter = |n: usize| match dialect {
        Dialect::Postgres => format!("${n}"),
        Dialect::MySql | Dialect::Sqlite => "?".to_owned(),
    };
    match (bounds.after, bounds.until) {
        (None, None) => format!("{column} IS NOT NULL"),
        (Some(_), None) => format!("{column} > {}", parameter(1)),
        (None, Some(_)) => format!("{column} <= {}", parameter(1)),
        (Some(_), Some(_)) => {
            let (after, until) = (parameter(1), parameter(2));
            format!("{column} > {after} AND {column} <= {until}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_compared_and_ordered_by_the_one_column_and_keeps_the_query() {
        let query = "SELECT id FROM users WHERE active -- only those";
        let both = Bounds {
            after: Some("1"),
            until: Some("9"),
        };
        assert_eq!(
            page(query, "id", both, 501, Dialect::Postgres),
            "SELECT stoke_rows.* FROM (SELECT id FROM users WHERE active -- only those\n) AS stoke_rows \
             WHERE stoke_rows.\"id\" > $1 AND stoke_rows.\"id\" <= $2 ORDER BY stoke_rows.\"id\" LIMIT 501"
        );
        let open = page("q", "a`b", Bounds::default(), 2, Dialect::MySql);
        assert!(open.contains("WHERE stoke_rows.`a``b` IS NOT NULL ORDER BY"));
        let last = Bounds {
            until: None,
            ..both
        };
        let sql = page("q", "id", last, 2, Dialect::Sqlite);
        assert!(
            sql.contains("WHERE stoke_rows.\"id\" > ? ORDER BY"),
            "{sql}"
        );
        assert_eq!((both.places(), last.places()), (vec!["1", "9"], vec!["1"]));
    }
}
