//! `[sources.NAME]`: a query of an origin, or a file.

use stoke_core::job::OnBadLine;
use stoke_worker::catalog::{SourceConfig, SourceFrom};

use crate::config::reader::{Entry, Table};
use crate::config::shared::all_or_none;

/// What is done with lines that are no entries, as files say it.
pub const ON_BAD_LINE: [(&str, OnBadLine); 2] =
    [("fail", OnBadLine::Fail), ("skip", OnBadLine::Skip)];

pub(super) fn source(
    entry: &Entry<'_>,
    table: &Table<'_>,
    origins: &[&str],
    loaders: &[&str],
) -> Option<SourceConfig> {
    let name = entry.parsed(table);
    let loader = table.optional("loader");
    let loader = loader.map(|item| item.name_of("loader", loaders, "[loaders.NAME]"));
    let on_bad_line = match table.optional("on-bad-line") {
        Some(item) => item.one_of(&ON_BAD_LINE),
        None => Some(OnBadLine::default()),
    };
    let from = source_from(table, origins);
    Some(SourceConfig {
        name: name?,
        from: from?,
        loader: all_or_none(loader)?,
        on_bad_line: on_bad_line?,
    })
}

fn source_from(table: &Table<'_>, origins: &[&str]) -> Option<SourceFrom> {
    let keys = ["origin", "query", "file"].map(|key| table.optional(key));
    match keys {
        [Some(origin), Some(query), None] => {
            let origin = origin.name_of("origin", origins, "[origins.NAME]");
            let query = query.filled();
            Some(SourceFrom::Sql {
                origin: origin?,
                query: query?.to_owned(),
            })
        }
        [None, None, Some(file)] => Some(SourceFrom::File(file.path()?)),
        [Some(sql), _, Some(file)] | [None, Some(sql), Some(file)] => {
            table.contradiction(&sql, &file, "give origin and query, or file");
            None
        }
        [Some(alone), None, None] => {
            alone.lacks("it stands without query", "add query");
            None
        }
        [None, Some(alone), None] => {
            alone.lacks("it stands without origin", "add origin");
            None
        }
        [None, None, None] => {
            table.lacks(
                "nothing says what is read",
                "give origin and query, or file",
            );
            None
        }
    }
}
