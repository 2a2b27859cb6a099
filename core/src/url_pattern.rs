//! Patterns of URLs in access logs: `/product/{id}`, `/search?q={query}`.
//!
//! A pattern is compared with a URL's path, segment by segment; a name stands for one byte or more of its segment, as few as
//! there can be, `*` alone for a segment that does not matter, and `{*name}` at the end for all the rest. A slash at the end
//! does not count. What follows `?` are parameters that the URL must have, in any order, among others; without it the URL's
//! parameters do not matter. Scheme, host and fragment never do. `{{` and `}}` are the braces themselves.
//!
//! URLs are compared as they are written, and what was found is decoded after (`%20`; in parameters `+`, too): so a log's lines can be
//! counted by bytes that lie in them. Two spellings of one value are two captures of one key.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode;
use serde::{Deserialize, Serialize};

use crate::pattern::{NotAPattern, add_names, captures, column_of};
use crate::template::{NotATemplate, Part, TEMPLATE_LENGTH_MAX, parts};

/// The column of a key source that is no key's.
const RESERVED: &str = "priority";

/// A checked pattern. Its text is what it was parsed from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UrlPattern {
    source: String,
    path: Vec<Segment>,
    parameters: Vec<(String, Vec<Part>)>,
    names: Vec<String>,
    /// How many of the names are in the path: they come first.
    of_path: usize,
}

/// A part of a path, between slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Any,
    Parts(Vec<Part>),
    /// All that follows, under the name that was read last.
    Rest,
}

/// A text that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAUrlPattern {
    /// It has no path.
    #[error(
        "it does not begin with a slash: write the path as it stands in the log, as /product/{{id}}"
    )]
    NoSlash,
    /// Its names or braces are not as they should be.
    #[error(transparent)]
    Names(#[from] NotAPattern),
    /// No name.
    #[error(
        "it has no {{name}}, so all of its URLs would be one key: name what the key is made of, as /product/{{id}}"
    )]
    NoName,
    /// Something behind the rest.
    #[error("{{*{0}}} stands for all the rest of a path, so nothing can follow it")]
    RestNotLast(String),
    /// A parameter without a value, or without a name.
    #[error("{0:?} is no parameter: write name=value or name={{name}}")]
    Parameter(String),
    /// A name that means something else.
    #[error("{{priority}} cannot be a name: a key source's column of that name is the count")]
    Reserved,
}

impl From<NotATemplate> for NotAUrlPattern {
    fn from(fault: NotATemplate) -> Self {
        Self::Names(fault.into())
    }
}

impl UrlPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Where `source` is none: what is wrong, and what to write instead.
    pub fn parse(source: &str) -> Result<Self, NotAUrlPattern> {
        if source.len() > TEMPLATE_LENGTH_MAX {
            let length = source.len();
            return Err(NotATemplate::TooLong { length }.into());
        }
        // Where a brace is wrong is told by its place in the whole.
        parts(&source.replace("{*", "{"))?;
        let (path, query) = source.split_once('?').unwrap_or((source, ""));
        let path = path.strip_prefix('/').ok_or(NotAUrlPattern::NoSlash)?;
        let mut names = Vec::new();
        let mut segments = Vec::new();
        for written in segments_of(path.as_bytes()) {
            if segments.last() == Some(&Segment::Rest) {
                let name = names.pop().unwrap_or_default();
                return Err(NotAUrlPattern::RestNotLast(name));
            }
            // A slash is one byte: what lies between two is text.
            segments.push(segment(&String::from_utf8_lossy(written), &mut names)?);
        }
        let of_path = names.len();
        let mut parameters = Vec::new();
        for written in query.split('&').filter(|written| !written.is_empty()) {
            let parameter = written.split_once('=').filter(|(name, _)| !name.is_empty());
            let (name, value) =
                parameter.ok_or_else(|| NotAUrlPattern::Parameter(written.to_owned()))?;
            let value = parts(value)?;
            add_checked(&value, &mut names)?;
            parameters.push((name.to_owned(), value));
        }
        if names.is_empty() {
            return Err(NotAUrlPattern::NoName);
        }
        Ok(Self {
            source: source.to_owned(),
            path: segments,
            parameters,
            names,
            of_path,
        })
    }

    /// The pattern's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// The names of its parts: those of the path first, in the order in which they stand in it.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether a URL is one of the pattern's; then `found` is what stands in the places of its names, in their order, as it is
    /// written.
    pub fn captures<'u>(&self, url: &'u [u8], found: &mut Vec<&'u [u8]>) -> bool {
        found.clear();
        let (path, query) = path_and_query(url);
        let Some(path) = path.strip_prefix(b"/") else {
            return false;
        };
        self.matches_path(path, found) && self.matches_query(query, found)
    }

    fn matches_path<'u>(&self, path: &'u [u8], found: &mut Vec<&'u [u8]>) -> bool {
        let mut written = segments_of(path);
        let mut behind = 0;
        for segment in &self.path {
            if *segment == Segment::Rest {
                let rest = path.get(behind..).unwrap_or_default();
                found.push(rest);
                return !rest.is_empty();
            }
            let Some(text) = written.next() else {
                return false;
            };
            behind += text.len() + 1;
            let matches = match segment {
                Segment::Any => !text.is_empty(),
                Segment::Parts(parts) => captures(parts, text, found),
                Segment::Rest => true,
            };
            if !matches {
                return false;
            }
        }
        written.next().is_none()
    }

    fn matches_query<'u>(&self, query: &'u [u8], found: &mut Vec<&'u [u8]>) -> bool {
        self.parameters.iter().all(|(name, parts)| {
            let mut given = query.split(|byte| *byte == b'&');
            let value = given.find_map(|one| one.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
            value.is_some_and(|value| captures(parts, value, found))
        })
    }

    /// What was written in the place of the name of this number, decoded. A `%` that is followed by no two hexadecimal digits stands
    /// for itself.
    #[must_use]
    pub fn decoded<'u>(&self, name: usize, written: &'u [u8]) -> Cow<'u, [u8]> {
        let in_query = name >= self.of_path;
        if in_query && written.contains(&b'+') {
            let spaces = written
                .iter()
                .map(|byte| if *byte == b'+' { b' ' } else { *byte });
            let spaces: Vec<u8> = spaces.collect();
            return Cow::Owned(percent_decode(&spaces).collect());
        }
        percent_decode(written).into()
    }
}

/// The segments of a path without its first slash; none where nothing stands there, and none behind a slash at the end.
fn segments_of(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let is_empty = path.is_empty();
    path.split(|byte| *byte == b'/').filter(move |_| !is_empty)
}

fn segment(written: &str, names: &mut Vec<String>) -> Result<Segment, NotAUrlPattern> {
    if written == "*" {
        return Ok(Segment::Any);
    }
    let rest = written.strip_prefix("{*").map(|name| format!("{{{name}"));
    let is_rest = rest.is_some();
    let parts = parts(rest.as_deref().unwrap_or(written))?;
    add_checked(&parts, names)?;
    match (is_rest, parts.as_slice()) {
        (false, _) => Ok(Segment::Parts(parts)),
        (true, [Part::Column(_)]) => Ok(Segment::Rest),
        (true, _) => Err(NotAUrlPattern::RestNotLast(names.pop().unwrap_or_default())),
    }
}

fn add_checked(parts: &[Part], names: &mut Vec<String>) -> Result<(), NotAUrlPattern> {
    if column_of(parts, |name| name == RESERVED).is_some() {
        return Err(NotAUrlPattern::Reserved);
    }
    Ok(add_names(parts, names)?)
}

/// What stands behind the scheme of a URL (RFC 3986, 3.1) and its `://`; `None` where it has none.
#[must_use]
pub fn behind_scheme(url: &[u8]) -> Option<&[u8]> {
    let at = url.windows(3).position(|three| three == b"://")?;
    let is_of_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    let is_scheme = url[0].is_ascii_alphabetic() && url[..at].iter().all(is_of_scheme);
    is_scheme.then(|| &url[at + 3..])
}

/// A URL's path, and what stands behind its `?`.
fn path_and_query(url: &[u8]) -> (&[u8], &[u8]) {
    let until = |text: &[u8], stops: &[u8]| text.iter().position(|byte| stops.contains(byte));
    let url = &url[..until(url, b"#").unwrap_or(url.len())];
    // As it is written in a proxy's log.
    let path = match url.first() {
        Some(b'/') | None => url,
        Some(_) => {
            let behind = behind_scheme(url).unwrap_or(url);
            &behind[until(behind, b"/?").unwrap_or(behind.len())..]
        }
    };
    match until(path, b"?") {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (path, b""),
    }
}

impl FromStr for UrlPattern {
    type Err = NotAUrlPattern;

    fn from_str(source: &str) -> Result<Self, NotAUrlPattern> {
        Self::parse(source)
    }
}

impl TryFrom<String> for UrlPattern {
    type Error = NotAUrlPattern;

    fn try_from(source: String) -> Result<Self, NotAUrlPattern> {
        Self::parse(&source)
    }
}

impl From<UrlPattern> for String {
    fn from(pattern: UrlPattern) -> Self {
        pattern.source
    }
}

impl fmt::Display for UrlPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is found, decoded, as text.
    fn found(pattern: &str, url: &[u8]) -> Option<Vec<String>> {
        let pattern = UrlPattern::parse(pattern).unwrap();
        let mut found = Vec::new();
        pattern.captures(url, &mut found).then(|| {
            let decoded = (0..)
                .zip(found)
                .map(|(n, written)| pattern.decoded(n, written).into_owned());
            decoded
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .collect()
        })
    }

    #[test]
    fn a_url_is_compared_by_its_path_and_the_parameters_that_matter() {
        for (pattern, url, expected) in [
            ("/product/{id}", "/product/7", Some(&["7"][..])),
            ("/product/{id}", "/product/7/", Some(&["7"])),
            ("/product/{id}", "/product/7?from=mail#top", Some(&["7"])),
            (
                "/product/{id}",
                "http://shop.example:80/product/7",
                Some(&["7"]),
            ),
            ("/product/{id}", "/product/7/reviews", None),
            ("/product/{id}", "/product/", None),
            ("/product/{id}", "/Product/7", None),
            ("/product/{id}", "product/7", None),
            ("/product/{id}", "login?next=https://h/product/7", None),
            ("/product/{id}", "", None),
            ("/product/{id}", "*", None),
            ("/p-{id}.{kind}", "/p-7.1.html", Some(&["7", "1.html"])),
            ("/p-{id}.html", "/p-.html", None),
            ("/*/cart/{user}", "/de/cart/42", Some(&["42"])),
            ("/*/cart/{user}", "//cart/42", None),
            ("/files/{*path}", "/files/a/b.css", Some(&["a/b.css"])),
            ("/files/{*path}", "/files/a/", Some(&["a/"])),
            ("/files/{*path}", "/files/", None),
            ("/{*path}", "/", None),
            ("/a%20b/{x}", "/a%20b/1", Some(&["1"])),
            (
                "/s?q={query}",
                "/s?lang=de&q=red+shoe%21",
                Some(&["red shoe!"]),
            ),
            ("/s?q={query}&lang=de", "/s?lang=de&q=a&q=b", Some(&["a"])),
            ("/s?q={query}&lang=de", "/s?q=a", None),
            ("/s?q={query}", "/s?qq=a", None),
            ("/?q={query}", "http://shop.example?q=a", None),
            ("/{{x}}/{id}", "/{x}/7", Some(&["7"])),
            ("/k/{id}", "/k/a%2Fb+c%zz%4", Some(&["a/b+c%zz%4"])),
            (
                "/u/{tenant}/{id}?v={v}",
                "/u/t/1?v=2",
                Some(&["t", "1", "2"]),
            ),
        ] {
            let expected =
                expected.map(|texts| texts.iter().map(|&text| text.to_owned()).collect());
            assert_eq!(
                found(pattern, url.as_bytes()),
                expected,
                "{pattern} of {url}"
            );
        }
    }

    #[test]
    fn what_is_no_pattern_is_told_with_what_to_write() {
        for (text, says) in [
            ("product/{id}", "begin with a slash"),
            ("", "begin with a slash"),
            ("/product", "no {name}"),
            ("/product/*", "no {name}"),
            ("/{a}{b}", "between {a} and {b}"),
            ("/{a}/{a}", "twice"),
            ("/{a}?x={a}", "twice"),
            ("/{*a}/b", "{*a} stands for all the rest"),
            ("/{*a}.html", "{*a} stands for all the rest"),
            ("/x/{", "column 4 is never closed"),
            ("/x?{a}", "no parameter"),
            ("/{priority}", "is the count"),
            (&format!("/{}", "x".repeat(2000)), "at most 1024"),
        ] {
            let said = UrlPattern::parse(text).unwrap_err().to_string();
            assert!(said.contains(says), "{text}: {said}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_in_the_place_of_a_name_is_found(
            id in "[^/?#%]{1,20}", query in "[^&#%+]{1,20}", more in "[a-z=&]{0,9}",
        ) {
            let url = format!("/p/{id}/x?{more}&q={query}");
            let first = more.split('&').find_map(|one| one.strip_prefix("q=")).unwrap_or(&query);
            prop_assume!(!first.is_empty());
            let expected = Some(vec![id.clone(), first.to_owned()]);
            prop_assert_eq!(found("/p/{id}/x?q={query}", url.as_bytes()), expected);
        }

        #[test]
        fn no_url_breaks_it(url: Vec<u8>, pattern in "/[a-z{}*?=&/]{0,20}") {
            if let Ok(pattern) = UrlPattern::parse(&pattern) {
                let mut found = Vec::new();
                if pattern.captures(&url, &mut found) {
                    prop_assert_eq!(found.len(), pattern.names().len());
                    for (n, written) in found.iter().enumerate() {
                        prop_assert!(!written.is_empty());
                        let _ = pattern.decoded(n, written);
                    }
                }
            }
        }
    }
}
