//! Whole catalogs: right ones, and what is said of wrong ones.

use std::time::Duration;

use super::*;

fn check(text: &str) -> Result<Catalog, Faults> {
    let file: CatalogFile = toml::from_str(text).unwrap();
    let variable = |name: &str| (name == "PASSWORD").then(|| "s3cret".to_owned());
    let read = |path: &Path| match path.to_str() {
        Some("/url") => Ok("postgres://u:s3cret@db/shop\n".to_owned()),
        Some("/password") => Ok("s3cret\n".to_owned()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    file.check(
        text,
        &Surroundings {
            variable: &variable,
            read: &read,
        },
    )
}

const GOOD: &str = r#"
allow-files-in-jobs = true

[origins.shop]
url = "postgres://stoke:${PASSWORD}@db/shop"
statement-timeout = "2s"

[origins.archive]
url-file = "/url"

[origins.local]
url = "sqlite:shop.db"

[caches.main]
urls = ["redis://a:6379", "redis://b:6379"]
password-file = "/password"

[loaders.products]
origin = "shop"
query = "SELECT * FROM products WHERE id IN (:keys)"
key = "product:{key}"
ttl = "1h"

[loaders.users]
origin = "local"
query = "SELECT * FROM users WHERE id = :key"
key = "user:{key}"
key-column = "id"
ttl = "30m"
ttl-jitter = 0.25
batch-keys = 10
max-value-bytes = 1024

[sources.popular]
origin = "shop"
query = "SELECT id AS key FROM products"
loader = "products"

[sources.list]
file = "keys.csv"
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
    let main = &catalog.caches[&"main".parse().unwrap()];
    assert_eq!(
        (
            main.urls.len(),
            main.password.as_ref().map(Password::expose)
        ),
        (2, Some("s3cret"))
    );
    let products = &catalog.loaders[&"products".parse().unwrap()];
    assert_eq!(
        (
            products.ttl_jitter_permille,
            products.batch_keys,
            products.max_value_bytes
        ),
        (100, 500, 16 << 20)
    );
    assert_eq!(
        (products.ttl, &products.key_column),
        (Duration::from_secs(3600), &None)
    );
    let users = &catalog.loaders[&"users".parse().unwrap()];
    assert_eq!(
        (
            users.ttl_jitter_permille,
            users.batch_keys,
            users.max_value_bytes
        ),
        (250, 10, 1024)
    );
    assert_eq!(users.key_column.as_deref(), Some("id"));
    assert_eq!(
        catalog.sources[&"list".parse().unwrap()].from,
        SourceFrom::File("keys.csv".into())
    );
    assert!(catalog.allow_files_in_jobs && !catalog.allow_sql_in_jobs);
}

#[test]
fn no_password_is_shown() {
    let shown = format!(
        "{:?} {:?}",
        check(GOOD).unwrap(),
        toml::from_str::<CatalogFile>(GOOD).unwrap()
    );
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn all_faults_are_listed_at_once_with_their_lines() {
    let text = r#"
[origins.shop]
url = "postgres://stoke:${UNSET}@db/shop"
statement-timeout = "soon"
[origins.other]
url = "mysql://u:s3cret@db/shop"
[origins."b ad"]
url-file = "/missing"
[origins.none]
[origins.fine]
url = "sqlite:x"
[caches.main]
urls = ["http://u:s3cret@a", "redis://a"]
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
ttl = "1h"
[sources.both]
origin = "fine"
query = "SELECT 1"
file = "x"
[sources.unknown]
file = "x"
loader = "nothing"
"#;
    let faults = check(text).unwrap_err();
    let shown = faults.to_string();
    for said in [
        "line 3: origins.shop.url: the environment variable \"UNSET\" is not set; set the variable",
        "line 4: origins.shop.statement-timeout: ",
        "line 6: origins.other: no database is reached by mysql:; begin the URL with postgres:// or sqlite:",
        "line 7: origins.b ad: \"b ad\" is not a name",
        "line 8: origins.b ad.url-file: ",
        "line 9: origins.none: no url is given; add url or url-file",
        "line 13: caches.main.urls: no cache is reached by http:",
        "line 15: caches.empty.urls: the list is empty",
        "line 17: loaders.products.origin: there is no origin \"nobody\"",
        "line 19: loaders.products.key: ",
        "line 20: loaders.products.ttl: 0s is out of range; choose from 1s to",
        "line 21: loaders.products.ttl-jitter: 0.95 is out of range; choose from 0.0 to 0.9",
        "line 22: loaders.products.batch-keys: 0 is out of range; choose from 1 to 10000",
        "line 23: loaders.products.max-value-bytes: 999999999999 is out of range",
        "line 26: loaders.users.query: the query has no placeholder",
        "line 29: sources.both: it is not clear what is read; give origin and query, or file",
        "line 35: sources.unknown.loader: there is no loader \"nothing\"; use one of products, users, or define it",
    ] {
        assert!(
            shown.lines().any(|line| line.starts_with(said)),
            "{said}\nis not in\n{shown}"
        );
    }
    assert_eq!(faults.0.len(), 17, "{shown}");
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn unknown_settings_are_refused() {
    for text in [
        "[sources.a]\npath = 'x'",
        "[origins.a]\nurl = 'sqlite:x'\npool = 5",
        "[loaders.a]\nsql = ''",
    ] {
        assert!(toml::from_str::<CatalogFile>(text).is_err(), "{text}");
    }
}
