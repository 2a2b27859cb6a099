//! Reading all rows of a query, a page at a time, in the order of some columns; and cutting it into ranges before.
//!
//! The query stands as it is in a subquery, whose rows are compared and ordered by the loader's columns: the databases take that
//! for a condition on the table itself, so that one index serves both, and what the query leaves out stays out.
//!
//! A *place* is a value of each of those columns in a text form from which the database's own type can be made again; how, each
//! database's module says. Places are never compared here: which is behind which, only the database knows.
//!
//! A page asks for one row more than it gives: it tells whether there are more, and whether places are unique there. Rows of
//! one place on both sides of a page's end would be skipped, so columns that are not unique fail their range.

mod cut;
mod place;
mod reader;
mod sql;

use bytes::Bytes;
use stoke_core::scan::{Order, Range, Scan};

pub(super) use cut::ranges;
pub(super) use reader::{Places, Reader, Taken};
pub(super) use sql::Statement;

use place::Bounds;
use sql::Rows;

use super::rewrite::Dialect;
use super::sheet::Reason;
use super::{Made, OriginError};
use crate::catalog::LoaderSpec;

/// A page ends early when its rows have so many bytes, whatever it asked for: its connection is closed then.
const PAGE_BYTES_MAX: usize = 32 << 20;

/// Some rows, in the order of their places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The rows.
    pub rows: Vec<PageRow>,
    /// Whether there are more behind them.
    pub more: bool,
    /// About how many bytes they have here.
    pub bytes: usize,
}

/// A row that is to become an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRow {
    /// Its place.
    pub at: String,
    /// Its cache key, or why it has none.
    pub key: Result<Bytes, String>,
    /// What was made of it, or why that could not be done.
    pub made: Result<Made, String>,
}

/// A scan, cut into ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// At least one, together all of it, in their order.
    pub ranges: Vec<Range>,
    /// How many rows they have, as the database estimates.
    pub rows_estimated: Option<u64>,
    /// Rows received for that.
    pub rows: u64,
}

/// A loader takes keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the loader takes keys, and scans nothing")]
pub(super) struct NoScan;

/// The columns that order a scan are not unique.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "two rows have the same {} ({at}), and rows would be skipped where a page ends between them: scan by a unique column, or by \
     columns that are unique together (those of the primary key may stand behind others), and let the query give one row for each \
     of their values",
    named(by)
)]
struct NotUnique {
    by: Order,
    at: String,
}

/// A range is none of this order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a range of the scan is not in the order {by}, as if the loader had been another when it was planned: {reason}"
)]
struct NotAPlace {
    by: Order,
    reason: Reason,
}

fn named(by: &Order) -> String {
    let names = by.columns().iter().map(|name| format!("{name:?}"));
    names.collect::<Vec<_>>().join(", ")
}

/// How a loader scans.
pub(super) fn scan_of(loader: &LoaderSpec) -> Result<&Scan, OriginError> {
    let doing = || format!("scan with loader {:?}", loader.name.as_str());
    let scan = loader.scan.as_ref();
    scan.ok_or_else(|| OriginError::permanent(doing(), NoScan))
}

/// The statement that reads the next rows of a range.
pub(super) fn page<'a>(
    loader: &'a LoaderSpec,
    scan: &'a Scan,
    range: &'a Range,
    rows: u32,
    dialect: Dialect,
) -> Result<Statement<'a>, OriginError> {
    let doing = format!("read rows of loader {:?}", loader.name.as_str());
    let query = sql::whole(loader, dialect)?;
    let bounds = Bounds::of(range, &scan.by).map_err(|reason| {
        let by = scan.by.clone();
        OriginError::permanent(doing.as_str(), NotAPlace { by, reason })
    })?;
    let limit = u64::from(rows) + 1;
    let all = Rows {
        query: &query,
        by: &scan.by,
        dialect,
    };
    let (sql, bounds) = all.page(&bounds, limit);
    Ok(Statement {
        doing,
        sql,
        bounds,
        rows: limit,
        reads: reader::Reads::Rows(loader, &scan.by),
    })
}

/// What came for it, where it was to give so many rows.
pub(super) fn paged(
    loader: &LoaderSpec,
    scan: &Scan,
    mut taken: Taken,
    rows: u32,
) -> Result<Page, OriginError> {
    let same = taken.rows.windows(2).find(|pair| pair[0].at == pair[1].at);
    if let Some([row, _]) = same {
        let doing = format!("scan with loader {:?}", loader.name.as_str());
        let fault = NotUnique {
            by: scan.by.clone(),
            at: crate::source::shown(row.at.as_bytes()),
        };
        return Err(OriginError::permanent(doing, fault));
    }
    let wanted = usize::try_from(rows).unwrap_or(usize::MAX);
    let more = taken.is_full() || taken.rows.len() > wanted;
    taken.rows.truncate(wanted);
    Ok(Page {
        more,
        bytes: taken.bytes,
        rows: taken.rows,
    })
}
