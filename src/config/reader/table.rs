//! A table of a file, and what may be asked of it.

use std::cell::RefCell;
use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::entry::{Entry, shown};
use super::suggest::nearest;
use super::{Item, Reader, Spot};

/// A table: settings are asked for by name, and those that nobody asked for are faults.
pub struct Table<'r> {
    pub(super) reader: &'r Reader<'r>,
    spot: Spot,
    /// The place with `*` for names that are the user's, and `[]` for positions in lists.
    pattern: String,
    /// None where an optional table is not there.
    entries: Option<&'r DeTable<'r>>,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'r> Table<'r> {
    /// The whole file.
    pub(super) fn of_file(reader: &'r Reader<'r>, entries: &'r DeTable<'r>) -> Self {
        let spot = Spot {
            place: String::new(),
            start: 0,
        };
        Self::new(reader, spot, String::new(), Some(entries))
    }

    fn new(
        reader: &'r Reader<'r>,
        spot: Spot,
        pattern: String,
        entries: Option<&'r DeTable<'r>>,
    ) -> Self {
        Self {
            reader,
            spot,
            pattern,
            entries,
            asked: RefCell::default(),
        }
    }

    /// A setting, if it is there.
    pub fn optional(&self, key: &'static str) -> Option<Item<'r>> {
        self.ask(key);
        let value = self.entries?.get(key)?;
        Some(Item::new(self.reader, self.spot_of(key, value), value))
    }

    /// A setting that must be there; `add` says what to add: `listen = "0.0.0.0:7400"`.
    pub fn required(&self, key: &'static str, add: &str) -> Option<Item<'r>> {
        let item = self.optional(key);
        if item.is_none() {
            self.missing(key, add);
        }
        item
    }

    /// A table in this one, which is empty where it is not there.
    pub fn table<T>(
        &self,
        key: &'static str,
        take: impl FnOnce(&Table<'r>) -> Option<T>,
    ) -> Option<T> {
        let entries = match self.optional(key) {
            Some(item) => Some((item.spot.clone(), item.entries()?)),
            None => None,
        };
        let (spot, entries) = match entries {
            Some((spot, entries)) => (spot, Some(entries)),
            None => (self.spot_at(key, self.spot.start), None),
        };
        Table::new(self.reader, spot, self.pattern_of(key), entries).take(take)
    }

    /// A table in this one that must be there; `add` says what to add.
    pub fn required_table<T>(
        &self,
        key: &'static str,
        add: &str,
        take: impl FnOnce(&Table<'r>) -> Option<T>,
    ) -> Option<T> {
        if !self
            .entries
            .is_some_and(|entries| entries.contains_key(key))
        {
            self.ask(key);
            self.missing(key, add);
            return None;
        }
        self.table(key, take)
    }

    /// The tables `[key.NAME]`, each with its name.
    pub fn named(&self, key: &'static str, mut take: impl FnMut(&Entry<'r>, &Table<'r>)) {
        for (entry, value) in self.entries_of(key) {
            let Some(entries) = Item::new(self.reader, entry.spot.clone(), value).entries() else {
                continue;
            };
            let pattern = format!("{}.*", self.pattern_of(key));
            Table::new(self.reader, entry.spot.clone(), pattern, Some(entries)).take(|table| {
                take(&entry, table);
                Some(())
            });
        }
    }

    /// The settings of `[key]`, whose names are all the user's.
    pub fn free(&self, key: &'static str) -> Vec<(Entry<'r>, Item<'r>)> {
        self.reader.note(&self.pattern_of(key), "*");
        let item = |(entry, value): (Entry<'r>, _)| {
            let item = Item::new(self.reader, entry.spot.clone(), value);
            (entry, item)
        };
        self.entries_of(key).into_iter().map(item).collect()
    }

    /// The tables `[[key]]`, with their positions from 0.
    pub fn list(&self, key: &'static str, mut take: impl FnMut(usize, &Table<'r>)) {
        let items = self.optional(key).and_then(|item| item.items());
        for (position, item) in items.unwrap_or_default().into_iter().enumerate() {
            let Some(entries) = item.entries() else {
                continue;
            };
            let pattern = format!("{}[]", self.pattern_of(key));
            Table::new(self.reader, item.spot, pattern, Some(entries)).take(|table| {
                take(position, table);
                Some(())
            });
        }
    }

    /// The names that the user gave to tables `[key.NAME]`, be they right or wrong.
    pub fn names(&self, key: &str) -> Vec<&'r str> {
        let named = self.entries.and_then(|entries| entries.get(key));
        let tables = named.and_then(|value| value.get_ref().as_table());
        let names = tables.into_iter().flatten();
        names.map(|(name, _)| name.get_ref().as_ref()).collect()
    }

    /// The texts at `setting` of the tables `[[key]]`, be they right or wrong, each once.
    pub fn names_in_list(&self, key: &str, setting: &str) -> Vec<&'r str> {
        let list = self.entries.and_then(|entries| entries.get(key));
        let items = list.and_then(|list| list.get_ref().as_array());
        let tables = items.into_iter().flatten();
        let names = tables.filter_map(|table| table.get_ref().get(setting)?.get_ref().as_str());
        let mut each = Vec::new();
        for name in names {
            if !each.contains(&name) {
                each.push(name);
            }
        }
        each
    }

    /// Notes that the table lacks something that cannot be asked for by one name.
    pub fn lacks(&self, what: impl Into<String>, remedy: impl Into<String>) {
        self.reader.absence(&self.spot, what, remedy);
    }

    /// Notes that two settings exclude each other.
    pub fn contradiction(&self, one: &Item<'r>, other: &Item<'r>, remedy: &str) {
        let (first, second) = if one.spot.start < other.spot.start {
            (one, other)
        } else {
            (other, one)
        };
        let what = format!("it cannot stand beside {}", first.named());
        self.reader.fault(&second.spot, what, remedy);
    }

    /// Takes what there is to take; what was not asked for then is unknown.
    pub(super) fn take<T>(self, take: impl FnOnce(&Self) -> Option<T>) -> Option<T> {
        let taken = take(&self);
        let asked = self.asked.borrow();
        for key in self.entries.into_iter().flat_map(DeTable::keys) {
            if asked.contains(key.get_ref().as_ref()) {
                continue;
            }
            let spot = self.spot_at(key.get_ref(), key.span().start);
            let all: Vec<&str> = asked.iter().copied().collect();
            let mut remedy = match nearest(key.get_ref(), all.iter().copied()) {
                Some(near) => format!("did you mean {near}? "),
                None => String::new(),
            };
            remedy += &format!("There are {}", all.join(", "));
            self.reader.fault(&spot, "there is no such setting", remedy);
        }
        taken
    }

    fn missing(&self, key: &str, add: &str) {
        let spot = self.spot_at(key, self.spot.start);
        self.reader
            .absence(&spot, "it is missing", format!("add {add}"));
    }

    fn entries_of(&self, key: &'static str) -> Vec<(Entry<'r>, &'r Spanned<DeValue<'r>>)> {
        let Some(entries) = self.optional(key).and_then(|item| item.entries()) else {
            return Vec::new();
        };
        let parent = self.spot_at(key, 0).place;
        let entry = |(name, value): (&'r Spanned<std::borrow::Cow<'r, str>>, _)| {
            let text = name.get_ref().as_ref();
            let place = format!("{parent}.{}", shown(text));
            let start = name.span().start;
            (Entry::new(Spot { place, start }, text), value)
        };
        entries.iter().map(entry).collect()
    }

    fn ask(&self, key: &'static str) {
        self.asked.borrow_mut().insert(key);
        self.reader.note(&self.pattern, key);
    }

    fn pattern_of(&self, key: &str) -> String {
        if self.pattern.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.pattern)
        }
    }

    fn spot_of(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Spot {
        self.spot_at(key, value.span().start)
    }

    fn spot_at(&self, key: &str, start: usize) -> Spot {
        let place = if self.spot.place.is_empty() {
            shown(key)
        } else {
            format!("{}.{}", self.spot.place, shown(key))
        };
        Spot { place, start }
    }
}

impl Reader<'_> {
    fn note(&self, pattern: &str, key: &'static str) {
        let mut known = self.known.borrow_mut();
        known.entry(pattern.to_owned()).or_default().insert(key);
    }
}
