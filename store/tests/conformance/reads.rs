//! Revisions and snapshots.

use stoke_harness::EtcdCluster;
use stoke_store::etcd::EtcdStore;
use stoke_store::{Keys, Revision, Store, Txn};

use crate::subject::{Subject, committed, config, connect, delete, put, start_etcd};

async fn each_commit_takes_a_later_revision(subject: Subject) {
    let first = subject.put("a", "1").await;
    let second = subject.put("b", "1").await;
    let third = subject.apply(vec![delete("a")]).await;
    assert!(Revision(0) < first && first < second && second < third);
    assert!(subject.store.read(&[]).await.unwrap().revision >= third);
}

async fn putting_again_keeps_the_create_revision(subject: Subject) {
    let created = subject.put("a", "1").await;
    let modified = subject.put("a", "2").await;
    let entry = subject.get("a").await.unwrap();
    assert_eq!(
        (entry.create_revision, entry.mod_revision),
        (created, modified)
    );
    assert_eq!(&entry.value[..], b"2");
}

async fn a_key_put_after_its_deletion_is_created_anew(subject: Subject) {
    subject.put("a", "1").await;
    subject.apply(vec![delete("a")]).await;
    assert_eq!(subject.get("a").await, None);
    let again = subject.put("a", "1").await;
    assert_eq!(subject.get("a").await.unwrap().create_revision, again);
}

async fn all_operations_of_a_transaction_have_its_revision(subject: Subject) {
    let revision = subject.apply(vec![put("a", "1"), put("b", "1")]).await;
    for key in ["a", "b"] {
        assert_eq!(subject.get(key).await.unwrap().mod_revision, revision);
    }
}

async fn several_ranges_are_read_at_one_revision_in_order_each_key_once(subject: Subject) {
    let keys = ["cap/w1", "ack/w1", "cap/w2", "capital", "ack/w2", "ledger"];
    let last = subject
        .apply(keys.iter().map(|key| put(key, "1")).collect())
        .await;
    let snapshot = subject
        .store
        .read(&[
            Keys::Prefix("cap/".to_owned()),
            Keys::One("ack/w2".to_owned()),
            Keys::Prefix("cap/w2".to_owned()),
            Keys::One("missing".to_owned()),
        ])
        .await
        .unwrap();
    let found: Vec<&str> = snapshot
        .entries
        .iter()
        .map(|entry| entry.key.as_str())
        .collect();
    assert_eq!(found, ["ack/w2", "cap/w1", "cap/w2"]);
    assert!(snapshot.revision >= last);
}

async fn a_page_is_the_first_keys_after_one_and_no_more(subject: Subject) {
    let keys = [
        "pas", "past/a", "past/b", "past/b1", "past/c", "past0", "pat",
    ];
    subject
        .apply(keys.iter().map(|key| put(key, "1")).collect())
        .await;
    for (after, limit, expected) in [
        ("", 2, &["past/a", "past/b"][..]),
        ("past/b", 2, &["past/b1", "past/c"]),
        ("past/aa", 1, &["past/b"]),
        ("past/b1", 9, &["past/c"]),
        ("past/c", 9, &[]),
        ("", 9, &["past/a", "past/b", "past/b1", "past/c"]),
    ] {
        let page = Keys::Page {
            prefix: "past/".to_owned(),
            after: after.to_owned(),
            limit,
        };
        let found = subject.store.read(&[page]).await.unwrap().entries;
        let found: Vec<&str> = found.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(found, expected, "{limit} after {after:?}");
    }
}

async fn a_snapshot_never_holds_half_a_transaction(subject: Subject) {
    let writes = async {
        for round in 0..100 {
            let value = round.to_string();
            subject
                .apply(vec![put("left", &value), put("right", &value)])
                .await;
        }
    };
    let reads = async {
        for _ in 0..100 {
            let keys = [Keys::One("left".to_owned()), Keys::One("right".to_owned())];
            let entries = subject.store.read(&keys).await.unwrap().entries;
            assert!(
                entries
                    .windows(2)
                    .all(|pair| pair[0].value == pair[1].value),
                "{entries:?}"
            );
            tokio::task::yield_now().await;
        }
    };
    futures::join!(writes, reads);
}

async fn a_store_has_one_cluster_id(subject: Subject) {
    let first = subject.store.read(&[]).await.unwrap();
    subject.put("a", "1").await;
    assert_eq!(
        subject.store.read(&[]).await.unwrap().cluster_id,
        first.cluster_id
    );
}

async fn an_excess_of_ranges_is_refused(subject: Subject) {
    let keys: Vec<Keys> = (0..=stoke_store::TXN_OPS_MAX)
        .map(|number| Keys::One(number.to_string()))
        .collect();
    let error = subject.store.read(&keys).await.unwrap_err();
    assert!(
        matches!(error, stoke_store::StoreError::Rejected { .. }),
        "{error:?}"
    );
}

on_all_stores!(shared:
    each_commit_takes_a_later_revision,
    putting_again_keeps_the_create_revision,
    a_key_put_after_its_deletion_is_created_anew,
    all_operations_of_a_transaction_have_its_revision,
    several_ranges_are_read_at_one_revision_in_order_each_key_once,
    a_page_is_the_first_keys_after_one_and_no_more,
    a_snapshot_never_holds_half_a_transaction,
    a_store_has_one_cluster_id,
    an_excess_of_ranges_is_refused,
);

/// Followers apply what is committed a little later than the leader, so a read that were not linearizable would miss
/// some of it.
#[tokio::test]
async fn what_was_committed_at_one_member_is_read_at_every_other() {
    let cluster = tokio::task::spawn_blocking(|| EtcdCluster::start(3))
        .await
        .unwrap()
        .unwrap();
    let mut stores = Vec::new();
    let prefix = config(String::new()).prefix;
    for endpoint in cluster.endpoints() {
        let mut config = config(endpoint);
        config.prefix = prefix.clone();
        stores.push(EtcdStore::connect(config).await.unwrap());
    }
    for round in 0..60 {
        let (writer, value) = (&stores[round % 3], round.to_string());
        let txn = Txn {
            compares: vec![],
            ops: vec![put("a", &value)],
        };
        let revision = committed(writer.txn(txn).await.unwrap());
        // A linearizable read brings its member up to date, so each member is asked once.
        let keys = [Keys::One("a".to_owned())];
        let (by_key, by_revision) = futures::join!(
            stores[(round + 1) % 3].read(&keys),
            stores[(round + 2) % 3].read(&[]),
        );
        assert_eq!(
            by_key.unwrap().entries[0].value,
            value.as_bytes(),
            "round {round}"
        );
        assert!(by_revision.unwrap().revision >= revision, "round {round}");
    }
}

#[tokio::test]
async fn stores_with_different_prefixes_do_not_see_each_other() {
    let etcd = start_etcd().await;
    let (one, other) = (
        connect(etcd.endpoint()).await,
        connect(etcd.endpoint()).await,
    );
    let txn = Txn {
        compares: vec![],
        ops: vec![put("a", "1")],
    };
    one.txn(txn).await.unwrap();
    let everything = [Keys::Prefix(String::new())];
    assert_eq!(one.read(&everything).await.unwrap().entries[0].key, "a");
    assert!(other.read(&everything).await.unwrap().entries.is_empty());
}
