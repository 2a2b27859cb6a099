//! Failed entries, tried again and listed, and verification: what is said of the cache against what was done to it.

use std::collections::{BTreeMap, BTreeSet};

use stoke_harness::wait_for;
use stoke_proto::v1::{self, JobState};

use crate::command_line::stoke;
use crate::scene::{PATIENCE, Scene, assert_w1, is_over, watch_until};
use crate::shop::{self, Nodes, key};

const QPS: u32 = 50;
/// Keys in the plan.
const PLANNED: u64 = 3000;

fn is_absent(id: u64) -> bool {
    id % 40 == 3
}

/// In the database, but its row has no form in JSON.
fn is_poison(id: u64) -> bool {
    id % 500 == 11
}

fn ids(of: impl Fn(u64) -> bool) -> BTreeSet<u64> {
    (1..=PLANNED).filter(|id| of(*id)).collect()
}

fn fill(scene: &Scene) {
    let sql = format!(
        "CREATE TABLE items (id bigint PRIMARY KEY, name text, weight float8);
         INSERT INTO items SELECT id, 'item ' || id, CASE WHEN id % 500 = 11 THEN 'NaN' ELSE id / 8.0 END
           FROM generate_series(1, {PLANNED}) AS id WHERE id % 40 <> 3;
         ANALYZE;"
    );
    scene.postgres.psql("postgres", &sql).unwrap();
}

/// Items up to this one, of which none may fail.
fn up_to(last: u64) -> v1::JobSpec {
    let mut spec = shop::job();
    let Some(v1::job_spec::Work::Batch(batch)) = &mut spec.work else {
        panic!("a batch");
    };
    batch.allowed_failures = 0;
    batch.sources[0].from = Some(v1::key_source::From::Sql(v1::SqlSource {
        origin: "shop".into(),
        query: format!("SELECT generate_series(1, {last}) AS key"),
    }));
    spec
}

/// All that the cache has: each key's value and when it expires, in Redis' own form.
fn whole(scene: &Scene) -> BTreeMap<String, (Vec<u8>, i64)> {
    let nodes = Nodes::connect(scene);
    let mut all = BTreeMap::new();
    for port in scene.cache.ports() {
        let mut node = nodes.connection(port);
        let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut node).unwrap();
        for key in keys {
            let mut both = redis::pipe();
            both.cmd("DUMP").arg(&key).cmd("PEXPIRETIME").arg(&key);
            all.insert(key, both.query(&mut node).unwrap());
        }
    }
    all
}

/// Sends a command to the node that owns the id's key.
fn tell(scene: &Scene, id: u64, command: &str, args: &[&str]) {
    let nodes = Nodes::connect(scene);
    let mut node = nodes.connection(nodes.owner(&key(id)));
    let mut command = redis::cmd(command);
    command.arg(key(id)).arg(args);
    command.exec(&mut node).unwrap();
}

/// The ids and reasons of what was listed, each once.
fn listed(lines: &[serde_json::Value]) -> BTreeMap<u64, String> {
    let mut found = BTreeMap::new();
    for line in lines {
        let id = line["key"].as_str().unwrap().strip_prefix("item:");
        let id = id.unwrap().parse().unwrap();
        let reason = line["reason"].as_str().unwrap().to_owned();
        assert_eq!(found.insert(id, reason), None, "{id} is listed twice");
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_is_warmed_once_it_is_mended_and_a_verification_finds_each_difference_and_no_other()
 {
    let scene = Scene::start(1, QPS);
    fill(&scene);
    let mut jobs = scene.jobs().await;
    let job = scene.create(up_to(PLANNED)).await.name;
    let ended = watch_until(&mut jobs, &job, is_over).await;
    assert_eq!(ended.state(), JobState::Failed);
    assert_w1(&ended);
    let at = scene.leader();

    retrying_warms_exactly_what_failed(&scene, &at, &job);
    nothing_is_found_where_nothing_differs(&scene, &at, &job);
    each_difference_is_found(&scene, &at, &job);
}

fn retrying_warms_exactly_what_failed(scene: &Scene, at: &str, job: &str) {
    let failures = stoke(at, &["failures", job, "--output", "json"]);
    let failed: BTreeSet<u64> = listed(&failures.lines()).into_keys().collect();
    assert_eq!(failed, ids(is_poison));

    // Not mended yet: the same fail again, and the list of the new job has them.
    let ran = stoke(at, &["retry", job, "--watch", "--output", "json"]);
    assert_eq!(
        (ran.code, &ran.json()["planned"]),
        (1, &6.into()),
        "{ran:?}"
    );

    let before = whole(scene);
    let mend = "UPDATE items SET weight = 1 WHERE weight = 'NaN'";
    scene.postgres.psql("postgres", mend).unwrap();
    let ran = stoke(at, &["retry", job, "--watch", "--output", "json"]);
    let again = ran.json();
    assert_eq!((ran.code, &again["planned"]), (0, &6.into()), "{ran:?}");
    assert_eq!(again["outcomes"]["warmed"], 6);
    assert_eq!(
        (&again["trigger"], &again["mode"]),
        (&"retry".into(), &"add".into())
    );
    let mut after = whole(scene);
    for id in ids(is_poison) {
        assert!(after.remove(&key(id)).is_some(), "{id} was not warmed");
    }
    assert!(after == before, "others were touched");

    let nothing = stoke(at, &["retry", again["job"].as_str().unwrap()]);
    assert_eq!((nothing.code, nothing.out.as_str()), (2, ""), "{nothing:?}");
    assert!(
        nothing.errors.contains("nothing to try again"),
        "{nothing:?}"
    );
}

fn nothing_is_found_where_nothing_differs(scene: &Scene, at: &str, job: &str) {
    let before = whole(scene);
    let ran = stoke(
        at,
        &["verify", job, "--full", "--values", "--output", "json"],
    );
    let found = ran.json();
    assert_eq!((ran.code, &found["differ"]), (0, &0.into()), "{ran:?}");
    let absent = ids(is_absent).len() as u64;
    let looked_at = PLANNED - ids(is_poison).len() as u64;
    assert_eq!(found["planned"], looked_at);
    assert_eq!(
        (&found["absent"], &found["present"]),
        (&absent.into(), &(looked_at - absent).into())
    );

    let sent = scene.postgres.statements("stoke").unwrap().len();
    let ran = stoke(at, &["verify", job, "--sample", "200", "--output", "csv"]);
    assert_eq!(ran.out, "key,rank,loader,attempts,reason\n", "{ran:?}");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.errors.contains("200 keys of job"), "{ran:?}");
    // One of three workers for each of two batches at most, and what preparing and connecting take: not all 200 keys' rows.
    let cost = scene.postgres.statements("stoke").unwrap().len() - sent;
    assert!(cost < 20, "{cost} statements for what is not in the cache");
    assert!(whole(scene) == before, "the cache was touched");
}

fn each_difference_is_found(scene: &Scene, at: &str, job: &str) {
    let [gone, eternal, other, typed, later, changed] = [1, 2, 4, 5, 6, 7];
    tell(scene, gone, "DEL", &[]);
    tell(scene, eternal, "PERSIST", &[]);
    tell(scene, other, "SETRANGE", &["1", "X"]);
    tell(scene, typed, "DEL", &[]);
    tell(scene, typed, "RPUSH", &["x"]);
    tell(scene, typed, "PEXPIRE", &["60000"]);
    tell(scene, later, "PEXPIRE", &["7200000"]);
    let change = format!("UPDATE items SET name = 'renamed' WHERE id = {changed}");
    scene.postgres.psql("postgres", &change).unwrap();
    let expected = BTreeMap::from([
        (gone, "not in the cache"),
        (eternal, "no time to live"),
        (other, "number 2 is the first"),
        (typed, "type list"),
        (later, "at most"),
        (changed, "what the origin gives now"),
    ]);
    let is_as_expected = |lines: &[serde_json::Value], expected: &BTreeMap<u64, &str>| {
        let found = listed(lines);
        assert!(found.keys().eq(expected.keys()), "{found:?}");
        for (id, says) in expected {
            assert!(found[id].contains(says), "{id}: {}", found[id]);
        }
    };

    let before = whole(scene);
    let ran = stoke(
        at,
        &["verify", job, "--full", "--values", "--output", "json"],
    );
    let found = ran.json();
    assert_eq!(
        (ran.code, &found["differ"], &found["more"]),
        (1, &6.into(), &0.into()),
        "{ran:?}"
    );
    is_as_expected(found["differences"].as_array().unwrap(), &expected);
    let name = found["verification"].as_str().unwrap();
    let failures = stoke(at, &["failures", name, "--output", "json"]);
    is_as_expected(&failures.lines(), &expected);

    // Without a look at values those that differ in nothing else are not found.
    let ran = stoke(at, &["verify", job, "--full", "--output", "json"]);
    let mut by_looks = expected;
    by_looks.retain(|id, _| ![other, changed].contains(id));
    assert_eq!(ran.code, 1, "{ran:?}");
    is_as_expected(ran.json()["differences"].as_array().unwrap(), &by_looks);

    let ran = stoke(at, &["verify", job, "--full", "--values", "--limit", "2"]);
    assert_eq!((ran.code, ran.out.lines().count()), (1, 4), "{ran:?}");
    assert!(ran.out.contains("and 4 more: stoke failures"), "{ran:?}");
    assert!(ran.out.ends_with("6 differ\n"), "{ran:?}");
    assert!(whole(scene) == before, "the cache was touched");
}

/// Many enough that workers which held all that failed would load more than they do.
const MANY: u64 = 200_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_failed_entries_cannot_be_listed_work_waits_and_then_all_are_listed() {
    let scene = Scene::start(1, 200);
    let sql = format!(
        "CREATE TABLE items (id bigint PRIMARY KEY, weight float8);
         INSERT INTO items SELECT id, 'NaN' FROM generate_series(1, {MANY}) AS id; ANALYZE;"
    );
    scene.postgres.psql("postgres", &sql).unwrap();
    // Where the lists belong is a file: nothing can be stored there.
    let lists = scene.plan_store().join("failures");
    std::fs::write(&lists, "in the way").unwrap();
    let mut jobs = scene.jobs().await;
    let job = scene.create(up_to(MANY)).await.name;
    watch_until(&mut jobs, &job, |job| {
        job.troubles
            .iter()
            .any(|trouble| trouble.what.contains("could not be listed"))
    })
    .await;

    let loads = || {
        let statements = scene.postgres.statements("stoke").unwrap();
        let loads = statements
            .iter()
            .filter(|statement| statement.text.contains("items"));
        loads.count() as u64
    };
    let mut last = (0, 0);
    let still = wait_for("the workers to wait", PATIENCE, || {
        let now = loads();
        last = if now == last.0 {
            (now, last.1 + 1)
        } else {
            (now, 0)
        };
        anyhow::ensure!(now > 0 && last.1 >= 20, "{now} loads");
        Ok(now)
    });
    let all = MANY.div_ceil(500);
    let still = still.unwrap();
    assert!(still * 10 < all * 8, "{still} of {all} loads");

    std::fs::remove_file(&lists).unwrap();
    let ended = watch_until(&mut jobs, &job, is_over).await;
    assert_w1(&ended);
    let outcomes = ended.progress.unwrap().outcomes.unwrap();
    assert_eq!((ended.state(), outcomes.failed), (JobState::Failed, MANY));
    let request = v1::ListFailuresRequest { name: job };
    let mut list = jobs.list_failures(request).await.unwrap().into_inner();
    let mut ranks = BTreeSet::new();
    while let Some(message) = list.message().await.unwrap() {
        for failure in message.failures {
            assert!(
                ranks.insert(failure.rank),
                "{} is listed twice",
                failure.rank
            );
            assert_eq!(failure.attempts, 1);
        }
    }
    assert_eq!(ranks.len() as u64, MANY);
}
