//! How many connections there are, as the server counts them.

use std::time::Duration;

use stoke_harness::wait_for;
use stoke_worker::origin::Origin;
use stoke_worker::permit::Unlimited;
use tokio::sync::mpsc;

use crate::sources::rank;
use crate::{Database, keys, loader};

const LONG: Duration = Duration::from_secs(30);

/// Waits until the server has so many of our connections.
fn wait_until_open(database: &Database, count: usize) {
    let query = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stoke' AND datname = '{}'",
        database.name
    );
    wait_for("connections to come or go", LONG, || {
        let open = database.server.psql("postgres", &query)?;
        anyhow::ensure!(
            open.trim() == count.to_string(),
            "{open} are open, not {count}"
        );
        Ok(())
    })
    .unwrap();
}

/// Makes so many connections, which are idle then.
async fn open(origin: &Origin, count: usize) {
    let loader = loader("SELECT 1 AS id FROM pg_sleep(0.3) WHERE 1 IN (:keys)");
    let mut slow = loader;
    slow.key_column = ["id"].into_iter().collect();
    let asked = keys(&["1"]);
    let loads = (0..count).map(|_| origin.load(&Unlimited, &slow, &asked));
    for loaded in futures::future::join_all(loads).await {
        loaded.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_follow_the_grant_down_and_end_with_it() {
    let database = Database::new();
    let origin = database.origin();
    origin.set_idle_max(4);
    open(&origin, 4).await;
    wait_until_open(&database, 4);
    origin.set_idle_max(2);
    wait_until_open(&database, 2);
    origin.set_idle_max(0);
    wait_until_open(&database, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_another_kind_takes_the_place_of_an_idle_one() {
    let database = Database::new();
    database.sql("CREATE TABLE t AS SELECT i AS key FROM generate_series(1, 100000) i");
    let origin = database.origin();
    origin.set_idle_max(2);
    open(&origin, 2).await;
    wait_until_open(&database, 2);
    // A key source is read over a connection of its own: its reader does not take the rows yet.
    let (sink, mut rows) = mpsc::channel(1);
    let rules = stoke_worker::source::Rules::default();
    let reading = origin.rank(&Unlimited, "SELECT key FROM t", &rules, sink);
    let looking = async {
        rows.recv().await.unwrap();
        wait_until_open(&database, 2);
        while rows.recv().await.is_some() {}
    };
    let (read, ()) = tokio::join!(reading, looking);
    assert_eq!(read.unwrap().rows, 100_000);
    wait_until_open(&database, 1);
    let again = rank(&origin, "SELECT key FROM t LIMIT 1").await;
    assert!(again.1.is_ok());
}
