//! Read replicas: real standbys, of which the one that lags least is asked, and none that lags too much.

use std::time::Duration;

use stoke_core::value::Versions;
use stoke_harness::{MariaDb, Postgres, Statement, wait_for};
use stoke_worker::catalog::{OriginConfig, OriginVigil, ReplicasConfig, SecretUrl, TlsFiles};
use stoke_worker::origin::rewrite::Dialect;
use stoke_worker::origin::{Answer, Origin, OriginError};
use stoke_worker::permit::Unlimited;

use crate::scans::{read_all, scanning};
use crate::{Tokens, keys, loader, row};

const LONG: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(60);
const LAG_MAX: Duration = Duration::from_secs(1);
const BY_ID: &str = "SELECT id, name FROM t WHERE id IN (:keys)";

struct Asked<'a> {
    dialect: Dialect,
    primary: Option<&'a str>,
    replicas: &'a [String],
    falls_back: bool,
}

fn origin(asked: &Asked<'_>) -> Origin {
    let url = |url: &str| SecretUrl::new(url).unwrap();
    let replicas: Vec<SecretUrl> = asked.replicas.iter().map(|one| url(one)).collect();
    Origin::open(&OriginConfig {
        name: "shop".parse().unwrap(),
        url: url(asked.primary.unwrap_or(&asked.replicas[0])),
        dialect: asked.dialect,
        statement_timeout: LONG,
        source_timeout: LONG,
        tls: TlsFiles::default(),
        vigil: OriginVigil::default(),
        replicas: Some(ReplicasConfig {
            urls: replicas,
            has_primary: asked.primary.is_some(),
            lag_max: LAG_MAX,
            lag_interval: Duration::from_millis(100),
            falls_back: asked.falls_back,
        }),
    })
    .unwrap()
}

/// A primary and two standbys.
struct Servers {
    primary: Postgres,
    standbys: [Postgres; 2],
}

impl Servers {
    fn start() -> Self {
        let primary = Postgres::start_primary().unwrap();
        let table = "CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (1, 'a')";
        primary.psql("postgres", table).unwrap();
        let standbys = [(); 2].map(|()| primary.start_standby(&[]).unwrap());
        let servers = Self { primary, standbys };
        // One transaction each, so that they know when they replayed the last.
        servers.insert(2);
        servers.standbys.iter().for_each(|one| has(one, 2));
        servers
    }

    fn urls(&self) -> [String; 2] {
        [0, 1].map(|place: usize| self.standbys[place].url("postgres"))
    }

    fn origin(&self, primary: Option<&Postgres>, falls_back: bool) -> Origin {
        let primary = primary.map(|primary| primary.url("postgres"));
        origin(&Asked {
            dialect: Dialect::Postgres,
            primary: primary.as_deref(),
            replicas: &self.urls(),
            falls_back,
        })
    }

    fn insert(&self, id: u32) {
        let insert = format!("INSERT INTO t VALUES ({id}, 'n')");
        self.primary.psql("postgres", &insert).unwrap();
    }
}

/// Waits until a query gives `true`.
fn until(server: &Postgres, what: &str, query: &str) {
    wait_for(what, PATIENCE, || {
        let found = server.psql("postgres", query)?;
        anyhow::ensure!(found == "t", "{found}");
        Ok(())
    })
    .unwrap();
}

fn has(standby: &Postgres, id: u32) {
    let query = format!("SELECT EXISTS (SELECT FROM t WHERE id = {id})");
    until(standby, "a row at a standby", &query);
}

fn pause(standby: &Postgres) {
    standby
        .psql("postgres", "SELECT pg_wal_replay_pause()")
        .unwrap();
    until(
        standby,
        "a pause",
        "SELECT pg_get_wal_replay_pause_state() = 'paused'",
    );
}

fn resume(standby: &Postgres) {
    standby
        .psql("postgres", "SELECT pg_wal_replay_resume()")
        .unwrap();
}

/// Waits until a standby has received more than it has replayed, and long ago.
fn lags(standby: &Postgres) {
    until(
        standby,
        "a standby that lags",
        "SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn() AND clock_timestamp() - pg_last_xact_replay_timestamp() > interval '1.5 s'",
    );
}

async fn load(origin: &Origin, id: u32) -> Result<Answer, OriginError> {
    let loaded = origin
        .load(&Unlimited, &loader(BY_ID), &keys(&[&id.to_string()]))
        .await?;
    Ok(loaded.answers[0].clone())
}

/// Loads again and again until it comes to what is wanted: lags are asked for so often only.
async fn load_until(
    origin: &Origin,
    id: u32,
    wanted: impl Fn(&Result<Answer, OriginError>) -> bool,
) -> Result<Answer, OriginError> {
    let begun = std::time::Instant::now();
    loop {
        let loaded = load(origin, id).await;
        if wanted(&loaded) || begun.elapsed() > PATIENCE {
            return loaded;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn found(id: u32) -> impl Fn(&Result<Answer, OriginError>) -> bool {
    let name = if id == 1 { "a" } else { "n" };
    let wanted = row(&format!("{{\"id\":{id},\"name\":\"{name}\"}}"));
    move |loaded| loaded.as_ref().is_ok_and(|answer| *answer == wanted)
}

#[tokio::test]
async fn the_replica_that_lags_least_is_asked_and_none_that_lags_too_much() {
    let servers = Servers::start();
    let [a, b] = &servers.standbys;
    let origin = servers.origin(None, false);
    let careful = servers.origin(Some(&servers.primary), false);
    let falling_back = servers.origin(Some(&servers.primary), true);

    pause(a);
    servers.insert(3);
    has(b, 3);
    lags(a);
    let loaded = load_until(&origin, 3, found(3)).await;
    assert!(found(3)(&loaded), "the other one has it: {loaded:?}");
    let (scanned, _) = read_all(&origin, &scanning("SELECT id, name FROM t", "id", 10)).await;
    assert!(scanned.contains_key("item:3"), "{scanned:?}");

    // Now the other way round.
    resume(a);
    has(a, 3);
    pause(b);
    servers.insert(4);
    has(a, 4);
    lags(b);
    let loaded = load_until(&origin, 4, found(4)).await;
    assert!(found(4)(&loaded), "{loaded:?}");

    // An idle primary is no lag, however long ago the last transaction was.
    until(
        a,
        "an old transaction",
        "SELECT clock_timestamp() - pg_last_xact_replay_timestamp() > interval '1.5 s' AND pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn()",
    );
    let asked = || {
        let statements = a.statements("stoke").unwrap();
        let of_lag = |statement: &&Statement| statement.text.contains("pg_is_in_recovery");
        statements.iter().filter(of_lag).count()
    };
    let (before, begun) = (asked(), std::time::Instant::now());
    // What the first said is known when it is asked for the second time.
    while asked() < before + 2 {
        let loaded = load(&origin, 4).await;
        assert!(found(4)(&loaded), "{loaded:?}");
        assert!(begun.elapsed() < PATIENCE, "it is not asked any more");
    }

    // Both lag: nothing is asked, of the primary only where that was asked for.
    pause(a);
    servers.insert(5);
    lags(a);
    lags(b);
    for origin in [&origin, &careful] {
        let error = load_until(origin, 5, Result::is_err).await.unwrap_err();
        assert!(error.is_outage() && error.is_transient(), "{error:?}");
        let said = error.explain();
        for part in ["none lags by at most 1s", "replica-lag-max", "lags by"] {
            assert!(said.contains(part), "{said}");
        }
        let ports = [a.port(), b.port()];
        assert!(
            ports.iter().all(|port| said.contains(&port.to_string())),
            "{said}"
        );
    }
    let at_primary = |server: &Postgres| server.statements("stoke").unwrap().len();
    assert_eq!(at_primary(&servers.primary), 0, "nobody asked for that");
    let loaded = load_until(&falling_back, 5, found(5)).await;
    assert!(found(5)(&loaded), "{loaded:?}");

    // Versions are the primary's.
    let mut versioned = loader(BY_ID);
    versioned.value.versions = Some(Versions {
        column: "name".into(),
        origin: None,
    });
    let again = careful.loader_of_versions(&versioned).unwrap();
    careful.prepare_versions(&Unlimited, &again).await.unwrap();
    let loaded = careful.load_versions(&Unlimited, &again, &["5"]).await;
    assert!(matches!(loaded.unwrap().answers[0], Answer::Row(_)));
    let error = origin.loader_of_versions(&versioned).unwrap_err();
    assert!(!error.is_transient());
    assert!(error.explain().contains("version-origin"), "{error:?}");

    // They catch up.
    resume(a);
    let loaded = load_until(&origin, 5, found(5)).await;
    assert!(found(5)(&loaded), "{loaded:?}");
}

#[tokio::test]
async fn one_that_fails_is_left_for_the_next_and_a_promoted_one_counts_as_one_without_lag() {
    let servers = Servers::start();
    let [a, b] = &servers.standbys;
    let origin = servers.origin(None, false);
    assert!(found(1)(&load(&origin, 1).await));

    // What is on its way may be tried again at once: it is no outage.
    let mut slow = loader("SELECT id, pg_sleep(20)::text FROM t WHERE id IN (:keys)");
    slow.batch_keys = 1.into();
    let one = keys(&["1"]);
    let (lost, ()) = tokio::join!(origin.load(&Unlimited, &slow, &one), async {
        wait_for("a statement at the first", PATIENCE, || {
            let sleeping = a.psql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(20)%' AND application_name = 'stoke'")?;
            anyhow::ensure!(sleeping == "1", "{sleeping}");
            Ok(())
        })
        .map_or_else(|error| panic!("{error:#}"), |()| a.kill().unwrap());
    });
    let error = lost.unwrap_err();
    assert!(error.is_transient() && !error.is_outage(), "{error:?}");
    assert!(
        error.explain().contains("another is asked from now on"),
        "{}",
        error.explain()
    );
    let loaded = load(&origin, 2).await;
    assert!(found(2)(&loaded), "{loaded:?}");
    // Each that does not let us in is named.
    let unreached = origin.reach_each(&Unlimited).await;
    assert_eq!(unreached.len(), 1);
    assert!(unreached[0].explain().contains(&a.port().to_string()));

    b.psql("postgres", "SELECT pg_promote()").unwrap();
    until(b, "a promotion", "SELECT NOT pg_is_in_recovery()");
    b.psql("postgres", "INSERT INTO t VALUES (9, 'n')").unwrap();
    let loaded = load_until(&origin, 9, found(9)).await;
    assert!(found(9)(&loaded), "{loaded:?}");

    b.kill().unwrap();
    let error = load_until(&origin, 1, Result::is_err).await.unwrap_err();
    assert!(error.is_outage() && error.is_transient(), "{error:?}");
    a.restart().unwrap();
    let loaded = load_until(&origin, 2, found(2)).await;
    assert!(found(2)(&loaded), "{loaded:?}");
}

#[tokio::test]
async fn asking_for_lags_takes_tokens_as_all_else_does() {
    let servers = Servers::start();
    let origin = servers.origin(None, false);
    let tokens = Tokens::default();
    let one = keys(&["1"]);
    origin.load(&tokens, &loader(BY_ID), &one).await.unwrap();
    // Two connections and their lags; then a query that was not known, on a connection that is there.
    assert_eq!(tokens.taken(), 2 * 2 + 4 + 1);
    let sent = |server: &Postgres| server.statements("stoke").unwrap().len() as u64;
    let sent: u64 = servers.standbys.iter().map(sent).sum();
    assert!(sent <= tokens.taken(), "{sent}");
}

#[tokio::test]
async fn mariadb_says_its_lag_where_it_replicates_and_may_be_asked() {
    let primary = MariaDb::start_with(&[("log-bin", "1"), ("server-id", "1")]).unwrap();
    primary
        .sql("shop", "CREATE USER repl@'127.0.0.1' IDENTIFIED BY 'r'; GRANT REPLICATION SLAVE ON *.* TO repl@'127.0.0.1'; CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (1, 'a')")
        .unwrap();
    let replica = MariaDb::start_with(&[("server-id", "2"), ("replicate-do-db", "shop")]).unwrap();
    let urls = [replica.url("shop")];
    let origin = origin(&Asked {
        dialect: Dialect::MySql,
        primary: None,
        replicas: &urls,
        falls_back: false,
    });
    let error = load(&origin, 1).await.unwrap_err();
    let said = error.explain();
    assert!(error.is_outage(), "{said}");
    assert!(said.contains("does not say its lag"), "{said}");
    assert!(said.contains("GRANT REPLICATION CLIENT"), "{said}");

    replica
        .sql("", &format!("GRANT REPLICA MONITOR ON *.* TO stoke@'127.0.0.1'; CHANGE MASTER TO master_host='127.0.0.1', master_port={}, master_user='repl', master_password='r', master_log_file='', master_log_pos=4; START SLAVE", primary.port()))
        .unwrap();
    let loaded = load_until(&origin, 1, found(1)).await;
    assert!(found(1)(&loaded), "{loaded:?}");

    // A replica that stands still does not know how far it is behind.
    replica.sql("", "STOP SLAVE SQL_THREAD").unwrap();
    let error = load_until(&origin, 1, Result::is_err).await.unwrap_err();
    assert!(error.is_outage());
    assert!(
        error.explain().contains("does not know its lag"),
        "{}",
        error.explain()
    );
    // One that is none any more has no lag.
    replica.sql("", "STOP SLAVE; RESET SLAVE ALL").unwrap();
    let loaded = load_until(&origin, 1, found(1)).await;
    assert!(found(1)(&loaded), "{loaded:?}");
}
