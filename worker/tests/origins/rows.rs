//! Which rows are paid for, and when.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use stoke_worker::origin::Origin;
use stoke_worker::permit::{InFlight, Permit, Stopped};
use stoke_worker::source::Rules;
use tokio::sync::{Semaphore, mpsc};

use crate::sqlite::File;
use crate::{Database, keys, loader};

/// Keeps account of rows, and lets so many be paid for.
struct Account {
    paid: AtomicU64,
    /// What was paid less what was given back, or owed.
    balance: AtomicI64,
    left: Semaphore,
}

impl Account {
    fn of(rows: usize) -> Self {
        Self {
            paid: AtomicU64::new(0),
            balance: AtomicI64::new(0),
            left: Semaphore::new(rows),
        }
    }

    fn balance(&self) -> i64 {
        self.balance.load(Relaxed)
    }
}

#[async_trait]
impl Permit for Account {
    async fn enter(&self) -> Result<InFlight, Stopped> {
        Ok(InFlight(None))
    }

    async fn pass(&self, tokens: u32) -> Result<(), Stopped> {
        self.pass_expecting(tokens, 0).await
    }

    async fn pass_expecting(&self, _tokens: u32, rows: u64) -> Result<(), Stopped> {
        let many = u32::try_from(rows).unwrap();
        self.left.acquire_many(many).await.unwrap().forget();
        self.paid.fetch_add(rows, Relaxed);
        self.balance.fetch_add(rows.cast_signed(), Relaxed);
        Ok(())
    }

    fn came(&self, paid: u64, rows: u64) {
        let change = rows.cast_signed() - paid.cast_signed();
        self.balance.fetch_add(change, Relaxed);
    }
}

async fn loads(origin: &Origin) {
    let account = Account::of(1_000_000);
    let some = loader("SELECT id FROM t WHERE id IN (:keys)");
    let asked: Vec<String> = (1..=700).map(|id| id.to_string()).collect();
    origin.load(&account, &some, &asked).await.unwrap();
    assert_eq!(account.paid.load(Relaxed), 700, "one for each key");
    assert_eq!(account.balance(), 300, "as many as there are");
    let mut doubled =
        loader("SELECT t.id FROM t, t AS other WHERE other.id < 4 AND t.id IN (:keys)");
    doubled.key_column = ["id"].into_iter().collect();
    let account = Account::of(1_000_000);
    origin
        .load(&account, &doubled, &keys(&["1", "2"]))
        .await
        .unwrap();
    assert_eq!((account.paid.load(Relaxed), account.balance()), (2, 6));
    let account = Account::of(1_000_000);
    let failing = loader("SELECT missing.id FROM t WHERE id IN (:keys)");
    assert!(
        origin
            .load(&account, &failing, &keys(&["1"]))
            .await
            .is_err()
    );
    assert_eq!(account.balance(), 0, "nothing came");
}

#[tokio::test]
async fn a_load_pays_for_its_keys_and_is_charged_for_its_rows() {
    let database = Database::new();
    database.sql("CREATE TABLE t AS SELECT i AS id FROM generate_series(1, 300) i");
    loads(&database.origin()).await;
    let file = File::new(
        "CREATE TABLE t (id INTEGER); INSERT INTO t WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 300) SELECT id FROM n",
    )
    .await;
    loads(&file.origin(Duration::from_secs(30))).await;
}

#[tokio::test]
async fn a_key_sources_rows_are_read_as_they_are_paid_for() {
    let database = Database::new();
    database.sql("CREATE TABLE t AS SELECT i AS key FROM generate_series(1, 50000) i");
    let file = File::new(
        "CREATE TABLE t AS WITH RECURSIVE n (key) AS (SELECT 1 UNION ALL SELECT key + 1 FROM n WHERE key < 50000) SELECT key FROM n",
    )
    .await;
    for origin in [database.origin(), file.origin(Duration::from_secs(60))] {
        let account = Account::of(20_000);
        let (sink, mut chunks) = mpsc::channel(100);
        let rules = Rules::default();
        let reading = origin.rank(&account, "SELECT key FROM t", &rules, sink);
        tokio::pin!(reading);
        let mut rows = 0;
        // It waits where what it may read is used up: all that it has read is there then.
        while origin.rows() < 20_000 {
            tokio::select! {
                ended = &mut reading => panic!("it read on: {ended:?}"),
                chunk = chunks.recv() => rows += chunk.unwrap().len(),
                () = tokio::task::yield_now() => {}
            }
        }
        let waits = tokio::time::timeout(Duration::from_millis(100), &mut reading).await;
        assert!(
            waits.is_err() && origin.rows() == 20_000,
            "{}",
            origin.rows()
        );
        account.left.add_permits(1_000_000);
        let taking = async {
            while let Some(chunk) = chunks.recv().await {
                rows += chunk.len();
            }
        };
        let (read, ()) = tokio::join!(reading, taking);
        assert_eq!((read.unwrap().rows, rows), (50_000, 50_000));
        assert_eq!(
            account.balance(),
            50_000,
            "what was paid too much is given back"
        );
    }
}
