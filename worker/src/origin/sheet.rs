//! Which rows answer which keys.
//!
//! Pure. Keys are compared by their canonical text, so that a row with the number 7 answers the key "007". Keys that
//! have the same canonical text are asked once and answered alike.
//!
//! A row for a key that was not asked for is left out: a query may give more than it was asked for. But then a key without
//! a row cannot be told from one whose row came under another spelling (a collation that ignores case, another column):
//! it fails, for counting it as absent would call a cold key none.
//!
//! A second row for a key fails its entry too, unless its loader makes one value of all of a key's rows.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::SystemTime;

use bytes::Bytes;

use super::encode::check_size;
use super::{Answer, Loaded, Made};
use crate::catalog::LoaderSpec;
use crate::value::Value;

/// Why an entry has no value though the database gave one.
pub(super) type Reason = String;

/// Why an entry with two rows has failed.
const TWO_ROWS: &str = "two rows for one key, and nothing says which is right: let the query give one row a key, or store all of them (value = \"array\")";

/// How many rows a key may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowsPerKey {
    One,
    /// All that come, as an array of so many bytes at most.
    Many {
        bytes_max: u64,
    },
}

/// All rows of a key.
#[derive(Clone, Debug, Default)]
struct Rows {
    /// An array that lacks its last bracket.
    array: Vec<u8>,
    /// The earliest.
    expires_at: Option<SystemTime>,
    versions: Vec<Bytes>,
}

impl Rows {
    /// Adds a row's object.
    fn add(&mut self, row: &Made, object: &[u8]) {
        self.array
            .push(if self.array.is_empty() { b'[' } else { b',' });
        self.array.extend_from_slice(object);
        let both = self.expires_at.into_iter().chain(row.expires_at);
        self.expires_at = both.min();
        self.versions.extend(row.version.clone());
    }

    fn finish(mut self) -> Made {
        self.array.push(b']');
        self.versions.sort_unstable();
        let mut version = Vec::new();
        for one in &self.versions {
            version.extend_from_slice(&one.len().to_be_bytes());
            version.extend_from_slice(one);
        }
        Made {
            value: Value::String(self.array.into()),
            expires_at: self.expires_at,
            version: (!self.versions.is_empty()).then(|| version.into()),
        }
    }
}

impl RowsPerKey {
    /// As many as the loader's values take.
    pub(super) fn of(loader: &LoaderSpec) -> Self {
        match loader.value.form.takes_many_rows() {
            true => Self::Many {
                bytes_max: loader.max_value_bytes,
            },
            false => Self::One,
        }
    }
}

/// What has come for a key.
#[derive(Clone, Debug)]
enum Filled {
    Not,
    One(Made),
    Many(Rows),
    Failed(Reason),
}

/// Why an entry without a row has failed where there were rows for other keys.
fn no_row_but_strangers(unasked: u64, stranger: Option<&str>) -> Reason {
    let such_as = stranger.map_or(String::new(), |key| {
        format!(", such as {}", crate::source::shown(key.as_bytes()))
    });
    let rows = if unasked == 1 { "row" } else { "rows" };
    format!(
        "no row for this key, but {unasked} {rows} for keys that were not asked for{such_as}: let key-column name the column that has the keys as they are asked"
    )
}

/// A slot of a sheet, with the canonical text of its key: in most cases the text that the key was given as.
pub(super) type AskedKey<'k> = (usize, Cow<'k, str>);

/// The answers to some keys, filled row by row.
#[derive(Debug)]
pub(super) struct Sheet<'k> {
    /// The canonical texts; `None` where the key is none for this query, and must not be sent.
    asked: Vec<Option<Cow<'k, str>>>,
    rows: RowsPerKey,
    answers: Vec<Filled>,
    /// Into `answers`, by canonical text.
    index: HashMap<Cow<'k, str>, usize>,
    /// Into `answers`, for each key as it was given.
    of_key: Vec<usize>,
    unasked: u64,
    /// The key of the first row that nobody asked for, where it has one.
    stranger: Option<String>,
}

impl<'k> Sheet<'k> {
    /// An empty sheet for `keys`. A key that `canonical` refuses has failed already.
    pub(super) fn new(
        keys: &[&'k str],
        rows: RowsPerKey,
        canonical: impl Fn(&'k str) -> Result<Cow<'k, str>, Reason>,
    ) -> Self {
        let mut sheet = Self {
            rows,
            asked: Vec::with_capacity(keys.len()),
            answers: Vec::with_capacity(keys.len()),
            index: HashMap::with_capacity(keys.len()),
            of_key: Vec::with_capacity(keys.len()),
            unasked: 0,
            stranger: None,
        };
        for key in keys {
            let next = sheet.answers.len();
            let slot = match canonical(key) {
                Ok(text) => match sheet.index.get(&text) {
                    Some(&slot) => slot,
                    None => {
                        sheet.index.insert(text.clone(), next);
                        sheet.asked.push(Some(text));
                        sheet.answers.push(Filled::Not);
                        next
                    }
                },
                Err(reason) => {
                    sheet.asked.push(None);
                    sheet.answers.push(Filled::Failed(reason));
                    next
                }
            };
            sheet.of_key.push(slot);
        }
        sheet
    }

    /// The slots that are to be asked, with their canonical texts, each once. They are in the order in which an index has
    /// them, as far as that can be told (numbers as numbers, all else as texts): what lies together is read together.
    pub(super) fn to_ask(&self) -> Vec<AskedKey<'k>> {
        let texts = self.asked.iter().enumerate();
        let texts = texts.filter_map(|(slot, text)| Some((slot, text.clone()?)));
        let mut asked: Vec<AskedKey<'k>> = texts.collect();
        let are_numbers = |(_, text): &AskedKey<'_>| text.bytes().all(|byte| byte.is_ascii_digit());
        if asked.iter().all(are_numbers) {
            asked.sort_unstable_by(|(_, one), (_, other)| {
                (one.len(), one).cmp(&(other.len(), other))
            });
        } else {
            asked.sort_unstable_by(|(_, one), (_, other)| one.cmp(other));
        }
        asked
    }

    /// The slot that a row with this canonical key answers; a row for a key that nobody asked for is counted.
    pub(super) fn slot(&mut self, canonical: Option<&str>) -> Option<usize> {
        let slot = canonical.and_then(|text| self.index.get(text).copied());
        if slot.is_none() {
            self.unasked += 1;
            if self.stranger.is_none() {
                self.stranger = canonical.map(str::to_owned);
            }
        }
        slot
    }

    /// Answers a slot by a row. Where a key has one row, a second one fails its entry: which of them is right, nobody
    /// can say.
    pub(super) fn answer(&mut self, slot: usize, made: Result<Made, Reason>) {
        let filled = &mut self.answers[slot];
        *filled = match (self.rows, std::mem::replace(filled, Filled::Not), made) {
            (_, Filled::Failed(reason), _) => Filled::Failed(reason),
            (RowsPerKey::Many { bytes_max }, before, Ok(made)) => {
                let mut rows = match before {
                    Filled::Many(rows) => rows,
                    _ => Rows::default(),
                };
                let object = made.value.string().cloned().unwrap_or_default();
                rows.add(&made, &object);
                match check_size(rows.array.len() as u64 + 1, bytes_max) {
                    Ok(()) => Filled::Many(rows),
                    Err(reason) => Filled::Failed(reason),
                }
            }
            (RowsPerKey::Many { .. }, _, Err(reason)) => Filled::Failed(reason),
            (_, Filled::Not, Ok(made)) => Filled::One(made),
            (_, Filled::Not, Err(reason)) => Filled::Failed(reason),
            _ => Filled::Failed(TWO_ROWS.to_owned()),
        };
    }

    /// The answers in the order of the keys.
    pub(super) fn finish(self, queries: u64, rows: u64) -> Loaded {
        let absent = if self.unasked > 0 {
            Answer::Failed {
                reason: no_row_but_strangers(self.unasked, self.stranger.as_deref()),
            }
        } else {
            Answer::Absent
        };
        let answer = |filled| match filled {
            Filled::Not => absent.clone(),
            Filled::One(made) => Answer::Row(made),
            Filled::Many(rows) => Answer::Row(rows.finish()),
            Filled::Failed(reason) => Answer::Failed { reason },
        };
        let all_differ = self.answers.len() == self.of_key.len();
        let mut answers: Vec<Answer> = self.answers.into_iter().map(answer).collect();
        if !all_differ {
            let of_key = self.of_key.iter().map(|&slot| answers[slot].clone());
            answers = of_key.collect();
        }
        Loaded {
            answers,
            rows,
            queries,
            unasked: self.unasked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Result<Cow<'_, str>, Reason> {
        text.parse::<i64>()
            .map(|n| n.to_string().into())
            .map_err(|_| format!("{text:?} is no number"))
    }

    fn sheet<'k>(keys: &[&'k str]) -> Sheet<'k> {
        Sheet::new(keys, RowsPerKey::One, number)
    }

    fn value(text: &'static str) -> Result<Made, Reason> {
        Ok(Value::from(text).into())
    }

    fn row(text: &'static str) -> Answer {
        Answer::Row(Value::from(text).into())
    }

    #[test]
    fn rows_answer_keys_by_canonical_text_and_duplicates_alike() {
        let mut sheet = sheet(&["007", "8", "7", "abc"]);
        assert_eq!(sheet.to_ask(), [(0, "7".into()), (1, "8".into())]);
        let slot = sheet.slot(Some("7")).unwrap();
        sheet.answer(slot, value("bond"));
        let loaded = sheet.finish(1, 1);
        let bond = row("bond");
        let failed = Answer::Failed {
            reason: "\"abc\" is no number".to_owned(),
        };
        assert_eq!(loaded.answers, [bond.clone(), Answer::Absent, bond, failed]);
    }

    #[test]
    fn keys_are_asked_in_the_order_of_an_index() {
        let asked = |keys: &[&'static str]| {
            let sheet = Sheet::new(keys, RowsPerKey::One, |key| Ok(key.into()));
            let asked = sheet.to_ask().into_iter();
            asked
                .map(|(slot, key)| (slot, key.into_owned()))
                .collect::<Vec<_>>()
        };
        let keys = |keys: &[(usize, &str)]| -> Vec<(usize, String)> {
            keys.iter()
                .map(|(slot, key)| (*slot, (*key).to_owned()))
                .collect()
        };
        assert_eq!(
            asked(&["10", "9", "100", "10"]),
            keys(&[(1, "9"), (0, "10"), (2, "100")])
        );
        assert_eq!(
            asked(&["b", "10", "9"]),
            keys(&[(1, "10"), (2, "9"), (0, "b")])
        );
    }

    #[test]
    fn two_rows_for_one_key_fail_it_and_rows_for_no_key_are_counted() {
        let mut sheet = sheet(&["1", "2"]);
        for _ in 0..3 {
            let slot = sheet.slot(Some("1")).unwrap();
            sheet.answer(slot, value(""));
        }
        assert_eq!(sheet.slot(Some("3")), None);
        assert_eq!(sheet.slot(None), None);
        let loaded = sheet.finish(1, 5);
        assert_eq!(reason(&loaded.answers[0]), TWO_ROWS);
        assert_eq!((loaded.unasked, loaded.rows), (2, 5));
    }

    #[test]
    fn all_rows_of_a_key_are_one_array_where_they_are_asked_for() {
        let keys = ["1", "2", "3", "4", "5"];
        let mut sheet = Sheet::new(&keys, RowsPerKey::Many { bytes_max: 14 }, number);
        for (key, row) in [
            ("1", value("{\"a\":1}")),
            ("2", value("{}")),
            ("1", value("{}")),
            ("2", value("{\"b\":2}")),
            ("3", value("{\"c\":3}")),
            ("3", value("{\"d\":4}")),
            ("4", value("{}")),
            ("4", Err("NaN has no form".to_owned())),
            ("4", value("{}")),
        ] {
            let slot = sheet.slot(Some(key)).unwrap();
            sheet.answer(slot, row);
        }
        let answers = sheet.finish(1, 9).answers;
        assert_eq!(answers[0], row("[{\"a\":1},{}]"));
        assert_eq!(answers[1], row("[{},{\"b\":2}]"));
        assert!(reason(&answers[2]).contains("max-value-bytes is 14"));
        assert_eq!(reason(&answers[3]), "NaN has no form");
        assert_eq!(answers[4], Answer::Absent);
    }

    #[test]
    fn rows_of_a_key_expire_with_the_first_and_have_one_version_in_whatever_order_they_come() {
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds));
        let made = |rows: &[(&'static str, Option<SystemTime>)]| {
            let many = RowsPerKey::Many { bytes_max: 100 };
            let mut sheet = Sheet::new(&["1"], many, number);
            for (version, expires_at) in rows {
                let made = Made {
                    value: "{}".into(),
                    expires_at: *expires_at,
                    version: Some((*version).into()),
                };
                let slot = sheet.slot(Some("1")).unwrap();
                sheet.answer(slot, Ok(made));
            }
            match sheet.finish(1, 1).answers.pop() {
                Some(Answer::Row(made)) => (made.expires_at, made.version),
                other => panic!("{other:?}"),
            }
        };
        let (expires_at, version) = made(&[("a", at(9)), ("b", None), ("c", at(7))]);
        assert_eq!(expires_at, at(7));
        assert_eq!(version, made(&[("c", None), ("a", None), ("b", None)]).1);
        for others in [&["a", "b"][..], &["a", "b", "d"], &["ab", "c", ""]] {
            let rows: Vec<_> = others.iter().map(|version| (*version, None)).collect();
            assert_ne!(version, made(&rows).1, "{others:?}");
        }
    }

    #[test]
    fn a_key_without_a_row_is_absent_unless_there_are_rows_that_nobody_asked_for() {
        let mut complete = sheet(&["1", "2"]);
        for key in ["1", "2"] {
            let slot = complete.slot(Some(key)).unwrap();
            complete.answer(slot, value(""));
        }
        complete.slot(Some("3"));
        let row = row("");
        assert_eq!(complete.finish(1, 3).answers, [row.clone(), row.clone()]);

        assert_eq!(sheet(&["2"]).finish(1, 0).answers, [Answer::Absent]);

        let mut doubtful = sheet(&["1", "2", "x"]);
        let slot = doubtful.slot(Some("1")).unwrap();
        doubtful.answer(slot, value(""));
        doubtful.slot(None);
        doubtful.slot(Some("3"));
        let answers = doubtful.finish(1, 3).answers;
        assert_eq!(answers[0], row);
        assert!(
            reason(&answers[1]).starts_with(
                "no row for this key, but 2 rows for keys that were not asked for, such as \"3\":"
            ),
            "{answers:?}"
        );
        assert_eq!(reason(&answers[2]), "\"x\" is no number");
    }

    fn reason(answer: &Answer) -> &str {
        match answer {
            Answer::Failed { reason } => reason,
            other => panic!("not failed: {other:?}"),
        }
    }
}
