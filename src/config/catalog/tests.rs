use std::time::Duration;

use stoke_core::copy::{How, TTL_OF_ORIGIN};
use stoke_core::job::{KeyColumns, OnBadLine};
use stoke_core::value::{Compression, Form, Negative, ValueSpec, Versions};
use stoke_worker::catalog::{
    OriginVigil, PROBE_INTERVAL_DEFAULT, Password, ProbeConfig, STATEMENT_TIMEOUT_DEFAULT,
    SourceFrom,
};
use stoke_worker::origin::rewrite::Dialect;

use stoke_core::batch_keys::BatchKeys;

use super::super::{Faults, Surroundings, read};
use super::*;

pub(super) fn check(text: &str) -> Result<Catalog, Faults> {
    read(text, &Surroundings::of_tests(), |file| {
        Some(catalog(file)?.catalog)
    })
}

const GOOD: &str = r#"
allow-files-in-jobs = true

[origins.shop]
url = "postgres://stoke:${PASSWORD}@db/shop"
statement-timeout = "2s"
ca-file = "/ca.pem"
cert-file = "/cert.pem"
key-file = "/key.pem"

canary = "SELECT 2"

[origins.shop.probes.lag]
query = "SELECT 1"
interval = "30s"

[origins.shop.probes.sessions]
query = "SELECT count(*) FROM pg_stat_activity"

[origins.archive]
url-file = "/url"

[origins.local]
url = "sqlite:shop.db"

[caches.main]
urls = ["rediss://a:6379", "rediss://warm@b:6379"]
password-file = "/password"
ca-file = "/ca.pem"

[caches.other]
urls = ["redis://a:6379"]
password = "${PASSWORD}"

[loaders.products]
origin = "shop"
query = "SELECT * FROM products WHERE id IN (:keys)"
key = "product:{key}"
ttl = "1h30m"

[loaders.users]
origin = "local"
query = "SELECT * FROM users WHERE id = :key"
key = "user:{key}"
key-column = "id"
ttl = "30m"
ttl-jitter = 0.25
batch-keys = 10
max-value-bytes = 1_024
value = "column:body"
compress = "zstd"
absent-value = ""
absent-ttl = "30s"
expiry-column = "until"
version-column = "at"
version-origin = "shop"

[sources.popular]
origin = "shop"
query = "SELECT id AS key FROM products"
loader = "products"

[sources.list]
file = "keys.csv"
on-bad-line = "skip"
"#;

#[test]
fn a_right_catalog_is_read_with_its_defaults() {
    let catalog = check(GOOD).unwrap();
    let shop = &catalog.origins[&"shop".parse().unwrap()];
    assert_eq!(shop.url.expose(), "postgres://stoke:s3cret@db/shop");
    assert_eq!(
        (shop.dialect, shop.statement_timeout),
        (Dialect::Postgres, Duration::from_secs(2))
    );
    let archive = &catalog.origins[&"archive".parse().unwrap()];
    assert_eq!(
        (archive.url.expose(), archive.statement_timeout),
        ("postgres://u:s3cret@db/shop", STATEMENT_TIMEOUT_DEFAULT)
    );
    assert_eq!(
        catalog.origins[&"local".parse().unwrap()].dialect,
        Dialect::Sqlite
    );
    for cache in ["main", "other"] {
        let cache = &catalog.caches[&cache.parse().unwrap()];
        assert_eq!(
            cache.password.as_ref().map(Password::expose),
            Some("s3cret")
        );
    }
    let products = &catalog.loaders[&"products".parse().unwrap()];
    assert_eq!(
        (
            products.ttl_jitter_permille,
            products.batch_keys,
            products.max_value_bytes
        ),
        (100, BatchKeys::Auto, 16 << 20)
    );
    assert_eq!(
        (products.ttl, &products.key_column),
        (Duration::from_secs(5400), &KeyColumns::default())
    );
    let users = &catalog.loaders[&"users".parse().unwrap()];
    assert_eq!(
        (
            users.ttl_jitter_permille,
            users.batch_keys,
            users.max_value_bytes
        ),
        (250, 10.into(), 1024)
    );
    assert_eq!(users.key_column.names(), ["id"]);
    assert_eq!(products.value, ValueSpec::default());
    let made = ValueSpec {
        form: Form::Column("body".into()),
        compression: Some(Compression::Zstd),
        negative: Some(Negative {
            value: String::new(),
            ttl: Duration::from_secs(30),
        }),
        expiry_column: Some("until".into()),
        versions: Some(Versions {
            column: "at".into(),
            origin: Some("shop".parse().unwrap()),
        }),
        copy: None,
    };
    assert_eq!(users.value, made);
    let list = &catalog.sources[&"list".parse().unwrap()];
    assert_eq!(
        (&list.from, list.on_bad_line),
        (&SourceFrom::File("keys.csv".into()), OnBadLine::Skip)
    );
    let popular = &catalog.sources[&"popular".parse().unwrap()];
    assert_eq!(popular.on_bad_line, OnBadLine::Fail);
    assert!(catalog.allow_files_in_jobs && !catalog.allow_sql_in_jobs);
}

#[test]
fn sentinels_are_entered_by_credentials_of_their_own() {
    let text = "[caches.a]\nurls = ['rediss+sentinel://warm@a,b/main/2', 'rediss+sentinel://warm@c/main/2']\n\
                password = 'data'\nca-file = '/ca.pem'\nsentinel-user = 'watch'\nsentinel-password-file = '/password'";
    let catalog = check(text).unwrap();
    let cache = &catalog.caches[&"a".parse().unwrap()];
    assert_eq!(cache.urls.len(), 2);
    assert_eq!(cache.password.as_ref().map(Password::expose), Some("data"));
    let login = cache.sentinel_login.as_ref().unwrap();
    assert_eq!(
        (login.user.as_deref(), login.password.expose()),
        (Some("watch"), "s3cret")
    );
    assert_eq!(
        check(GOOD).unwrap().caches[&"main".parse().unwrap()].sentinel_login,
        None
    );
}

#[test]
fn all_that_urls_of_sentinels_disagree_about_is_told_at_once() {
    let text = "[caches.a]\nurls = ['redis+sentinel://a/main', 'redis+sentinel://:s3cret@b/other/1', \
                'rediss+sentinel://c/main?sentinel_password=s3cret']\nkey-file = '/key.pem'";
    let faults = check(text).unwrap_err().to_string();
    let places = [
        "urls[1]: it names another master",
        "urls[1]: it names another database",
    ];
    let more = [
        "urls[1]: it has another user or password for the master",
        "urls[2]: of it and the first URL, one asks for TLS",
    ];
    let last = [
        "urls[2]: it has another user or password for sentinels",
        "key-file: it stands without",
    ];
    for said in [places, more, last].concat() {
        assert!(faults.contains(said), "{said}: {faults}");
    }
    assert_eq!(faults.lines().count(), 6, "{faults}");
    assert!(!faults.contains("s3cret"), "{faults}");
}

#[test]
fn certificates_are_taken_with_their_keys() {
    let catalog = check(GOOD).unwrap();
    let shop = &catalog.origins[&"shop".parse().unwrap()].tls;
    assert_eq!(shop.ca, Some("/ca.pem".into()));
    assert_eq!(shop.identity, Some(("/cert.pem".into(), "/key.pem".into())));
    let main = &catalog.caches[&"main".parse().unwrap()].tls;
    assert_eq!((&main.ca, &main.identity), (&Some("/ca.pem".into()), &None));
}

#[test]
fn no_password_is_shown() {
    let shown = format!("{:?}", check(GOOD).unwrap());
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn all_faults_are_listed_at_once_with_their_places() {
    let text = r#"
[origins.shop]
url = "postgres://stoke:${UNSET}@db/shop"
statement-timeout = "soon"
[origins.other]
url = "oracle://u:s3cret@db/shop"
[origins."b ad"]
url-file = "/missing"
[origins.none]
[origins.fine]
url = "sqlite:x"
ca-file = "/ca.pem"
[caches.main]
urls = ["http://u:s3cret@a", "redis://a", "redis://u:s3/cret@a", "redis://u@a"]
cert-file = "/cert.pem"
[caches.empty]
urls = []
[loaders.products]
origin = "nobody"
query = "SELECT 1"
key = "product"
ttl = "0s"
ttl-jitter = 0.95
batch-keys = 0
max-value-bytes = 999999999999
[loaders.users]
origin = "fine"
query = "SELECT 1"
key = "user:{key}"
tll = 60
[sources.both]
origin = "fine"
query = "SELECT 1"
file = "x"
[sources.unknown]
file = "x"
loader = "user"
on-bad-line = "ignore"
[sources.half]
query = "SELECT 1"
"#;
    let faults = check(text).unwrap_err().to_string();
    let expected = [
        r#"line 3, column 7: origins.shop.url: the environment variable "UNSET" is not set; set the variable for this process"#,
        r#"line 4, column 21: origins.shop.statement-timeout: "soon" is no duration; write a number with its unit, as "500ms", "5s", "5m" or "1h30m""#,
        "line 6, column 7: origins.other.url: no database is reached by oracle:; begin the URL with postgres://, mysql:// or sqlite:, or of a Redis with redis://",
        r#"line 7, column 10: origins."b ad": its name is none; use 1 to 63 letters, digits, '-', '_' and '.', beginning with a letter or digit"#,
        r#"line 8, column 12: origins."b ad".url-file: the file cannot be read: entity not found; name a file that this process can read"#,
        "line 9, column 10: origins.none: no url is given; add url, url-file, or, of a Redis, urls",
        "line 12, column 11: origins.fine.ca-file: it is not used: an SQLite file is reached without TLS; change the address, or remove it",
        "line 14, column 9: caches.main.urls[0]: no Redis is reached by http:; begin the URL with redis:// or rediss://, or redis+sentinel:// or rediss+sentinel://",
        "line 14, column 43: caches.main.urls[2]: it has an @ after the host: write the password's special characters as %XX; write it as redis://USER:PASSWORD@HOST:PORT, or without USER:PASSWORD@",
        "line 14, column 66: caches.main.urls[3]: it has a user but no password: a password alone is written redis://:PASSWORD@HOST; write it as redis://USER:PASSWORD@HOST:PORT, or without USER:PASSWORD@",
        "line 15, column 13: caches.main.cert-file: it stands without key-file; add key-file, or remove it",
        "line 17, column 8: caches.empty.urls: the list is empty; name at least one node",
        r#"line 19, column 10: loaders.products.origin: there is no origin "nobody"; use one of "b ad", fine, none, other, shop, or define it in [origins.NAME]"#,
        r#"line 21, column 7: loaders.products.key: no column is named, so all keys would be the same: write at least one {name} of the key source; write it as "product:{key}""#,
        "line 22, column 7: loaders.products.ttl: it is out of range; choose from 1s to 3650days",
        "line 23, column 14: loaders.products.ttl-jitter: it is out of range; choose from 0 to 0.9",
        "line 24, column 14: loaders.products.batch-keys: it is out of range; choose from 1 to 10000",
        "line 25, column 19: loaders.products.max-value-bytes: it is out of range; choose from 1 to 536870912",
        "line 26, column 10: loaders.users.ttl: it is missing; add ttl = \"1h\", how long entries live",
        "line 28, column 9: loaders.users.query: the query has no placeholder: write IN (:keys) where a batch of keys belongs, or :key for one query a key; write IN (:keys) for a batch of keys, or :key for one query a key",
        "line 30, column 1: loaders.users.tll: there is no such setting; did you mean ttl? There are absent-ttl, absent-value, batch-keys, compress, copy, expiry-column, from, key, key-column, max-value-bytes, origin, query, scan-by, scan-rows, ttl, ttl-jitter, value, version-column, version-origin",
        "line 34, column 8: sources.both.file: it cannot stand beside sources.both.origin (line 32); give origin and query, origin and match, counter, hot-keys or monitor, origin and promql, file, or log",
        r#"line 37, column 10: sources.unknown.loader: there is no loader "user"; did you mean users?"#,
        r#"line 38, column 15: sources.unknown.on-bad-line: "ignore" is not possible; choose "fail" or "skip""#,
        "line 40, column 9: sources.half.query: it stands without origin; add origin",
    ];
    assert_eq!(faults, expected.join("\n"));
}

#[test]
fn values_that_cannot_be_made_are_refused() {
    let text = r#"
[origins.o]
url = "sqlite:x"
[loaders.a]
origin = "o"
query = "SELECT * FROM t WHERE id = :key"
key = "a:{key}"
ttl = "1h"
value = "json"
compress = "gzip"
absent-value = "x"
[loaders.b]
origin = "o"
query = "SELECT * FROM t WHERE id = :key"
key = "b:{key}"
ttl = "1h"
value = "template:{id"
absent-ttl = "1s"
[loaders.c]
origin = "o"
query = "SELECT * FROM t WHERE id = :key"
key = "c:{key}"
ttl = "1h"
value = "hash"
absent-value = "null"
absent-ttl = "0s"
[loaders.d]
origin = "o"
query = "SELECT * FROM t WHERE id = :key"
key = "d:{key}"
ttl = "1h"
value = "hash"
absent-value = "null"
absent-ttl = "1s"
[loaders.e]
origin = "o"
query = "SELECT * FROM t WHERE id = :key"
key = "e:{key}"
ttl = "1h"
value = "hash"
compress = "zstd"
[loaders.f]
origin = "o"
query = "SELECT * FROM t WHERE id = :key"
key = "f:{key}"
ttl = "1h"
expiry-column = ""
version-column = "at"
version-origin = "p"
[loaders.g]
origin = "o"
query = "SELECT * FROM t WHERE id = :key"
key = "g:{key}"
ttl = "1h"
version-origin = "o"
"#;
    let faults = check(text).unwrap_err().to_string();
    let forms = r#"write value = "object", "array", "hash", "messagepack", "column:NAME" or "template:TEXT""#;
    let expected = [
        format!(r#"line 9, column 9: loaders.a.value: "json" is no form of a value: write object, array, hash, messagepack, column:NAME or template:TEXT; {forms}"#),
        r#"line 10, column 12: loaders.a.compress: "gzip" is not possible; choose "zstd" or "none""#.into(),
        r#"line 11, column 16: loaders.a.absent-value: it does not say how long it lives; add absent-ttl = "30s""#.into(),
        format!("line 17, column 9: loaders.b.value: the template: the {{ at column 1 is never closed: write {{name}} for a column, or {{{{ for the brace itself; {forms}"),
        r#"line 18, column 14: loaders.b.absent-ttl: there is no absent-value that lives so long; add absent-value = "…", what is stored where there is no row"#.into(),
        "line 26, column 14: loaders.c.absent-ttl: it is out of range; choose from 1s to 3650days".into(),
        "line 33, column 16: loaders.d.absent-value: what stands for an absent row in a hash is one field: write it as FIELD=VALUE; change it, or value".into(),
        "line 41, column 12: loaders.e.compress: a hash cannot be compressed: leave compression out, or choose another form; change it, or value".into(),
        "line 47, column 17: loaders.f.expiry-column: it is empty; fill it in, or leave it out".into(),
        r#"line 49, column 18: loaders.f.version-origin: there is no origin "p"; use one of o, or define it in [origins.NAME]"#.into(),
        r#"line 55, column 18: loaders.g.version-origin: it stands without version-column; add version-column = "NAME", or remove it"#.into(),
    ];
    assert_eq!(faults, expected.join("\n"));
}

#[test]
fn unknown_settings_are_refused() {
    for text in [
        "[sources.a]\nfile = 'x'\npath = 'x'",
        "[origins.a]\nurl = 'sqlite:x'\npool = 5",
        "origin = 1",
    ] {
        let faults = check(text).unwrap_err();
        assert_eq!(faults.0.len(), 1, "{faults}");
        assert!(faults.to_string().contains("there is no such setting"));
    }
}

#[test]
fn the_scheme_says_which_sql_is_spoken_and_so_where_keys_may_stand() {
    let loading = |url: &str, query: &str| {
        check(&format!(
            "[origins.a]\nurl = '{url}'\n[loaders.b]\norigin = 'a'\nkey = '{{key}}'\nttl = '1h'\nquery = '{query}'"
        ))
    };
    for (url, dialect) in [
        ("postgresql://u@db/shop", Dialect::Postgres),
        ("mysql://u@db:3307/shop?ssl-mode=required", Dialect::MySql),
        ("mariadb://u@db/shop", Dialect::MySql),
        ("sqlite:shop.db", Dialect::Sqlite),
    ] {
        let catalog = loading(url, "SELECT * FROM t WHERE id IN (:keys)").unwrap();
        assert_eq!(catalog.origins[&"a".parse().unwrap()].dialect, dialect);
    }
    let faults = loading("mysql://u@db/shop", "SELECT * FROM t WHERE id = ANY(:keys)");
    let faults = faults.unwrap_err().to_string();
    assert!(
        faults.contains("MySQL takes it in IN (:keys) only"),
        "{faults}"
    );
}

#[test]
fn urls_that_cannot_be_used_are_refused_and_not_shown() {
    for (text, fault) in [
        (
            "[origins.a]\nurl = 'postgres://u:s3cret@db:port/shop'",
            "line 2, column 7: origins.a.url: this URL cannot be used",
        ),
        (
            "[origins.a]\nurl = 'postgres://u:s3?s3cret@db/shop'",
            "line 2, column 7: origins.a.url: this URL cannot be used",
        ),
        (
            "[origins.a]\nurl = 'mysql://u:s3?s3cret@db/shop'",
            "line 2, column 7: origins.a.url: this URL cannot be used; write mysql://USER:PASSWORD@HOST:PORT/DATABASE,",
        ),
        (
            "[origins.a]\nurl = 'mysql://u:s3cret@db/shop?charset=latin1'",
            "line 2, column 7: origins.a.url: this URL cannot be used; write mysql:",
        ),
        (
            "[origins.a]\nurl = 'sqlite:shop.db?mode=rw'",
            "line 2, column 7: origins.a.url: this URL cannot be used",
        ),
        (
            "[origins.a]\nurl = 'u:s3cret@db'",
            "line 2, column 7: origins.a.url: no database is reached by this URL;",
        ),
        (
            "[origins.a]\nurl = 's3cret:more@db'",
            "line 2, column 7: origins.a.url: no database is reached by this URL;",
        ),
        (
            "[origins.a]\nurl = 'postgres://u:${s3cret!}@db'",
            "line 2, column 7: origins.a.url: between ${ and } is no name of a variable; write ${NAME};",
        ),
        (
            "[origins.a]\nurl-file = '/url'\nurl = 'postgres://u:s3cret@db'",
            "line 3, column 7: origins.a.url: it cannot stand beside origins.a.url-file (line 2); keep one of them",
        ),
        (
            "[origins.a]\nurl = 's3cret'",
            "line 2, column 7: origins.a.url: it is not a URL: it has no scheme;",
        ),
        (
            "[caches.a]\nurls = ['redis://a', 'rediss://b']",
            "line 2, column 22: caches.a.urls[1]: of it and the first URL, one asks for TLS and the other does not;",
        ),
        (
            "[caches.a]\nurls = ['redis+sentinel://:s3cret@a']",
            "line 2, column 9: caches.a.urls[0]: it names no master: write redis+sentinel://HOST:PORT/MASTER,",
        ),
        (
            "[caches.a]\nurls = ['redis+sentinel://a/main', 'redis://:s3cret@b']",
            "line 2, column 36: caches.a.urls[1]: of it and the first URL, one names sentinels and the other a node; write all",
        ),
        (
            "[caches.a]\nurls = ['redis://a']\nsentinel-password = 's3cret'",
            "line 3, column 21: caches.a.sentinel-password: it is not used: no URL begins with redis+sentinel://",
        ),
        (
            "[caches.a]\nurls = ['redis+sentinel://a/m']\nsentinel-user = 'watch'",
            "line 3, column 17: caches.a.sentinel-user: it stands without sentinel-password; add sentinel-password or",
        ),
        (
            "[caches.a]\nurls = ['redis+sentinel://a/m']\nsentinel-password = 's3cret'\nsentinel-password-file = '/password'",
            "line 4, column 26: caches.a.sentinel-password-file: it cannot stand beside caches.a.sentinel-password (line 3);",
        ),
    ] {
        let faults = check(text).unwrap_err().to_string();
        assert!(faults.starts_with(fault), "{faults}");
        assert!(
            !faults.contains("s3cret") && faults.lines().count() == 1,
            "{faults}"
        );
    }
}

#[test]
fn an_origins_canary_and_probes_are_read_with_their_defaults() {
    let catalog = check(GOOD).unwrap();
    let vigil = |name: &str| &catalog.origins[&name.parse().unwrap()].vigil;
    let shop = vigil("shop");
    assert_eq!(shop.canary, "SELECT 2");
    let probes: Vec<_> = shop.probes.iter().collect();
    let told = |(name, probe): &(&stoke_core::names::ProbeName, &ProbeConfig)| {
        (name.to_string(), probe.query.clone(), probe.interval)
    };
    let sessions = "SELECT count(*) FROM pg_stat_activity";
    let expected = [
        ("lag", "SELECT 1", Duration::from_secs(30)),
        ("sessions", sessions, PROBE_INTERVAL_DEFAULT),
    ];
    let expected = expected.map(|(name, query, time)| (name.to_owned(), query.to_owned(), time));
    assert_eq!(probes.iter().map(told).collect::<Vec<_>>(), expected);
    assert_eq!(*vigil("local"), OriginVigil::default());
}

#[test]
fn every_fault_of_a_probe_is_told_with_its_place() {
    let text = r#"
[origins.shop]
url = "sqlite:shop.db"
canary = " "

[origins.shop.probes.lag]
query = ""
interval = "1ms"

[origins.shop.probes."a b"]
quory = "SELECT 1"
"#;
    let faults = check(text).unwrap_err().to_string();
    for said in [
        "origins.shop.canary",
        "origins.shop.probes.lag.query",
        "origins.shop.probes.lag.interval",
        "100ms",
        "its name is none",
        "did you mean query",
        "SELECT …",
    ] {
        assert!(faults.contains(said), "{said}: {faults}");
    }
}

#[test]
fn replicas_have_a_primary_where_one_is_given() {
    let with = |settings: &str| {
        let text = format!("[origins.shop]\n{settings}");
        check(&text).map(|catalog| {
            let origin = &catalog.origins[&"shop".parse().unwrap()];
            (
                origin.url.expose().to_owned(),
                origin.replicas.clone().unwrap(),
            )
        })
    };
    let two = "replicas = [\"postgres://u:s3cret@a/d\", \"postgres://b/d\"]";
    let (url, replicas) = with(two).unwrap();
    assert_eq!(url, "postgres://u:s3cret@a/d");
    assert_eq!(replicas.urls.len(), 2);
    assert_eq!((replicas.has_primary, replicas.falls_back), (false, false));
    assert_eq!(
        (replicas.lag_max, replicas.lag_interval),
        (Duration::from_secs(10), Duration::from_secs(5))
    );
    let (url, replicas) = with(&format!(
        "url = \"postgres://p/d\"\n{two}\nreplica-lag-max = \"30s\"\nreplica-lag-interval = \"1s\"\nreplica-fallback = \"primary\""
    ))
    .unwrap();
    assert_eq!(url, "postgres://p/d");
    assert!(replicas.has_primary && replicas.falls_back);
    assert_eq!(replicas.lag_max, Duration::from_secs(30));

    for (settings, said) in [
        (
            format!("{two}\nreplica-fallback = \"primary\""),
            "replica-fallback: there is no primary; add its url, or url-file",
        ),
        (
            "url = \"postgres://p/d\"\nreplica-lag-max = \"30s\"".to_owned(),
            "replica-lag-max: there are no replicas that it could be of",
        ),
        (
            "replicas = [\"sqlite:x\"]".to_owned(),
            "replicas[0]: an SQLite file has no replicas",
        ),
        (
            "replicas = []".to_owned(),
            "replicas: the list is empty; name at least one replica",
        ),
        (
            format!("url = \"mysql://p/d\"\n{two}"),
            "its url and replicas are not of the same kind of database",
        ),
        (
            format!("{two}\nreplica-lag-max = \"1ms\""),
            "replica-lag-max: it is out of range; choose from 100ms",
        ),
        (
            "replicas = [\"postgres://u:s3cret@h?x=1/d\"]".to_owned(),
            "replicas[0]: this URL cannot be used",
        ),
    ] {
        let faults = with(&settings).unwrap_err().to_string();
        assert!(faults.contains(said), "{faults}");
        assert!(!faults.contains("s3cret"), "{faults}");
    }
}

#[test]
fn a_loader_that_scans_needs_no_keys_and_what_it_cannot_have_is_refused() {
    let loader = |settings: &str| {
        let text = format!(
            "[origins.o]\nurl = \"sqlite:x\"\n[loaders.a]\norigin = \"o\"\nkey = \"a:{{id}}\"\nttl = \"1h\"\n{settings}"
        );
        check(&text).map(|catalog| catalog.loaders.into_values().next().unwrap().scan)
    };
    let all = "query = \"SELECT * FROM t;\"\n";
    let by = |by: &str, rows| stoke_core::scan::Scan {
        by: by.parse().unwrap(),
        rows,
    };
    let scan = |rows| by("id", rows);
    let read = loader(&format!("{all}scan-by = \"id\"")).unwrap();
    assert_eq!(read, Some(scan(5000)));
    let read = loader(&format!("{all}scan-by = \"id\"\nscan-rows = 100000")).unwrap();
    assert_eq!(read, Some(scan(100_000)));
    let read = loader(&format!("{all}scan-by = \"views desc, id DESC\"")).unwrap();
    assert_eq!(read, Some(by("views DESC, id DESC", 5000)));
    for (settings, says) in [
        ("scan-rows = 5", "it stands without scan-by"),
        ("scan-by = \"views DESC, id\"", "write views DESC, id DESC"),
        ("scan-by = \"id\"\nscan-rows = 0", "choose from 1 to 100000"),
        ("scan-by = \"id\"\nbatch-keys = 5", "a scan takes no keys"),
        (
            "scan-by = \"id\"\nvalue = \"array\"",
            "an entry of each row",
        ),
        (
            "scan-by = \"id\"\nversion-column = \"v\"",
            "no keys by which versions",
        ),
    ] {
        let faults = loader(&format!("{all}{settings}")).unwrap_err();
        assert!(faults.to_string().contains(says), "{faults}");
    }
    let keys = loader("query = \"SELECT 1 WHERE id IN (:keys)\"\nscan-by = \"id\"");
    let faults = keys.unwrap_err().to_string();
    assert!(faults.contains("a scan has none"), "{faults}");
}

#[test]
fn another_redis_is_an_origin_entered_as_a_cache_is_and_copied_from() {
    let catalog = check(
        r#"
        [origins.old]
        urls = ["redis://a:6379", "redis://b:6379"]
        password = "${PASSWORD}"
        statement-timeout = "2s"
        [origins.sessions]
        url = "redis+sentinel://s1,s2/main"
        sentinel-password = "${PASSWORD}"
        [loaders.kept]
        origin = "old"
        [loaders.renamed]
        origin = "old"
        from = "old:{key}"
        key = "v2:{key}"
        copy = "typed"
        ttl = "1h"
        [sources.all]
        origin = "old"
        match = "old:{id}"
        loader = "kept"
        "#,
    )
    .unwrap();
    let old = &catalog.redis_origins[&"old".parse().unwrap()];
    assert_eq!(old.redis.urls.len(), 2);
    assert_eq!(old.statement_timeout, Duration::from_secs(2));
    let sessions = &catalog.redis_origins[&"sessions".parse().unwrap()];
    assert!(sessions.redis.sentinel_login.is_some());
    let loader = |name: &str| &catalog.loaders[&name.parse().unwrap()];
    let kept = loader("kept");
    assert!(kept.value.copy.as_ref().unwrap().is_of_same_name());
    assert_eq!((kept.key.as_str(), kept.ttl), ("{key}", TTL_OF_ORIGIN));
    let renamed = loader("renamed");
    let copy = renamed.value.copy.as_ref().unwrap();
    assert_eq!((copy.from.as_str(), copy.how), ("old:{key}", How::Typed));
    assert_eq!(renamed.ttl, Duration::from_secs(3600));
    let SourceFrom::Keyspace { pattern, count, .. } =
        &catalog.sources[&"all".parse().unwrap()].from
    else {
        panic!("a scan");
    };
    assert_eq!((pattern.as_str(), *count), ("old:{id}", 1000));
}

#[test]
fn what_makes_no_sense_of_a_redis_is_refused_with_a_reason() {
    for (settings, says) in [
        (
            "[origins.old]\nurl = \"redis://a\"\ncanary = \"SELECT 1\"",
            "sent a PING",
        ),
        (
            "[origins.old]\nurl = \"redis://a\"\n[origins.old.probes.lag]\nquery = \"SELECT 1\"",
            "a Redis does not know",
        ),
        (
            "[origins.old]\nurl = \"redis://a\"\nurls = [\"redis://b\"]",
            "cannot stand beside",
        ),
        (
            "[origins.old]\nurl = \"redis://a\"\nca-file = \"/ca.pem\"",
            "no URL begins with rediss",
        ),
        (
            "[loaders.c]\norigin = \"old\"\nquery = \"SELECT 1\"",
            "not asked for by SQL",
        ),
        (
            "[loaders.c]\norigin = \"old\"\ncompress = \"zstd\"",
            "reads it as it is",
        ),
        (
            "[loaders.c]\norigin = \"old\"\nversion-column = \"v\"",
            "no rows",
        ),
        (
            "[loaders.c]\norigin = \"old\"\nfrom = \"old:{id}\"",
            "no other column",
        ),
        (
            "[loaders.c]\norigin = \"old\"\nttl-jitter = 0.1",
            "stands without ttl",
        ),
        (
            "[loaders.c]\norigin = \"old\"\ncopy = \"move\"",
            "\"auto\" or \"dump\" or \"typed\"",
        ),
        (
            "[loaders.c]\norigin = \"shop\"\nquery = \"SELECT 1 WHERE a IN (:keys)\"\nkey = \"{key}\"\nttl = \"1h\"\ncopy = \"dump\"",
            "this origin is a database",
        ),
        (
            "[sources.s]\norigin = \"old\"\nquery = \"SELECT 1\"",
            "knows no SQL",
        ),
        (
            "[sources.s]\norigin = \"shop\"\nmatch = \"a*\"",
            "it is a database",
        ),
        (
            "[sources.s]\norigin = \"old\"\nmatch = \"{key}:*\"",
            "whole key",
        ),
        (
            "[sources.s]\nfile = \"keys.csv\"\ncount = 5",
            "only what is scanned",
        ),
        ("[sources.s]\nmatch = \"a*\"", "stands without origin"),
    ] {
        let old = if settings.contains("[origins.old]") {
            ""
        } else {
            "[origins.old]\nurl = \"redis://a\"\n"
        };
        let text = format!("{old}[origins.shop]\nurl = \"sqlite:shop.db\"\n{settings}\n");
        let faults = check(&text).unwrap_err().to_string();
        assert!(faults.contains(says), "{text}\n{faults}");
    }
}
