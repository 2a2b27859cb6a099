//! etcd that is guarded, full or slow: what is said of it, and that it is used again as soon as it lets us.

use std::time::Duration;

use stoke_core::explain::explain;
use stoke_harness::{Authority, Etcd, Forwarder, ServerTls};
use stoke_store::etcd::{EtcdConfig, EtcdStore, Password, Tls};
use stoke_store::{Keys, Op, Store, StoreError, Txn};

use crate::subject::{config, put, soon};

fn txn(op: Op) -> Txn {
    Txn {
        compares: vec![],
        ops: vec![op],
    }
}

fn trusting(authority: &Authority) -> Tls {
    Tls {
        ca: Some(authority.certificate()),
        identity: None,
    }
}

async fn connect(endpoint: String, tls: Tls) -> Result<EtcdStore, StoreError> {
    let mut config = config(endpoint);
    config.tls = tls;
    config.timeout = Duration::from_secs(3);
    EtcdStore::connect(config).await
}

async fn refused(endpoint: String, tls: Tls) -> String {
    let address = endpoint.clone();
    let error = connect(endpoint, tls).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    let text = explain(&error);
    assert!(text.contains(&format!("etcd at {address}")), "{text}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_kept_over_tls_with_a_client_certificate_and_without_one_nobody_gets_in() {
    let authority = Authority::new().unwrap();
    let identity = authority.for_this_machine().unwrap();
    let tls = ServerTls {
        authority: &authority,
        identity: &identity,
        demands_certificate: true,
    };
    let etcd = Etcd::start_as(Some(tls), &[]).unwrap();
    let showing = |pair: stoke_harness::Pair| Tls {
        identity: Some((pair.certificate, pair.key)),
        ..trusting(&authority)
    };
    let ours = showing(authority.for_client("stoke").unwrap());
    let store = connect(etcd.endpoint(), ours).await.unwrap();
    store.txn(txn(put("a", "1"))).await.unwrap();
    let found = store.read(&[Keys::One("a".to_owned())]).await.unwrap();
    assert_eq!(found.entries.len(), 1);

    let error = refused(etcd.endpoint(), trusting(&authority)).await;
    assert!(error.contains("cert-file"), "{error}");
    let other = Authority::new().unwrap();
    let error = refused(etcd.endpoint(), showing(other.for_client("stoke").unwrap())).await;
    assert!(error.contains("client certificate"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_tls_does_not_come_about_it_is_said_why() {
    let (authority, stranger) = (Authority::new().unwrap(), Authority::new().unwrap());
    let server = |identity| ServerTls {
        authority: &authority,
        identity,
        demands_certificate: false,
    };
    let identity = authority.for_this_machine().unwrap();
    let elsewhere = authority.for_elsewhere().unwrap();
    let secured = Etcd::start_as(Some(server(&identity)), &[]).unwrap();
    let named_else = Etcd::start_as(Some(server(&elsewhere)), &[]).unwrap();
    let plain = Etcd::start().unwrap();
    connect(secured.endpoint(), trusting(&authority))
        .await
        .unwrap();
    let as_plain = secured.endpoint().replace("https", "http");
    let as_tls = plain.endpoint().replace("http", "https");
    for (endpoint, tls, said) in [
        (as_plain, Tls::default(), "ask for TLS"),
        (as_tls, trusting(&authority), "without TLS"),
        (secured.endpoint(), trusting(&stranger), "ca-file"),
        (secured.endpoint(), Tls::default(), "ca-file"),
        (
            named_else.endpoint(),
            trusting(&authority),
            "for another name",
        ),
    ] {
        let error = refused(endpoint, tls).await;
        assert!(error.contains(said), "{said}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_nowhere_and_a_port_that_nobody_listens_on_are_told_apart() {
    let nobody = stoke_harness::free_port().unwrap();
    let error = refused(
        "http://no-such-host.invalid:2379".to_owned(),
        Tls::default(),
    )
    .await;
    assert!(error.contains("DNS"), "{error}");
    let error = refused(format!("http://127.0.0.1:{nobody}"), Tls::default()).await;
    assert!(error.contains("nobody listens"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_is_missing_or_wrong_is_told_with_what_to_do() {
    let etcd = Etcd::start().unwrap();
    for args in [
        "user add root:hunter2",
        "role add root",
        "user grant-role root root",
        "auth enable",
    ] {
        etcd.ctl(&args.split(' ').collect::<Vec<_>>()).unwrap();
    }
    for (user, said) in [(None, "give them"), (Some("hunter3"), "check both")] {
        let mut config: EtcdConfig = config(etcd.endpoint());
        config.user = user.map(|password| ("root".to_owned(), Password::new(password)));
        let error = EtcdStore::connect(config).await.unwrap_err();
        let text = explain(&error);
        assert!(matches!(error, StoreError::Rejected { .. }), "{text}");
        assert!(
            text.contains(said) && text.contains(&etcd.endpoint()),
            "{text}"
        );
        assert!(!text.contains("hunter"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_etcd_says_what_to_do_still_reads_and_takes_writes_again_once_that_is_done() {
    let etcd = Etcd::start_as(None, &["--quota-backend-bytes=4194304"]).unwrap();
    let store = connect(etcd.endpoint(), Tls::default()).await.unwrap();
    store.txn(txn(put("kept", "1"))).await.unwrap();
    let large = "x".repeat(512 * 1024);
    let error = soon(async {
        loop {
            // The same key over and over: its history is what fills the database.
            if let Err(error) = store.txn(txn(put("filler", &large))).await {
                break error;
            }
        }
    })
    .await;
    let text = explain(&error);
    assert!(matches!(error, StoreError::Rejected { .. }), "{text}");
    assert!(
        text.contains("NOSPACE") && text.contains("etcdctl alarm disarm"),
        "{text}"
    );
    // A grant could not be renewed, nor a lease made: what needs them stops. Nothing is lost.
    store.txn(txn(put("small", "1"))).await.unwrap_err();
    let found = store.read(&[Keys::One("kept".to_owned())]).await.unwrap();
    assert_eq!(found.entries.len(), 1);

    let revision = found.revision.0.to_string();
    etcd.ctl(&["compact", "--physical", &revision]).unwrap();
    etcd.ctl(&["defrag"]).unwrap();
    etcd.ctl(&["alarm", "disarm"]).unwrap();
    store.txn(txn(put("small", "1"))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_etcd_is_told_as_such_and_used_again_when_it_is_fast() {
    let etcd = Etcd::start().unwrap();
    let road = Forwarder::to(etcd.port()).unwrap();
    let mut config = config(format!("http://127.0.0.1:{}", road.port()));
    config.timeout = Duration::from_millis(500);
    let store = EtcdStore::connect(config).await.unwrap();
    road.delay(Duration::from_secs(2));
    let error = store.read(&[]).await.unwrap_err();
    let text = explain(&error);
    assert!(matches!(error, StoreError::Unreachable { .. }), "{text}");
    assert!(
        text.contains("does not answer in time") && text.contains("no answer within 500ms"),
        "{text}"
    );
    let error = store.txn(txn(put("a", "1"))).await.unwrap_err();
    assert!(matches!(error, StoreError::Unknown { .. }), "{error:?}");
    road.delay(Duration::ZERO);
    soon(async { while store.read(&[]).await.is_err() {} }).await;
    store.txn(txn(put("b", "1"))).await.unwrap();
}
