//! Collects what is wrong with a request: a caller hears of all of it at once.

use super::super::refusal::{FAULTS_MAX, Fault, Refusal};
use super::ITEMS_MAX;

/// The longest query, in bytes.
const QUERY_BYTES_MAX: usize = 16 * 1024;
/// The longest label key or value, trigger or requester, in characters.
const TEXT_MAX: usize = 63;

/// The faults that were found so far: a caller hears of all of them at once. As many as are told are kept; the others are
/// only counted, for a request may have millions.
#[derive(Debug, Default)]
pub(super) struct Faults {
    kept: Vec<Fault>,
    count: usize,
}

impl Faults {
    pub(super) fn note(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.count += 1;
        if self.kept.len() < FAULTS_MAX {
            self.kept.push(Fault::new(field, problem));
        }
    }

    /// What was parsed, unless it is at fault.
    pub(super) fn keep<T>(
        &mut self,
        field: &str,
        parsed: Result<T, impl std::fmt::Display>,
    ) -> Option<T> {
        parsed
            .map_err(|error| self.note(field, error.to_string()))
            .ok()
    }

    pub(super) fn name<T>(&mut self, field: &str, text: &str) -> Option<T>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        self.keep(field, text.parse::<T>())
    }

    pub(super) fn text(&mut self, field: &str, text: &str) {
        if text.chars().count() > TEXT_MAX {
            self.note(field, format!("is longer than {TEXT_MAX} characters"));
        }
    }

    pub(super) fn few(&mut self, field: &str, count: usize) {
        if count > ITEMS_MAX {
            let problem = format!("has {count} items: at most {ITEMS_MAX} are possible");
            self.note(field, problem);
        }
    }

    pub(super) fn at_most<N: PartialOrd + std::fmt::Display>(
        &mut self,
        field: &str,
        number: N,
        max: N,
    ) {
        if number > max {
            self.note(field, format!("is {number}: at most {max} is possible"));
        }
    }

    /// A number that must be one of an enum's: what a newer client may send is not taken for the default.
    pub(super) fn one_of<T: TryFrom<i32>>(&mut self, field: &str, number: i32) -> Option<T> {
        let found = T::try_from(number).ok();
        if found.is_none() {
            let problem = format!("{number} is no value of this enum that this version knows");
            self.note(field, problem);
        }
        found
    }

    pub(super) fn query(&mut self, field: &str, query: String) -> Option<String> {
        if query.trim().is_empty() {
            self.note(field, "write a query");
        } else if query.len() > QUERY_BYTES_MAX {
            let problem = format!(
                "is longer than {QUERY_BYTES_MAX} bytes: name a loader or source of the workers' configuration"
            );
            self.note(field, problem);
        } else {
            return Some(query);
        }
        None
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What was parsed, where nothing was at fault.
    pub(super) fn end<T>(self, parsed: Option<T>) -> Result<T, Refusal> {
        match parsed {
            Some(parsed) if self.is_empty() => Ok(parsed),
            _ => Err(Refusal::Invalid {
                faults: self.kept,
                count: self.count,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_beyond_what_is_told_are_counted_and_not_kept() {
        let mut faults = Faults::default();
        for n in 0..100_000 {
            faults.note(format!("states[{n}]"), "is none");
        }
        assert!(faults.kept.capacity() < 2 * FAULTS_MAX);
        let refused = faults.end(Some(())).unwrap_err().to_string();
        assert!(refused.ends_with("and 99996 more faults"), "{refused}");
    }
}
