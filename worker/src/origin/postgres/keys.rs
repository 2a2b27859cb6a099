//! Keys of one or more parts, each a parameter of its own.

use std::borrow::Cow;

use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgTypeInfo};

use super::key::{Parameter, ParameterError};
use crate::origin::composite;
use crate::origin::rewrite::Placeholder;
use crate::origin::sheet::Reason;

/// A query's parameters: one for each part of a key, at least one.
#[derive(Clone, Debug)]
pub(super) struct Keys(Vec<Parameter>);

impl Keys {
    /// From the types that PostgreSQL gave to the parameters of a query whose keys have so many parts.
    pub(super) fn new(
        types: &[PgTypeInfo],
        placeholder: Placeholder,
        parts: usize,
    ) -> Result<Self, ParameterError> {
        if types.len() != parts {
            return Err(ParameterError::Count {
                found: types.len(),
                parts,
            });
        }
        let parameters = types.iter().map(|ty| Parameter::new(ty, placeholder));
        Ok(Self(parameters.collect::<Result<_, _>>()?))
    }

    /// The canonical text of an entry's argument.
    pub(super) fn canonical<'t>(&self, argument: &'t str) -> Result<Cow<'t, str>, Reason> {
        composite::canonical(&self.0, argument, Parameter::canonical)
    }

    /// The canonical text of the key of several parts in a row's columns, given by their texts; `None` where one is NULL, or no key.
    pub(super) fn of_row(&self, texts: impl Iterator<Item = Option<String>>) -> Option<String> {
        composite::of_row(&self.0, texts, Parameter::canonical)
    }

    /// The arguments of a query for some keys, given by their canonical texts.
    pub(super) fn arguments<'k>(
        &self,
        keys: impl ExactSizeIterator<Item = &'k str>,
    ) -> Result<PgArguments, BoxDynError> {
        let mut arguments = PgArguments::default();
        if let [one] = self.0.as_slice() {
            one.add(keys, &mut arguments)?;
            return Ok(arguments);
        }
        let keys = keys.map(|key| composite::parts(key, self.0.len()));
        let keys: Vec<Vec<String>> = keys.collect::<Result<_, _>>()?;
        for (i, parameter) in self.0.iter().enumerate() {
            parameter.add(keys.iter().map(|parts| parts[i].as_str()), &mut arguments)?;
        }
        Ok(arguments)
    }
}
