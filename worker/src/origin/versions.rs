//! Reading again which versions rows have.

use stoke_core::names::OriginName;
use stoke_core::value::{Form, ValueSpec, Versions};

use super::names_of_keys;
use super::rewrite::{Dialect, Rewritten};
use crate::catalog::LoaderSpec;

/// The loader that gives, for a loader's keys, nothing but their rows' versions. The database computes what the loader's query
/// gives, as far as it cannot see that it is not needed.
pub(super) fn loader(
    origin: &OriginName,
    loader: &LoaderSpec,
    query: &Rewritten,
    dialect: Dialect,
) -> LoaderSpec {
    let column = loader.value.versions.as_ref();
    let column = column.map_or("", |versions| versions.column.as_str());
    let keys = names_of_keys(loader, query);
    let mut columns: Vec<&str> = keys.iter().map(String::as_str).collect();
    if !columns.contains(&column) {
        columns.push(column);
    }
    let columns: Vec<String> = columns.iter().map(|name| quoted(name, dialect)).collect();
    let inner = loader.query.trim_end().trim_end_matches(';');
    // A comment at the query's end must not take the bracket with it.
    let query = format!(
        "SELECT {} FROM ({inner}\n) AS stoke_versions",
        columns.join(", ")
    );
    let form = if loader.value.form.takes_many_rows() {
        Form::Array
    } else {
        Form::Object
    };
    LoaderSpec {
        origin: origin.clone(),
        query,
        key_column: keys.iter().cloned().collect(),
        value: ValueSpec {
            form,
            versions: Some(Versions {
                column: column.to_owned(),
                origin: None,
            }),
            ..ValueSpec::default()
        },
        ..loader.clone()
    }
}

pub(super) fn quoted(name: &str, dialect: Dialect) -> String {
    let mark = match dialect {
        Dialect::MySql => "`",
        Dialect::Postgres | Dialect::Sqlite => "\"",
    };
    format!("{mark}{}{mark}", name.replace(mark, &mark.repeat(2)))
}
