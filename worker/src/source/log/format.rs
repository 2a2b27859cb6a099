//! How a log's lines are written, and reading one.

use stoke_core::access_log::{Fields, Lines};

use super::access::Access;
use super::columns::{self, Csv, Groups};
use super::names::Names;
use super::{common, json, time};

/// What is said of a first line that tells nothing.
const UNKNOWN: &str = "it is no access of the common format, no JSON object and no header with known columns: say how lines are \
                       written (common, json, csv or a regular expression), and what fields are called";

/// Reads lines of one file.
#[derive(Clone, Debug)]
pub(super) enum Format {
    Common(time::Last),
    Json(Names),
    Csv(Csv),
    Regex(Groups),
}

/// What a file's first line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    Access,
    Header,
}

/// Looks whether a regular expression can be used, as far as that can be told before a line was read: where there are no patterns,
/// which groups it needs the loader says.
pub(super) fn check_regex(regex: &str, fields: &Fields, has_patterns: bool) -> Result<(), String> {
    let checked = match has_patterns {
        true => Groups::new(regex, &Names::new(fields, &[])).map(drop),
        false => columns::compiled(regex).map(drop),
    };
    checked.map_err(|what| format!("the regular expression {what}"))
}

impl Format {
    /// As it is told, or as the first line shows; `further` is wanted beside what makes an access.
    pub(super) fn of(
        lines: &Lines,
        fields: &Fields,
        further: &[String],
        first: &[u8],
    ) -> Result<(Self, First), String> {
        let names = Names::new(fields, further);
        Ok(match lines {
            Lines::Common => (Self::common(further)?, First::Access),
            Lines::Json => (Self::Json(names), First::Access),
            Lines::Csv => (Self::Csv(Csv::new(first, &names)?), First::Header),
            Lines::Regex(regex) => {
                let groups = Groups::new(regex, &names);
                let groups = groups.map_err(|what| format!("the regular expression {what}"))?;
                (Self::Regex(groups), First::Access)
            }
            Lines::Auto if json::read(first, &names).is_ok() => (Self::Json(names), First::Access),
            Lines::Auto if common::read(first, &time::Last::default()).is_ok() => {
                (Self::common(further)?, First::Access)
            }
            Lines::Auto => match Csv::new(first, &names) {
                Ok(csv) => (Self::Csv(csv), First::Header),
                Err(_) => return Err(UNKNOWN.to_owned()),
            },
        })
    }

    fn common(further: &[String]) -> Result<Self, String> {
        match further {
            [] => Ok(Self::Common(time::Last::default())),
            _ => Err("accesses of the common format have URLs only: say which keys those are of, by patterns (urls)".to_owned()),
        }
    }

    /// Another format that this line is of, where nobody has said how lines are written: a server may have been told another one, or two
    /// write to one file. (What has columns goes on to have them: without its header it could not be read again.)
    pub(super) fn or_other(
        &self,
        lines: &Lines,
        fields: &Fields,
        further: &[String],
        line: &[u8],
    ) -> Option<Self> {
        if *lines != Lines::Auto || !matches!(self, Self::Common(_) | Self::Json(_)) {
            return None;
        }
        match Self::of(lines, fields, further, line) {
            Ok((other, First::Access)) => Some(other),
            _ => None,
        }
    }

    pub(super) fn read<'l>(&self, line: &'l [u8]) -> Result<Access<'l>, String> {
        match self {
            Self::Common(last) => common::read(line, last),
            Self::Json(names) => json::read(line, names),
            Self::Csv(csv) => csv.read(line),
            Self::Regex(groups) => groups.read(line),
        }
    }
}
