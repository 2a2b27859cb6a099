//! Names that are the user's, and keys as faults show them.

use std::fmt::Display;
use std::str::FromStr;

use super::item::NAME;
use super::{Spot, Table};
use crate::config::fault::quoted;

/// A name that the user chose for a table, as `shop` in `[origins.shop]`.
#[derive(Clone, Debug)]
pub struct Entry<'r> {
    /// Where it stands.
    pub(super) spot: Spot,
    text: &'r str,
}

impl<'r> Entry<'r> {
    pub(super) fn new(spot: Spot, text: &'r str) -> Self {
        Self { spot, text }
    }

    /// The name, checked.
    pub fn parsed<N>(&self, table: &Table<'_>) -> Option<N>
    where
        N: FromStr,
        N::Err: Display,
    {
        let parsed = self.text.parse();
        let refused = |_| {
            let what = "its name is none";
            table.reader.fault(&self.spot, what, NAME);
        };
        parsed.map_err(refused).ok()
    }

    /// The name as it is written.
    pub fn text(&self) -> &str {
        self.text
    }

    /// Notes what is wrong with the name.
    pub fn fault(&self, table: &Table<'_>, what: impl Into<String>, remedy: impl Into<String>) {
        table.reader.fault(&self.spot, what, remedy);
    }
}

/// A key as places have it: in quotes where TOML wants them, and left out where it may be a secret that slipped in.
pub(super) fn shown(key: &str) -> String {
    let bare = |char: char| char.is_ascii_alphanumeric() || "-_".contains(char);
    if !key.is_empty() && key.len() <= 63 && key.chars().all(bare) {
        return key.to_owned();
    }
    match quoted(key) {
        quoted if quoted.starts_with('"') => quoted,
        _ => "\"…\"".to_owned(),
    }
}
