//! `[caches.NAME]`: a Redis deployment.

use stoke_core::names::CacheName;
use stoke_worker::cache::{CacheUrl, NotACacheUrl, UrlsDisagree, disagreements};
use stoke_worker::catalog::{CacheConfig, Password, SecretUrl, SentinelLogin, TlsFiles};

use super::{by, url};
use crate::config::reader::{Entry, Item, Table};
use crate::config::shared::{password, password_of, tls};

/// What stands for a password that is given elsewhere, while a URL is looked at.
const ELSEWHERE: &str = "elsewhere";

pub(super) fn cache(entry: &Entry<'_>, table: &Table<'_>) -> Option<CacheConfig> {
    let name: Option<CacheName> = entry.parsed(table);
    let urls = table.required("urls", "urls = [\"redis://…:6379\"]");
    let urls = urls.and_then(|urls| urls.filled_list("name at least one node"));
    let redis = redis(table, urls.and_then(with_secrets))?;
    Some(CacheConfig {
        name: name?,
        ..redis
    })
}

/// What every Redis is called until it has its name.
pub(super) const UNNAMED: &str = "redis";

/// The texts of URLs, each with its place.
pub(super) fn with_secrets(items: Vec<Item<'_>>) -> Option<Vec<(Item<'_>, String)>> {
    let texts: Vec<_> = items
        .into_iter()
        .map(|item| (item.secret(), item))
        .collect();
    let given = texts.into_iter().map(|(text, item)| Some((item, text?)));
    given.collect()
}

/// How a Redis at these URLs is entered, whatever it is for.
pub(super) fn redis(
    table: &Table<'_>,
    urls: Option<Vec<(Item<'_>, String)>>,
) -> Option<CacheConfig> {
    let logs_in = table.optional("password").is_some() || table.optional("password-file").is_some();
    let password = password(table);
    let urls = urls.and_then(|items| cache_urls(&items, logs_in));
    let any = |is: fn(&CacheUrl) -> bool| {
        let urls = urls.as_ref()?;
        Some(urls.iter().any(|(_, url)| is(url)))
    };
    let unused = any(CacheUrl::is_tls) == Some(false);
    let tls = tls(table, unused.then_some("no URL begins with rediss"));
    let unused = any(|url| matches!(url, CacheUrl::Sentinels(_))) == Some(false);
    let sentinel_login = sentinel_login(table, unused);
    let (ca, identity) = tls?;
    Some(CacheConfig {
        name: UNNAMED.parse().ok()?,
        urls: urls?.into_iter().map(|(url, _)| url).collect(),
        password: password?.map(Password::new),
        sentinel_login: sentinel_login?,
        tls: TlsFiles { ca, identity },
    })
}

/// `sentinel-user`, and `sentinel-password` or `sentinel-password-file`; `unused` where there are no sentinels.
fn sentinel_login(table: &Table<'_>, unused: bool) -> Option<Option<SentinelLogin>> {
    let user = table.optional("sentinel-user");
    let plain = table.optional("sentinel-password");
    let file = table.optional("sentinel-password-file");
    if unused && let Some(first) = [&user, &plain, &file].into_iter().flatten().next() {
        let what = "it is not used: no URL begins with redis+sentinel:// or rediss+sentinel://";
        first.lacks(what, "change the URLs, or remove it");
    }
    let stands_alone = plain.is_none() && file.is_none();
    let password = password_of(table, plain, file);
    let user = match user {
        Some(item) if stands_alone => {
            let what = "it stands without sentinel-password";
            item.lacks(what, "add sentinel-password or sentinel-password-file");
            return None;
        }
        Some(item) => Some(item.filled()?.to_owned()),
        None => None,
    };
    let login = |password| SentinelLogin {
        user,
        password: Password::new(password),
    };
    Some(password?.map(login))
}

/// Each URL, as a text and read; none where one of them is wrong, or they do not go together.
fn cache_urls(items: &[(Item<'_>, String)], logs_in: bool) -> Option<Vec<(SecretUrl, CacheUrl)>> {
    let urls: Vec<_> = items
        .iter()
        .map(|(item, text)| cache_url(item, text, logs_in))
        .collect();
    let urls = urls.into_iter().collect::<Option<Vec<_>>>()?;
    let read: Vec<CacheUrl> = urls.iter().map(|(_, url)| url.clone()).collect();
    let disagree = disagreements(&read);
    for (index, disagree) in &disagree {
        items[*index]
            .0
            .fault(disagree.to_string(), remedy(*disagree));
    }
    disagree.is_empty().then_some(urls)
}

const fn remedy(disagree: UrlsDisagree) -> &'static str {
    match disagree {
        UrlsDisagree::Kind => "write all of them with +sentinel, or none",
        UrlsDisagree::Tls => "write all of them with rediss, or none",
        UrlsDisagree::Master => "write the same master in all of them, or make another cache of it",
        UrlsDisagree::Database => "write the same database in all of them",
        UrlsDisagree::Login => "write the same in all of them, or use password-file",
        UrlsDisagree::SentinelLogin => {
            "write the same in all of them, or use sentinel-password-file"
        }
    }
}

fn cache_url(item: &Item<'_>, text: &str, logs_in: bool) -> Option<(SecretUrl, CacheUrl)> {
    let begin =
        "begin the URL with redis:// or rediss://, or redis+sentinel:// or rediss+sentinel://";
    let url = url(item, text, begin)?;
    match CacheUrl::parse(url.expose(), logs_in.then_some(ELSEWHERE)) {
        Ok(read) => Some((url, read)),
        Err(NotACacheUrl::Scheme) => {
            item.fault(format!("no Redis is reached {}", by(&url)), begin);
            None
        }
        Err(error) => {
            let remedy = if url.scheme().ends_with("+sentinel") {
                "write it as redis+sentinel://USER:PASSWORD@HOST:PORT/MASTER, or without USER:PASSWORD@"
            } else {
                "write it as redis://USER:PASSWORD@HOST:PORT, or without USER:PASSWORD@"
            };
            item.fault(error.to_string(), remedy);
            None
        }
    }
}
