//! An access, as a line of a log tells it.

use std::borrow::Cow;

use stoke_core::url_pattern::behind_scheme;

/// A value of a line: a part of it, or what an escape in it stands for.
pub(super) type Field<'l> = Cow<'l, [u8]>;

/// What a line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Access<'l> {
    /// `None`: its request is no URL (as of whoever speaks TLS to a port that does not).
    pub(super) url: Option<Field<'l>>,
    pub(super) method: Option<Field<'l>>,
    pub(super) status: Option<u16>,
    /// Seconds since 1970.
    pub(super) at: Option<i64>,
    /// What was asked for by name beside these, in that order.
    pub(super) further: Vec<Option<Field<'l>>>,
}

impl<'l> Access<'l> {
    /// The same, of bytes of its own.
    pub(super) fn into_owned(self) -> Access<'static> {
        let owned = |field: Field<'l>| Field::Owned(field.into_owned());
        Access {
            url: self.url.map(owned),
            method: self.method.map(owned),
            status: self.status,
            at: self.at,
            further: self
                .further
                .into_iter()
                .map(|field| field.map(owned))
                .collect(),
        }
    }

    /// Takes a URL, or a request line (`GET /a HTTP/1.1`), whose method is told by it.
    pub(super) fn take_request(&mut self, request: Field<'l>) {
        let Some((method, rest)) = split(&request, b' ') else {
            self.url = Some(request).filter(|url| is_url(url));
            return;
        };
        // What a client sends unencoded belongs to the URL: its version is behind the last space.
        let url = rest
            .iter()
            .rposition(|byte| *byte == b' ')
            .map_or(rest, |at| &rest[..at]);
        let is_request = !method.is_empty() && method.iter().all(u8::is_ascii_uppercase);
        if !is_request || !is_url(url) {
            self.url = Some(request).filter(|url| is_url(url));
            return;
        }
        let (method, url) = (
            0..method.len(),
            method.len() + 1..method.len() + 1 + url.len(),
        );
        self.method.get_or_insert(part(&request, method));
        self.url = Some(part(&request, url));
    }
}

/// Whether it may be one: a path, or one with scheme and host.
fn is_url(text: &[u8]) -> bool {
    text.starts_with(b"/") || behind_scheme(text).is_some()
}

fn part<'l>(field: &Field<'l>, range: std::ops::Range<usize>) -> Field<'l> {
    match field {
        Cow::Borrowed(text) => Cow::Borrowed(&text[range]),
        Cow::Owned(text) => Cow::Owned(text[range].to_vec()),
    }
}

/// What stands before the first of these bytes, and behind it.
pub(super) fn split(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let found = memchr::memchr(at, text)?;
    Some((&text[..found], &text[found + 1..]))
}

/// A status; none where nothing or `-` stands there, and 0 where it is something else: that is no answer that counts.
pub(super) fn status(text: &[u8]) -> Option<u16> {
    let text = text.trim_ascii();
    if matches!(text, b"" | b"-") {
        return None;
    }
    let digits = text.iter().position(|byte| !byte.is_ascii_digit());
    let status = match &text[..digits.unwrap_or(text.len())] {
        digits @ [_, _, _] => std::str::from_utf8(digits).ok(),
        _ => None,
    };
    Some(status.and_then(|digits| digits.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_url_with_or_without_method_and_version() {
        for (text, method, url) in [
            ("GET /a HTTP/1.1", Some("GET"), Some("/a")),
            ("GET /a", None, None),
            ("GET /a b HTTP/1.1", Some("GET"), Some("/a b")),
            ("GET http://h/a HTTP/1.1", Some("GET"), Some("http://h/a")),
            ("/a b", None, Some("/a b")),
            ("/a", None, Some("/a")),
            ("-", None, None),
            ("", None, None),
            ("\\x16\\x03\\x01 / x", None, None),
            ("OPTIONS * HTTP/1.1", None, None),
            ("login?next=https://h/a", None, None),
            ("://h/a", None, None),
        ] {
            let mut access = Access::default();
            access.take_request(text.as_bytes().into());
            let text_of = |field: &Option<Field<'_>>| {
                let field = field.as_deref();
                field.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            };
            let found = (text_of(&access.method), text_of(&access.url));
            // HTTP/0.9 has no version.
            let expected = match text {
                "GET /a" => (Some("GET".to_owned()), Some("/a".to_owned())),
                _ => (method.map(str::to_owned), url.map(str::to_owned)),
            };
            assert_eq!(found, expected, "{text}");
        }
        for (text, expected) in [
            ("200", Some(200)),
            (" 404.0", Some(404)),
            ("404 Not Found", Some(404)),
            ("-", None),
            ("", None),
            ("-1", Some(0)),
            ("20", Some(0)),
            ("2000", Some(0)),
            ("99999999999999999999", Some(0)),
            ("ok", Some(0)),
        ] {
            assert_eq!(status(text.as_bytes()), expected, "{text}");
        }
    }
}
