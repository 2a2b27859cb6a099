//! What is wrong with a file: all of it at once, each fault with its place and its remedy.
//!
//! No fault repeats a line of the file, or a value that may be a secret: see [`quoted`].

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its line in the file, from 1.
    pub line: usize,
    /// Its column in the line, from 1, in characters.
    pub column: usize,
    /// The setting, as `loaders.products.ttl`; empty where the text is no TOML.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.line, self.column)?;
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

/// All that is wrong, in the order of the file; at least one fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// Why a file cannot be used.
#[derive(Debug)]
pub enum FileError {
    /// There is no text to look at.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Its text is wrong.
    NotValid {
        /// The file.
        path: PathBuf,
        /// All that is wrong.
        faults: Faults,
    },
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, .. } => write!(f, "cannot read {}", shown(path)),
            Self::NotValid { path, faults } => {
                let count = count(faults.0.len());
                write!(f, "{} is not valid, it has {count}:\n{faults}", shown(path))
            }
        }
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            // Its text has the faults already.
            Self::NotValid { .. } => None,
        }
    }
}

fn shown(path: &Path) -> std::path::Display<'_> {
    if path == Path::new("-") {
        Path::new("standard input").display()
    } else {
        path.display()
    }
}

fn count(faults: usize) -> String {
    match faults {
        1 => "one fault".to_owned(),
        more => format!("{more} faults"),
    }
}

/// The longest text that is repeated.
const QUOTED_MAX: usize = 63;

/// `text` in quotes where it can be no secret by its look: short, and without what URLs with passwords consist of. Only
/// for values in whose place no secret belongs; this is for the one that was put there by mistake.
pub(super) fn quoted(text: &str) -> String {
    let harmless = |char: char| char.is_alphanumeric() || " -_./+%".contains(char);
    if text.chars().count() <= QUOTED_MAX && text.chars().all(harmless) {
        format!("\"{text}\"")
    } else {
        "the text here".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_url_with_a_password_is_not_repeated() {
        assert_eq!(quoted("5 parsecs"), "\"5 parsecs\"");
        for secret in ["postgres://u:pw@db/shop", "u:pw", "pw@db", &"x".repeat(64)] {
            assert_eq!(quoted(secret), "the text here");
        }
    }
}
