//! Which rows answer which keys.
//!
//! Pure. Keys are compared by their canonical text, so that a row with the number 7 answers the key "007". Keys that
//! have the same canonical text are asked once and answered alike.

use std::collections::HashMap;

use bytes::Bytes;

use super::{Answer, Loaded};

/// Why an entry has no value though the database gave one.
pub(super) type Reason = String;

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
        self.unasked += u64::from(slot.is_none());
        slot
    }

    /// Answers a slot. A second row for one key fails its entry: which of them is right, nobody can say.
    pub(super) fn answer(&mut self, slot: usize, value: Result<Bytes, Reason>) {
        let answer = match (&self.answers[slot], value) {
            (Answer::Absent, Ok(value)) => Answer::Row(value),
            (Answer::Absent, Err(reason)) => Answer::Failed { reason },
            _ => Answer::Failed {
                reason: "two rows for one key".to_owned(),
            },
        };
        self.answers[slot] = answer;
    }

    /// The answers in the order of the keys.
    pub(super) fn finish(self, queries: u64, rows: u64) -> Loaded {
        let answers = self
            .of_key
            .iter()
            .map(|&slot| self.answers[slot].clone())
            .collect();
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
        assert_eq!(
            loaded.answers[0],
            Answer::Failed {
                reason: "two rows for one key".to_owned()
            }
        );
        assert_eq!((loaded.unasked, loaded.rows), (2, 5));
    }
}
