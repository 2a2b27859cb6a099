//! JSON objects, one a line. A name with dots is that of a member of a member: `request.uri`.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::access::{Access, Field, status};
use super::names::Names;
use super::time;
use crate::source::json::{Object, malformed, text_of};

/// Reads a line. Bytes that are not UTF-8 matter where what is wanted has them.
pub(super) fn read<'l>(line: &'l [u8], names: &Names) -> Result<Access<'l>, String> {
    if let Ok(text) = std::str::from_utf8(line) {
        return of_text(text, names);
    }
    let text = String::from_utf8_lossy(line);
    let access = of_text(&text, names)?;
    let wanted = access.url.iter().chain(access.further.iter().flatten());
    let replaced = char::REPLACEMENT_CHARACTER.to_string();
    for field in wanted {
        if field
            .windows(replaced.len())
            .any(|bytes| bytes == replaced.as_bytes())
        {
            return Err("it is not UTF-8".to_owned());
        }
    }
    Ok(access.into_owned())
}

fn of_text<'l>(text: &'l str, names: &Names) -> Result<Access<'l>, String> {
    let object: Object<'l> = serde_json::from_str(text).map_err(malformed)?;
    let mut access = Access::default();
    let first = |names: &[String]| -> Result<Option<Field<'l>>, String> {
        for name in names {
            if let Some(found) = member(&object, name)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    };
    access.method = first(&names.method)?;
    access.status = first(&names.status)?.and_then(|text| status(&text));
    for name in &names.time {
        // Under some of the names others have how long it took.
        if access.at.is_none() {
            access.at = member(&object, name)?.and_then(|text| time::of_any_format(&text));
        }
    }
    match first(&names.url)? {
        Some(url) => access.take_request(url),
        None if names.further.is_empty() => {
            return Err(format!(
                "it has no field with a URL ({})",
                names.url.join(", ")
            ));
        }
        None => {}
    }
    for name in &names.further {
        access.further.push(member(&object, name)?);
    }
    Ok(access)
}

/// A member's value as text; `None` where it is not there, null, an object or a list.
fn member<'l>(object: &Object<'l>, name: &str) -> Result<Option<Field<'l>>, String> {
    let value = |object: &Object<'l>, name: &str| {
        let found = object.0.iter().find(|(of_member, _)| of_member == name);
        found.map(|(_, value)| *value)
    };
    if let Some(value) = value(object, name) {
        return scalar(value);
    }
    let Some((outer, inner)) = name.split_once('.') else {
        return Ok(None);
    };
    match value(object, outer) {
        Some(value) if value.get().starts_with('{') => {
            let within: Object<'l> = serde_json::from_str(value.get()).map_err(malformed)?;
            member(&within, inner)
        }
        _ => Ok(None),
    }
}

fn scalar(value: &RawValue) -> Result<Option<Field<'_>>, String> {
    let written = value.get();
    Ok(match written.as_bytes() {
        [b'{' | b'[', ..] => None,
        [b'"', within @ .., b'"'] if !within.contains(&b'\\') => Some(Cow::Borrowed(within)),
        _ => {
            let text = text_of(value).map_err(malformed)?;
            text.map(|text| Cow::Owned(text.into_bytes()))
        }
    })
}

#[cfg(test)]
mod tests {
    use stoke_core::access_log::Fields;

    use super::*;

    #[test]
    fn the_usual_names_of_servers_are_known_and_others_can_be_said() {
        let url_of = |line: &str, fields: &Fields| {
            let access = read(line.as_bytes(), &Names::new(fields, &[])).unwrap();
            let text = |field: Option<Field<'_>>| {
                field.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            };
            (
                text(access.method),
                text(access.url),
                access.status,
                access.at,
            )
        };
        let expected = (
            Some("GET".to_owned()),
            Some("/p/7".to_owned()),
            Some(200),
            Some(1_709_208_000),
        );
        for line in [
            r#"{"time":"2024-02-29T12:00:00Z","method":"GET","url":"/p/7","status":200}"#,
            r#"{"time_local":"29/Feb/2024:12:00:00 +0000","request":"GET /p/7 HTTP/1.1","status":"200"}"#,
            r#"{"ts":1709208000.5,"request":{"method":"GET","uri":"/p/7"},"status":200}"#,
            r#"{"StartUTC":"2024-02-29T12:00:00Z","RequestMethod":"GET","RequestPath":"/p\/7","DownstreamStatus":200}"#,
        ] {
            assert_eq!(url_of(line, &Fields::default()), expected, "{line}");
        }
        let fields = Fields {
            url: Some("http.target".into()),
            time: Some("when.at".into()),
            ..Fields::default()
        };
        let line = r#"{"http.target":"/p/7","method":"GET","when":{"at":1709208000},"status":200}"#;
        assert_eq!(url_of(line, &fields), expected);
    }

    #[test]
    fn what_is_no_object_is_told() {
        let names = Names::new(&Fields::default(), &[]);
        for (line, says) in [
            (&b"{\"url\":"[..], "EOF"),
            (b"[1]", "expected a JSON object"),
            (b"{\"url\":\"/\xff\"}", "not UTF-8"),
            (
                b"{\"url\":[\"/a\"],\"status\":null}",
                "no field with a URL (request_uri, url",
            ),
            (b"hello", "expected value"),
        ] {
            let error = read(line, &names).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn what_is_not_wanted_may_be_anything() {
        let names = Names::new(&Fields::default(), &[]);
        let line = b"{\"agent\":\"\xff\",\"time\":0.25,\"msec\":1709208000.5,\"uri\":\"/index.php\",\"request_uri\":\"/a?b\",\"status\":{}}";
        let access = read(line, &names).unwrap();
        assert_eq!(
            access.url.as_deref(),
            Some(&b"/a?b"[..]),
            "as it was asked for"
        );
        assert_eq!((access.at, access.status), (Some(1_709_208_000), None));
    }

    #[test]
    fn further_fields_come_in_the_order_in_which_they_were_asked_for() {
        let names = Names::new(
            &Fields::default(),
            &["key".into(), "tenant".into(), "none".into()],
        );
        let access = read(br#"{"tenant":7,"key":"a\u0020b"}"#, &names).unwrap();
        let further = access.further.iter().map(|field| field.as_deref());
        assert_eq!(
            further.collect::<Vec<_>>(),
            [Some(&b"a b"[..]), Some(b"7"), None]
        );
    }
}
