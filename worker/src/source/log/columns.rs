//! Lines whose fields have places: comma-separated values with a header, and what a regular expression finds.

use regex::bytes::{Regex, RegexBuilder};

use super::access::{Access, Field, status};
use super::names::Names;
use super::time;

/// In which place each thing stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    url: Option<usize>,
    method: Option<usize>,
    status: Option<usize>,
    /// Under some of the names others have how long it took.
    time: Vec<usize>,
    further: Vec<Option<usize>>,
}

impl Places {
    /// Of fields that are called so.
    pub(super) fn new(names: &Names, found: &[&str]) -> Self {
        let place = |name: &String| found.iter().position(|found| found == name);
        let first = |names: &[String]| names.iter().find_map(place);
        Self {
            url: first(&names.url),
            method: first(&names.method),
            status: first(&names.status),
            time: names.time.iter().filter_map(place).collect(),
            further: names.further.iter().map(place).collect(),
        }
    }

    fn access<'l>(&self, field: impl Fn(usize) -> Option<Field<'l>>) -> Access<'l> {
        let of = |place: Option<usize>| place.and_then(&field).filter(|text| !text.is_empty());
        let mut access = Access {
            method: of(self.method),
            status: of(self.status).and_then(|text| status(&text)),
            at: self
                .time
                .iter()
                .find_map(|place| time::of_any_format(&of(Some(*place))?)),
            further: self.further.iter().map(|place| of(*place)).collect(),
            ..Access::default()
        };
        if let Some(url) = of(self.url) {
            access.take_request(url);
        }
        access
    }
}

/// Comma-separated values with these columns.
#[derive(Clone, Debug)]
pub(super) struct Csv {
    columns: usize,
    places: Places,
    /// Whether blanks stand around the commas of the header: then they do around those of the lines, too.
    has_blanks: bool,
}

impl Csv {
    /// From the line with the columns' names.
    pub(super) fn new(header: &[u8], names: &Names) -> Result<Self, String> {
        let columns: Vec<String> = fields(header)
            .iter()
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect();
        let has_blanks = columns.iter().any(|name| name.trim() != name);
        let columns: Vec<&str> = columns.iter().map(|name| name.trim()).collect();
        if !names.may_be_of(|name| columns.contains(&name)) {
            let found = columns.join(", ");
            return Err(match names.further.as_slice() {
                [] => {
                    format!("none of the columns {found} has URLs: name the one that does (fields)")
                }
                wanted => format!("the columns {found} lack one of {}", wanted.join(", ")),
            });
        }
        Ok(Self {
            places: Places::new(names, &columns),
            columns: columns.len(),
            has_blanks,
        })
    }

    /// Reads a line.
    pub(super) fn read<'l>(&self, line: &'l [u8]) -> Result<Access<'l>, String> {
        let fields = fields(line);
        let (found, wanted) = (fields.len(), self.columns);
        if found != wanted {
            return Err(format!(
                "it has {found} fields where the header has {wanted}"
            ));
        }
        Ok(self.places.access(|place| {
            let field = fields.get(place)?.clone();
            Some(if self.has_blanks {
                trimmed(field)
            } else {
                field
            })
        }))
    }
}

fn trimmed(field: Field<'_>) -> Field<'_> {
    match field {
        Field::Borrowed(text) => Field::Borrowed(text.trim_ascii()),
        Field::Owned(text) => Field::Owned(text.trim_ascii().to_vec()),
    }
}

/// A line's fields; quoted ones without their quotes.
fn fields(line: &[u8]) -> Vec<Field<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if memchr::memchr(b'"', line).is_none() {
        return line
            .split(|byte| *byte == b',')
            .map(Field::Borrowed)
            .collect();
    }
    let mut text = vec![0; line.len()];
    let mut ends = vec![0; line.len() + 1];
    // Nothing in a line ends it.
    let terminator = csv_core::Terminator::Any(b'\n');
    let mut reader = csv_core::ReaderBuilder::new()
        .terminator(terminator)
        .build();
    // There is room for all of it. What no terminator ends, the end of what is read does.
    let (result, _, written, ended) = reader.read_record(line, &mut text, &mut ends);
    let last = match result {
        csv_core::ReadRecordResult::InputEmpty => {
            reader
                .read_record(b"", &mut text[written..], &mut ends[ended..])
                .3
        }
        _ => 0,
    };
    let mut start = 0;
    let field = |end: &usize| {
        let field = text[start..*end].to_vec();
        start = *end;
        Field::Owned(field)
    };
    ends[..ended + last].iter().map(field).collect()
}

/// What a regular expression finds.
#[derive(Clone, Debug)]
pub(super) struct Groups {
    regex: Regex,
    places: Places,
}

impl Groups {
    /// Reads an expression, which has to have groups of the names that are wanted.
    pub(super) fn new(regex: &str, names: &Names) -> Result<Self, String> {
        let regex = compiled(regex)?;
        let groups: Vec<&str> = regex
            .capture_names()
            .map(Option::unwrap_or_default)
            .collect();
        if !names.may_be_of(|name| groups.contains(&name)) {
            return Err(match names.further.as_slice() {
                [] => "has no group for the URL: name one, as (?<url>\\S+)".to_owned(),
                [one] => format!("has no group {one}: name one, as (?<{one}>\\S+)"),
                wanted => format!(
                    "lacks a group of {}: name them, as (?<key>\\S+)",
                    wanted.join(", ")
                ),
            });
        }
        Ok(Self {
            places: Places::new(names, &groups),
            regex,
        })
    }

    /// Reads a line.
    pub(super) fn read<'l>(&self, line: &'l [u8]) -> Result<Access<'l>, String> {
        let found = self.regex.captures(line);
        let found = found.ok_or("the regular expression finds nothing in it")?;
        let group = |place: usize| Some(Field::Borrowed(found.get(place)?.as_bytes()));
        Ok(self.places.access(group))
    }
}

/// An expression, or what is wrong with it.
pub(super) fn compiled(regex: &str) -> Result<Regex, String> {
    // Lines are bytes: what is no UTF-8 ends no value.
    let compiled = RegexBuilder::new(regex).unicode(false).build();
    compiled.map_err(|error| {
        // Above it stands a picture of where.
        let error = error.to_string();
        let last = error.lines().last().unwrap_or_default();
        format!("is none: {}", last.trim_start_matches("error: "))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stoke_core::access_log::Fields;

    use super::*;

    fn names(further: &[&str]) -> Names {
        let further: Vec<String> = further.iter().map(|&name| name.to_owned()).collect();
        Names::new(&Fields::default(), &further)
    }

    fn url(access: &Access<'_>) -> String {
        String::from_utf8_lossy(access.url.as_deref().unwrap_or_default()).into_owned()
    }

    #[test]
    fn blanks_behind_commas_are_no_part_of_values_where_the_header_has_them() {
        let with = Csv::new(b"status, path, key", &names(&["key"])).unwrap();
        let access = with.read(b"200, /product/7, 7").unwrap();
        assert_eq!(url(&access), "/product/7");
        assert_eq!(access.further, [Some(b"7"[..].into())]);
        let without = Csv::new(b"status,path,key", &names(&["key"])).unwrap();
        let access = without.read(b"200,/product/7, 7").unwrap();
        assert_eq!(access.further, [Some(b" 7"[..].into())]);
    }

    #[test]
    fn values_stand_under_the_names_of_the_header() {
        let csv = Csv::new(b"time, status,path,method\r\n", &names(&[])).unwrap();
        let access = csv
            .read(b"1709208000,200,\"/a,\"\"b\"\"\",GET\r\n")
            .unwrap();
        assert_eq!(
            (url(&access).as_str(), access.status, access.at),
            ("/a,\"b\"", Some(200), Some(1_709_208_000))
        );
        assert_eq!(csv.read(b",,,").unwrap(), Access::default());
        for (line, says) in [
            (&b"1,2,3"[..], "3 fields where the header has 4"),
            (b"1,2,\"/a,4", "3 fields where the header has 4"),
        ] {
            let error = csv.read(line).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        let error = Csv::new(b"a,b", &names(&[])).unwrap_err();
        assert!(
            error.contains("none of the columns a, b has URLs"),
            "{error}"
        );
        let error = Csv::new(b"a,key", &names(&["key", "id"])).unwrap_err();
        assert!(
            error.contains("the columns a, key lack one of key, id"),
            "{error}"
        );
        let of_keys = Csv::new(b"a,key", &names(&["key"])).unwrap();
        assert_eq!(
            of_keys.read(b"1,k").unwrap().further,
            [Some(Field::Borrowed(&b"k"[..]))]
        );
    }

    #[test]
    fn groups_are_the_fields() {
        let expression = r"^(?<time>\S+ \S+) (?<status>\d+) (?<url>/\S*)";
        let groups = Groups::new(expression, &names(&[])).unwrap();
        let access = groups.read(b"2024-02-29 12:00:00 200 /a rest").unwrap();
        assert_eq!(
            (url(&access).as_str(), access.status, access.at),
            ("/a", Some(200), Some(1_709_208_000))
        );
        let bytes = groups.read(b"2024-02-29 12:00:00 200 /a\xff9 x").unwrap();
        assert_eq!(bytes.url.as_deref(), Some(&b"/a\xff9"[..]));
        assert!(
            groups
                .read(b"nothing")
                .unwrap_err()
                .contains("finds nothing")
        );
        for (expression, further, says) in [
            ("(", &[][..], "unclosed group"),
            ("(.*)", &[], "no group for the URL"),
            ("(?<url>.*)", &["key"], "no group key"),
            ("(?<key>.*)", &["key", "id"], "lacks a group of key, id"),
        ] {
            let error = Groups::new(expression, &names(further)).unwrap_err();
            assert!(error.contains(says), "{expression}: {error}");
        }
    }

    proptest! {
        #[test]
        fn fields_survive_being_written(fields in prop::collection::vec("[a-z,\" ]{0,6}[a-z]", 1..6)) {
            let written: Vec<String> = fields
                .iter()
                .map(|field| format!("\"{}\"", field.replace('"', "\"\"")))
                .collect();
            let line = written.join(",");
            let found = super::fields(line.as_bytes());
            let found: Vec<String> = found.iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect();
            prop_assert_eq!(found, fields);
        }

        #[test]
        fn no_line_breaks_it(line: Vec<u8>) {
            let _ = super::fields(&line);
        }
    }
}
