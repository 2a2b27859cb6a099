//! Which rows answer which keys.
//!
//! Pure. Keys are compared by their canonical text, so that a row with the number 7 answers the key "007". Keys that
//! have the same canonical text are asked once and answered alike.
//!
//! A row for a key that was not asked for is left out: a query may give more than it was asked for. But then a key without
//! a row cannot be told from one whose row came under another spelling (a collation that ignores case, another column):
//! it fails, for counting it as absent would call a cold key none.

use std::collections::HashMap;

use bytes::Bytes;

use super::{Answer, Loaded};

/// Why an entry has no value though the database gave one.
pub(super) type Reason = String;

/// Why an entry with two rows has failed.
const TWO_ROWS: &str =
    "two rows for one key, and nothing says which is right: let the query give one row a key";

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

/// The answers to some keys, filled row by row.
#[derive(Debug)]
pub(super) struct Sheet {
    /// The canonical texts; `None` where the key is none for this query, and must not be sent.
    asked: Vec<Option<String>>,
    answers: Vec<Answer>,
    /// Into `answers`, by canonical text.
    index: HashMap<String, usize>,
    /// Into `answers`, for each key as it was given.
    of_key: Vec<usize>,
    unasked: u64,
    /// The key of the first row that nobody asked for, where it has one.
    stranger: Option<String>,
}

impl Sheet {
    /// An empty sheet for `keys`. A key that `canonical` refuses has failed already.
    pub(super) fn new(keys: &[String], canonical: impl Fn(&str) -> Result<String, Reason>) -> Self {
        let mut sheet = Self {
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
                        sheet.answers.push(Answer::Absent);
                        next
                    }
                },
                Err(reason) => {
                    sheet.asked.push(None);
                    sheet.answers.push(Answer::Failed { reason });
                    next
                }
            };
            sheet.of_key.push(slot);
        }
        sheet
    }

    /// The slots that are to be asked, with their canonical texts, each once.
    pub(super) fn to_ask(&self) -> Vec<(usize, String)> {
        let texts = self.asked.iter().enumerate();
        texts
            .filter_map(|(slot, text)| Some((slot, text.clone()?)))
            .collect()
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

    /// Answers a slot. A second row for one key fails its entry: which of them is right, nobody can say.
    pub(super) fn answer(&mut self, slot: usize, value: Result<Bytes, Reason>) {
        let answer = match (&self.answers[slot], value) {
            (Answer::Absent, Ok(value)) => Answer::Row(value),
            (Answer::Absent, Err(reason)) => Answer::Failed { reason },
            _ => Answer::Failed {
                reason: TWO_ROWS.to_owned(),
            },
        };
        self.answers[slot] = answer;
    }

    /// The answers in the order of the keys.
    pub(super) fn finish(self, queries: u64, rows: u64) -> Loaded {
        let doubtful = (self.unasked > 0).then(|| Answer::Failed {
            reason: no_row_but_strangers(self.unasked, self.stranger.as_deref()),
        });
        let answer = |&slot: &usize| match (&self.answers[slot], &doubtful) {
            (Answer::Absent, Some(doubtful)) => doubtful.clone(),
            (answer, _) => answer.clone(),
        };
        let answers = self.of_key.iter().map(answer).collect();
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

    fn number(text: &str) -> Result<String, Reason> {
        text.parse::<i64>()
            .map(|n| n.to_string())
            .map_err(|_| format!("{text:?} is no number"))
    }

    fn sheet(keys: &[&str]) -> Sheet {
        let keys: Vec<String> = keys.iter().map(|&key| key.to_owned()).collect();
        Sheet::new(&keys, number)
    }

    #[test]
    fn rows_answer_keys_by_canonical_text_and_duplicates_alike() {
        let mut sheet = sheet(&["007", "8", "7", "abc"]);
        assert_eq!(sheet.to_ask(), [(0, "7".to_owned()), (1, "8".to_owned())]);
        let slot = sheet.slot(Some("7")).unwrap();
        sheet.answer(slot, Ok(Bytes::from_static(b"bond")));
        let loaded = sheet.finish(1, 1);
        let bond = Answer::Row(Bytes::from_static(b"bond"));
        let failed = Answer::Failed {
            reason: "\"abc\" is no number".to_owned(),
        };
        assert_eq!(loaded.answers, [bond.clone(), Answer::Absent, bond, failed]);
    }

    #[test]
    fn two_rows_for_one_key_fail_it_and_rows_for_no_key_are_counted() {
        let mut sheet = sheet(&["1", "2"]);
        for _ in 0..3 {
            let slot = sheet.slot(Some("1")).unwrap();
            sheet.answer(slot, Ok(Bytes::new()));
        }
        assert_eq!(sheet.slot(Some("3")), None);
        assert_eq!(sheet.slot(None), None);
        let loaded = sheet.finish(1, 5);
        assert_eq!(reason(&loaded.answers[0]), TWO_ROWS);
        assert_eq!((loaded.unasked, loaded.rows), (2, 5));
    }

    #[test]
    fn a_key_without_a_row_is_absent_unless_there_are_rows_that_nobody_asked_for() {
        let mut complete = sheet(&["1", "2"]);
        for key in ["1", "2"] {
            let slot = complete.slot(Some(key)).unwrap();
            complete.answer(slot, Ok(Bytes::new()));
        }
        complete.slot(Some("3"));
        let row = Answer::Row(Bytes::new());
        assert_eq!(complete.finish(1, 3).answers, [row.clone(), row.clone()]);

        assert_eq!(sheet(&["2"]).finish(1, 0).answers, [Answer::Absent]);

        let mut doubtful = sheet(&["1", "2", "x"]);
        let slot = doubtful.slot(Some("1")).unwrap();
        doubtful.answer(slot, Ok(Bytes::new()));
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
