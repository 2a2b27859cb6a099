//! Whether a store's history grows without end: asked of real etcds, one that compacts itself and one that does not.

use std::time::Duration;

use stoke_core::units::Moment;
use stoke_harness::Etcd;
use stoke_store::history::{History, Kept, Rule};
use stoke_store::{Revision, Store};

use crate::subject::{connect, put, soon};

const REVISIONS: u64 = 300;
/// As for a real one, but for numbers that a test can reach.
const RULE: Rule = Rule {
    many: 200,
    long: Duration::from_secs(3600),
    few: 100,
};

async fn write(store: &dyn Store, revisions: u64) {
    for n in 0..revisions {
        let txn = stoke_store::Txn {
            compares: vec![],
            ops: vec![put("ack/origin/shop/w", &n.to_string())],
        };
        store.txn(txn).await.unwrap();
    }
}

async fn start(options: &'static [&'static str]) -> Etcd {
    tokio::task::spawn_blocking(|| Etcd::start_as(None, options))
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn an_etcd_that_never_compacts_is_told_from_a_young_one_and_stays_so() {
    let etcd = start(&[]).await;
    let store = connect(etcd.endpoint()).await;
    let now = Moment::default();
    let mut history = History::new(RULE);
    assert_eq!(
        history.look(now, &store).await.unwrap(),
        None,
        "it is young"
    );
    write(&store, REVISIONS).await;
    let revisions = 200;
    assert_eq!(
        history.look(now, &store).await.unwrap(),
        Some(Kept { revisions })
    );
    // A process that has just started sees it as well.
    let seen_anew = History::new(RULE).look(now, &store).await.unwrap();
    assert_eq!(seen_anew, Some(Kept { revisions }));
    // By what this one has seen itself, there are more.
    let later = now + RULE.long;
    let kept = history.look(later, &store).await.unwrap().unwrap();
    assert!(kept.revisions >= REVISIONS, "{kept:?}");
    let compact = move || etcd.ctl(&["compact", "290"]).map(|_| etcd);
    let _etcd = tokio::task::spawn_blocking(compact).await.unwrap().unwrap();
    assert_eq!(history.look(later, &store).await.unwrap(), None);
}

#[tokio::test]
async fn an_etcd_that_compacts_itself_is_not_complained_of() {
    let etcd = start(&["--auto-compaction-retention=1s"]).await;
    let store = connect(etcd.endpoint()).await;
    let now = Moment::default();
    let mut history = History::new(RULE);
    assert_eq!(history.look(now, &store).await.unwrap(), None);
    write(&store, REVISIONS).await;
    // Compacting every second, it has forgotten what is older than a moment, sooner or later.
    soon(async {
        while history.look(now, &store).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(!store.remembers(Revision(1)).await.unwrap());
    assert_eq!(history.look(now + RULE.long, &store).await.unwrap(), None);
}
