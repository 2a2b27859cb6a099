//! Several URLs of one cache: what they must have in common.

use redis::RedisConnectionInfo;

use super::CacheUrl;

/// In what a URL does not go with the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlsDisagree {
    /// Sentinels beside a node.
    #[error("of it and the first URL, one names sentinels and the other a node")]
    Kind,
    /// TLS beside none.
    #[error("of it and the first URL, one asks for TLS and the other does not")]
    Tls,
    /// Different masters.
    #[error("it names another master than the first URL")]
    Master,
    /// Different databases.
    #[error("it names another database than the first URL")]
    Database,
    /// Different credentials of the nodes.
    #[error("it has another user or password for the master than the first URL")]
    Login,
    /// Different credentials of the sentinels.
    #[error("it has another user or password for sentinels than the first URL")]
    SentinelLogin,
}

/// Each URL that does not go with the first, by its index, and why. (The nodes of a cluster may have credentials each of its
/// own.)
#[must_use]
pub fn disagreements(urls: &[CacheUrl]) -> Vec<(usize, UrlsDisagree)> {
    let Some((first, others)) = urls.split_first() else {
        return Vec::new();
    };
    let with_index = others.iter().enumerate();
    let each = with_index.flat_map(|(index, url)| {
        let found = disagreements_of(first, url).into_iter();
        found.map(move |disagree| (index + 1, disagree))
    });
    each.collect()
}

fn disagreements_of(first: &CacheUrl, url: &CacheUrl) -> Vec<UrlsDisagree> {
    let mut found = Vec::new();
    let mut look = |differ: bool, disagree: UrlsDisagree| found.extend(differ.then_some(disagree));
    look(first.is_tls() != url.is_tls(), UrlsDisagree::Tls);
    match (first, url) {
        (CacheUrl::Node(_), CacheUrl::Node(_)) => {}
        (CacheUrl::Sentinels(first), CacheUrl::Sentinels(url)) => {
            look(first.master != url.master, UrlsDisagree::Master);
            let (ours, theirs) = (&first.settings, &url.settings);
            look(ours.db() != theirs.db(), UrlsDisagree::Database);
            look(!same_login(ours, theirs), UrlsDisagree::Login);
            let of_sentinels = same_login(&first.login, &url.login);
            look(!of_sentinels, UrlsDisagree::SentinelLogin);
        }
        _ => look(true, UrlsDisagree::Kind),
    }
    found
}

fn same_login(one: &RedisConnectionInfo, other: &RedisConnectionInfo) -> bool {
    (one.username(), one.password()) == (other.username(), other.password())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_disagreement_is_found_where_it_is() {
        use UrlsDisagree::{Database, Kind, Login, Master, SentinelLogin, Tls};
        type Found = &'static [(usize, UrlsDisagree)];
        let cases: [(&[&str], Found); 7] = [
            (&[], &[]),
            (&["redis://a", "redis://:pw@b/2"], &[]),
            (&["redis://a", "rediss://b", "redis://c"], &[(1, Tls)]),
            (&["redis+sentinel://a/m", "redis+sentinel://b:1/m"], &[]),
            (
                &["redis+sentinel://a/m", "rediss://b"],
                &[(1, Tls), (1, Kind)],
            ),
            (&["redis://a", "redis+sentinel://b/m"], &[(1, Kind)]),
            (
                &[
                    "redis+sentinel://:x@a/m/1",
                    "redis+sentinel://a/m/1",
                    "redis+sentinel://:x@b/n?sentinel_password=y",
                ],
                &[(1, Login), (2, Master), (2, Database), (2, SentinelLogin)],
            ),
        ];
        for (texts, expected) in cases {
            let urls: Vec<CacheUrl> = texts.iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(disagreements(&urls), expected, "{texts:?}");
        }
    }
}
