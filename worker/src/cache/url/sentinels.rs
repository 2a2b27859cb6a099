//! `redis+sentinel://`: which sentinels to ask, after which master.

use std::fmt;

use redis::RedisConnectionInfo;

use super::{NodeUrl, NotACacheUrl, refuse_misplaced, stars};
use crate::cache::addr::NodeAddr;

/// Where sentinels listen if nothing is said.
const PORT_DEFAULT: u16 = 26_379;

/// The URL of sentinels and the master that they watch:
/// `redis+sentinel://[[USER]:PASSWORD@]HOST[:PORT][,HOST[:PORT]…]/MASTER[/DATABASE][?sentinel_password=…]`, or
/// `rediss+sentinel://` for TLS to all of them. User, password and database are those of master and replicas. Sentinels are
/// entered with `sentinel_username` and `sentinel_password`, and without credentials where there are none. `Debug` and `Display`
/// leave the credentials out.
#[derive(Clone)]
pub struct SentinelsUrl {
    /// Each once, in the order in which they are to be asked; at least one.
    pub(crate) sentinels: Vec<NodeAddr>,
    /// As the sentinels call it.
    pub(crate) master: String,
    /// How the master is entered.
    pub(crate) settings: RedisConnectionInfo,
    /// How sentinels are entered.
    pub(crate) login: RedisConnectionInfo,
    pub(crate) tls: bool,
}

impl SentinelsUrl {
    /// What follows the slashes of such a URL, and whether it asks for TLS; `None` where it is another.
    pub(super) fn rest(text: &str) -> Option<(&str, bool)> {
        let without_tls = text.strip_prefix("redis+sentinel://");
        let with_tls = || text.strip_prefix("rediss+sentinel://");
        let plain = without_tls.map(|rest| (rest, false));
        plain.or_else(|| Some((with_tls()?, true)))
    }

    /// From what follows the slashes.
    pub(super) fn parse(
        rest: &str,
        tls: bool,
        password: Option<&str>,
    ) -> Result<Self, NotACacheUrl> {
        refuse_misplaced(rest)?;
        let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (format!("{credentials}@"), hosts),
            None => (String::new(), authority),
        };
        let (master, database) = path.split_once('/').unwrap_or((path, ""));
        let mut sentinels = Vec::new();
        let mut settings = RedisConnectionInfo::default();
        for host in hosts.split(',') {
            // Each with its credentials and database as if it were a node: so all is read by the same rules.
            let text = format!("redis://{credentials}{}/{database}", with_port(host));
            let as_node = NodeUrl::parse(&text, password)?;
            if !sentinels.contains(&as_node.addr) {
                sentinels.push(as_node.addr);
            }
            settings = as_node.settings;
        }
        if master.is_empty() {
            return Err(NotACacheUrl::NoMaster);
        }
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if !master.bytes().all(is_fine) {
            return Err(NotACacheUrl::MasterName);
        }
        Ok(Self {
            sentinels,
            master: master.to_owned(),
            settings,
            login: login(parameters)?,
            tls,
        })
    }
}

/// The host with its port. (One that is malformed stays so.)
fn with_port(host: &str) -> String {
    let after_address = host.rsplit_once(']').map_or(host, |(_, after)| after);
    if host.is_empty() || after_address.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:{PORT_DEFAULT}")
    }
}

/// How sentinels are entered: the URL's parameters, escaped as user and password before an `@` are.
fn login(parameters: &str) -> Result<RedisConnectionInfo, NotACacheUrl> {
    let (mut user, mut password) = (None, None);
    for parameter in parameters.split('&').filter(|text| !text.is_empty()) {
        let place = match parameter.split_once('=') {
            Some(("sentinel_username", value)) => Some((&mut user, value)),
            Some(("sentinel_password", value)) => Some((&mut password, value)),
            _ => None,
        };
        match place {
            Some((place @ None, value)) if !value.is_empty() => *place = Some(value),
            _ => return Err(NotACacheUrl::Parameter),
        }
    }
    match (user, password) {
        (None, None) => Ok(RedisConnectionInfo::default()),
        (Some(_), None) => Err(NotACacheUrl::NoSentinelPassword),
        (user, Some(password)) => {
            let text = format!("redis://{}:{password}@sentinel", user.unwrap_or_default());
            NodeUrl::parse(&text, None).map(|url| url.settings)
        }
    }
}

impl fmt::Display for SentinelsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentinels: Vec<String> = self.sentinels.iter().map(ToString::to_string).collect();
        write!(
            f,
            "redis{}+sentinel://{}{}/{}/{}",
            if self.tls { "s" } else { "" },
            stars(&self.settings),
            sentinels.join(","),
            self.master,
            self.settings.db()
        )
    }
}

impl fmt::Debug for SentinelsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::CacheUrl;
    use super::*;

    fn parse(text: &str) -> Result<SentinelsUrl, NotACacheUrl> {
        match CacheUrl::parse(text, None)? {
            CacheUrl::Sentinels(url) => Ok(url),
            CacheUrl::Node(url) => panic!("{url}"),
        }
    }

    #[test]
    fn a_url_gives_sentinels_master_database_and_the_nodes_credentials() {
        let url =
            parse("redis+sentinel://warm:s%23cret@a.example,[::1],b:5000/my.main-1/3").unwrap();
        let sentinels: Vec<String> = url.sentinels.iter().map(ToString::to_string).collect();
        assert_eq!(sentinels, ["a.example:26379", "[::1]:26379", "b:5000"]);
        assert_eq!((url.master.as_str(), url.settings.db()), ("my.main-1", 3));
        assert_eq!(url.settings.username(), Some("warm"));
        assert_eq!(url.settings.password(), Some("s#cret"));
        assert_eq!(url.login.password(), None, "they are not the sentinels'");
        assert!(!url.tls);
        let url = parse("rediss+sentinel://a,a:26379/main/").unwrap();
        assert_eq!((url.sentinels.len(), url.settings.db()), (1, 0));
        assert!(url.tls && url.settings.password().is_none());
    }

    #[test]
    fn sentinels_have_credentials_of_their_own() {
        let url = parse("redis+sentinel://:data@a/main?sentinel_password=s%26cret").unwrap();
        assert_eq!(url.login.password(), Some("s&cret"));
        assert_eq!(url.login.username(), None);
        assert_eq!(url.settings.password(), Some("data"));
        let text = "redis+sentinel://a/main/1?sentinel_username=watch&sentinel_password=s%40cret";
        let url = parse(text).unwrap();
        assert_eq!(url.login.username(), Some("watch"));
        assert_eq!(url.login.password(), Some("s@cret"));
        assert_eq!((url.login.db(), url.settings.db()), (0, 1));
        let shown = format!("{url} {url:?}");
        assert!(
            !shown.contains("cret") && !shown.contains("watch"),
            "{shown}"
        );
    }

    #[test]
    fn a_password_from_elsewhere_is_the_nodes() {
        let url = CacheUrl::parse("redis+sentinel://warm@a/main", Some("new")).unwrap();
        let CacheUrl::Sentinels(url) = url else {
            panic!("{url}")
        };
        assert_eq!(url.settings.password(), Some("new"));
        assert_eq!(url.login.password(), None);
        assert_eq!(url.to_string(), "redis+sentinel://***@a:26379/main/0");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_without_being_repeated() {
        use NotACacheUrl as No;
        type IsIt = fn(&No) -> bool;
        let cases: [(&str, IsIt); 19] = [
            ("redis+sentinel://a", |e| matches!(e, No::NoMaster)),
            ("redis+sentinel://a:26379/", |e| matches!(e, No::NoMaster)),
            ("redis+sentinel://a//3", |e| matches!(e, No::NoMaster)),
            ("redis+sentinel://a/s3cret%20x", |e| {
                matches!(e, No::MasterName)
            }),
            ("redis+sentinel://a/main/x", |e| {
                matches!(e, No::Malformed(_))
            }),
            ("redis+sentinel://a/main/1/2", |e| {
                matches!(e, No::Malformed(_))
            }),
            ("redis+sentinel:///main", |e| matches!(e, No::Malformed(_))),
            ("redis+sentinel://a,,b/main", |e| {
                matches!(e, No::Malformed(_))
            }),
            ("redis+sentinel://a:70000/main", |e| {
                matches!(e, No::Malformed(_))
            }),
            ("redis+sentinel://::1/main", |e| {
                matches!(e, No::Malformed(_))
            }),
            ("redis+sentinel://s3cret@a/main", |e| {
                matches!(e, No::NoPassword)
            }),
            ("redis+sentinel://:s3/cret@a/main", |e| {
                matches!(e, No::Unescaped)
            }),
            ("redis+sentinel://a/main#s3cret", |e| {
                matches!(e, No::Fragment)
            }),
            ("redis+sentinel://a/main?db=3", |e| {
                matches!(e, No::Parameter)
            }),
            ("redis+sentinel://a/main?sentinel_password=", |e| {
                matches!(e, No::Parameter)
            }),
            (
                "redis+sentinel://a/main?sentinel_password=s3cret&sentinel_password=b",
                |e| matches!(e, No::Parameter),
            ),
            ("redis+sentinel://a/main?sentinel_username=s3cret", |e| {
                matches!(e, No::NoSentinelPassword)
            }),
            ("redis+sentinel://a/main?sentinel_password=s3cr@et", |e| {
                matches!(e, No::Unescaped)
            }),
            ("sentinel://a/main", |e| matches!(e, No::Scheme)),
        ];
        for (text, is_it) in cases {
            let error = parse(text).unwrap_err();
            assert!(is_it(&error), "{text}: {error:?}");
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("s3cr"), "{text}: {shown}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(rest in "[a:,/@?#%\\[\\]&=0-9._ é-]{0,40}") {
            let _ = CacheUrl::parse(&format!("redis+sentinel://{rest}"), None);
            let parameter = format!("rediss+sentinel://a/m?sentinel_password={rest}");
            let _ = CacheUrl::parse(&parameter, Some("x"));
        }
    }
}
