//! Which Prometheus, and how it lets us in.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Empty;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Uri};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// A Prometheus.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    host: String,
    port: u16,
    /// What stands before `/api/v1`.
    path: String,
    authorization: Option<String>,
}

/// A text that names no Prometheus. It does not repeat the text, which may have a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAServer {
    /// It is no URL.
    #[error("it is no URL")]
    NotAUrl,
    /// It is `https://`.
    #[error("a Prometheus is asked without TLS")]
    Tls,
    /// A token with other characters than headers have.
    #[error("its token has characters that cannot be sent")]
    Token,
    /// It has a query.
    #[error("it has a query of its own")]
    HasQuery,
}

impl Server {
    /// Reads `http://[USER:PASSWORD@]HOST[:PORT][/PATH]`.
    ///
    /// # Errors
    /// Where it is none.
    pub fn parse(url: &str) -> Result<Self, NotAServer> {
        let url: Uri = url.parse().map_err(|_| NotAServer::NotAUrl)?;
        match url.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(NotAServer::Tls),
            _ => return Err(NotAServer::NotAUrl),
        }
        if url.query().is_some() {
            return Err(NotAServer::HasQuery);
        }
        let authority = url.authority().ok_or(NotAServer::NotAUrl)?;
        let login = authority.as_str().rsplit_once('@').map(|(login, _)| login);
        let host = authority.host().to_owned();
        if host.is_empty() {
            return Err(NotAServer::NotAUrl);
        }
        let authorization = login.map(|login| {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            let plain = [user, password].map(|part| percent_decode_str(part).decode_utf8_lossy());
            format!("Basic {}", STANDARD.encode(plain.join(":")))
        });
        Ok(Self {
            host,
            port: authority.port_u16().unwrap_or(80),
            path: url.path().trim_end_matches('/').to_owned(),
            authorization,
        })
    }

    /// The same, which lets in whoever bears this token; it goes before a user and password in the URL.
    ///
    /// # Errors
    /// Where no header can have it.
    pub fn with_token(mut self, token: &str) -> Result<Self, NotAServer> {
        let authorization = format!("Bearer {token}");
        if HeaderValue::from_str(&authorization).is_err() {
            return Err(NotAServer::Token);
        }
        self.authorization = Some(authorization);
        Ok(self)
    }

    /// What asks it a query; `None` where that makes no request.
    pub(crate) fn request(&self, query: &str) -> Option<Request<Empty<Bytes>>> {
        let text = utf8_percent_encode(query, NON_ALPHANUMERIC);
        let mut request = Request::get(format!("{}/api/v1/query?query={text}", self.path))
            .header(HOST, self.authority())
            .header(USER_AGENT, concat!("stoke/", env!("CARGO_PKG_VERSION")));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.body(Empty::new()).ok()
    }

    /// Where it is: HOST:PORT.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_shown_without_its_user_and_password() {
        let server = Server::parse("http://us%40er:p%3aw@prom:9090/base/").unwrap();
        assert_eq!(format!("{server:?}"), "http://prom:9090/base");
        let expected = format!("Basic {}", STANDARD.encode("us@er:p:w"));
        assert_eq!(server.authorization, Some(expected));
        let plain = Server::parse("http://[::1]").unwrap();
        assert_eq!(format!("{plain:?}"), "http://[::1]:80");
    }

    #[test]
    fn a_token_is_sent_in_place_of_a_password_and_not_shown() {
        let server = Server::parse("http://u:p@prom").unwrap();
        let server = server.with_token("abc.def").unwrap();
        let request = server.request("a{b=\"c\"} + 1").unwrap();
        assert_eq!(request.headers()[AUTHORIZATION], "Bearer abc.def");
        assert_eq!(
            request.uri(),
            "/api/v1/query?query=a%7Bb%3D%22c%22%7D%20%2B%201"
        );
        assert_eq!(format!("{server:?}"), "http://prom:80");
        let broken = Server::parse("http://prom").unwrap().with_token("a\r\nb");
        assert_eq!(broken, Err(NotAServer::Token));
    }

    #[test]
    fn what_is_no_server_is_refused_without_being_repeated() {
        for (text, error) in [
            ("prom:9090", NotAServer::NotAUrl),
            ("ftp://prom", NotAServer::NotAUrl),
            ("", NotAServer::NotAUrl),
            ("https://u:pw@prom", NotAServer::Tls),
            ("http://prom/?query=up", NotAServer::HasQuery),
        ] {
            assert_eq!(Server::parse(text), Err(error), "{text}");
        }
    }
}
