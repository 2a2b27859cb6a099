//! What the fields of a log are called.

use stoke_core::access_log::Fields;

/// Usual names of a URL or a request line: those of nginx' variables and of the loggers of common servers and proxies (Caddy,
/// Traefik, Envoy).
const URL: &[&str] = &[
    "request_uri",
    "url",
    "uri",
    "path",
    "request",
    "request.uri",
    "RequestPath",
    "http_request",
];
/// Of a method.
const METHOD: &[&str] = &[
    "method",
    "request_method",
    "verb",
    "request.method",
    "RequestMethod",
];
/// Of a status.
const STATUS: &[&str] = &["status", "status_code", "response_code", "DownstreamStatus"];
/// Of a time.
const TIME: &[&str] = &[
    "@timestamp",
    "timestamp",
    "time_iso8601",
    "time_local",
    "ts",
    "time",
    "msec",
    "start_time",
    "StartUTC",
];

/// Under which names each thing is looked for, and what is wanted beside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) url: Vec<String>,
    pub(super) method: Vec<String>,
    pub(super) status: Vec<String>,
    pub(super) time: Vec<String>,
    pub(super) further: Vec<String>,
}

impl Names {
    pub(super) fn new(fields: &Fields, further: &[String]) -> Self {
        let names = |given: &Option<String>, usual: &[&str]| match given {
            Some(name) => vec![name.clone()],
            None => usual.iter().map(|&name| name.to_owned()).collect(),
        };
        Self {
            url: names(&fields.url, URL),
            method: names(&fields.method, METHOD),
            status: names(&fields.status, STATUS),
            time: names(&fields.time, TIME),
            further: further.to_vec(),
        }
    }

    /// Whether a line with fields of these names may tell an access.
    pub(super) fn may_be_of(&self, has: impl Fn(&str) -> bool) -> bool {
        let has = |name: &String| has(name);
        let wants_urls = self.further.is_empty();
        (wants_urls && self.url.iter().any(has)) || (!wants_urls && self.further.iter().all(has))
    }
}
