//! How a loader's values are made: `value`, `compress`, `absent-value` and `absent-ttl`, `expiry-column`, `version-column` and
//! `version-origin`.

use stoke_core::value::{Compression, Form, Negative, ValueFault, ValueSpec, Versions};
use stoke_worker::catalog::{TTL_MAX, TTL_MIN};

use crate::config::reader::Table;
use crate::config::shared::all_or_none;

/// What there is to choose from.
const FORMS: &str = "write value = \"object\", \"array\", \"hash\", \"messagepack\", \"column:NAME\" or \"template:TEXT\"";

/// The origins that may be named are these, or any where the file defines none.
pub(super) fn value(table: &Table<'_>, origins: Option<&[&str]>) -> Option<ValueSpec> {
    let form = match table.optional("value") {
        Some(item) => item.parsed(str::parse::<Form>, FORMS),
        None => Some(Form::default()),
    };
    let compression = match table.optional("compress") {
        Some(item) => item.one_of(&[("zstd", Some(Compression::Zstd)), ("none", None)]),
        None => Some(None),
    };
    let negative = negative(table);
    let expiry_column = table.optional("expiry-column");
    let expiry_column = all_or_none(expiry_column.map(|item| item.filled().map(str::to_owned)));
    let versions = versions(table, origins);
    let spec = ValueSpec {
        form: form?,
        compression: compression?,
        negative: negative?,
        expiry_column: expiry_column?,
        versions: versions?,
        copy: None,
    };
    let Err(fault) = spec.check() else {
        return Some(spec);
    };
    let guilty = match fault {
        ValueFault::CompressedHash => "compress",
        ValueFault::NoField | ValueFault::NegativeTooLong => "absent-value",
        ValueFault::ExpiryColumn => "expiry-column",
        ValueFault::VersionColumn => "version-column",
        // Of those that copy, which are read elsewhere.
        ValueFault::Copied | ValueFault::CopiedFrom => "copy",
    };
    if let Some(item) = table.optional(guilty) {
        item.fault(fault.to_string(), "change it, or value");
    }
    None
}

fn versions(table: &Table<'_>, origins: Option<&[&str]>) -> Option<Option<Versions>> {
    let column = table.optional("version-column");
    let column = all_or_none(column.map(|item| item.filled().map(str::to_owned)));
    let origin_item = table.optional("version-origin");
    let origin = all_or_none(origin_item.as_ref().map(|item| match origins {
        Some(origins) => item.name_of("origin", origins, "[origins.NAME]"),
        None => item.name(),
    }));
    let (column, origin) = (column?, origin?);
    if let (None, Some(item)) = (&column, &origin_item) {
        let remedy = "add version-column = \"NAME\", or remove it";
        item.fault("it stands without version-column", remedy);
        return None;
    }
    Some(column.map(|column| Versions { column, origin }))
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
