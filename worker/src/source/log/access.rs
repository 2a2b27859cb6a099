//! An access, as a line of a log tells it.

use std::borrow::Cow;

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
    text.starts_with(b"/") || text.windows(3).any(|three| three == b"://")
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

/// A status, where it is one.
pub(super) fn status(text: &[u8]) -> Option<u16> {
    let [a, b, c] = text.trim_ascii() else {
        return None;
    };
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
    Some(digit(a)? * 100 + digit(b)? * 10 + digit(c)?)
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
        assert_eq!(status(b"200"), Some(200));
        assert_eq!([&b"20"[..], b"-", b"2000", b"2x0"].map(status), [None; 4]);
    }
}
