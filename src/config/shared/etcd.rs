//! `[etcd]`: where the coordination store is, and as whom to use it.

use std::time::Duration;

use stoke_store::etcd::{EtcdConfig, Password, Tls};

use super::timing::Times;
use super::{TIMEOUT_MIN, all_or_none, password, tls};
use crate::config::reader::{Item, Table};
use crate::config::values::show_duration;

/// How long a call to etcd may be given.
const CALL_MAX: Duration = Duration::from_secs(60);

/// `[etcd]`, and what was said of how long a call may take.
pub(in crate::config) struct Etcd<'r> {
    config: EtcdConfig,
    timeout: Option<(Item<'r>, Duration)>,
}

/// `[etcd]`.
pub(in crate::config) fn etcd<'r>(file: &Table<'r>) -> Option<Etcd<'r>> {
    let add = "[etcd] with endpoints = [\"http://…:2379\"]";
    file.required_table("etcd", add, |table| {
        let endpoints = table
            .required("endpoints", "endpoints = [\"http://…:2379\"]")
            .and_then(|item| endpoints(&item));
        let prefix = table.optional("prefix");
        let prefix = prefix.map(|item| item.filled().map(str::to_owned));
        let timeout = table.optional("timeout").map(|item| {
            let time = item.duration(TIMEOUT_MIN..=CALL_MAX)?;
            Some((item, time))
        });
        let user = user(table);
        let all_plain = endpoints
            .as_ref()
            .is_some_and(|all| !all.iter().any(|endpoint| is_secure(endpoint)));
        let tls = tls(
            table,
            all_plain.then_some("no endpoint begins with https://"),
        );
        let mut config = EtcdConfig::new(endpoints?);
        config.user = user?;
        let (ca, identity) = tls?;
        config.tls = Tls { ca, identity };
        if let Some(prefix) = prefix {
            config.prefix = prefix?;
        }
        let timeout = all_or_none(timeout)?;
        Some(Etcd { config, timeout })
    })
}

/// How long what a process has in etcd on a lease stays there after it vanished: its key, where it was said, how long.
pub(in crate::config) struct Ttl<'a, 'r> {
    pub(in crate::config) key: &'static str,
    pub(in crate::config) said: Option<&'a Item<'r>>,
    pub(in crate::config) time: Duration,
}

impl Etcd<'_> {
    /// How to reach etcd, where a call that takes its time loses neither a grant nor a lease. Without a word, a call may take
    /// as long as a renewal, and half of what a lease lasts.
    pub(in crate::config) fn fitting(
        self,
        times: &Times<'_>,
        ttl: &Ttl<'_, '_>,
    ) -> Option<EtcdConfig> {
        let deadline = times.timing.renew_deadline;
        let mut config = self.config;
        let Some((item, timeout)) = self.timeout else {
            config.timeout = deadline.min(ttl.time / 2).min(CALL_MAX);
            return Some(config);
        };
        config.timeout = timeout;
        let mut fine = true;
        if timeout > deadline {
            let place = said(
                "timing.renew-deadline",
                times.renew_deadline.as_ref(),
                deadline,
            );
            let what = format!(
                "it is longer than {place}, so that a renewal would be late before etcd has to answer"
            );
            item.fault(
                what,
                "shorten it, or lengthen renew-deadline in all processes",
            );
            fine = false;
        }
        if timeout * 2 > ttl.time {
            let place = said(ttl.key, ttl.said, ttl.time);
            let what = format!(
                "it is longer than half of {place}, so that one late answer could end the lease"
            );
            item.fault(what, format!("shorten it, or lengthen {}", ttl.key));
            fine = false;
        }
        fine.then_some(config)
    }
}

/// A setting's name, where it stands, and what it is.
fn said(key: &str, item: Option<&Item<'_>>, time: Duration) -> String {
    let time = show_duration(time);
    match item {
        Some(item) => format!("{}, {time}", item.named()),
        None => format!("{key}, {time} by default"),
    }
}

fn endpoints(item: &Item<'_>) -> Option<Vec<String>> {
    let endpoint = |item: Item<'_>| {
        let text = item.filled()?;
        if text.contains('@') {
            let remedy = "write username and password (or password-file) beside the endpoints";
            item.fault("it has a user in it", remedy);
            return None;
        }
        let address = match text.split_once("://") {
            None => text,
            Some(("http" | "https", address)) => address,
            Some(_) => "",
        };
        if address.is_empty() || address.contains(char::is_whitespace) {
            item.fault(
                "it is no endpoint",
                "write http://HOST:PORT or https://HOST:PORT",
            );
            return None;
        }
        Some(text.to_owned())
    };
    let items = item.filled_list("name at least one member of etcd")?;
    // All are looked at before the first that is wrong ends it.
    let endpoints: Vec<Option<String>> = items.into_iter().map(endpoint).collect();
    let endpoints: Vec<String> = endpoints.into_iter().collect::<Option<_>>()?;
    let secure = endpoints.iter().filter(|endpoint| is_secure(endpoint));
    if ![0, endpoints.len()].contains(&secure.count()) {
        let what = "some begin with https://, and others do not";
        item.fault(what, "write all of them as https://, or none");
        return None;
    }
    Some(endpoints)
}

fn is_secure(endpoint: &str) -> bool {
    endpoint.starts_with("https://")
}

/// Who to log in as, if anybody.
fn user(table: &Table<'_>) -> Option<Option<(String, Password)>> {
    let username = table.optional("username");
    // Looked at in any case, so that what is wrong with it is told beside what is wrong with the password.
    let name = username
        .as_ref()
        .map(|item| item.filled().map(str::to_owned));
    let given = table.optional("password").is_some() || table.optional("password-file").is_some();
    let password = password(table)?;
    match (username, password) {
        (None, None) => Some(None),
        (Some(_), Some(password)) => Some(Some((name??, Password::new(password)))),
        (Some(username), None) => {
            if !given {
                username.lacks("it has no password", "add password or password-file");
            }
            None
        }
        (None, Some(_)) => {
            table.lacks("there is a password, and no username", "add username");
            None
        }
    }
}
