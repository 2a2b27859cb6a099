//! TLS, and what is said where it does not come about.

use stoke_harness::{Authority, Redis, RedisCluster, ServerTls};
use stoke_worker::cache::{Cache, CacheConfig, WriteMode, WriteOutcome};
use stoke_worker::catalog::TlsFiles;
use stoke_worker::permit::Unlimited;

use crate::{all, explained, items, present};

fn trusting(authority: &Authority) -> TlsFiles {
    TlsFiles {
        ca: Some(authority.certificate()),
        identity: None,
    }
}

async fn connect(url: &str, files: &TlsFiles) -> Result<Cache, String> {
    let config = CacheConfig::parse(&[url], None).unwrap();
    let config = config.with_tls(files).unwrap();
    Cache::connect(config)
        .await
        .map_err(|error| explained(&error))
}

async fn refused(url: &str, files: &TlsFiles) -> String {
    connect(url, files).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_written_over_tls_node_by_node_with_a_client_certificate() {
    let authority = Authority::new().unwrap();
    let identity = authority.for_this_machine().unwrap();
    let tls = ServerTls {
        authority: &authority,
        identity: &identity,
        demands_certificate: true,
    };
    let cluster = RedisCluster::start_with_tls(3, tls, &[("requirepass", "right")]).unwrap();
    let ours = authority.for_client("warm").unwrap();
    let files = TlsFiles {
        identity: Some((ours.certificate, ours.key)),
        ..trusting(&authority)
    };
    let url = &cluster.urls()[1];
    assert!(url.starts_with("rediss://"), "{url}");
    let cache = connect(url, &files).await.unwrap();
    assert!(cache.is_cluster());
    cache.check().await.unwrap();
    let some = items("some", 600);
    let outcomes = cache
        .write(&Unlimited, WriteMode::Add, &some)
        .await
        .unwrap();
    assert!(all(&outcomes, &WriteOutcome::Written), "{outcomes:?}");
    assert_eq!(present(&cache, &some).await, 600);
    for port in cluster.ports() {
        let keys: u32 = cluster.cli(port, &["DBSIZE"]).unwrap().parse().unwrap();
        assert!(keys > 100, "each node has its share: {keys}");
    }

    let error = refused(url, &trusting(&authority)).await;
    assert!(error.contains("cert-file"), "{error}");
    let stranger = Authority::new().unwrap();
    let other = stranger.for_client("warm").unwrap();
    let files = TlsFiles {
        identity: Some((other.certificate, other.key)),
        ..trusting(&authority)
    };
    let error = refused(url, &files).await;
    assert!(error.contains("client certificate"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_tls_does_not_come_about_it_is_said_why_and_what_to_do() {
    let (authority, stranger) = (Authority::new().unwrap(), Authority::new().unwrap());
    let identity = authority.for_this_machine().unwrap();
    let tls = |identity| ServerTls {
        authority: &authority,
        identity,
        demands_certificate: false,
    };
    let secured = Redis::start_with_tls(tls(&identity), &[("requirepass", "s3cret")]).unwrap();
    assert!(connect(&secured.url(), &trusting(&authority)).await.is_ok());
    let plain = Redis::start().unwrap();
    let elsewhere = authority.for_elsewhere().unwrap();
    let elsewhere = Redis::start_with_tls(tls(&elsewhere), &[]);
    let elsewhere = elsewhere.unwrap();
    let plain_as_tls = plain.url().replace("redis://", "rediss://");
    let tls_as_plain = secured.url().replace("rediss://", "redis://");
    let none = TlsFiles::default();
    for (url, files, port, said) in [
        (
            &plain_as_tls,
            trusting(&authority),
            plain.port(),
            "speaks without TLS",
        ),
        (&tls_as_plain, none.clone(), secured.port(), "rediss://"),
        (
            &secured.url(),
            trusting(&stranger),
            secured.port(),
            "ca-file",
        ),
        (&secured.url(), none, secured.port(), "ca-file"),
        (
            &elsewhere.url(),
            trusting(&authority),
            elsewhere.port(),
            "for another name",
        ),
    ] {
        let error = refused(url, &files).await;
        assert!(error.contains(said), "{said}: {error}");
        assert!(error.contains(&format!("127.0.0.1:{port}")), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
}
