//! The common log format of Apache and nginx, the combined one, and whatever has more behind:
//! `host ident user [time] "request" status bytes …`.

use super::access::{Access, Field, split, status};
use super::time;

/// Reads a line; `last` is the time of the line before, which most lines of a busy server share.
pub(super) fn read<'l>(line: &'l [u8], last: &time::Last) -> Result<Access<'l>, String> {
    let (at, request) = after_time(line, last).ok_or(
        "there is no time in brackets with a request in quotes behind it, as [10/Oct/2000:13:55:36 -0700] \"GET / HTTP/1.1\"",
    )?;
    let end = closing_quote(request).ok_or("its request has no closing quote")?;
    let (request, rest) = (&request[..end], &request[end + 1..]);
    let rest = rest.trim_ascii();
    let code = split(rest, b' ').map_or(rest, |(code, _)| code);
    let mut access = Access {
        at: Some(at),
        status: Some(
            status(code)
                .filter(|code| *code > 0)
                .ok_or("there is no status behind its request")?,
        ),
        ..Access::default()
    };
    access.take_request(unescaped(request));
    Ok(access)
}

/// What servers write with a backslash as it was: a quote, a backslash, and bytes as `\xC3` (and Apache some as `\n`).
fn unescaped(text: &[u8]) -> Field<'_> {
    let Some(first) = memchr::memchr(b'\\', text) else {
        return text.into();
    };
    let mut plain = text[..first].to_vec();
    let mut rest = &text[first..];
    while let Some((&byte, behind)) = rest.split_first() {
        let (written, more) = match (byte, behind) {
            (b'\\', [b'x', digits @ ..]) => match hexadecimal(digits) {
                Some(escaped) => (escaped, &digits[2..]),
                None => (byte, behind),
            },
            (b'\\', [b'n', more @ ..]) => (b'\n', more),
            (b'\\', [b'r', more @ ..]) => (b'\r', more),
            (b'\\', [b't', more @ ..]) => (b'\t', more),
            (b'\\', [escaped @ (b'"' | b'\\'), more @ ..]) => (*escaped, more),
            _ => (byte, behind),
        };
        plain.push(written);
        rest = more;
    }
    plain.into()
}

/// The byte that two digits are.
fn hexadecimal(digits: &[u8]) -> Option<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let (high, low) = (digit(digits.first()?)?, digit(digits.get(1)?)?);
    u8::try_from(high << 4 | low).ok()
}

/// How long a time is, without its brackets.
const TIME_BYTES: usize = "10/Oct/2000:13:55:36 -0700".len();

/// The first time in brackets that a quote follows, and what stands behind that. (A user's name may have brackets, too.)
fn after_time<'l>(line: &'l [u8], last: &time::Last) -> Option<(i64, &'l [u8])> {
    let mut rest = line;
    while let Some((_, behind)) = split(rest, b'[') {
        if let Some((text, after)) = behind.split_at_checked(TIME_BYTES)
            && let Some(after) = after.strip_prefix(b"]")
            && let Some(request) = after.trim_ascii_start().strip_prefix(b"\"")
            && let Some(at) = last.or_common(text)
        {
            return Some((at, request));
        }
        rest = behind;
    }
    None
}

/// Where a quote ends: at the first that is not escaped.
fn closing_quote(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let found = from + memchr::memchr2(b'"', b'\\', text.get(from..)?)?;
        match text[found] {
            b'"' => return Some(found),
            // What it escapes is no end.
            _ => from = found + 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIME: &str = "[29/Feb/2024:12:00:00 +0000]";

    #[test]
    fn lines_of_apache_and_nginx_are_read() {
        for (line, method, url, code) in [
            (
                format!("127.0.0.1 - - {TIME} \"GET /a?b=c HTTP/1.1\" 200 5"),
                Some("GET"),
                Some("/a?b=c"),
                200,
            ),
            (
                format!(
                    "::1 - frank {TIME} \"POST /a HTTP/2.0\" 304 - \"http://r/\" \"Agent \\\"x\\\" [1]\" 0.005"
                ),
                Some("POST"),
                Some("/a"),
                304,
            ),
            (
                format!("h - [a] b] {TIME} \"GET /\\\"x\\\" HTTP/1.1\" 404 0"),
                Some("GET"),
                Some("/\"x\""),
                404,
            ),
            (
                format!("h - - {TIME} \"GET /m\\xC3\\xBC\\xZ\\\\n HTTP/1.1\" 200 0"),
                Some("GET"),
                Some("/mü\\xZ\\n"),
                200,
            ),
            (
                format!("h - [29/Feb/2024:11:00:00 +0000] {TIME} \"GET /a HTTP/1.1\" 200 0"),
                Some("GET"),
                Some("/a"),
                200,
            ),
            (
                format!("h - - {TIME} \"\\x16\\x03\\x01\" 400 0"),
                None,
                None,
                400,
            ),
            (format!("h - - {TIME} \"-\" 408 0"), None, None, 408),
            (format!("h - - {TIME} \"\" 400"), None, None, 400),
        ] {
            let access = read(line.as_bytes(), &time::Last::default()).unwrap();
            let text = |field: &Option<super::super::access::Field<'_>>| {
                field
                    .as_deref()
                    .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            };
            assert_eq!(text(&access.method).as_deref(), method, "{line}");
            assert_eq!(text(&access.url).as_deref(), url, "{line}");
            assert_eq!(
                (access.status, access.at),
                (Some(code), Some(1_709_208_000))
            );
        }
    }

    #[test]
    fn what_is_no_access_is_told_by_what_it_lacks() {
        for (line, says) in [
            ("".to_owned(), "no time in brackets"),
            (
                "h - - [today] \"GET / HTTP/1.1\" 200 5".to_owned(),
                "no time in brackets",
            ),
            (format!("h - - {TIME} GET / 200"), "no time in brackets"),
            (format!("h - - {TIME} \"GET / HTTP/1.1"), "no closing quote"),
            (format!("h - - {TIME} \"GET / HTTP/1.1\" ok"), "no status"),
        ] {
            let error = read(line.as_bytes(), &time::Last::default()).unwrap_err();
            assert!(error.contains(says), "{line}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_line_breaks_it(line: Vec<u8>, rest: Vec<u8>) {
            let _ = read(&line, &time::Last::default());
            let _ = read(&[b"h ", TIME.as_bytes(), b" \"", &rest].concat(), &time::Last::default());
        }
    }
}
