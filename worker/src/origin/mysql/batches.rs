//! The keys of a load, in the batches that are asked; and in ever smaller ones where a key fails its batch.
//!
//! Pure. MySQL refuses a list in which one key has characters that the column's character set has not, and does not say which.
//! Every character set has ASCII, so keys that are only that are not to blame: where they are refused among themselves, the
//! query is.

use crate::origin::sheet::{AskedKey, Sheet};

/// Why a key that is refused alone has failed.
const NOT_IN_CHARACTER_SET: &str =
    "the column's character set has not all of its characters, so it has no row";

/// What is yet to be asked, the next batch last.
#[derive(Debug)]
pub(super) struct Batches<'k>(Vec<Vec<AskedKey<'k>>>);

impl<'k> Batches<'k> {
    pub(super) fn new(keys: &[AskedKey<'k>], batch_keys: usize) -> Self {
        Self(keys.chunks(batch_keys).rev().map(<[_]>::to_vec).collect())
    }

    pub(super) fn next(&mut self) -> Option<Vec<AskedKey<'k>>> {
        self.0.pop()
    }

    /// Puts a batch back in two parts, since one of its keys has characters that the column cannot have; where there is one key
    /// only, it has failed. False where it is no key's fault.
    pub(super) fn part(&mut self, batch: Vec<AskedKey<'k>>, sheet: &mut Sheet<'k>) -> bool {
        let (plain, mut odd): (Vec<AskedKey<'k>>, Vec<AskedKey<'k>>) =
            batch.into_iter().partition(|(_, text)| text.is_ascii());
        match (plain.is_empty(), odd.as_slice()) {
            (_, []) => return false,
            (true, [(slot, _)]) => sheet.answer(*slot, Err(NOT_IN_CHARACTER_SET.to_owned())),
            (true, _) => {
                let half = odd.split_off(odd.len() / 2);
                self.0.extend([half, odd]);
            }
            (false, _) => self.0.extend([odd, plain]),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::Answer;
    use crate::origin::sheet::RowsPerKey;

    /// Asks all batches of a column that has no letter beyond é; how many queries that took, and how many keys failed.
    fn ask(texts: &[String], batch_keys: usize) -> (u32, usize) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut sheet = Sheet::new(&texts, RowsPerKey::One, |text| Ok(text.into()));
        let mut batches = Batches::new(&sheet.to_ask(), batch_keys);
        let mut queries = 0;
        let mut fine = 0;
        while let Some(batch) = batches.next() {
            queries += 1;
            assert!((1..=batch_keys).contains(&batch.len()));
            if batch.iter().any(|(_, text)| text.contains(|c| c > 'é')) {
                assert!(batches.part(batch, &mut sheet));
            } else {
                fine += batch.len();
            }
        }
        let answers = sheet.finish(0, 0).answers;
        let failed = answers
            .iter()
            .filter(|a| matches!(a, Answer::Failed { .. }));
        let failed = failed.count();
        assert_eq!(fine + failed, texts.len());
        (queries, failed)
    }

    #[test]
    fn each_key_is_asked_or_fails_alone_after_few_queries() {
        let plain = |count: usize| (0..count).map(|i| format!("k{i}"));
        let latin = |count: usize| (0..count).map(|i| format!("é{i}"));
        let all: Vec<String> = plain(1200).collect();
        assert_eq!(ask(&all, 500), (3, 0));
        let one: Vec<String> = plain(499).chain(["😀".to_owned()]).collect();
        assert_eq!(ask(&one, 500), (3, 1), "all, the plain ones, the odd one");
        let many: Vec<String> = plain(200)
            .chain(latin(255))
            .chain(["😀".to_owned()])
            .collect();
        assert_eq!(ask(&many, 500), (2 + 2 * 8 + 1, 1));
    }

    #[test]
    fn keys_that_every_column_can_have_are_not_to_blame() {
        let texts = ["a", "b"];
        let mut sheet = Sheet::new(&texts, RowsPerKey::One, |text| Ok(text.into()));
        let mut batches = Batches::new(&sheet.to_ask(), 2);
        let batch = batches.next().unwrap();
        assert!(!batches.part(batch, &mut sheet));
    }
}
