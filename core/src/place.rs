//! Where a key file or an access log lies: a path on the worker's machine, or the URL of an object in a store.
//!
//! A URL is told by its scheme. It goes into the job's record, where everybody sees it who sees the job: so it carries nothing that
//! lets anybody in, neither a user nor a signature. Left to the worker: which stores it can reach, and what paths are.

use std::borrow::Cow;

/// The schemes of URLs that name objects, and `file` for the worker's own machine.
const SCHEMES: [&str; 11] = [
    "file", "s3", "s3a", "gs", "az", "azure", "adl", "abfs", "abfss", "http", "https",
];

/// A URL that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectUrl<'a> {
    /// Its scheme, in small letters.
    pub scheme: &'static str,
    /// What stands between `//` and the next `/`: a bucket, a container, a server.
    pub authority: &'a str,
    /// What stands behind that `/`, as it was written.
    pub key: &'a str,
}

/// Why a URL cannot be asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnObject {
    /// Of another scheme.
    #[error("there are no objects of {0}: write file:, s3:, gs:, az:, http: or https:, or a path")]
    Scheme(String),
    /// With a user or a password.
    #[error(
        "a URL with a user or a password is refused, for whoever sees the job would see them: leave them to the worker's environment"
    )]
    Login,
    /// With a query.
    #[error(
        "a URL with a query is refused, for whoever sees the job would see what it signs: leave out what stands from ? on, and the \
         credentials to the worker's environment"
    )]
    Query,
    /// Of a store, or of a server, but of nothing there.
    #[error("it names no object: write scheme://bucket/key")]
    NoKey,
    /// A file of another machine.
    #[error("only files of the worker's machine have such URLs: write file:///path")]
    OtherMachine,
}

impl<'a> ObjectUrl<'a> {
    /// Reads a URL; `None` where the text is a path.
    ///
    /// # Errors
    /// Where it is a URL that cannot be asked for.
    pub fn of(text: &'a str) -> Result<Option<Self>, NotAnObject> {
        let Some((scheme, rest)) = split_scheme(text) else {
            return Ok(None);
        };
        let known = SCHEMES
            .into_iter()
            .find(|known| scheme.eq_ignore_ascii_case(known));
        let Some(scheme) = known else {
            return Err(NotAnObject::Scheme(scheme.to_owned()));
        };
        let (authority, key) = split_authority(rest);
        if has_login(scheme, authority) {
            return Err(NotAnObject::Login);
        }
        if query_at(text).is_some() {
            return Err(NotAnObject::Query);
        }
        match scheme {
            "file" if !matches!(authority, "" | "localhost") => Err(NotAnObject::OtherMachine),
            "file" => Ok(()),
            _ if authority.is_empty() || key.is_empty() => Err(NotAnObject::NoKey),
            _ => Ok(()),
        }?;
        Ok(Some(Self {
            scheme,
            authority,
            key,
        }))
    }

    /// Whether it is of a server that is asked in HTTP, and not of a store.
    #[must_use]
    pub fn is_of_server(&self) -> bool {
        matches!(self.scheme, "http" | "https")
    }
}

/// The text as it can be shown: a URL without what lets somebody in.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = split_scheme(text) else {
        return text.into();
    };
    let whole = query_at(text).map_or(text, |query| &text[..query]);
    let (authority, _) = split_authority(rest);
    match authority.rfind('@') {
        Some(at) if has_login(scheme, authority) => {
            let behind = text.len() - rest.len() + at + 1;
            format!("{scheme}://…@{}", whole.get(behind..).unwrap_or_default()).into()
        }
        _ => whole.into(),
    }
}

/// The scheme, and what stands behind its `//`; `file:/path` is as good as `file:///path`.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let is_scheme = scheme.len() > 1
        && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|char| char.is_ascii_alphanumeric() || "+-.".contains(char));
    let of_file = scheme.eq_ignore_ascii_case("file") && rest.starts_with('/');
    let behind = rest.strip_prefix("//").or(of_file.then_some(rest))?;
    is_scheme.then_some((scheme, behind))
}

fn split_authority(rest: &str) -> (&str, &str) {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, behind) = rest.split_at(end);
    (authority, behind.strip_prefix('/').unwrap_or(behind))
}

/// Whether somebody's name or password stands before the server. (In two schemes the container stands there.)
fn has_login(scheme: &str, authority: &str) -> bool {
    match scheme.to_ascii_lowercase().as_str() {
        "abfs" | "abfss" => authority
            .split_once('@')
            .is_some_and(|(before, host)| before.contains(':') || host.contains('@')),
        _ => authority.contains('@'),
    }
}

/// Where a query begins. Of a server it does with the first `?`; a store has none, and there a `?` is of a pattern, or of a key:
/// but for what somebody has copied from where it was signed.
fn query_at(text: &str) -> Option<usize> {
    let (scheme, _) = split_scheme(text)?;
    let at = text.find('?')?;
    let of_server = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    (of_server || text[at..].contains('=')).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_told_by_its_scheme_and_all_else_is_a_path() {
        for path in [
            "-",
            "keys.csv",
            "/var/log/access.log*",
            "C:/keys.csv",
            "a:b",
            "file:keys.csv",
            "",
        ] {
            assert_eq!(ObjectUrl::of(path), Ok(None), "{path}");
            assert_eq!(shown(path), path);
        }
        for (text, scheme, authority, key) in [
            ("s3://bucket/a/b.csv", "s3", "bucket", "a/b.csv"),
            ("S3://bucket/a?.log", "s3", "bucket", "a?.log"),
            ("gs://bucket/a#1", "gs", "bucket", "a#1"),
            (
                "abfss://container@account.dfs/a",
                "abfss",
                "container@account.dfs",
                "a",
            ),
            ("https://host:8443/a.csv", "https", "host:8443", "a.csv"),
            ("file:///var/a.csv", "file", "", "var/a.csv"),
            ("file:/var/a.csv", "file", "", "var/a.csv"),
        ] {
            let url = ObjectUrl {
                scheme,
                authority,
                key,
            };
            assert_eq!(ObjectUrl::of(text), Ok(Some(url)), "{text}");
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn what_lets_somebody_in_is_refused_and_never_shown() {
        for (text, fault, safe) in [
            (
                "s3://KEY:SECRET@bucket/a",
                NotAnObject::Login,
                "s3://…@bucket/a",
            ),
            (
                "https://SECRET@host/a",
                NotAnObject::Login,
                "https://…@host/a",
            ),
            (
                "https://SECRET@SECRET@host/a?SECRET",
                NotAnObject::Login,
                "https://…@host/a",
            ),
            (
                "abfss://c:SECRET@host/a",
                NotAnObject::Login,
                "abfss://…@host/a",
            ),
            (
                "https://host/a?SECRET",
                NotAnObject::Query,
                "https://host/a",
            ),
            ("https://host?SECRET", NotAnObject::Query, "https://host"),
            (
                "s3://bucket/a?X-Amz-Signature=SECRET",
                NotAnObject::Query,
                "s3://bucket/a",
            ),
        ] {
            assert_eq!(ObjectUrl::of(text), Err(fault), "{text}");
            assert_eq!(shown(text), safe);
        }
        let other = NotAnObject::Scheme("ftp".to_owned());
        assert_eq!(shown("ftp://me:SECRET@host/a"), "ftp://…@host/a");
        assert_eq!(ObjectUrl::of("ftp://host/a"), Err(other));
        for text in ["s3://bucket", "s3://bucket/", "s3:///a", "https://host/"] {
            assert_eq!(ObjectUrl::of(text), Err(NotAnObject::NoKey), "{text}");
        }
        assert_eq!(
            ObjectUrl::of("file://host/a"),
            Err(NotAnObject::OtherMachine)
        );
    }
}
