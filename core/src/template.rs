//! Templates of cache keys: `product:{key}:v2`.
//!
//! A template is literal text with `{column}` wherever a column of the key source belongs. `{{` and `}}` stand for the
//! braces themselves, so that Redis hash tags can be written: `{{{user}}}:cart` gives `{42}:cart` for the user 42.
//! Columns are those of the *key source*, never of the row that is loaded: an entry's partition follows from its cache key
//! and must be known before anything is loaded. (A scan has no key source, and its entries are ranges: there they are the rows'.)
//! Whether the source has the columns is for the caller to check, by
//! [`Template::columns`].

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest template, in bytes.
pub const TEMPLATE_LENGTH_MAX: usize = 1024;

/// A checked template. It names at least one column, and its text is what it was parsed from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

/// A piece of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Literal(String),
    Column(String),
}

/// A text that is no template. Columns are counted in bytes, from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotATemplate {
    /// A brace was opened and never closed.
    #[error(
        "the {{ at column {at} is never closed: write {{name}} for a column, or {{{{ for the brace itself"
    )]
    Unclosed {
        /// Where the brace is.
        at: usize,
    },
    /// A closing brace that closes nothing.
    #[error("the }} at column {at} closes nothing: write }}}} for the brace itself")]
    Unopened {
        /// Where the brace is.
        at: usize,
    },
    /// `{}`.
    #[error("the braces at column {at} are empty: name a column of the key source between them")]
    Empty {
        /// Where the opening brace is.
        at: usize,
    },
    /// Something that cannot be part of a column's name.
    #[error(
        "{found:?} at column {at} cannot be part of a name: use letters, digits and '_', beginning with no digit, and write {{{{ and }}}} for braces that are part of the key"
    )]
    Character {
        /// What was found.
        found: char,
        /// Where it begins.
        at: usize,
    },
    /// Only literal text.
    #[error(
        "no column is named, so all keys would be the same: write at least one {{name}} of the key source"
    )]
    NoColumn,
    /// More than [`TEMPLATE_LENGTH_MAX`] bytes.
    #[error("it is {length} bytes long: use at most {max}", max = TEMPLATE_LENGTH_MAX)]
    TooLong {
        /// How long, in bytes.
        length: usize,
    },
}

/// A column that the template names and the key source did not give.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key source gives no column {column:?}, which the key template names")]
pub struct MissingColumn {
    /// The column's name.
    pub column: String,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// Where `source` is none: what is wrong, where, and what to write instead.
    pub fn parse(source: &str) -> Result<Self, NotATemplate> {
        if source.len() > TEMPLATE_LENGTH_MAX {
            return Err(NotATemplate::TooLong {
                length: source.len(),
            });
        }
        let parts = parts(source)?;
        if !parts.iter().any(|part| matches!(part, Part::Column(_))) {
            return Err(NotATemplate::NoColumn);
        }
        Ok(Self {
            source: source.to_owned(),
            parts,
        })
    }

    /// The template's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// The names of its columns, each once, in alphabetical order.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        let columns = self.parts.iter().filter_map(|part| match part {
            Part::Column(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        });
        columns.collect::<BTreeSet<_>>().into_iter()
    }

    /// The key in which every column is replaced by what `column` gives for its name. The bytes go in as they are.
    ///
    /// # Errors
    /// Where `column` has no value for a name.
    pub fn fill<'a>(
        &self,
        column: impl Fn(&str) -> Option<&'a [u8]>,
    ) -> Result<Vec<u8>, MissingColumn> {
        let mut key = Vec::with_capacity(self.source.len());
        for part in &self.parts {
            match part {
                Part::Literal(text) => key.extend_from_slice(text.as_bytes()),
                Part::Column(name) => {
                    let value = column(name).ok_or_else(|| MissingColumn {
                        column: name.clone(),
                    })?;
                    key.extend_from_slice(value);
                }
            }
        }
        Ok(key)
    }
}

/// Takes `source` apart; neighbouring literals are one.
pub(crate) fn parts(source: &str) -> Result<Vec<Part>, NotATemplate> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = source;
    while let Some(brace) = rest.find(['{', '}']) {
        let (text, tail) = rest.split_at(brace);
        let at = source.len() - tail.len();
        literal.push_str(text);
        if let Some(after) = tail.strip_prefix("{{") {
            literal.push('{');
            rest = after;
        } else if let Some(after) = tail.strip_prefix("}}") {
            literal.push('}');
            rest = after;
        } else if let Some(inside) = tail.strip_prefix('{') {
            let name = name(inside, at)?;
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(Part::Column(name.to_owned()));
            rest = &inside[name.len() + 1..];
        } else {
            return Err(NotATemplate::Unopened { at: at + 1 });
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Literal(literal));
    }
    Ok(parts)
}

/// The column's name at the start of `inside`, which follows the brace at byte `brace` (from 0) and holds its closing one.
fn name(inside: &str, brace: usize) -> Result<&str, NotATemplate> {
    let in_name = |(place, char): (usize, char)| {
        char == '_' || char.is_ascii_alphabetic() || (place > 0 && char.is_ascii_digit())
    };
    match inside.char_indices().find(|found| !in_name(*found)) {
        Some((0, '}')) => Err(NotATemplate::Empty { at: brace + 1 }),
        Some((end, '}')) => Ok(&inside[..end]),
        Some((place, found)) => Err(NotATemplate::Character {
            found,
            at: brace + 1 + place + 1,
        }),
        None => Err(NotATemplate::Unclosed { at: brace + 1 }),
    }
}

impl FromStr for Template {
    type Err = NotATemplate;

    fn from_str(source: &str) -> Result<Self, NotATemplate> {
        Self::parse(source)
    }
}

impl TryFrom<String> for Template {
    type Error = NotATemplate;

    fn try_from(source: String) -> Result<Self, NotATemplate> {
        Self::parse(&source)
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.source
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

#[cfg(test)]
mod tests;
