//! How a loader's values are made: `value`, `compress`, `absent-value` and `absent-ttl`.

use stoke_core::value::{Compression, Form, Negative, ValueFault, ValueSpec};
use stoke_worker::catalog::{TTL_MAX, TTL_MIN};

use crate::config::reader::Table;

/// What there is to choose from.
const FORMS: &str = "write value = \"object\", \"array\", \"hash\", \"messagepack\", \"column:NAME\" or \"template:TEXT\"";

pub(super) fn value(table: &Table<'_>) -> Option<ValueSpec> {
    let form = match table.optional("value") {
        Some(item) => item.parsed(str::parse::<Form>, FORMS),
        None => Some(Form::default()),
    };
    let compression = match table.optional("compress") {
        Some(item) => item.one_of(&[("zstd", Some(Compression::Zstd)), ("none", None)]),
        None => Some(None),
    };
    let negative = negative(table);
    let spec = ValueSpec {
        form: form?,
        compression: compression?,
        negative: negative?,
    };
    let Err(fault) = spec.check() else {
        return Some(spec);
    };
    let guilty = match fault {
        ValueFault::CompressedHash => "compress",
        ValueFault::NoField | ValueFault::NegativeTooLong => "absent-value",
    };
    if let Some(item) = table.optional(guilty) {
        item.fault(fault.to_string(), "change it, or value");
    }
    None
}

fn negative(table: &Table<'_>) -> Option<Option<Negative>> {
    let value = table.optional("absent-value");
    let ttl = table.optional("absent-ttl");
    match (value, ttl) {
        (None, None) => Some(None),
        (Some(value), None) => {
            let remedy = "add absent-ttl = \"30s\"";
            value.fault("it does not say how long it lives", remedy);
            None
        }
        (None, Some(ttl)) => {
            let remedy = "add absent-value = \"…\", what is stored where there is no row";
            ttl.fault("there is no absent-value that lives so long", remedy);
            None
        }
        (Some(value), Some(ttl)) => {
            let (value, ttl) = (value.text(), ttl.duration(TTL_MIN..=TTL_MAX));
            Some(Some(Negative {
                value: value?.to_owned(),
                ttl: ttl?,
            }))
        }
    }
}
