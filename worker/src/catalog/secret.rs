//! Values that must not be seen: they show themselves only where `expose` is written.

use std::fmt;

/// A URL that may carry a password. What it displays has `***` in the password's place.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl {
    text: String,
    /// Where the scheme ends, so that it need not be looked for again.
    scheme_end: usize,
}

/// A text that is no URL. The text is not repeated: it may contain a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a URL: it has no scheme")]
pub struct NotAUrl;

impl SecretUrl {
    /// Takes a text of the form `scheme:rest`; nothing else of it is checked.
    ///
    /// # Errors
    /// [`NotAUrl`] where it has no scheme.
    pub fn new(text: &str) -> Result<Self, NotAUrl> {
        let text = text.trim();
        let scheme_end = text.find(':').ok_or(NotAUrl)?;
        let fine = scheme_end > 0
            && text.as_bytes()[0].is_ascii_alphabetic()
            && text[..scheme_end]
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
        fine.then(|| Self {
            text: text.to_owned(),
            scheme_end,
        })
        .ok_or(NotAUrl)
    }

    /// The scheme, without its colon.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.text[..self.scheme_end]
    }

    /// What follows the scheme and its colon, password included.
    #[must_use]
    pub fn expose_rest(&self) -> &str {
        &self.text[self.scheme_end + 1..]
    }

    /// The whole URL, password included.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// What the URL points to, without user and password: those of its parameters that name a secret are left out. Two
    /// URLs that differ only in how one logs in give the same text.
    #[must_use]
    pub fn without_secrets(&self) -> String {
        let rest = self.expose_rest();
        let slashes = if rest.starts_with("//") { "//" } else { "" };
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        // As in `redacted`. Where only a parameter has an '@', what is before it may be a secret, too.
        let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
        let (host, parameters) = place.split_once('?').unwrap_or((place, ""));
        let is_secret = |name: &str| {
            let name = name.to_ascii_lowercase();
            ["pass", "secret", "token", "user"]
                .iter()
                .any(|part| name.contains(part))
        };
        let told = parameters.split('&').filter(|parameter| {
            let name = parameter.split_once('=').map(|(name, _)| name);
            name.is_some_and(|name| !is_secret(name))
        });
        let told: Vec<&str> = told.collect();
        let mark = if told.is_empty() { "" } else { "?" };
        format!("{}:{slashes}{host}{mark}{}", self.scheme(), told.join("&"))
    }

    /// The URL with `***` for the password and for every parameter: a parameter may carry one too.
    fn redacted(&self) -> String {
        let rest = self.expose_rest();
        let authority = rest.strip_prefix("//").unwrap_or(rest);
        let slashes = if rest.starts_with("//") { "//" } else { "" };
        // The last '@', not the first: a password that should have been percent-encoded may contain one, or a '/', '?'.
        let (credentials, host) = match authority.rsplit_once('@') {
            Some((credentials, host)) => (Some(credentials), host),
            None => (None, authority),
        };
        let user = match credentials.map(|text| text.split_once(':')) {
            Some(Some((user, _))) => format!("{user}:***@"),
            Some(None) => format!("{}@", credentials.unwrap_or_default()),
            None => String::new(),
        };
        let host = match host.split_once(['?', '#']) {
            Some((host, _)) => format!("{host}?***"),
            None => host.to_owned(),
        };
        format!("{}:{slashes}{user}{host}", self.scheme())
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretUrl({})", self.redacted())
    }
}

/// A password.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Takes the text as it is.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The password itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_shows_everything_but_its_password() {
        for (url, shown) in [
            (
                "postgres://stoke:s3cret@db:5432/shop",
                "postgres://stoke:***@db:5432/shop",
            ),
            ("postgres://stoke@db/shop", "postgres://stoke@db/shop"),
            (
                "postgres://stoke:s3@cr/et@db/shop",
                "postgres://stoke:***@db/shop",
            ),
            (
                "postgres://stoke:s:3cret@db/shop",
                "postgres://stoke:***@db/shop",
            ),
            (
                "postgres://db/shop?user=u&password=s3cret",
                "postgres://db/shop?***",
            ),
            ("postgres://u:s3c#r?et@db/shop", "postgres://u:***@db/shop"),
            ("redis://:s3cret@cache:6379", "redis://:***@cache:6379"),
            ("sqlite:shop.db", "sqlite:shop.db"),
        ] {
            let secret = SecretUrl::new(url).unwrap();
            assert_eq!(secret.expose(), url);
            assert_eq!(secret.to_string(), shown);
            assert_eq!(format!("{secret:?}"), format!("SecretUrl({shown})"));
        }
        assert_eq!(
            format!("{:?}", Password::new("s3cret".into())),
            "Password(***)"
        );
    }

    #[test]
    fn where_a_url_points_to_is_told_without_how_one_logs_in() {
        for (url, told) in [
            (
                "postgres://stoke:s3cret@db:5432/shop",
                "postgres://db:5432/shop",
            ),
            ("postgres://other:s3@cr/et@db/shop", "postgres://db/shop"),
            ("postgres://u:s3c#r?et@db/shop", "postgres://db/shop"),
            (
                "postgres:///shop?host=/run/pg&password=s3cret&user=u&sslmode=require",
                "postgres:///shop?host=/run/pg&sslmode=require",
            ),
            ("postgres://db/shop?password=s3c@et", "postgres://et"),
            ("postgres://db/shop?s3cret", "postgres://db/shop"),
            ("redis://:s3cret@cache:6379/2", "redis://cache:6379/2"),
            ("sqlite:shop.db", "sqlite:shop.db"),
        ] {
            let url = SecretUrl::new(url).unwrap();
            assert_eq!(url.without_secrets(), told);
        }
    }

    #[test]
    fn a_text_without_scheme_is_no_url() {
        for text in ["", "shop.db", ":x", "1a:b", "a b:c"] {
            assert_eq!(SecretUrl::new(text), Err(NotAUrl), "{text}");
        }
    }
}
