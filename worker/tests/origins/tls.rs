//! Getting into a PostgreSQL: TLS, certificates, and what is said of whatever is in the way.

use std::time::Duration;

use stoke_harness::{Authority, Pair, Postgres, ServerTls};
use stoke_worker::catalog::{OriginConfig, SecretUrl, TlsFiles};
use stoke_worker::origin::rewrite::Dialect;
use stoke_worker::origin::{Origin, OriginError};
use stoke_worker::permit::Unlimited;

use crate::{Tokens, keys, loader, row};

/// Users: `secure` over TLS only, `named` with a certificate only, `plain` without TLS, `stoke` by password.
const RULES: &[&str] = &[
    "hostssl all secure 127.0.0.1/32 trust",
    "hostnossl all secure 127.0.0.1/32 reject",
    "hostssl all named 127.0.0.1/32 cert",
    "host all stoke 127.0.0.1/32 scram-sha-256",
];

fn start(tls: Option<ServerTls<'_>>) -> Postgres {
    let server = Postgres::start_guarded(tls, RULES).unwrap();
    let users = "CREATE USER secure; CREATE USER named; CREATE USER stoke PASSWORD 'right';
        CREATE TABLE t AS SELECT 1 AS id; GRANT SELECT ON t TO PUBLIC;";
    server.psql("postgres", users).unwrap();
    server
}

fn origin(url: &str, tls: TlsFiles) -> Origin {
    Origin::open(&OriginConfig {
        name: "shop".parse().unwrap(),
        url: SecretUrl::new(url).unwrap(),
        dialect: Dialect::Postgres,
        statement_timeout: Duration::from_secs(5),
        source_timeout: Duration::from_secs(5),
        tls,
        vigil: stoke_worker::catalog::OriginVigil::default(),
        replicas: None,
    })
    .unwrap()
}

fn url(server: &Postgres, user: &str, rest: &str) -> String {
    format!("postgres://{user}@127.0.0.1:{}/{rest}", server.port())
}

fn trusting(authority: &Authority) -> TlsFiles {
    TlsFiles {
        ca: Some(authority.certificate()),
        identity: None,
    }
}

fn showing(authority: &Authority, pair: Pair) -> TlsFiles {
    TlsFiles {
        identity: Some((pair.certificate, pair.key)),
        ..trusting(authority)
    }
}

async fn refused(origin: &Origin) -> OriginError {
    let error = origin.reach(&Unlimited).await.unwrap_err();
    assert!(
        error.is_outage(),
        "no fault of what would have been asked: {error:?}"
    );
    error
}

#[tokio::test]
async fn rows_come_over_tls_with_the_servers_certificate_looked_at_and_our_own_shown() {
    let authority = Authority::new().unwrap();
    let identity = authority.for_this_machine().unwrap();
    let server = start(Some(ServerTls {
        authority: &authority,
        identity: &identity,
        demands_certificate: false,
    }));
    let ours = || authority.for_client("named").unwrap();
    for (user, rest, files) in [
        ("secure", "postgres", trusting(&authority)),
        ("secure", "postgres?sslmode=verify-ca", trusting(&authority)),
        ("secure", "postgres?sslmode=require", TlsFiles::default()),
        ("secure", "postgres?sslmode=prefer", TlsFiles::default()),
        ("secure", "postgres", TlsFiles::default()),
        ("named", "postgres", showing(&authority, ours())),
    ] {
        let origin = origin(&url(&server, user, rest), files);
        let loader = loader("SELECT id FROM t WHERE id IN (:keys)");
        let loaded = origin.load(&Unlimited, &loader, &keys(&["1"])).await;
        let answers = loaded.unwrap().answers;
        assert_eq!(answers, [row("{\"id\":1}")], "{user} {rest}");
    }

    let stranger = Authority::new().unwrap();
    for (user, rest, files, said) in [
        (
            "secure",
            "postgres?sslmode=disable",
            TlsFiles::default(),
            "sslmode",
        ),
        (
            "secure",
            "postgres?sslmode=verify-full",
            TlsFiles::default(),
            "ca-file",
        ),
        ("secure", "postgres", trusting(&stranger), "ca-file"),
        ("named", "postgres", trusting(&authority), "cert-file"),
        (
            "named",
            "postgres",
            showing(&authority, authority.for_client("other").unwrap()),
            "client certificate",
        ),
    ] {
        let error = refused(&origin(&url(&server, user, rest), files))
            .await
            .explain();
        assert!(error.contains(said), "{user} {rest}: {error}");
        let named = format!("origin \"shop\" at 127.0.0.1:{}/postgres", server.port());
        assert!(error.contains(&named), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_only_where_names_are_looked_at() {
    let authority = Authority::new().unwrap();
    let identity = authority.for_elsewhere().unwrap();
    let server = start(Some(ServerTls {
        authority: &authority,
        identity: &identity,
        demands_certificate: false,
    }));
    let error = refused(&origin(
        &url(&server, "secure", "postgres"),
        trusting(&authority),
    ))
    .await;
    assert!(
        error.explain().contains("for another name"),
        "{}",
        error.explain()
    );
    let lax = origin(
        &url(&server, "secure", "postgres?sslmode=verify-ca"),
        trusting(&authority),
    );
    lax.reach(&Unlimited).await.unwrap();
}

#[tokio::test]
async fn whatever_keeps_us_out_is_named_with_the_address_and_what_to_do_and_without_the_password() {
    let server = start(None);
    let port = server.port();
    let nobody = stoke_harness::free_port().unwrap();
    for (url, said, passes) in [
        (
            url(&server, "secure", "postgres?sslmode=require"),
            "speaks without TLS",
            false,
        ),
        (
            url(&server, "stoke:s3cret", "postgres"),
            "check both",
            false,
        ),
        (
            url(&server, "nobody:s3cret", "postgres"),
            "\"nobody\" does not exist",
            false,
        ),
        (
            url(&server, "stoke:right", "no_such_database"),
            "\"no_such_database\" does not exist",
            false,
        ),
        (
            format!("postgres://stoke:s3cret@127.0.0.1:{nobody}/shop"),
            "nobody listens",
            true,
        ),
        (
            format!("postgres://stoke:s3cret@no-such-host.invalid:{port}/shop"),
            "DNS",
            true,
        ),
    ] {
        let error = refused(&origin(&url, TlsFiles::default())).await;
        let text = error.explain();
        assert!(text.contains(said), "{said}: {text}");
        assert_eq!(error.is_transient(), passes, "{text}");
        assert!(
            text.contains("origin \"shop\" at ") && !text.contains("s3cret"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_look_costs_one_token_and_sends_no_statement() {
    let server = Postgres::start().unwrap();
    let origin = origin(&server.url("postgres"), TlsFiles::default());
    let tokens = Tokens::default();
    origin.reach(&tokens).await.unwrap();
    assert_eq!((tokens.taken(), origin.queries()), (1, 1));
    assert_eq!(server.statements("stoke").unwrap(), []);
}
