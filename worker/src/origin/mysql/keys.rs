//! Keys of one or more parts, each a parameter of its own.

use std::borrow::Cow;

use sqlx::Arguments as _;
use sqlx::error::BoxDynError;
use sqlx::mysql::MySqlArguments;

use super::columns::Columns;
use super::key::{Parameter, Unsupported};
use crate::origin::composite;
use crate::origin::sheet::{AskedKey, Reason};

/// What a key's parameters are: one for each part, at least one.
#[derive(Clone, Debug)]
pub(super) struct Keys(Vec<Parameter>);

impl Keys {
    /// From the columns that answer keys.
    pub(super) fn new(key_columns: &[usize], columns: &Columns) -> Result<Self, Unsupported> {
        let parameters = match key_columns {
            [] => vec![Parameter::new(None, columns)?],
            several => several
                .iter()
                .map(|&column| Parameter::new(Some(column), columns))
                .collect::<Result<_, _>>()?,
        };
        Ok(Self(parameters))
    }

    /// Whether keys are sent in the kinds of types that the columns have now.
    pub(super) fn fits(&self, key_columns: &[usize], columns: &Columns) -> bool {
        match key_columns {
            [] => self.0.iter().all(|one| one.fits(None, columns)),
            several => {
                let mut both = self.0.iter().zip(several);
                self.0.len() == several.len()
                    && both.all(|(one, &column)| one.fits(Some(column), columns))
            }
        }
    }

    /// The canonical text of an entry's argument.
    pub(super) fn canonical<'t>(&self, argument: &'t str) -> Result<Cow<'t, str>, Reason> {
        composite::canonical(&self.0, argument, Parameter::canonical)
    }

    /// The canonical text of the key of several parts in a row's columns, given by their texts; `None` where one is NULL, or no key.
    pub(super) fn of_row(&self, texts: impl Iterator<Item = Option<String>>) -> Option<String> {
        composite::of_row(&self.0, texts, Parameter::canonical)
    }

    /// The arguments of a query with `lists` lists of `length` keys each: the keys' canonical texts, the last again and again.
    pub(super) fn arguments(
        &self,
        keys: &[AskedKey<'_>],
        lists: usize,
        length: usize,
    ) -> Result<MySqlArguments, BoxDynError> {
        let mut arguments = MySqlArguments::default();
        let count = lists * length * self.0.len();
        arguments.reserve(count, count * 9);
        let parts: Option<Vec<Vec<String>>> = match self.0.len() {
            1 => None,
            several => {
                let keys = keys.iter().map(|(_, key)| composite::parts(key, several));
                Some(keys.collect::<Result<_, _>>()?)
            }
        };
        let last = keys.len().saturating_sub(1);
        for _ in 0..lists {
            for i in (0..length).map(|i| i.min(last)) {
                match (&parts, keys.get(i), self.0.as_slice()) {
                    (None, Some((_, key)), [one]) => one.add(key, &mut arguments)?,
                    (Some(parts), ..) => {
                        let parts = parts.get(i).into_iter().flatten();
                        for (parameter, part) in self.0.iter().zip(parts) {
                            parameter.add(part, &mut arguments)?;
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(arguments)
    }

    #[cfg(test)]
    pub(super) fn of(parameters: Vec<Parameter>) -> Self {
        Self(parameters)
    }
}
