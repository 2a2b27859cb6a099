//! Cutting a scan into ranges, by few statements that an index answers.
//!
//! Of one column of whole numbers or UUIDs, the two ends are asked for, and what lies between is cut evenly: ranges have as many
//! rows as there are, some none. Of all else, nobody can say here what lies between two places: so the database is asked for every
//! so manieth one, which reads the index once. In both cases the database says first how many rows it expects.

use stoke_core::scan::{Range, Scan, even_cuts};

use super::place::{Bound, Bounds};
use super::reader::{Places, Reads};
use super::sql::{self, End, Rows, Statement};
use super::{Cut, NotAPlace, Taken, scan_of};
use crate::catalog::LoaderSpec;
use crate::origin::meter::Meter;
use crate::origin::rewrite::Dialect;
use crate::origin::{Engine, OriginError};

/// So many ranges where the database does not say how many rows there are.
const RANGES_UNKNOWN: u64 = 256;
/// After so many steps over a column that cannot be cut, the next ones are twice as long: a wrong estimate costs no more
/// statements than this for each time that it is doubled.
const STEPS_AT_ONCE: u64 = 256;

/// Cuts what a loader scans into ranges.
pub(in crate::origin) async fn ranges(
    engine: &Engine,
    meter: &mut Meter<'_>,
    loader: &LoaderSpec,
    dialect: Dialect,
) -> Result<Cut, OriginError> {
    let scan = scan_of(loader)?;
    let cutter = Cutter {
        engine,
        loader,
        scan,
        query: sql::whole(loader, dialect)?,
        dialect,
    };
    let places = cutter.places(meter).await?;
    Ok(Cut {
        ranges: Range::between(places.0).collect(),
        rows_estimated: places.1,
        rows: meter.rows(),
    })
}

struct Cutter<'a> {
    engine: &'a Engine,
    loader: &'a LoaderSpec,
    scan: &'a Scan,
    query: String,
    dialect: Dialect,
}

impl Cutter<'_> {
    fn rows(&self) -> Rows<'_> {
        Rows {
            query: &self.query,
            by: &self.scan.by,
            dialect: self.dialect,
        }
    }

    /// Where it is cut, and how many rows there are, as far as that is known.
    async fn places(
        &self,
        meter: &mut Meter<'_>,
    ) -> Result<(Vec<String>, Option<u64>), OriginError> {
        let Some((first, kind)) = self.end(meter, End::First).await? else {
            return Ok((Vec::new(), Some(0)));
        };
        let rows = self.estimate(meter).await?;
        if kind == Places::Others {
            let cut = self.walk(meter, rows).await?;
            return Ok((cut, rows));
        }
        let Some((last, _)) = self.end(meter, End::Last).await? else {
            return Ok((Vec::new(), Some(0)));
        };
        Ok(match even(kind, &first, &last, rows, self.scan) {
            Some((places, rows)) => (places, rows),
            // It has been changed meanwhile, or is not what it seemed.
            None => (self.walk(meter, rows).await?, rows),
        })
    }

    /// Every so manieth place.
    async fn walk(
        &self,
        meter: &mut Meter<'_>,
        rows: Option<u64>,
    ) -> Result<Vec<String>, OriginError> {
        let rows = rows.unwrap_or(u64::from(self.scan.rows) * RANGES_UNKNOWN);
        let ranges = self.scan.ranges_of(rows).min(STEPS_AT_ONCE);
        // An estimate may be far too low: a step is never much less than a page.
        let least = (self.scan.rows - self.scan.rows / 10).max(1);
        let mut step = rows.div_ceil(ranges).max(least.into());
        let mut places: Vec<String> = Vec::new();
        loop {
            let behind = Range {
                after: places.last().cloned(),
                until: None,
            };
            let bounds = Bounds::of(&behind, &self.scan.by).map_err(|reason| {
                let by = self.scan.by.clone();
                OriginError::permanent(self.doing(), NotAPlace { by, reason })
            })?;
            let asked = self.rows().step(&bounds, step);
            let taken = self.ask(meter, asked, Reads::Place(&self.scan.by));
            match taken.await?.rows.pop() {
                Some(row) => places.push(row.at),
                None => return Ok(places),
            }
            if (places.len() as u64).is_multiple_of(STEPS_AT_ONCE) {
                step = step.saturating_mul(2);
            }
        }
    }

    async fn end(
        &self,
        meter: &mut Meter<'_>,
        end: End,
    ) -> Result<Option<(String, Places)>, OriginError> {
        let asked = (self.rows().end(end), Vec::new());
        let taken = self.ask(meter, asked, Reads::Place(&self.scan.by));
        let mut taken = taken.await?;
        Ok(taken.rows.pop().map(|row| (row.at, taken.places)))
    }

    /// How many rows the database expects. That it cannot say so is no reason not to scan.
    async fn estimate(&self, meter: &mut Meter<'_>) -> Result<Option<u64>, OriginError> {
        let asked = (self.rows().estimate(), Vec::new());
        match self.ask(meter, asked, Reads::Text).await {
            Ok(mut taken) => {
                let text = taken.rows.pop().map(|row| row.at);
                Ok(text.and_then(|text| estimated(&text, self.dialect)))
            }
            Err(error) if error.is_stopped() || error.is_outage() => Err(error),
            Err(error) => {
                let (loader, error) = (self.loader.name.as_str(), error.explain());
                tracing::debug!(loader, error, "nobody says how many rows a scan has");
                Ok(None)
            }
        }
    }

    async fn ask(
        &self,
        meter: &mut Meter<'_>,
        (sql, bounds): (String, Vec<Bound<'_>>),
        reads: Reads<'_>,
    ) -> Result<Taken, OriginError> {
        let statement = Statement {
            doing: self.doing(),
            sql,
            bounds,
            rows: 1,
            reads,
        };
        let mut taken = Taken::default();
        self.engine.scan(meter, &statement, &mut taken).await?;
        Ok(taken)
    }

    fn doing(&self) -> String {
        let name = self.loader.name.as_str();
        format!("cut the rows of loader {name:?} into ranges")
    }
}

/// The places that cut what lies between two of them into even parts, and how many rows there are at most. `None`: they are not
/// in this order.
fn even(
    kind: Places,
    first: &str,
    last: &str,
    rows: Option<u64>,
    scan: &Scan,
) -> Option<(Vec<String>, Option<u64>)> {
    let number = |place: &str| match kind {
        Places::Integers => place.parse::<i128>().ok(),
        Places::Uuids => upper_half(place),
        Places::Others => None,
    };
    let (first, last) = (number(first)?, number(last)?);
    let (least, most) = match scan.by.is_descending() {
        false => (first, last),
        true => (last, first),
    };
    let span = most.checked_sub(least).filter(|span| *span >= 0)?;
    let at_most = match kind {
        Places::Integers => u64::try_from(span).ok().and_then(|n| n.checked_add(1)),
        Places::Uuids | Places::Others => None,
    };
    let (ranges, rows) = match (rows, at_most) {
        (Some(rows), at_most) => {
            let rows = at_most.map_or(rows, |most| most.min(rows));
            (scan.ranges_of(rows), Some(rows))
        }
        // There may be gaps as large as all of it.
        (None, Some(most)) => (scan.ranges_of(most).min(RANGES_UNKNOWN), None),
        (None, None) => (RANGES_UNKNOWN, None),
    };
    let cuts = even_cuts(least, most, ranges);
    let text = |cut: i128| match kind {
        Places::Uuids => uuid_of_upper_half(cut),
        Places::Integers | Places::Others => cut.to_string(),
    };
    let mut places: Vec<String> = cuts.map(text).collect();
    if scan.by.is_descending() {
        places.reverse();
    }
    Some((places, rows))
}

/// The first eight bytes of a UUID, as a number.
fn upper_half(uuid: &str) -> Option<i128> {
    let digits: String = uuid.chars().filter(|c| *c != '-').take(16).collect();
    (digits.len() == 16)
        .then(|| i128::from_str_radix(&digits, 16).ok())
        .flatten()
}

fn uuid_of_upper_half(half: i128) -> String {
    let digits = format!("{half:016x}");
    format!(
        "{}-{}-{}-0000-000000000000",
        &digits[..8],
        &digits[8..12],
        &digits[12..16]
    )
}

/// How many rows an explanation expects, or a count has found.
fn estimated(text: &str, dialect: Dialect) -> Option<u64> {
    let json = || serde_json::from_str::<serde_json::Value>(text).ok();
    let rows = match dialect {
        Dialect::Sqlite => return text.parse().ok(),
        Dialect::Postgres => json()?.pointer("/0/Plan/Plan Rows")?.as_f64()?,
        Dialect::MySql => {
            let mut rows = None;
            joined(&json()?, &mut rows);
            rows?
        }
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate: what is beyond the bounds is at them"
    )]
    Some(rows.ceil() as u64)
}

/// Of the tables that MySQL or MariaDB joins, the product of what it takes of each; MySQL says it itself.
fn joined(json: &serde_json::Value, rows: &mut Option<f64>) {
    use serde_json::Value::{Array, Object};
    let number = |value: Option<&serde_json::Value>| {
        let value = value?;
        value.as_f64().or_else(|| value.as_str()?.parse().ok())
    };
    match json {
        Array(items) => items.iter().for_each(|item| joined(item, rows)),
        Object(members) => {
            if let Some(all) = number(members.get("rows_produced_per_join")) {
                *rows = Some(all);
            } else if let Some(examined) = number(members.get("rows")) {
                let part = number(members.get("filtered")).unwrap_or(100.0) / 100.0;
                *rows = Some(rows.unwrap_or(1.0) * examined * part);
            }
            members.values().for_each(|value| joined(value, rows));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(by: &str) -> Scan {
        Scan {
            by: by.parse().unwrap(),
            rows: 5000,
        }
    }

    #[test]
    fn numbers_are_cut_by_the_rows_expected_and_no_more_than_there_are_numbers() {
        let even = |first, last, rows| even(Places::Integers, first, last, rows, &scan("id"));
        let (places, rows) = even("1", "200000", Some(210_000)).unwrap();
        assert_eq!((places.len(), rows), (44, Some(200_000)));
        let (places, rows) = even("-5", "1000000000000", Some(9000)).unwrap();
        assert_eq!((places, rows), (vec!["499999999997".into()], Some(9000)));
        let (places, rows) = even("0", "9223372036854775807", None).unwrap();
        assert_eq!((places.len(), rows), (255, None));
        assert_eq!(even("7", "7", Some(1)), Some((vec![], Some(1))));
        assert_eq!(even("7", "6", Some(1)), None);
        assert_eq!(even("a", "b", Some(1)), None);
    }

    #[test]
    fn from_the_greatest_on_the_same_cuts_come_the_other_way_round() {
        let cut = |first, last, by| even(Places::Integers, first, last, Some(13_500), &scan(by));
        let (rising, _) = cut("1", "13500", "id").unwrap();
        let (falling, rows) = cut("13500", "1", "id DESC").unwrap();
        assert_eq!(
            (rising.as_slice(), rows),
            (&["4500".into(), "9000".into()][..], Some(13_500))
        );
        assert_eq!(falling, ["9000", "4500"]);
        assert_eq!(cut("1", "13500", "id DESC"), None);
    }

    #[test]
    fn uuids_are_cut_by_their_first_bytes() {
        let (first, last) = (
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
        );
        let cut = even(Places::Uuids, first, last, Some(9001), &scan("id"));
        let (places, rows) = cut.unwrap();
        assert_eq!(rows, Some(9001));
        assert_eq!(
            places,
            [
                "55555555-5555-5555-0000-000000000000",
                "aaaaaaaa-aaaa-aaaa-0000-000000000000"
            ]
        );
    }

    #[test]
    fn explanations_tell_how_many_rows_are_expected() {
        let postgres = r#"[{"Plan": {"Node Type": "Seq Scan", "Plan Rows": 1234}}]"#;
        assert_eq!(estimated(postgres, Dialect::Postgres), Some(1234));
        let mysql = r#"{"query_block": {"nested_loop": [{"table": {"rows_examined_per_scan": 9, "rows_produced_per_join": 9}},
            {"table": {"rows_examined_per_scan": 1, "rows_produced_per_join": "7"}}]}}"#;
        assert_eq!(estimated(mysql, Dialect::MySql), Some(7));
        let mariadb = r#"{"query_block": {"table": {"rows": 1000, "filtered": 50}, "block-nl-join": {"table": {"rows": 3, "filtered": 100}}}}"#;
        assert_eq!(estimated(mariadb, Dialect::MySql), Some(1500));
        assert_eq!(estimated("12", Dialect::Sqlite), Some(12));
        for text in ["", "{}", "[]", "nonsense"] {
            assert_eq!(estimated(text, Dialect::Postgres), None);
            assert_eq!(estimated(text, Dialect::MySql), None);
        }
    }
}
