//! Keys that are found in a Redis, on their way to become rows: what of each is a column, and which is the loader's key.
//!
//! A loader that copies is given whole keys, which it asks the Redis for. One of a database knows no names of a cache: what it
//! compares with its keys is what stands in the place of a pattern's name. With one name, that is it; of several, those that are
//! called as the columns that the loader compares. Without names, the whole key is all there is.

use stoke_core::glob;
use stoke_core::pattern::Pattern;
use stoke_core::units::Priority;

use super::{
    BadLine, Gathered, KEY_COLUMN, Rows, Rules, SourceFault, SourceRow, Whereabouts, listed,
};

/// Keys of a pattern, as they come.
pub(crate) struct Found<'p> {
    pattern: &'p Pattern,
    /// What keys match, where it has no names.
    glob: String,
    rows: Rows,
    key: KeyOf,
}

/// What of a key the loader is given.
#[derive(Clone, Copy)]
enum KeyOf {
    /// It is copied under a name: any bytes.
    Copied,
    /// All of it.
    Whole,
    /// What stands in the place of this name, of the pattern's.
    Name(usize),
    /// What stands in the places of several.
    Parts,
}

impl<'p> Found<'p> {
    /// # Errors
    /// Where the pattern does not say what the loader's key is, or lacks a column of its template.
    pub(crate) fn new(pattern: &'p Pattern, rules: &Rules) -> Result<Self, SourceFault> {
        let mut rows = Rows::new(rules);
        let names = pattern.names();
        let key = key_of(names, rules)?;
        let whole = [KEY_COLUMN.to_owned()];
        let columns: Vec<String> = match key {
            KeyOf::Copied | KeyOf::Whole => whole.iter().chain(names).cloned().collect(),
            KeyOf::Name(_) => names.iter().chain(&whole).cloned().collect(),
            KeyOf::Parts => names.to_vec(),
        };
        rows.columns(columns)?;
        let glob = pattern.glob();
        Ok(Self {
            pattern,
            glob,
            rows,
            key,
        })
    }

    /// What of a key stands in the places of the pattern's names; `None` where it is none of the pattern's.
    pub(crate) fn parts<'k>(&self, key: &'k [u8]) -> Option<Vec<&'k [u8]>> {
        let matches = !self.pattern.names().is_empty() || glob::matches(self.glob.as_bytes(), key);
        matches.then(|| self.pattern.captures(key)).flatten()
    }

    /// A key with its parts. Gives a chunk back when it is full.
    ///
    /// # Errors
    /// Where it is no entry, and such rows are not skipped.
    pub(crate) fn row(
        &mut self,
        at: Whereabouts,
        (key, parts): (&[u8], &[&[u8]]),
        priority: Result<Priority, String>,
    ) -> Result<Option<Vec<SourceRow>>, SourceFault> {
        let priority = match priority {
            Ok(priority) => priority,
            Err(what) => {
                self.rows.leave_out(BadLine::showing(at, what, key))?;
                return Ok(None);
            }
        };
        let texts = match self.key {
            KeyOf::Copied => return self.rows.key(at, key, parts, priority),
            KeyOf::Whole => texts(&[key]),
            KeyOf::Name(n) => texts(parts).map(|mut texts| {
                texts.extend(texts.get(n).cloned());
                texts
            }),
            KeyOf::Parts => texts(parts),
        };
        let bad = |what| BadLine::showing(at, what, key);
        self.rows.counted(texts, priority, (bad, 1))
    }

    /// There are no more.
    pub(crate) fn finish(self) -> (Option<Vec<SourceRow>>, Gathered) {
        self.rows.finish()
    }
}

fn key_of(names: &[String], rules: &Rules) -> Result<KeyOf, SourceFault> {
    if rules.copies {
        return Ok(KeyOf::Copied);
    }
    if !rules.key_parts.is_empty() {
        return Ok(KeyOf::Parts);
    }
    let compared = rules.compared.as_ref();
    match (names, names.iter().position(|name| Some(name) == compared)) {
        ([], _) => Ok(KeyOf::Whole),
        ([_], _) => Ok(KeyOf::Name(0)),
        (_, Some(place)) => Ok(KeyOf::Name(place)),
        (several, None) => Err(SourceFault::WhichKey {
            compared: compared.cloned(),
            found: several.to_vec(),
        }),
    }
}

fn texts(parts: &[&[u8]]) -> Result<Vec<Option<String>>, String> {
    let text = |part: &&[u8]| match std::str::from_utf8(part) {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => Err("the key is not UTF-8, and so no database is asked for it".to_owned()),
    };
    parts.iter().map(text).collect()
}

/// What is to be done where several names could be the loader's key.
pub(super) fn which_key(compared: Option<&String>, found: &[String]) -> String {
    let found = listed(found);
    match compared {
        Some(column) => format!(
            "the loader compares {column:?} with its keys, which is not among the pattern's names {found}: call the one so that it is"
        ),
        None => format!(
            "which of the pattern's names {found} is the loader's key cannot be told: let the query compare a column of that \
             name (column IN (:keys)), or name one part only"
        ),
    }
}

#[cfg(test)]
mod tests {
    use stoke_core::job::OnBadLine;
    use stoke_core::template::Template;

    use super::*;

    fn rules(template: &str) -> Rules {
        Rules {
            on_bad_line: OnBadLine::Skip,
            template: Some((
                "product".parse().unwrap(),
                Template::parse(template).unwrap(),
            )),
            ..Rules::default()
        }
    }

    /// The cache key, and the loader's key, of each that is an entry.
    fn found(
        pattern: &str,
        rules: &Rules,
        keys: &[&[u8]],
    ) -> Result<(Vec<(String, String)>, Gathered), String> {
        let pattern = Pattern::parse(pattern).unwrap();
        let mut found = Found::new(&pattern, rules).map_err(|fault| fault.to_string())?;
        for (n, key) in (1..).zip(keys) {
            if let Some(parts) = found.parts(key) {
                let row = found.row(Whereabouts::Row(n), (key, &parts), Ok(Priority::ONE));
                row.map_err(|fault| fault.to_string())?;
            }
        }
        let (rows, gathered) = found.finish();
        let keys = |row: SourceRow| {
            let (cache_key, key) = row.into_keys();
            (String::from_utf8_lossy(&cache_key).into_owned(), key)
        };
        Ok((
            rows.unwrap_or_default().into_iter().map(keys).collect(),
            gathered,
        ))
    }

    fn pair(cache_key: &str, key: &str) -> (String, String) {
        (cache_key.to_owned(), key.to_owned())
    }

    #[test]
    fn a_databases_loader_is_given_what_stands_in_the_place_of_the_name() {
        for template in ["product:{id}", "product:{key}"] {
            let (rows, _) =
                found("product:{id}", &rules(template), &[b"product:7", b"cart:7"]).unwrap();
            assert_eq!(rows, [pair("product:7", "7")]);
        }
        let (rows, _) = found("product:*", &rules("{key}"), &[b"product:7", b"cart:7"]).unwrap();
        assert_eq!(rows, [pair("product:7", "product:7")]);
    }

    #[test]
    fn one_that_copies_is_given_whole_keys_whatever_their_bytes() {
        let copying = |template| Rules {
            copies: true,
            ..rules(template)
        };
        let (rows, _) = found("old:{id}", &copying("v2:{id}"), &[b"old:7"]).unwrap();
        assert_eq!(rows, [pair("v2:7", "old:7")]);
        let (rows, gathered) = found("old:*", &copying("{key}"), &[b"old:\xff"]).unwrap();
        assert_eq!((rows, gathered.rows), (vec![pair("old:\u{fffd}", "")], 1));
    }

    #[test]
    fn of_several_names_the_key_is_the_one_that_the_loader_compares_or_all_that_it_does() {
        let compares = |column: &str| Rules {
            compared: Some(column.into()),
            ..rules("product:{lang}:{id}")
        };
        let key: &[u8] = b"product:de:7";
        let (rows, _) = found("product:{lang}:{id}", &compares("id"), &[key]).unwrap();
        assert_eq!(rows, [pair("product:de:7", "7")]);
        let refused = found("product:{lang}:{id}", &compares("product_id"), &[]).unwrap_err();
        assert!(
            refused.contains("\"product_id\"") && refused.contains("lang, id"),
            "{refused}"
        );
        let refused = found("product:{lang}:{id}", &rules("product:{lang}:{id}"), &[]).unwrap_err();
        assert!(refused.contains("cannot be told"), "{refused}");
        let parts = Rules {
            key_parts: vec!["id".into(), "lang".into()],
            ..rules("product:{lang}:{id}")
        };
        let (rows, _) = found("product:{lang}:{id}", &parts, &[key]).unwrap();
        assert_eq!(rows, [pair("product:de:7", r#"["7","de"]"#)]);
        let refused = found("product:{id}", &parts, &[]).unwrap_err();
        assert!(refused.contains("id, lang"), "{refused}");
    }

    #[test]
    fn keys_that_no_database_can_be_asked_for_are_bad_rows_that_show_them() {
        let (rows, gathered) = found(
            "product:{id}",
            &rules("product:{id}"),
            &[b"product:\xff", b"product:7"],
        )
        .unwrap();
        assert_eq!((rows.len(), gathered.bad_lines), (1, 1));
        assert_eq!(
            gathered.examples,
            [
                "row 1: the key is not UTF-8, and so no database is asked for it: \"product:\u{fffd}\""
            ]
        );
    }
}
