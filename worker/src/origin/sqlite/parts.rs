//! Which keys of several parts a row answers. As with keys of one part, only the stored types say which of them are the same.

use std::collections::HashMap;

use super::value::Key;
use crate::origin::composite;
use crate::origin::sheet::AskedKey;

/// Keys that were asked for: their slots, by their parts with numbers written alike.
#[derive(Debug, Default)]
pub(super) struct Asked(HashMap<Vec<String>, Vec<(usize, Vec<String>)>>);

impl Asked {
    /// Of these slots and arguments, each of so many parts.
    pub(super) fn new(keys: &[AskedKey<'_>], parts: usize) -> Self {
        let mut asked = Self::default();
        for (slot, key) in keys {
            let parts = composite::parts(key, parts).unwrap_or_default();
            let alike = parts.iter().map(|part| alike(part)).collect();
            asked.0.entry(alike).or_default().push((*slot, parts));
        }
        asked
    }

    /// Those that a row with this key answers.
    pub(super) fn slots(&self, row: &[Key]) -> Vec<usize> {
        let written = row.iter().map(|part| match part {
            Key::Number(number) => number.to_string(),
            Key::Text(text) => alike(text),
        });
        let found = self.0.get(&written.collect::<Vec<_>>());
        let is_same = |(of_row, asked): (&Key, &String)| match of_row {
            Key::Number(number) => asked.parse() == Ok(*number),
            Key::Text(text) => asked == text,
        };
        let found = found.into_iter().flatten();
        let answered = found.filter(|(_, parts)| row.iter().zip(parts).all(is_same));
        answered.map(|(slot, _)| *slot).collect()
    }
}

/// A row's key as its argument is written.
pub(super) fn argument(row: &[Key]) -> String {
    let parts: Vec<String> = row
        .iter()
        .map(|part| match part {
            Key::Number(number) => number.to_string(),
            Key::Text(text) => text.clone(),
        })
        .collect();
    composite::argument(parts.iter().map(String::as_str))
}

fn alike(part: &str) -> String {
    part.parse::<i64>()
        .map_or_else(|_| part.to_owned(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    #[test]
    fn numbers_answer_what_reads_as_them_and_texts_only_themselves() {
        let keys = [
            r#"["7","a"]"#,
            r#"["007","a"]"#,
            r#"["7","b"]"#,
            r#"["7","08"]"#,
        ];
        let keys: Vec<AskedKey<'_>> = keys.map(Cow::from).into_iter().enumerate().collect();
        let asked = Asked::new(&keys, 2);
        let text = |text: &str| Key::Text(text.to_owned());
        assert_eq!(asked.slots(&[Key::Number(7), text("a")]), [0, 1]);
        assert_eq!(asked.slots(&[text("007"), text("a")]), [1]);
        assert_eq!(asked.slots(&[Key::Number(7), Key::Number(8)]), [3]);
        assert_eq!(asked.slots(&[Key::Number(7), text("8")]), [] as [usize; 0]);
        assert_eq!(asked.slots(&[Key::Number(8), text("a")]), [] as [usize; 0]);
    }
}
