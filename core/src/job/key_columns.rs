//! Which columns of rows say which key a row answers.

use serde::{Deserialize, Serialize};

/// None: those that the query compares with its keys. One, or one for each part where keys have several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Option<Stored>", into = "Option<Stored>")]
pub struct KeyColumns(Vec<String>);

/// As records have it: null, a name, or a list of names.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    One(String),
    Many(Vec<String>),
}

impl KeyColumns {
    /// The names, in the order of the parts.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// Whether none is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<S: Into<String>> FromIterator<S> for KeyColumns {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }
}

impl From<Option<Stored>> for KeyColumns {
    fn from(stored: Option<Stored>) -> Self {
        Self(match stored {
            None => Vec::new(),
            Some(Stored::One(name)) => vec![name],
            Some(Stored::Many(names)) => names,
        })
    }
}

impl From<KeyColumns> for Option<Stored> {
    fn from(mut columns: KeyColumns) -> Self {
        match columns.0.len() {
            0 => None,
            1 => columns.0.pop().map(Stored::One),
            _ => Some(Stored::Many(columns.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_one_column_stay_as_they_were() {
        for (text, names) in [
            ("null", &[][..]),
            ("\"id\"", &["id"]),
            ("[\"tenant_id\",\"id\"]", &["tenant_id", "id"]),
        ] {
            let columns: KeyColumns = serde_json::from_str(text).unwrap();
            assert_eq!(columns.names(), names);
            assert_eq!(serde_json::to_string(&columns).unwrap(), text);
        }
    }
}
