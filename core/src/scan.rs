//! Scans: a table read in ranges of the columns that order it, without a list of keys.
//!
//! A plan has an entry for each range. Its rows are counted when it has been read to its end: then they take the place of the
//! range, which until then counts as one (see [`RangeRows`](crate::progress::RangeRows)). The first range is open below and
//! the last above, so that rows which are added outside what was there when the job was planned are read, too.

mod order;

use serde::{Deserialize, Serialize};

pub use order::{COLUMNS_MAX, Order, OrderFault};

use crate::value::ValueSpec;

/// Rows in one query where nobody says.
pub const ROWS_DEFAULT: u32 = 5000;
/// The most rows in one query: a worker holds a few times as many.
pub const ROWS_MAX: u32 = 100_000;
/// As many ranges a scan should have at least, where each still has about the rows of one query: so that they can be shared.
const RANGES_WANTED: u64 = 64;
/// How many queries a range should take at most.
const QUERIES_A_RANGE: u64 = 4;
/// How many ranges a scan has at most, however many rows there are.
pub const RANGES_MAX: u64 = 65_536;

/// How a loader scans.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// The columns of the query that order its rows: together unique, never NULL, and indexed.
    pub by: Order,
    /// Rows in one query, from 1 to [`ROWS_MAX`].
    pub rows: u32,
}

/// What cannot be had of a loader that scans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanFault {
    /// Each row is an entry.
    #[error(
        "a scan makes an entry of each row, so several rows make no value: choose another form than array, or aggregate them in the query"
    )]
    ManyRows,
    /// It reads the rows that there are.
    #[error(
        "a scan reads the rows that are there, and knows of no absent ones: leave out what stands for them"
    )]
    Negative,
    /// Versions are read again by keys.
    #[error(
        "a scan has no keys by which versions could be read again: leave the version's column out, or load by keys"
    )]
    Versions,
    /// Too few or too many rows a query.
    #[error("a scan reads from 1 to {ROWS_MAX} rows in one query")]
    Rows,
}

impl Scan {
    /// Looks whether it can be, with values of this kind.
    ///
    /// # Errors
    /// The first thing that cannot.
    pub fn check(&self, value: &ValueSpec) -> Result<(), ScanFault> {
        if !(1..=ROWS_MAX).contains(&self.rows) {
            return Err(ScanFault::Rows);
        }
        if value.form.takes_many_rows() {
            return Err(ScanFault::ManyRows);
        }
        if value.negative.is_some() {
            return Err(ScanFault::Negative);
        }
        if value.versions.is_some() {
            return Err(ScanFault::Versions);
        }
        Ok(())
    }

    /// Into how many ranges about so many rows are cut: many more than there are workers, as long as each has about the rows of
    /// one query; with more rows, of a few queries each.
    #[must_use]
    pub fn ranges_of(&self, rows: u64) -> u64 {
        let query = u64::from(self.rows);
        // A little less than a query reads: ranges are uneven, and one row more is another query.
        let least = (query - query / 10).max(1);
        let queries = (rows / RANGES_WANTED / least).clamp(1, QUERIES_A_RANGE);
        rows.div_ceil(queries * least).clamp(1, RANGES_MAX)
    }

    /// How many queries so many rows in so many ranges take, about.
    #[must_use]
    pub fn queries_of(&self, rows: u64, ranges: u64) -> u64 {
        rows.div_ceil(self.rows.into()).max(ranges)
    }
}

/// A range of a scan: the rows behind one place and up to another, in the order of its columns. A place is a value of the column
/// in text form; of several columns, a JSON array of such texts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// Behind this place; `None`: from the first row on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Up to this one, it included; `None`: to the last row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

impl Range {
    /// The ranges between these places, in their order: one more than there are places.
    pub fn between(places: impl IntoIterator<Item = String>) -> impl Iterator<Item = Self> {
        let mut after = None;
        let places = places.into_iter().map(Some).chain([None]);
        places.map(move |until| Self {
            after: std::mem::replace(&mut after, until.clone()),
            until,
        })
    }
}

/// The places that cut the numbers from `min` to `max` into so many equal parts, or fewer where there are not so many numbers.
pub fn even_cuts(min: i128, max: i128, parts: u64) -> impl Iterator<Item = i128> {
    let span = max
        .checked_sub(min)
        .and_then(|span| u128::try_from(span).ok());
    let span = span.unwrap_or(0);
    let parts = u128::from(parts.max(1)).min(span.saturating_add(1));
    (1..parts).map(move |n| {
        // In two steps, for their product may be beyond 128 bits.
        let (whole, rest) = (span / parts, span % parts);
        let offset = whole * n + rest * n / parts;
        min.saturating_add(i128::try_from(offset).unwrap_or(i128::MAX))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value::{Form, Negative, Versions};

    fn scan(rows: u32) -> Scan {
        Scan {
            by: Order::ascending("id"),
            rows,
        }
    }

    #[test]
    fn ranges_are_many_where_each_fills_a_query_and_short_where_rows_are_many() {
        let scan = scan(5000);
        let of = |rows| scan.ranges_of(rows);
        assert_eq!([0, 1, 4500, 4501].map(of), [1, 1, 1, 2]);
        assert_eq!(of(200_000), 45);
        assert_eq!(of(10_000_000), 556);
        assert_eq!(of(500_000), 112, "of one query each");
        assert_eq!(of(u64::MAX), RANGES_MAX);
    }

    #[test]
    fn what_a_scan_cannot_have_is_refused() {
        let value = ValueSpec::default();
        assert_eq!(scan(5000).check(&value), Ok(()));
        assert_eq!(scan(0).check(&value), Err(ScanFault::Rows));
        assert_eq!(scan(ROWS_MAX + 1).check(&value), Err(ScanFault::Rows));
        let array = ValueSpec {
            form: Form::Array,
            ..ValueSpec::default()
        };
        assert_eq!(scan(1).check(&array), Err(ScanFault::ManyRows));
        let negative = ValueSpec {
            negative: Some(Negative {
                value: "null".into(),
                ttl: std::time::Duration::from_secs(1),
            }),
            ..ValueSpec::default()
        };
        assert_eq!(scan(1).check(&negative), Err(ScanFault::Negative));
        let versions = ValueSpec {
            versions: Some(Versions {
                column: "v".into(),
                origin: None,
            }),
            ..ValueSpec::default()
        };
        assert_eq!(scan(1).check(&versions), Err(ScanFault::Versions));
    }

    #[test]
    fn ranges_are_open_at_both_ends() {
        let of = |places: &[&str]| {
            let places = places.iter().map(|place| (*place).to_owned());
            let ranges = Range::between(places);
            ranges.map(|r| (r.after, r.until)).collect::<Vec<_>>()
        };
        let at = |place: &str| Some(place.to_owned());
        assert_eq!(of(&[]), [(None, None)]);
        assert_eq!(of(&["7"]), [(None, at("7")), (at("7"), None)]);
        assert_eq!(of(&["7", "9"])[1], (at("7"), at("9")));
    }

    proptest! {
        #[test]
        fn cuts_rise_lie_inside_and_are_even(
            min in any::<i64>(), max in any::<i64>(), parts in 0u64..2000,
        ) {
            let (min, max) = (i128::from(min.min(max)), i128::from(min.max(max)));
            let cuts: Vec<i128> = even_cuts(min, max, parts).collect();
            let bounds: Vec<i128> = [min].into_iter().chain(cuts.iter().copied()).chain([max]).collect();
            let expected = i128::from(parts.max(1)).min(max - min + 1) - 1;
            prop_assert_eq!(i128::try_from(cuts.len()).unwrap(), expected);
            let gaps: Vec<i128> = bounds.windows(2).map(|pair| pair[1] - pair[0]).collect();
            if let (Some(least), Some(most)) = (gaps.iter().min(), gaps.iter().max()) {
                prop_assert!(most - least <= 1 && (cuts.is_empty() || *least >= 0));
            }
        }
    }

    #[test]
    fn cuts_of_all_of_128_bits_do_not_overflow() {
        let cuts: Vec<i128> = even_cuts(0, i128::MAX, 65_536).collect();
        assert_eq!(cuts.len(), 65_535);
        assert!(cuts.is_sorted() && cuts[0] > 0);
    }
}
