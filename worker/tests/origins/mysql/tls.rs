//! Getting into a MariaDB: TLS, certificates, and what is said of whatever is in the way.

use stoke_harness::{Authority, MariaDb, ServerTls};
use stoke_worker::catalog::TlsFiles;
use stoke_worker::origin::OriginError;
use stoke_worker::permit::Unlimited;

use super::LONG;
use crate::{keys, loader, row};

/// Users: `secure` over TLS only, `named` with a certificate only.
fn start(tls: Option<ServerTls<'_>>) -> MariaDb {
    let server = match tls {
        Some(tls) => MariaDb::start_tls(tls).unwrap(),
        None => MariaDb::start().unwrap(),
    };
    let users = "CREATE USER secure@'127.0.0.1' IDENTIFIED BY 'p@ss:w?rd' REQUIRE SSL;
        CREATE USER named@'127.0.0.1' REQUIRE X509;
        CREATE TABLE t (id INT); INSERT INTO t VALUES (1); GRANT SELECT ON shop.* TO secure@'127.0.0.1', named@'127.0.0.1'";
    server.sql("shop", users).unwrap();
    server
}

fn url(server: &MariaDb, user: &str, rest: &str) -> String {
    format!("mysql://{user}@127.0.0.1:{}/{rest}", server.port())
}

const SECURE: &str = "secure:p%40ss%3Aw%3Frd";

#[tokio::test]
async fn rows_come_over_tls_with_the_servers_certificate_looked_at_and_our_own_shown() {
    let authority = Authority::new().unwrap();
    let identity = authority.for_this_machine().unwrap();
    let server = start(Some(ServerTls {
        authority: &authority,
        identity: &identity,
        demands_certificate: false,
    }));
    let trusting = |authority: &Authority| TlsFiles {
        ca: Some(authority.certificate()),
        identity: None,
    };
    let ours = authority.for_client("named").unwrap();
    let showing = TlsFiles {
        identity: Some((ours.certificate, ours.key)),
        ..trusting(&authority)
    };
    for (user, rest, files) in [
        (SECURE, "shop", trusting(&authority)),
        (SECURE, "shop?ssl-mode=VERIFY_CA", trusting(&authority)),
        (SECURE, "shop?ssl-mode=required", TlsFiles::default()),
        (SECURE, "shop?ssl-mode=preferred", TlsFiles::default()),
        (SECURE, "shop", TlsFiles::default()),
        ("named", "shop", showing),
    ] {
        let origin = super::origin(&url(&server, user, rest), LONG, files);
        let loader = loader("SELECT id FROM t WHERE id IN (:keys)");
        let loaded = origin.load(&Unlimited, &loader, &keys(&["1"])).await;
        let answers = loaded
            .unwrap_or_else(|e| panic!("{user} {rest}: {}", e.explain()))
            .answers;
        assert_eq!(answers, [row("{\"id\":1}")], "{user} {rest}");
    }

    let stranger = Authority::new().unwrap();
    for (user, rest, files, said) in [
        (
            SECURE,
            "shop?ssl-mode=disabled",
            TlsFiles::default(),
            "with TLS",
        ),
        (
            SECURE,
            "shop?ssl-mode=verify_identity",
            TlsFiles::default(),
            "ca-file",
        ),
        (SECURE, "shop", trusting(&stranger), "ca-file"),
        ("named", "shop", trusting(&authority), "certificate"),
    ] {
        let origin = super::origin(&url(&server, user, rest), LONG, files);
        let text = refused(&origin).await.explain();
        assert!(text.contains(said), "{user} {rest}: {text}");
        let named = format!("origin \"shop\" at 127.0.0.1:{}/shop", server.port());
        assert!(text.contains(&named) && !text.contains("w?rd"), "{text}");
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
    let trusting = TlsFiles {
        ca: Some(authority.certificate()),
        identity: None,
    };
    let strict = super::origin(&url(&server, SECURE, "shop"), LONG, trusting.clone());
    let text = refused(&strict).await.explain();
    assert!(text.contains("for another name"), "{text}");
    let lax = url(&server, SECURE, "shop?ssl-mode=verify_ca");
    super::origin(&lax, LONG, trusting)
        .reach(&Unlimited)
        .await
        .unwrap();
}

#[tokio::test]
async fn whatever_keeps_us_out_is_named_with_the_address_and_what_to_do_and_without_the_password() {
    let server = start(None);
    let nobody = stoke_harness::free_port().unwrap();
    for (url, said, passes) in [
        (
            url(&server, "stoke:s3cret", "shop?ssl-mode=required"),
            "speaks without TLS",
            false,
        ),
        (
            url(&server, "stoke:s3cret", "shop"),
            "check all of them",
            false,
        ),
        (
            format!("mysql://stoke:s3cret@127.0.0.1:{nobody}/shop"),
            "nobody listens",
            true,
        ),
        (
            "mysql://stoke:s3cret@no-such-host.invalid/shop".to_owned(),
            "DNS",
            true,
        ),
    ] {
        let error = refused(&super::origin(&url, LONG, TlsFiles::default())).await;
        let text = error.explain();
        assert!(text.contains(said), "{said}: {text}");
        assert_eq!(error.is_transient(), passes, "{text}");
        assert!(
            text.contains("origin \"shop\" at ") && !text.contains("s3cret"),
            "{text}"
        );
    }
}

async fn refused(origin: &stoke_worker::origin::Origin) -> OriginError {
    let error = origin.reach(&Unlimited).await.unwrap_err();
    assert!(
        error.is_outage(),
        "no fault of what would have been asked: {error:?}"
    );
    error
}
