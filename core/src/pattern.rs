//! Patterns of keys in a Redis that is read by SCAN: `old:{id}`, or a glob of Redis' own, `old:*`.
//!
//! A pattern with names in braces is literal but for them: each stands for one byte or more, as few as there can be, and
//! becomes a column of the key source. Without names it is a glob, which gives no column but `key`. In both `{{` and `}}` stand for
//! the braces themselves. Keys are any bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::template::{NotATemplate, Part, TEMPLATE_LENGTH_MAX, parts};

/// What a key source's own columns are called: no name in a pattern.
const RESERVED: [&str; 2] = ["key", "priority"];

/// A checked pattern. Its text is what it was parsed from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    source: String,
    parts: Vec<Part>,
    names: Vec<String>,
}

/// A text that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAPattern {
    /// There is none.
    #[error("it is empty: write * for all keys")]
    Empty,
    /// Its braces are not as they should be.
    #[error(transparent)]
    Braces(#[from] NotATemplate),
    /// Two names with nothing between them.
    #[error(
        "nothing stands between {{{0}}} and {{{1}}}, so where one ends cannot be told: write what divides them"
    )]
    Adjacent(String, String),
    /// A name that comes again.
    #[error("{{{0}}} comes twice: give each part a name of its own")]
    Twice(String),
    /// A name that means something else.
    #[error(
        "{{{0}}} cannot be a part's name, as every key source has a column {0:?} (key is the whole key): choose another, as {{id}}"
    )]
    Reserved(String),
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Where `source` is none: what is wrong, and what to write instead.
    pub fn parse(source: &str) -> Result<Self, NotAPattern> {
        if source.is_empty() {
            return Err(NotAPattern::Empty);
        }
        if source.len() > TEMPLATE_LENGTH_MAX {
            let length = source.len();
            return Err(NotATemplate::TooLong { length }.into());
        }
        let parts = parts(source)?;
        if let Some(name) = column_of(&parts, |name| RESERVED.contains(&name)) {
            return Err(NotAPattern::Reserved(name.to_owned()));
        }
        let mut names = Vec::new();
        add_names(&parts, &mut names)?;
        Ok(Self {
            source: source.to_owned(),
            parts,
            names,
        })
    }

    /// The pattern's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// The names of its parts, in the order in which they stand in it.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What Redis is to look for: all keys that match, and perhaps a few that do not.
    #[must_use]
    pub fn glob(&self) -> String {
        let mut glob = String::with_capacity(self.source.len());
        for part in &self.parts {
            match part {
                Part::Literal(text) if self.names.is_empty() => glob.push_str(text),
                Part::Literal(text) => {
                    for char in text.chars() {
                        if matches!(char, '*' | '?' | '[' | ']' | '\\') {
                            glob.push('\\');
                        }
                        glob.push(char);
                    }
                }
                Part::Column(_) => glob.push('*'),
            }
        }
        glob
    }

    /// What of a key that the glob finds stands in the places of its names, in their order; `None` where the key is none of
    /// the pattern's.
    #[must_use]
    pub fn captures<'k>(&self, key: &'k [u8]) -> Option<Vec<&'k [u8]>> {
        let mut found = Vec::with_capacity(self.names.len());
        let matches = self.names.is_empty() || captures(&self.parts, key, &mut found);
        matches.then_some(found)
    }
}

/// The first column whose name is such a one.
pub(crate) fn column_of(parts: &[Part], is: impl Fn(&str) -> bool) -> Option<&str> {
    parts.iter().find_map(|part| match part {
        Part::Column(name) if is(name) => Some(name.as_str()),
        Part::Column(_) | Part::Literal(_) => None,
    })
}

/// Adds the names of the columns to those before.
///
/// # Errors
/// Where one is among them already, or where nothing stands between two.
pub(crate) fn add_names(parts: &[Part], names: &mut Vec<String>) -> Result<(), NotAPattern> {
    let mut last: Option<&str> = None;
    for part in parts {
        let Part::Column(name) = part else {
            last = None;
            continue;
        };
        if names.contains(name) {
            return Err(NotAPattern::Twice(name.clone()));
        }
        if let Some(last) = last {
            return Err(NotAPattern::Adjacent(last.to_owned(), name.clone()));
        }
        names.push(name.clone());
        last = Some(name);
    }
    Ok(())
}

/// Whether all of a text is these parts; what stands in the places of columns is added to `found`: one byte or more, as few as
/// there can be. Where it is not, some may be added.
pub(crate) fn captures<'k>(parts: &[Part], text: &'k [u8], found: &mut Vec<&'k [u8]>) -> bool {
    let mut rest = text;
    let mut open = false;
    for (n, part) in parts.iter().enumerate() {
        let is_last = n + 1 == parts.len();
        match part {
            Part::Column(_) if is_last => {
                found.push(rest);
                return !rest.is_empty();
            }
            Part::Column(_) => open = true,
            Part::Literal(text) => {
                let text = text.as_bytes();
                if std::mem::take(&mut open) {
                    let Some(at) = place(rest, text, is_last) else {
                        return false;
                    };
                    found.push(&rest[..at]);
                    rest = &rest[at..];
                }
                match rest.strip_prefix(text) {
                    Some(behind) => rest = behind,
                    None => return false,
                }
            }
        }
    }
    rest.is_empty()
}

/// Where this text begins, behind one byte at least: the first place, or the one at the end.
fn place(rest: &[u8], text: &[u8], at_end: bool) -> Option<usize> {
    if at_end {
        let at = rest.len().checked_sub(text.len())?;
        return (at > 0 && rest.ends_with(text)).then_some(at);
    }
    let windows = rest.get(1..)?.windows(text.len());
    let found = windows.into_iter().position(|window| window == text)?;
    Some(found + 1)
}

impl FromStr for Pattern {
    type Err = NotAPattern;

    fn from_str(source: &str) -> Result<Self, NotAPattern> {
        Self::parse(source)
    }
}

impl TryFrom<String> for Pattern {
    type Error = NotAPattern;

    fn try_from(source: String) -> Result<Self, NotAPattern> {
        Self::parse(&source)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.source
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captures(pattern: &str, key: &str) -> Option<Vec<String>> {
        let pattern = Pattern::parse(pattern).unwrap();
        let found = pattern.captures(key.as_bytes())?;
        let text = |part: &[u8]| String::from_utf8(part.to_vec()).unwrap();
        Some(found.into_iter().map(text).collect())
    }

    #[test]
    fn names_stand_for_what_is_between_the_literal_parts() {
        for (pattern, key, expected) in [
            ("old:{id}", "old:7", Some(vec!["7"])),
            ("old:{id}", "old:", None),
            ("old:{id}", "new:7", None),
            ("{a}:{b}", "x:y:z", Some(vec!["x", "y:z"])),
            ("{a}:end", "x:end:end", Some(vec!["x:end"])),
            ("{a}:end", ":end", None),
            ("u:{{{user}}}:cart", "u:{42}:cart", Some(vec!["42"])),
            ("a{x}aa", "aaaa", Some(vec!["a"])),
            ("a{x}aa", "aaa", None),
            ("*{x}", "*7", Some(vec!["7"])),
            ("*{x}", "77", None),
            ("a*", "whatever the server found", Some(vec![])),
        ] {
            let expected = expected.map(|parts: Vec<&str>| {
                let owned = parts.into_iter().map(str::to_owned);
                owned.collect::<Vec<String>>()
            });
            assert_eq!(captures(pattern, key), expected, "{pattern} of {key}");
        }
    }

    #[test]
    fn what_is_literal_is_no_glob_and_what_has_no_name_is_one() {
        let glob = |text: &str| Pattern::parse(text).unwrap().glob();
        assert_eq!(glob("a*[b]?\\:{id}"), "a\\*\\[b\\]\\?\\\\:*");
        assert_eq!(glob("a*[bc]?:\\*"), "a*[bc]?:\\*");
        assert_eq!(glob("{{user}}:*"), "{user}:*");
    }

    #[test]
    fn what_is_no_pattern_is_told_with_what_to_write() {
        let refused = |text: &str| Pattern::parse(text).unwrap_err().to_string();
        for (text, says) in [
            ("", "* for all"),
            ("{a}{b}", "between {a} and {b}"),
            ("{a}:{a}", "twice"),
            ("old:{key}", "whole key"),
            ("{", "never closed"),
            (&"x".repeat(2000), "at most 1024"),
        ] {
            let said = refused(text);
            assert!(said.contains(says), "{text}: {said}");
        }
    }
}
