//! When is it warm: the gate before a deploy goes on, and the hit rate that those have who use the cache.

use redis::Commands as _;
use stoke_harness::{Program, Redis, ServerDir, wait_for};
use stoke_proto::v1::{self, JobState};

use crate::command_line::{ended, start, stoke};
use crate::scene::{PATIENCE, Scene, is_over, watch_until};
use crate::shop::{self, Nodes};

const QPS: u32 = 10;

/// What all nodes have counted: hits and misses.
fn counted(nodes: &Nodes) -> (u64, u64) {
    let of = |port: u16, name: &str| {
        let info: String = redis::cmd("INFO")
            .arg("stats")
            .query(&mut nodes.connection(port))
            .unwrap();
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        line.trim_start_matches(':').trim().parse::<u64>().unwrap()
    };
    let ports = nodes.ports();
    let sum = |name| ports.iter().map(|port| of(*port, name)).sum();
    (sum("keyspace_hits"), sum("keyspace_misses"))
}

/// What is told of the plan is what its priorities are: the nth key is asked for a million times divided by n, rounded down.
fn assert_popularity(job: &v1::Job) {
    let expected = job.popularity.clone().unwrap();
    let worth = |keys: u64| (1..=keys).map(|n| 1_000_000 / n).sum::<u64>() as f64;
    let one_percent = &expected.tops[1];
    assert_eq!(
        (one_percent.top, one_percent.entries),
        (0.01, shop::PLANNED / 100)
    );
    let hit_rate = worth(shop::PLANNED / 100) / worth(shop::PLANNED);
    assert!(
        (one_percent.hit_rate - hit_rate).abs() < 1e-3,
        "{one_percent:?}, and it is {hit_rate}"
    );
    assert_eq!(one_percent.origin_queries, 1);
    let exponent = expected.zipf_exponent.unwrap();
    assert!((exponent - 1.0).abs() < 0.01, "{exponent}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_opens_once_enough_is_warm_and_says_by_its_code_that_it_will_not() {
    let scene = Scene::start(1, QPS);
    shop::fill(&scene);
    let job = scene.create(shop::lasting_job()).await;
    let leader = scene.leader();
    let gate = |args: &[&str]| {
        let all = [&["gate", &job.name, "--output", "json"], args].concat();
        stoke(&leader, &all)
    };

    let early = gate(&["--coverage", "0.9", "--timeout", "0s"]);
    assert_eq!(
        (early.code, early.json()["verdict"].as_str()),
        (5, Some("NOT_MET")),
        "{early:?}"
    );
    let half = gate(&["--coverage", "0.5", "--timeout", "2m"]);
    assert_eq!(half.code, 0, "{half:?}");
    let (state, coverage) = (
        half.json()["state"].clone(),
        half.json()["coverage"].as_f64().unwrap(),
    );
    assert!(coverage >= 0.5 && state == "RUNNING", "{half:?}");

    let mut jobs = scene.jobs().await;
    let over = watch_until(&mut jobs, &job.name, is_over).await;
    assert_eq!(over.state(), JobState::Succeeded, "{}", over.reason);
    // What the application finds by now: all that was there and all that was warmed, of requests as the plan counts them.
    let worth = |id: u64| 1_000_000 / id;
    let (mut hits, mut all) = (0, 0);
    for id in shop::ids() {
        all += worth(id);
        hits += if shop::is_present(id) || shop::is_warmable(id) {
            worth(id)
        } else {
            0
        };
    }
    let expected = hits as f64 / all as f64;
    assert_popularity(&over);
    let nodes = Nodes::connect(&scene);
    let before = counted(&nodes);
    let both = gate(&[
        "--coverage",
        "0.9",
        "--hit-rate",
        "0.9",
        "--sample",
        "20000",
        "--timeout",
        "1m",
    ]);
    assert_eq!(both.code, 0, "{both:?}");
    let rate = &both.json()["hit_rates"][0];
    let (measured, margin) = (
        rate["rate"].as_f64().unwrap(),
        rate["margin"].as_f64().unwrap(),
    );
    assert!(
        (measured - expected).abs() <= margin,
        "{measured} ± {margin}, and it is {expected}"
    );
    assert_eq!(
        (&rate["cache"], &rate["sample"]),
        (&"main".into(), &20_000.into())
    );
    assert_eq!(counted(&nodes), before, "nobody sees that it was measured");

    let more = gate(&["--coverage", "1", "--timeout", "10m"]);
    assert_eq!(more.code, 5, "{more:?}");
    assert!(
        more.json()["reason"]
            .as_str()
            .unwrap()
            .contains("and the job is SUCCEEDED"),
        "{more:?}"
    );
    for port in nodes.ports() {
        let _: () = redis::cmd("FLUSHALL")
            .query(&mut nodes.connection(port))
            .unwrap();
    }
    let cold = gate(&[
        "--hit-rate",
        "0.1",
        "--timeout",
        "3s",
        "--measure-every",
        "1s",
    ]);
    assert_eq!(cold.code, 5, "{cold:?}");
    assert_eq!(cold.json()["hit_rates"][0]["rate"], 0.0);
    let unknown = stoke(&leader, &["gate", "nobody", "--coverage", "0.5"]);
    assert_eq!(unknown.code, 2, "{unknown:?}");
    let nothing = stoke(&leader, &["gate", &job.name]);
    assert_eq!(nothing.code, 2, "{nothing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stoke_asks_itself_is_taken_out_of_the_hit_rate_that_others_have() {
    let scene = Scene::start(1, 100);
    shop::fill(&scene);
    let spec = shop::job_without_poison();
    let job = scene.create(spec).await;
    let mut jobs = scene.jobs().await;
    watch_until(&mut jobs, &job.name, is_over).await;
    let leader = scene.leader();
    let flags = [
        "--cache",
        "main",
        "--watch",
        "--interval",
        "2s",
        "--output",
        "json",
    ];
    let watched = start(&leader, &[&["hit-rate"], &flags[..]].concat());
    let wait_for_intervals = |count: usize| {
        wait_for("intervals", PATIENCE, || {
            let shown = watched.stdout()?.lines().count();
            anyhow::ensure!(shown >= count, "{shown} of {count}");
            Ok(shown)
        })
        .unwrap()
    };
    wait_for_intervals(1);
    let nodes = Nodes::connect(&scene);
    let get = |key: String| -> Option<String> {
        let mut connection = nodes.connection(nodes.owner(&key));
        connection.get(key).unwrap()
    };
    let warmed = shop::ids().filter(|id| shop::is_warmable(*id));
    assert!(warmed.take(300).all(|id| get(shop::key(id)).is_some()));
    assert!((0..100).all(|id| get(format!("nothing:{id}")).is_none()));
    let verified = stoke(&leader, &["verify", &job.name, "--full"]);
    assert_eq!(verified.code, 1, "the application's keys have no end");
    let shown = wait_for_intervals(0);
    wait_for_intervals(shown + 2);
    watched.interrupt().unwrap();
    let ran = ended(&watched);
    let sum = |name: &str| -> u64 {
        let intervals = ran.lines();
        intervals
            .iter()
            .map(|one| one[name].as_u64().unwrap())
            .sum()
    };
    assert_eq!((sum("hits"), sum("misses")), (300, 100), "{ran:?}");
    assert!(
        sum("own_hits") > 40_000 && sum("own_misses") > 1_000,
        "{ran:?}"
    );
    assert_eq!(
        ran.lines()[0]["nodes"].as_array().unwrap().len(),
        3,
        "{ran:?}"
    );
    let unknown = stoke(&leader, &["hit-rate", "--cache", "elsewhere"]);
    assert_eq!(unknown.code, 2, "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_warm_cache_goes_on_with_whichever_coordinator_leads() {
    let scene = Scene::start(2, 100);
    shop::fill(&scene);
    let job = scene.create(shop::job_without_poison()).await;
    let mut jobs = scene.jobs().await;
    watch_until(&mut jobs, &job.name, is_over).await;
    let nodes = Nodes::connect(&scene);
    for port in nodes.ports() {
        scene.cache.cli(port, &["FLUSHALL"]).unwrap();
    }
    let first = scene.leader();
    let addresses: Vec<&str> = scene
        .coordinators
        .iter()
        .map(|(at, _)| at.as_str())
        .collect();
    let addresses = addresses.join(",");
    let waiting = [
        "--hit-rate",
        "0.4",
        "--measure-every",
        "1s",
        "--timeout",
        "10m",
    ];
    let gate = start(&addresses, &[&["gate", &job.name], &waiting[..]].concat());
    let watching = [
        "--cache",
        "main",
        "--watch",
        "--interval",
        "1s",
        "--output",
        "json",
    ];
    let watch = start(&addresses, &[&["hit-rate"], &watching[..]].concat());
    // Whose first interval nobody waits for.
    let seldom = ["hit-rate", "--cache", "main", "--watch", "--interval", "1h"];
    let seldom = start(&addresses, &seldom);
    let intervals = || watch.stdout().unwrap().lines().count();
    let wait_for_more_intervals = || {
        let shown = intervals();
        wait_for("another interval", PATIENCE, || {
            anyhow::ensure!(intervals() > shown, "{shown} still");
            Ok(())
        })
        .unwrap();
    };
    let wait_until_begun_again = |text: &str, times: usize| {
        for program in [&gate, &watch, &seldom] {
            let again = || {
                let log = program.log()?;
                let again = log
                    .lines()
                    .filter(|line| line.contains("broke") && line.contains(text));
                anyhow::ensure!(again.count() >= times, "{log}");
                Ok(())
            };
            wait_for("that it begins again", PATIENCE, again).unwrap();
        }
    };
    wait_for_more_intervals();
    wait_for("that the gate waits", PATIENCE, || {
        let log = gate.log()?;
        anyhow::ensure!(log.contains("below 0.4"), "{log}");
        Ok(())
    })
    .unwrap();

    // A leader that stood still, and is none any more when it wakes: no worker tells it anything.
    let stopped = scene.coordinator(&first);
    stopped.stop().unwrap();
    wait_for("another leader", PATIENCE, || {
        anyhow::ensure!(scene.leader() != first, "{first} still");
        Ok(())
    })
    .unwrap();
    stopped.cont().unwrap();
    wait_until_begun_again("does not lead", 1);
    wait_for_more_intervals();

    // All are restarted.
    for (_, coordinator) in &scene.coordinators {
        coordinator.kill9().unwrap();
    }
    wait_until_begun_again("", 2);
    for (_, coordinator) in &scene.coordinators {
        coordinator.restart().unwrap();
    }
    wait_for_more_intervals();
    assert!(gate.ended().unwrap().is_none(), "the cache is cold");
    for id in shop::ids().take(300) {
        let key = shop::key(id);
        let _: () = nodes.connection(nodes.owner(&key)).set(key, 1).unwrap();
    }
    let ran = ended(&gate);
    assert_eq!(ran.code, 0, "{ran:?}");
    for watching in [&watch, &seldom] {
        watching.interrupt().unwrap();
        assert_eq!(ended(watching).code, 130);
    }
    for port in nodes.ports() {
        scene.cache.kill(port).unwrap();
    }
    let once = ["hit-rate", "--cache", "main", "--interval", "1s"];
    let nobody = stoke(&addresses, &once);
    assert_eq!(nobody.code, 4, "{nobody:?}");
}

#[test]
fn a_cache_is_watched_by_its_url_until_it_is_warm() {
    let redis = Redis::start().unwrap();
    let mut connection = redis::Client::open(redis.url())
        .unwrap()
        .get_connection()
        .unwrap();
    let _: () = connection.set("there", 1).unwrap();
    let watched = start(
        "",
        &[
            "hit-rate",
            "--cache",
            &redis.url(),
            "--interval",
            "1s",
            "--until-warm",
            "--timeout",
            "1m",
            "--steady-state",
            "0.9",
            "--output",
            "json",
        ],
    );
    let mut reads = redis::pipe();
    for n in 0..2000 {
        reads
            .cmd("GET")
            .arg(if n % 20 == 0 { "missing" } else { "there" })
            .ignore();
    }
    while watched.ended().unwrap().is_none() {
        reads.exec(&mut connection).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let ran = ended(&watched);
    assert_eq!(ran.code, 0, "{ran:?}");
    let last = ran.lines().pop().unwrap();
    assert_eq!(last["warmth"], "WARM", "{ran:?}");
    let rate = last["hit_rate"].as_f64().unwrap();
    assert!((rate - 0.95).abs() < 0.001, "{ran:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_script_for_deploys_shifts_the_traffic_only_when_the_cache_is_warm() {
    let scene = Scene::start(1, 100);
    shop::fill(&scene);
    scene.wait_for_members(3);
    let files = ServerDir::new("deploy").unwrap();
    let at = |name: &str| files.path().join(name).display().to_string();
    let job = "cache = \"main\"\n[[loaders]]\nname = \"item\"\n[[sources]]\ninline = \"key\\n17\\n18\\n43\\n\"\n";
    std::fs::write(at("job.toml"), job).unwrap();
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/deploy/scripts/warm-then-deploy"
    );
    let stoke = std::path::Path::new(env!("CARGO_BIN_EXE_stoke"));
    let path = format!(
        "{}:{}",
        stoke.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let deploy = |coverage: &str| {
        let launch = Program::new(script).unwrap();
        let launch = launch.args([&at("job.toml"), "v2", "touch", &at("shifted")]);
        let launch = launch
            .env("PATH", &path)
            .env("STOKE_COORDINATOR", scene.leader())
            .env("COVERAGE", coverage)
            .env("HIT_RATE", "0.6")
            .env("TIMEOUT", "20s");
        let ran = ended(&launch.start().unwrap());
        (ran, std::path::Path::new(&at("shifted")).exists())
    };
    // Of a job that nobody knows, whoever asks says what its gate is.
    let unknown = |more: &[&str]| {
        let asked = ["gate", "1795467600000-abc123", "--coverage", "0.9"];
        crate::command_line::stoke(&scene.leader(), &[&asked[..], more].concat()).code
    };
    assert_eq!((unknown(&[]), unknown(&["--if-unknown", "open"])), (2, 0));

    let (ran, shifted) = deploy("0.9");
    assert_eq!((ran.code, shifted), (0, true), "{ran:?}");
    std::fs::remove_file(at("shifted")).unwrap();
    for port in Nodes::connect(&scene).ports() {
        scene.cache.cli(port, &["FLUSHALL"]).unwrap();
    }
    // For the same release it is the same job, whose coverage is what it was: the cache itself says otherwise.
    let (ran, shifted) = deploy("0.9");
    assert_eq!((ran.code, shifted), (5, false), "{ran:?}");
    assert!(
        ran.errors.contains("the traffic stays where it is"),
        "{ran:?}"
    );
}
