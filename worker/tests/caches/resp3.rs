//! The newer protocol, where a URL asks for it: the same answers in other clothes.

use bytes::Bytes;
use stoke_harness::RedisCluster;
use stoke_worker::cache::{HashFields, Item, Presence, Standing, WriteMode, WriteOutcome};
use stoke_worker::permit::Unlimited;
use stoke_worker::value::Value;

use crate::{HOUR, all, connect, item};

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_asked_is_understood_over_resp3() {
    let cluster = RedisCluster::start(3).unwrap();
    let urls = cluster.urls().into_iter();
    let urls: Vec<String> = urls.map(|url| format!("{url}?protocol=resp3")).collect();
    let cache = connect(&urls).await;
    assert!(cache.is_cluster());
    cache.check().await.unwrap();
    let fields = [("a".into(), "1".into()), ("b".into(), Bytes::new())];
    let hash = Item {
        value: Value::Hash(fields.to_vec()),
        ..item("hash", "")
    };
    let both = [item("string", "value"), hash];
    let wanted = WriteOutcome::Written;
    let outcomes = cache.write(&Unlimited, WriteMode::Add, &both).await;
    assert!(all(&outcomes.unwrap(), &wanted));
    let outcomes = cache.write(&Unlimited, WriteMode::Add, &both).await;
    assert!(all(&outcomes.unwrap(), &WriteOutcome::Kept));
    let presences = cache.probe(&[b"string", b"missing"]).await;
    assert!(matches!(presences[0], Ok(Presence::Present { ttl: Some(ttl) }) if ttl <= HOUR));
    assert_eq!(presences[1], Ok(Presence::Missing));
    let standings = cache.look_as(&Unlimited, &[b"hash", b"missing"]).await;
    let standings = standings.unwrap();
    assert!(matches!(&standings[0], Ok(Standing::Present { kind, .. }) if kind == "hash"));
    assert_eq!(standings[1], Ok(Standing::Missing));
    let peeked = cache
        .peek_as(&Unlimited, &[(b"string", 2), (b"missing", 2)])
        .await;
    assert_eq!(peeked.unwrap(), [Ok("val".into()), Ok(Bytes::new())]);
    let asked = [("a".into(), "1".into()), ("c".into(), Bytes::new())];
    let hashes = [HashFields {
        key: b"hash",
        fields: &asked,
    }];
    let read = cache.read_hashes_as(&Unlimited, &hashes).await.unwrap();
    assert_eq!(read, [Ok(vec![Some("1".into()), None])]);
    let sizes = cache.measure_hashes_as(&Unlimited, &hashes).await.unwrap();
    assert_eq!(sizes[0].as_ref().unwrap().fields, 2);
    let stay = [(&both[0], true), (&both[1], false)];
    let settled = cache.settle(&Unlimited, &stay).await.unwrap();
    assert_eq!(settled, [Ok(true), Ok(true)]);
    // Redis tells, since 7.0, what each of its clients speaks.
    let clients = cluster.cli(cluster.ports()[0], &["CLIENT", "LIST"]);
    assert!(clients.unwrap().contains(" resp=3"));
    let infos = cache.info(&Unlimited).await.unwrap();
    assert!(
        infos.len() == 3 && infos.iter().all(Result::is_ok),
        "{infos:?}"
    );
}
