//! A value as it is written, and what it may be turned into. Each turning notes a fault where it cannot be done.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::fault::quoted;
use super::super::values::{
    check_rate, parse_duration, parse_rate, parse_size, show_duration, show_size,
};
use super::entry::shown;
use super::suggest::nearest;
use super::{Reader, Spot};

/// How names are written.
pub(super) const NAME: &str =
    "use 1 to 63 letters, digits, '-', '_' and '.', beginning with a letter or digit";
const DURATION: &str = "write a number with its unit, as \"500ms\", \"5s\", \"5m\" or \"1h30m\"";
const SIZE: &str = "write a whole number with its unit, as \"256MiB\" or \"2GiB\"";
const RATE: &str = "write a number with its unit, as \"200/s\", \"12000/min\" or \"0.5/h\"";

/// A value of the file, with its place.
#[derive(Clone)]
pub struct Item<'r> {
    pub(super) reader: &'r Reader<'r>,
    pub(super) spot: Spot,
    value: &'r DeValue<'r>,
}

impl<'r> Item<'r> {
    pub(super) fn new(reader: &'r Reader<'r>, spot: Spot, value: &'r Spanned<DeValue<'r>>) -> Self {
        Self {
            reader,
            spot,
            value: value.get_ref(),
        }
    }

    /// Its place and line, for a fault of another that contradicts it.
    pub fn named(&self) -> String {
        let (line, _) = self.reader.position(self.spot.start);
        format!("{} (line {line})", self.spot.place)
    }

    /// Notes what is wrong with it.
    pub fn fault(&self, what: impl Into<String>, remedy: impl Into<String>) {
        self.reader.fault(&self.spot, what, remedy);
    }

    /// Notes that it lacks something that should stand beside it.
    pub fn lacks(&self, what: impl Into<String>, remedy: impl Into<String>) {
        self.reader.absence(&self.spot, what, remedy);
    }

    /// A text.
    pub fn text(&self) -> Option<&'r str> {
        self.value.as_str().or_else(|| self.not("a text in quotes"))
    }

    /// Whether it is this text.
    pub fn says(&self, text: &str) -> bool {
        self.value.as_str() == Some(text)
    }

    /// A text of 1 to so many characters.
    pub fn short(&self, chars_max: usize) -> Option<String> {
        let text = self.filled()?;
        if text.chars().count() > chars_max {
            self.fault(
                "it is too long",
                format!("use at most {chars_max} characters"),
            );
            return None;
        }
        Some(text.to_owned())
    }

    /// A text that is not empty.
    pub fn filled(&self) -> Option<&'r str> {
        let text = self.text()?;
        if text.trim().is_empty() {
            self.fault("it is empty", "fill it in, or leave it out");
            return None;
        }
        Some(text)
    }

    /// True or false.
    pub fn flag(&self) -> Option<bool> {
        self.value
            .as_bool()
            .or_else(|| self.not("true or false, without quotes"))
    }

    /// A whole number.
    pub fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let Some(integer) = self.value.as_integer() else {
            return self.not("a whole number, without quotes");
        };
        // What does not fit into 128 bits is out of every range.
        let number = i128::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.and_then(|number| u64::try_from(number).ok());
        let found = number.filter(|number| range.contains(number));
        found.or_else(|| self.beyond(range.start(), range.end()))
    }

    /// A whole number that fits 32 bits.
    pub fn small(&self, range: RangeInclusive<u32>) -> Option<u32> {
        let (least, most) = range.into_inner();
        let number = self.integer(u64::from(least)..=u64::from(most))?;
        u32::try_from(number).ok()
    }

    /// A number.
    pub fn number(&self, range: RangeInclusive<f64>) -> Option<f64> {
        let Some(number) = self.bare_number() else {
            return self.not("a number, without quotes");
        };
        let found = Some(number).filter(|number| range.contains(number));
        found.or_else(|| self.beyond(range.start(), range.end()))
    }

    /// A length of time.
    pub fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let Some(text) = self.value.as_str() else {
            self.fault(format!("{} is no duration", self.kind()), DURATION);
            return None;
        };
        let Some(duration) = parse_duration(text) else {
            self.fault(format!("{} is no duration", quoted(text)), DURATION);
            return None;
        };
        let found = Some(duration).filter(|duration| range.contains(duration));
        found.or_else(|| {
            let (least, most) = (show_duration(*range.start()), show_duration(*range.end()));
            self.beyond(least, most)
        })
    }

    /// A number of bytes.
    pub fn size(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let Some(text) = self.value.as_str() else {
            self.fault(format!("{} is no size", self.kind()), SIZE);
            return None;
        };
        let Some(size) = parse_size(text) else {
            self.fault(format!("{} is no size", quoted(text)), SIZE);
            return None;
        };
        let found = Some(size).filter(|size| range.contains(size));
        found.or_else(|| self.beyond(show_size(*range.start()), show_size(*range.end())))
    }

    /// A rate per second.
    pub fn rate(&self) -> Option<f64> {
        let rate = match (self.value.as_str(), self.bare_number()) {
            (Some(text), _) => parse_rate(text),
            (None, Some(number)) => check_rate(number),
            (None, None) => {
                self.fault(format!("{} is no rate", self.kind()), RATE);
                return None;
            }
        };
        rate.map_err(|error| {
            let (what, remedy) = error.split_once("; ").unwrap_or((&error, RATE));
            self.fault(what, remedy);
        })
        .ok()
    }

    /// A path.
    pub fn path(&self) -> Option<PathBuf> {
        self.filled().map(PathBuf::from)
    }

    /// An address to listen on.
    pub fn address(&self) -> Option<SocketAddr> {
        let parsed = self.text()?.parse();
        let refused = |_| {
            let what = "it is no address to listen on";
            self.fault(
                what,
                "write IP:PORT, as \"127.0.0.1:7400\" or \"[::]:7400\"",
            );
        };
        parsed.map_err(refused).ok()
    }

    /// A name.
    pub fn name<N: FromStr>(&self) -> Option<N> {
        let text = self.text()?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.fault(format!("{} is not a name", quoted(text)), NAME);
        }
        parsed
    }

    /// A name that must be one of those that `table` (as `[origins.NAME]`) defines, which are `noun`s.
    pub fn name_of<N: FromStr>(&self, noun: &str, defined: &[&str], table: &str) -> Option<N> {
        let name = self.name()?;
        let text = self.text()?;
        if defined.contains(&text) {
            return Some(name);
        }
        let remedy = match (nearest(text, defined.iter().copied()), defined) {
            (Some(near), _) => format!("did you mean {near}?"),
            (None, []) => format!("define it in {table}"),
            (None, _) => {
                let defined: Vec<String> = defined.iter().map(|name| shown(name)).collect();
                format!("use one of {}, or define it in {table}", defined.join(", "))
            }
        };
        let what = format!("there is no {noun} {}", quoted(text));
        self.reader.absence(&self.spot, what, remedy);
        None
    }

    /// One of a few words.
    pub fn one_of<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = choices.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let words: Vec<String> = choices
                .iter()
                .map(|(word, _)| format!("{word:?}"))
                .collect();
            let what = format!("{} is not possible", quoted(text));
            self.fault(what, format!("choose {}", words.join(" or ")));
        }
        found.map(|(_, value)| *value)
    }

    /// A text that something else parses; what that says must not repeat a text that may be a secret.
    pub fn parsed<T, E: Display>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, E>,
        remedy: &str,
    ) -> Option<T> {
        let parsed = parse(self.filled()?);
        parsed
            .map_err(|error| self.fault(error.to_string(), remedy))
            .ok()
    }

    /// Whether it is written as a list.
    pub fn is_list(&self) -> bool {
        self.value.as_array().is_some()
    }

    /// A list.
    pub fn items(&self) -> Option<Vec<Item<'r>>> {
        let Some(array) = self.value.as_array() else {
            return self.not("a list, as [\"…\", \"…\"]");
        };
        let item = |(n, value): (usize, &'r Spanned<DeValue<'r>>)| {
            let place = format!("{}[{n}]", self.spot.place);
            let start = value.span().start;
            Item::new(self.reader, Spot { place, start }, value)
        };
        Some(array.iter().enumerate().map(item).collect())
    }

    /// A list that is not empty, or a fault that says what to name.
    pub fn filled_list(&self, remedy: &str) -> Option<Vec<Item<'r>>> {
        let items = self.items()?;
        if items.is_empty() {
            self.fault("the list is empty", remedy);
            return None;
        }
        Some(items)
    }

    /// The settings of a table.
    pub(super) fn entries(&self) -> Option<&'r DeTable<'r>> {
        self.value.as_table().or_else(|| {
            let place = &self.spot.place;
            self.not(&format!("a table, as [{place}] on a line of its own"))
        })
    }

    fn bare_number(&self) -> Option<f64> {
        match self.value {
            DeValue::Integer(_) | DeValue::Float(_) => {}
            _ => return None,
        }
        let text = match self.value {
            DeValue::Float(float) => float.as_str(),
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
            _ => return None,
        };
        text.parse().ok()
    }

    fn beyond<T>(&self, least: impl Display, most: impl Display) -> Option<T> {
        self.fault(
            "it is out of range",
            format!("choose from {least} to {most}"),
        );
        None
    }

    fn not<T>(&self, wanted: &str) -> Option<T> {
        self.fault(
            format!("{} cannot stand here", self.kind()),
            format!("write {wanted}"),
        );
        None
    }

    fn kind(&self) -> &'static str {
        match self.value {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) | DeValue::Float(_) => "a number without unit or quotes",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        }
    }
}
