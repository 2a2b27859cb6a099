//! One way of reading TOML for all files: every fault is noted and reading goes on, so that all come together.
//!
//! [`read`] parses a text and hands its tables to a function, which takes from each [`Table`] the settings that it knows, as
//! [`Item`]s, and turns those into checked values. What is missing, malformed or contradictory is noted with its place;
//! what was not taken is an unknown setting. The function gives `None` where a fault leaves it without a value.
//!
//! No fault repeats the text or a value that may be a secret.

mod entry;
mod item;
mod outside;
mod suggest;
mod syntax;
mod table;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::fault::{Fault, Faults};
use super::surroundings::Surroundings;

pub use entry::Entry;
pub use item::Item;
pub use table::Table;

/// Where a setting stands: for faults.
#[derive(Clone, Debug)]
pub struct Spot {
    /// As `loaders.products.ttl`.
    place: String,
    /// The byte that it begins at.
    start: usize,
}

/// Which settings a file may have: by table, with `*` for a name that is the user's and `[]` for a list of tables.
pub type Known = BTreeMap<String, BTreeSet<&'static str>>;

/// A reading under way.
pub(super) struct Reader<'r> {
    text: &'r str,
    around: &'r Surroundings<'r>,
    /// Whether parts of the text could not be parsed: then what is missing may stand there.
    broken: bool,
    faults: RefCell<Vec<(usize, Fault)>>,
    known: RefCell<Known>,
}

/// Reads a file's text.
///
/// # Errors
/// All that is wrong with it, in the order of the text.
pub fn read<T>(
    text: &str,
    around: &Surroundings<'_>,
    take: impl FnOnce(&Table<'_>) -> Option<T>,
) -> Result<T, Faults> {
    examine(text, around, take).0
}

/// As [`read`]; also says which settings were asked for.
pub fn examine<T>(
    text: &str,
    around: &Surroundings<'_>,
    take: impl FnOnce(&Table<'_>) -> Option<T>,
) -> (Result<T, Faults>, Known) {
    let (parsable, errors) = syntax::parsable(text);
    let reader = Reader {
        text,
        around,
        broken: !errors.is_empty(),
        faults: RefCell::default(),
        known: RefCell::default(),
    };
    for error in errors {
        let spot = Spot {
            place: String::new(),
            start: error.start,
        };
        reader.fault(
            &spot,
            error.what,
            "see https://toml.io for how TOML is written",
        );
    }
    let taken = match toml::de::DeTable::parse(&parsable) {
        Ok(tree) => Table::of_file(&reader, tree.get_ref()).take(take),
        // Nothing of it can be parsed: the errors say why.
        Err(_) => None,
    };
    let known = reader.known.take();
    let faults = reader.into_faults();
    match taken {
        Some(taken) if faults.0.is_empty() => (Ok(taken), known),
        _ => {
            assert!(!faults.0.is_empty(), "what gives no value has a fault");
            (Err(faults), known)
        }
    }
}

impl Reader<'_> {
    fn fault(&self, spot: &Spot, what: impl Into<String>, remedy: impl Into<String>) {
        let (line, column) = self.position(spot.start);
        let fault = Fault {
            line,
            column,
            place: spot.place.clone(),
            what: what.into(),
            remedy: remedy.into(),
        };
        self.faults.borrow_mut().push((spot.start, fault));
    }

    /// A fault that is none where the part of the text that could not be parsed had what is missed here.
    fn absence(&self, spot: &Spot, what: impl Into<String>, remedy: impl Into<String>) {
        if !self.broken {
            self.fault(spot, what, remedy);
        }
    }

    /// Line and column of a byte, from 1.
    fn position(&self, start: usize) -> (usize, usize) {
        let before = self.text.get(..start).unwrap_or(self.text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        (before.matches('\n').count() + 1, line.chars().count() + 1)
    }

    fn into_faults(self) -> Faults {
        let mut faults = self.faults.into_inner();
        // Stable: faults of one place stay in the order in which they were found.
        faults.sort_by_key(|(start, _)| *start);
        Faults(faults.into_iter().map(|(_, fault)| fault).collect())
    }
}

#[cfg(test)]
mod tests;
