//! `[caches.NAME]`: a Redis deployment.

use stoke_core::names::CacheName;
use stoke_worker::cache::{CacheUrl, NotACacheUrl};
use stoke_worker::catalog::{CacheConfig, Password, SecretUrl, TlsFiles};

use super::{by, url};
use crate::config::reader::{Entry, Item, Table};
use crate::config::shared::{password, tls};

pub(super) fn cache(entry: &Entry<'_>, table: &Table<'_>) -> Option<CacheConfig> {
    let name: Option<CacheName> = entry.parsed(table);
    let urls = table.required("urls", "urls = [\"redis://…:6379\"]");
    let urls = urls.and_then(|urls| urls.filled_list("name at least one node"));
    let logs_in = table.optional("password").is_some() || table.optional("password-file").is_some();
    let password = password(table);
    let urls = urls.map(|items| {
        let urls: Vec<Option<SecretUrl>> =
            items.iter().map(|item| cache_url(item, logs_in)).collect();
        let urls = urls.into_iter().collect::<Option<Vec<SecretUrl>>>()?;
        let secure = urls.iter().filter(|url| is_secure(url));
        if let Some(first) = items.first()
            && ![0, urls.len()].contains(&secure.count())
        {
            let what = "some URLs begin with rediss://, and others do not";
            first.fault(what, "write all of them as rediss://, or none");
            return None;
        }
        Some(urls)
    });
    let urls = urls.flatten();
    let all_plain = urls
        .as_ref()
        .is_some_and(|urls| !urls.iter().any(is_secure));
    let tls = tls(table, all_plain.then_some("no URL begins with rediss://"));
    let (ca, identity) = tls?;
    Some(CacheConfig {
        name: name?,
        urls: urls?,
        password: password?.map(Password::new),
        tls: TlsFiles { ca, identity },
    })
}

fn is_secure(url: &SecretUrl) -> bool {
    url.scheme() == "rediss"
}

fn cache_url(item: &Item<'_>, logs_in: bool) -> Option<SecretUrl> {
    let begin = "begin the URL with redis:// or rediss://";
    let url = url(item, &item.secret()?, begin)?;
    if !matches!(url.scheme(), "redis" | "rediss") {
        item.fault(format!("no cache is reached {}", by(&url)), begin);
        return None;
    }
    // All but the scheme is checked by whoever will connect.
    match format!("redis:{}", url.expose_rest()).parse::<CacheUrl>() {
        Ok(_) => Some(url),
        Err(NotACacheUrl::NoPassword) if logs_in => Some(url),
        Err(error) => {
            let remedy = "write it as redis://USER:PASSWORD@HOST:PORT, or without USER:PASSWORD@";
            item.fault(error.to_string(), remedy);
            None
        }
    }
}
