//! The statements of a scan, as each database has them.
//!
//! Of several columns, the rows behind a place are those with `(a, b) > (?, ?)`. PostgreSQL and SQLite (from 3.15 on) begin to
//! read an index there; MySQL and MariaDB do so only for `a > ? OR (a = ? AND b > ?)`, which the others would answer by reading
//! all rows with the same `a`.

use stoke_core::scan::Order;

use super::place::{Bound, Bounds};
use super::reader::Reads;
use crate::catalog::LoaderSpec;
use crate::origin::OriginError;
use crate::origin::rewrite::{self, Dialect};

/// What the query's rows are called in a statement around it.
const ROWS: &str = "stoke_rows";

/// A statement of a scan.
#[derive(Debug)]
pub(in crate::origin) struct Statement<'a> {
    /// What it is for, in errors.
    pub(in crate::origin) doing: String,
    pub(in crate::origin) sql: String,
    /// Its parameters, in their order: parts of places of the columns that [`Reads`] names.
    pub(in crate::origin) bounds: Vec<Bound<'a>>,
    /// How many rows it gives at most.
    pub(in crate::origin) rows: u64,
    pub(in crate::origin) reads: Reads<'a>,
}

/// A loader's query without what may follow it.
pub(super) fn whole(loader: &LoaderSpec, dialect: Dialect) -> Result<String, OriginError> {
    let doing = || format!("use the query of loader {:?}", loader.name.as_str());
    rewrite::whole(&loader.query, dialect).map_err(|error| OriginError::permanent(doing(), error))
}

/// A query's rows, as they are ordered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows<'q> {
    pub(super) query: &'q str,
    pub(super) by: &'q Order,
    pub(super) dialect: Dialect,
}

/// SQL, and its parameters in their order.
type Asked<'a> = (String, Vec<Bound<'a>>);

/// Which end of a query's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    First,
    Last,
}

impl Rows<'_> {
    /// So many rows between these bounds, from the first on.
    pub(super) fn page<'a>(&self, bounds: &Bounds<'a>, limit: u64) -> Asked<'a> {
        let Self { query, .. } = self;
        let (lies, parameters) = self.lies(bounds);
        let order = self.ordered(End::First);
        let sql = format!(
            "SELECT {ROWS}.* FROM ({query}\n) AS {ROWS} WHERE {lies} ORDER BY {order} LIMIT {limit}"
        );
        (sql, parameters)
    }

    /// The place at an end.
    pub(super) fn end(&self, end: End) -> String {
        let Self { query, .. } = self;
        let (columns, order) = (self.columns().join(", "), self.ordered(end));
        let (lies, _) = self.lies(&Bounds::default());
        format!("SELECT {columns} FROM ({query}\n) AS {ROWS} WHERE {lies} ORDER BY {order} LIMIT 1")
    }

    /// The place of the row that lies so many rows behind another.
    pub(super) fn step<'a>(&self, bounds: &Bounds<'a>, rows: u64) -> Asked<'a> {
        let Self { query, .. } = self;
        let (columns, order) = (self.columns().join(", "), self.ordered(End::First));
        let (lies, parameters) = self.lies(bounds);
        let skipped = rows.saturating_sub(1);
        let sql = format!(
            "SELECT {columns} FROM ({query}\n) AS {ROWS} WHERE {lies} ORDER BY {order} LIMIT 1 OFFSET {skipped}"
        );
        (sql, parameters)
    }

    /// How many rows there are, about: in JSON, or (SQLite) as their number.
    pub(super) fn estimate(&self) -> String {
        let Self { query, dialect, .. } = self;
        match dialect {
            Dialect::Postgres => format!("EXPLAIN (FORMAT JSON) {query}"),
            Dialect::MySql => format!("EXPLAIN FORMAT=JSON {query}"),
            Dialect::Sqlite => format!("SELECT count(*) FROM ({query}\n) AS {ROWS}"),
        }
    }

    fn columns(&self) -> Vec<String> {
        let quoted = |name: &String| crate::origin::versions::quoted(name, self.dialect);
        let names = self.by.columns().iter().map(quoted);
        names.map(|name| format!("{ROWS}.{name}")).collect()
    }

    /// What `ORDER BY` has, from this end on.
    fn ordered(&self, from: End) -> String {
        let descends = self.by.is_descending() == (from == End::First);
        let direction = if descends { " DESC" } else { "" };
        let columns = self.columns().into_iter();
        let columns = columns.map(|column| format!("{column}{direction}"));
        columns.collect::<Vec<_>>().join(", ")
    }

    /// The condition that rows lie between these bounds and have a place, and its parameters.
    fn lies<'a>(&self, bounds: &Bounds<'a>) -> Asked<'a> {
        let (behind, up_to) = match self.by.is_descending() {
            false => (">", "<="),
            true => ("<", ">="),
        };
        let mut parameters = Vec::new();
        let mut conditions = Vec::new();
        for (compared, place) in [(behind, &bounds.after), (up_to, &bounds.until)] {
            if let Some(place) = place {
                conditions.push(self.compared(compared, place, &mut parameters));
            }
        }
        // Whatever is compared with a place is not NULL: of several columns, that is the first.
        let bounded = usize::from(!conditions.is_empty());
        let columns = self.columns().into_iter().skip(bounded);
        conditions.extend(columns.map(|column| format!("{column} IS NOT NULL")));
        (conditions.join(" AND "), parameters)
    }

    /// The condition that rows compare so with a place.
    fn compared<'a>(
        &self,
        compared: &str,
        place: &[Bound<'a>],
        parameters: &mut Vec<Bound<'a>>,
    ) -> String {
        let mut parameter = |part: &Bound<'a>| {
            parameters.push(part.clone());
            match self.dialect {
                Dialect::Postgres => format!("${}", parameters.len()),
                Dialect::MySql | Dialect::Sqlite => "?".to_owned(),
            }
        };
        let columns = self.columns();
        match (columns.as_slice(), place) {
            ([column], [part]) => format!("{column} {compared} {}", parameter(part)),
            ([before @ .., last], [parts @ .., last_part]) if self.dialect == Dialect::MySql => {
                let strictly = compared.trim_end_matches('=');
                let mut sql = String::new();
                for (column, part) in before.iter().zip(parts) {
                    let (beyond, same) = (parameter(part), parameter(part));
                    sql += &format!("({column} {strictly} {beyond} OR ({column} = {same} AND ");
                }
                sql += &format!("{last} {compared} {}", parameter(last_part));
                sql + &"))".repeat(before.len())
            }
            _ => {
                let parts: Vec<String> = place.iter().map(parameter).collect();
                format!("({}) {compared} ({})", columns.join(", "), parts.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use stoke_core::scan::Range;

    use super::*;

    fn range(after: Option<&str>, until: Option<&str>) -> Range {
        Range {
            after: after.map(str::to_owned),
            until: until.map(str::to_owned),
        }
    }

    #[test]
    fn a_page_is_compared_and_ordered_by_the_one_column_and_keeps_the_query() {
        let query = "SELECT id FROM users WHERE active -- only those";
        let page = |query, by: &str, range: &Range, limit, dialect| {
            let by = by.parse().unwrap();
            let bounds = Bounds::of(range, &by).unwrap();
            let by = &by;
            let rows = Rows { query, by, dialect };
            let (sql, parameters) = rows.page(&bounds, limit);
            let parameters = parameters.into_iter().map(|bound| bound.text.into_owned());
            (sql, parameters.collect::<Vec<String>>())
        };
        let both = range(Some("1"), Some("9"));
        assert_eq!(
            page(query, "id", &both, 501, Dialect::Postgres),
            (
                "SELECT stoke_rows.* FROM (SELECT id FROM users WHERE active -- only those\n) AS stoke_rows \
                 WHERE stoke_rows.\"id\" > $1 AND stoke_rows.\"id\" <= $2 ORDER BY stoke_rows.\"id\" LIMIT 501"
                    .into(),
                vec!["1".into(), "9".into()]
            )
        );
        let (sql, _) = page("q", "a`b", &Range::default(), 2, Dialect::MySql);
        assert!(sql.contains("WHERE stoke_rows.`a``b` IS NOT NULL ORDER BY"));
        let last = range(Some("1"), None);
        let (sql, parameters) = page("q", "id DESC", &last, 2, Dialect::Sqlite);
        assert!(
            sql.contains("WHERE stoke_rows.\"id\" < ? ORDER BY stoke_rows.\"id\" DESC LIMIT"),
            "{sql}"
        );
        assert_eq!(parameters, ["1"]);
    }

    #[test]
    fn several_columns_are_compared_so_that_an_index_is_read_from_the_place_on() {
        let by: Order = "a DESC, b DESC, c DESC".parse().unwrap();
        let range = range(Some(r#"["1","2","3"]"#), Some(r#"["4","5","6"]"#));
        let lies = |dialect| {
            let rows = Rows {
                query: "q",
                by: &by,
                dialect,
            };
            let (sql, parameters) = rows.lies(&Bounds::of(&range, &by).unwrap());
            let parts = parameters.iter();
            let parts: Vec<(usize, &str)> = parts.map(|one| (one.part, &*one.text)).collect();
            (sql.replace("stoke_rows.", ""), format!("{parts:?}"))
        };
        assert_eq!(
            lies(Dialect::Postgres),
            (
                r#"("a", "b", "c") < ($1, $2, $3) AND ("a", "b", "c") >= ($4, $5, $6) AND "b" IS NOT NULL AND "c" IS NOT NULL"#.into(),
                r#"[(0, "1"), (1, "2"), (2, "3"), (0, "4"), (1, "5"), (2, "6")]"#.into()
            )
        );
        assert_eq!(
            lies(Dialect::MySql),
            (
                "(`a` < ? OR (`a` = ? AND (`b` < ? OR (`b` = ? AND `c` < ?)))) \
                 AND (`a` > ? OR (`a` = ? AND (`b` > ? OR (`b` = ? AND `c` >= ?)))) \
                 AND `b` IS NOT NULL AND `c` IS NOT NULL"
                    .into(),
                r#"[(0, "1"), (0, "1"), (1, "2"), (1, "2"), (2, "3"), (0, "4"), (0, "4"), (1, "5"), (1, "5"), (2, "6")]"#.into()
            )
        );
        let rows = Rows {
            query: "q",
            by: &by,
            dialect: Dialect::Sqlite,
        };
        let last = rows.end(End::Last);
        assert!(last.contains(r#"SELECT stoke_rows."a", stoke_rows."b", stoke_rows."c" FROM (q"#));
        assert!(
            last.ends_with(r#"ORDER BY stoke_rows."a", stoke_rows."b", stoke_rows."c" LIMIT 1"#)
        );
    }
}
