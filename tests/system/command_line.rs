//! The command line: every command as scripts and people use it, what goes where, and how it ends.

use std::path::PathBuf;

use serde_json::Value;
use stoke_harness::{Postgres, Program, Redis, ServerDir};

use crate::scene::{PATIENCE, Scene};
use crate::shop;

const STOKE: &str = env!("CARGO_BIN_EXE_stoke");

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub errors: String,
}

impl Ran {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn lines(&self) -> Vec<Value> {
        let lines = self.out.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// Starts `stoke` with coordinators to talk to.
pub fn start(coordinators: &str, args: &[&str]) -> Program {
    let launch = Program::new(STOKE).unwrap();
    let launch = launch.args(args).env("STOKE_COORDINATOR", coordinators);
    launch.start().unwrap()
}

pub fn ended(program: &Program) -> Ran {
    let status = program.wait(PATIENCE).unwrap();
    Ran {
        code: status.code().unwrap_or(-1),
        out: program.stdout().unwrap(),
        errors: program.log().unwrap(),
    }
}

/// Runs `stoke` to its end.
pub fn stoke(coordinators: &str, args: &[&str]) -> Ran {
    ended(&start(coordinators, args))
}

/// Job files and what they upload.
struct Files(ServerDir);

impl Files {
    fn new() -> Self {
        Self(ServerDir::new("job-files").unwrap())
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path: PathBuf = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The 50,000 most viewed items.
    fn most_viewed(&self) -> String {
        let text = format!(
            r#"
            trigger = "test"
            cache = "main"
            allowed-failures = 1000
            labels = {{ team = "shop" }}
            [[sources]]
            origin = "shop"
            query = "SELECT item_id AS key, count AS priority FROM views ORDER BY count DESC, item_id LIMIT {}"
            [[loaders]]
            name = "item"
            "#,
            shop::PLANNED
        );
        self.write("most-viewed.toml", &text)
    }

    /// What `keys.csv` has.
    fn uploaded(&self) -> String {
        self.write(
            "uploaded.toml",
            "cache = \"main\"\n[[sources]]\nupload = \"keys.csv\"\n[[loaders]]\nname = \"item\"\n",
        )
    }
}

/// The addresses: who stands by first, so that every command has to find the leader.
fn standby_first(scene: &Scene) -> String {
    let leader = scene.leader();
    let mut all: Vec<&str> = scene
        .coordinators
        .iter()
        .map(|(at, _)| at.as_str())
        .collect();
    all.sort_by_key(|at| *at == leader);
    all.join(",")
}

#[test]
fn a_cluster_is_run_from_the_command_line() {
    let scene = Scene::start(2, 10);
    shop::fill(&scene);
    scene.wait_for_members(3);
    let at = standby_first(&scene);
    let files = Files::new();

    what_is_wrong_is_said_before_there_is_a_job(&at, &files);
    half_a_file_makes_no_upload_and_the_same_request_goes_on(&at, &files);
    failed_entries_are_listed(&at, &files);
    budgets_are_shown_set_and_watched(&at);
    let job = a_paused_job_is_listed_and_a_watch_of_it_is_left(&at, &files);
    an_abort_is_waited_for(&at, &files);
    a_watch_survives_the_leader(&scene, &job);
}

fn what_is_wrong_is_said_before_there_is_a_job(at: &str, files: &Files) {
    let ran = stoke(at, &["status", "nobody"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
    assert!(ran.errors.contains("there is no job nobody"), "{ran:?}");

    let ran = stoke("http://127.0.0.1:1", &["jobs"]);
    assert_eq!((ran.code, ran.out.as_str()), (4, ""), "{ran:?}");
    assert!(ran.errors.contains("http://127.0.0.1:1"), "{ran:?}");

    let long = "x".repeat(64);
    let ran = stoke(at, &["submit", &files.most_viewed(), "--trigger", &long]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
    assert!(
        ran.errors.contains("spec.trigger: is longer than 63"),
        "{ran:?}"
    );

    let ran = stoke(at, &["submit", "/nowhere/job.toml"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
    let ran = stoke(at, &["jobs"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{ran:?}");
    assert!(ran.errors.contains("no such jobs"), "{ran:?}");
}

fn half_a_file_makes_no_upload_and_the_same_request_goes_on(at: &str, files: &Files) {
    let many: String = (1..=30_000)
        .map(|id| format!("item:{id},{id},1\n"))
        .collect();
    files.write(
        "keys.csv",
        &format!("key,argument,priority\n{many}item:1,1,much\n"),
    );
    let submit = ["submit", &files.uploaded(), "--request-id", "upload"];
    let ran = stoke(at, &submit);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
    for words in [
        "line 30002",
        "waits for the keys",
        "stoke abort",
        "--request-id upload",
    ] {
        assert!(ran.errors.contains(words), "{words}: {ran:?}");
    }
    let waiting = stoke(at, &["jobs", "--output", "json"]).lines();
    assert_eq!(
        (waiting.len(), &waiting[0]["state"]),
        (1, &"PENDING".into())
    );

    files.write(
        "keys.csv",
        "key,argument,priority\nitem:1,1,9\nitem:2,2,8\nitem:4,4,\n",
    );
    let mut submit = submit.to_vec();
    submit.extend(["--watch", "--output", "json"]);
    let ran = stoke(at, &submit);
    let job = ran.json();
    assert_eq!((ran.code, &job["job"]), (0, &waiting[0]["job"]), "{ran:?}");
    assert_eq!(
        (&job["state"], &job["planned"]),
        (&"SUCCEEDED".into(), &3.into())
    );
    assert!(ran.errors.contains("uploaded 3 entries"), "{ran:?}");

    // The same once more: the same job, which is over.
    let ran = stoke(at, &submit);
    assert_eq!((ran.code, &ran.json()["job"]), (0, &job["job"]), "{ran:?}");
}

fn failed_entries_are_listed(at: &str, files: &Files) {
    assert!(shop::is_poison(11) && shop::is_warmable(5));
    files.write("keys.csv", "key,argument\nitem:11,11\nitem:5,5\n");
    let ran = stoke(at, &["submit", &files.uploaded(), "--watch"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.out.contains("state      FAILED: 1 entries failed"),
        "{ran:?}"
    );
    let name = ran.out.lines().next().unwrap();
    let name = name.strip_prefix("job        ").unwrap();
    // That it failed is no fault of the question's.
    assert_eq!(stoke(at, &["status", name]).code, 0);

    let ran = stoke(at, &["failures", name, "--output", "json"]);
    let failures = ran.lines();
    assert_eq!((ran.code, failures.len()), (0, 1), "{ran:?}");
    assert_eq!(
        (&failures[0]["key"], &failures[0]["loader"]),
        (&"item:11".into(), &"item".into())
    );
    let ran = stoke(at, &["failures", name, "--output", "csv"]);
    assert!(
        ran.out
            .starts_with("key,rank,loader,attempts,reason\nitem:11,"),
        "{ran:?}"
    );
    let ran = stoke(at, &["failures", name]);
    assert!(ran.out.starts_with("item:11 (rank "), "{ran:?}");
}

fn budgets_are_shown_set_and_watched(at: &str) {
    let ran = stoke(at, &["budget"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("origin/shop    10/s"), "{ran:?}");

    let watch = start(at, &["budget", "watch", "origin/shop", "--output", "json"]);
    watch.wait_for_output("\"qps\":10.0", PATIENCE).unwrap();
    let set = [
        "budget",
        "set",
        "origin/shop",
        "--qps",
        "12/s",
        "--output",
        "json",
    ];
    let ran = stoke(at, &set);
    let target = &ran.json()["target"];
    assert_eq!((ran.code, &target["qps"]), (0, &12.0.into()), "{ran:?}");
    assert!(
        target["burst"].as_u64() > Some(0),
        "it is as it was: {ran:?}"
    );
    watch.wait_for_output("\"qps\":12.0", PATIENCE).unwrap();
    watch.interrupt().unwrap();
    let ran = ended(&watch);
    assert_eq!(ran.code, 130, "{ran:?}");
    ran.lines();

    let for_a_while = [
        "budget",
        "set",
        "origin/shop",
        "--qps",
        "3",
        "--for",
        "1h",
        "--rows",
        "5000/s",
        "--output",
        "json",
    ];
    let ran = stoke(at, &for_a_while);
    let set = ran.json();
    assert_eq!(
        (ran.code, &set["asked"]["qps"]),
        (0, &3.0.into()),
        "{ran:?}"
    );
    assert_eq!(set["asked"]["rows"], 5000, "{ran:?}");
    assert_eq!(
        (&set["lasts_seconds"], &set["then"]["qps"]),
        (&3600.into(), &12.0.into())
    );
    let ran = stoke(at, &["budget", "get", "origin/shop"]);
    assert!(ran.out.contains("yet, then 12/s"), "{ran:?}");
    let absurd = [
        "budget",
        "set",
        "origin/shop",
        "--qps",
        "3",
        "--for",
        "31days",
    ];
    let ran = stoke(at, &absurd);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
    assert!(ran.errors.contains("must be from 1s to 30days"), "{ran:?}");
    let ran = stoke(
        at,
        &[
            "budget",
            "set",
            "origin/shop",
            "--qps",
            "12/s",
            "--rows",
            "any",
        ],
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!ran.out.contains("yet, then"), "{ran:?}");

    let ran = stoke(at, &["budget", "get", "origin/shop"]);
    assert!(
        ran.out.contains("\ntarget") && ran.out.contains("12/s"),
        "{ran:?}"
    );
    let ran = stoke(at, &["budget", "get", "origin/nobody"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
}

fn a_paused_job_is_listed_and_a_watch_of_it_is_left(at: &str, files: &Files) -> String {
    let submit = [
        "submit",
        &files.most_viewed(),
        "--label",
        "run=1",
        "--priority",
        "7",
    ];
    let ran = stoke(at, &submit);
    assert_eq!(ran.code, 0, "{ran:?}");
    let name = ran.out.strip_suffix('\n').unwrap().to_owned();
    assert!(
        !name.contains(char::is_whitespace),
        "only its name: {ran:?}"
    );

    let watch = start(at, &["watch", &name]);
    watch.wait_for_output("RUNNING: ", PATIENCE).unwrap();
    let ran = stoke(at, &["pause", &name, "--reason", "lunch"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = stoke(at, &["pause", &name, "--holder", "deploy"]);
    let held = "held by    operator: lunch\nheld by    deploy\n";
    assert!(ran.out.contains(held), "{ran:?}");

    watch
        .wait_for_output("held by operator: lunch", PATIENCE)
        .unwrap();
    watch.interrupt().unwrap();
    let ran = ended(&watch);
    assert_eq!((ran.code, ran.out.as_str()), (130, ""), "{ran:?}");
    assert!(ran.errors.contains("the job goes on"), "{ran:?}");

    let list = |args: &[&str]| {
        let mut all = vec!["jobs", "--output", "json"];
        all.extend(args);
        let names = stoke(at, &all).lines().into_iter();
        names
            .map(|job| job["job"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        list(&["--label", "run=1", "--label", "team=shop"]),
        [name.as_str()]
    );
    assert_eq!(list(&["--label", "run=2"]), Vec::<String>::new());
    assert_eq!(list(&["--state", "paused,pending"]), [name.as_str()]);
    let all = list(&["--all"]);
    assert_eq!((all.len(), &all[0]), (3, &name));
    assert_eq!(list(&["--limit", "2"]), all[..2]);
    let ran = stoke(at, &["jobs", "--color", "always"]);
    assert!(ran.out.contains("\u{1b}[33mPAUSED\u{1b}[0m"), "{ran:?}");
    let ran = stoke(at, &["jobs"]);
    assert!(
        !ran.out.contains('\u{1b}') && ran.out.contains("  PAUSED  "),
        "{ran:?}"
    );

    // Whoever reads only one line ends the rest quietly.
    let line =
        format!("set -o pipefail; '{STOKE}' jobs --output json | head -c 1; '{STOKE}' jobs | true");
    let shell = Program::new("bash").unwrap().args(["-c", &line]);
    let ran = ended(&shell.env("STOKE_COORDINATOR", at).start().unwrap());
    assert_eq!(
        (ran.code, ran.out.as_str(), ran.errors.as_str()),
        (0, "{", "")
    );

    let ran = stoke(at, &["resume", &name]);
    assert!(
        ran.out.contains("state      PAUSED"),
        "the other still holds: {ran:?}"
    );
    name
}

fn an_abort_is_waited_for(at: &str, files: &Files) {
    let ran = stoke(at, &["submit", &files.most_viewed()]);
    let name = ran.out.trim();
    let abort = [
        "abort", name, "--wait", "--reason", "enough", "--output", "json",
    ];
    let ran = stoke(at, &abort);
    let job = ran.json();
    assert_eq!((ran.code, &job["state"]), (0, &"ABORTED".into()), "{ran:?}");
    assert_eq!(job["reason"], "enough");
    assert_eq!(stoke(at, &["watch", name]).code, 3);
    let ran = stoke(at, &["pause", name]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
}

fn a_watch_survives_the_leader(scene: &Scene, job: &str) {
    let leader = scene.leader();
    let others = standby_first(scene);
    let at = format!("{leader},{others}");
    assert_eq!(stoke(&at, &["resume", job, "--holder", "deploy"]).code, 0);
    let watch = start(&at, &["watch", job, "--output", "json"]);
    watch.wait_for_output("RUNNING: ", PATIENCE).unwrap();
    scene.coordinator(&leader).kill9().unwrap();
    let ran = ended(&watch);
    assert!(
        ran.errors.contains("the watch broke, and is begun again"),
        "{ran:?}"
    );
    let report = ran.json();
    assert_eq!(
        (ran.code, &report["state"]),
        (0, &"SUCCEEDED".into()),
        "{ran:?}"
    );
    assert_eq!(report["planned"], shop::PLANNED);
    assert_eq!(report["outcomes"]["failed"], shop::count(shop::is_poison));
}

#[test]
fn workers_coordinators_and_plans_are_shown() {
    let scene = Scene::start(2, 50);
    shop::fill(&scene);
    scene.wait_for_members(3);
    let at = standby_first(&scene);
    let files = Files::new();

    let fleet = stoke(&at, &["workers", "--output", "json"]);
    assert_eq!(fleet.code, 0, "{fleet:?}");
    let fleet = fleet.json();
    assert_eq!(fleet["workers"].as_array().unwrap().len(), 3);
    assert_eq!(fleet["workers"][0]["loaders"], serde_json::json!(["item"]));
    let coordinators = fleet["coordinators"].as_array().unwrap();
    let leaders: Vec<_> = coordinators.iter().filter(|c| c["leads"] == true).collect();
    assert_eq!((coordinators.len(), leaders.len()), (2, 1));
    assert_eq!(leaders[0]["address"], scene.leader().as_str());
    assert!(stoke(&at, &["workers"]).out.contains("stands by"));

    // What is exported is what was uploaded, and can be uploaded again.
    files.write(
        "keys.csv",
        "key,argument,priority\nitem:2,2,8.5\nitem:1,1,9\nitem:4,4,1\n",
    );
    let ran = stoke(
        &at,
        &["submit", &files.uploaded(), "--watch", "--output", "json"],
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    let job = ran.json();
    let name = job["job"].as_str().unwrap();
    let expected = "rank,key,argument,loader,priority\n0,item:1,1,item,9\n1,item:2,2,item,8.5\n2,item:4,4,item,1\n";
    let ran = stoke(&at, &["plan", "export", name]);
    assert_eq!((ran.code, ran.out.as_str()), (0, expected), "{ran:?}");
    let file = files.write("keys.csv", "");
    let ran = stoke(&at, &["plan", "export", name, "--file", &file]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{ran:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), expected);
    let ran = stoke(
        &at,
        &["submit", &files.uploaded(), "--watch", "--output", "json"],
    );
    let again = ran.json();
    assert_eq!(
        (ran.code, &again["outcomes"]["present"]),
        (0, &3.into()),
        "{ran:?}"
    );
    let ran = stoke(&at, &["plan", "export", name, "--output", "json"]);
    assert_eq!(ran.lines()[1]["priority"], 8.5);

    // A dry run says what it would be, and writes nothing.
    let before = scene.cache.key_count().unwrap();
    let ran = stoke(
        &at,
        &[
            "submit",
            &files.most_viewed(),
            "--dry-run",
            "--output",
            "json",
        ],
    );
    let report = ran.json();
    assert_eq!((ran.code, &report["dry_run"]), (0, &true.into()), "{ran:?}");
    assert_eq!(report["outcomes"]["skipped"], shop::PLANNED);
    assert_eq!(report["forecast"]["entries"], shop::PLANNED);
    assert_eq!(report["forecast"]["origin_queries"], 100);
    assert_eq!(report["forecast"]["duration_seconds"], 2.0);
    assert_eq!(scene.cache.key_count().unwrap(), before);
}

const SHOP: &str = "CREATE TABLE products (id bigint PRIMARY KEY, name text);
    INSERT INTO products SELECT id, 'product ' || id FROM generate_series(1, 5000) AS id;";

#[test]
fn a_one_liner_that_is_told_to_stop_aborts_and_prints_what_was_done() {
    let postgres = Postgres::start().unwrap();
    postgres.psql("postgres", SHOP).unwrap();
    let cache = Redis::start().unwrap();
    let keys: String = (1..=5000).map(|id| format!("{id}\n")).collect();
    let warm = || {
        let launch = Program::new(STOKE).unwrap().arg("warm");
        let launch = launch.args([
            "--origin",
            &postgres.url("postgres"),
            "--cache",
            &cache.url(),
        ]);
        let launch = launch.args(["--load", "SELECT * FROM products WHERE id IN (:keys)"]);
        let launch = launch.args(["--key", "p:{key}", "--ttl", "5m", "--mode", "overwrite"]);
        // More than a minute, where nobody stops it.
        let launch = launch.args(["--keys", "-", "--qps", "2", "--batch-keys", "20"]);
        let launch = launch.args(["--label", "run=1", "--output", "json"]);
        let program = launch
            .stdin(&format!("key\n{keys}"))
            .unwrap()
            .start()
            .unwrap();
        program.wait_for_output("RUNNING: ", PATIENCE).unwrap();
        program
    };
    type Stop = fn(&Program) -> anyhow::Result<()>;
    let stops: [(&str, Stop); 2] = [
        ("Ctrl-C", |program| program.interrupt()),
        ("SIGTERM", |program| program.terminate()),
    ];
    for (signal, stop) in stops {
        let program = warm();
        stop(&program).unwrap();
        let ran = ended(&program);
        let job = ran.json();
        assert_eq!((ran.code, &job["state"]), (3, &"ABORTED".into()), "{ran:?}");
        assert_eq!(
            (&job["reason"], &job["labels"]["run"]),
            (&signal.into(), &"1".into())
        );
        let outcomes = job["outcomes"].as_object().unwrap();
        let sum: u64 = outcomes.values().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!((sum, &job["planned"]), (5000, &5000.into()), "{ran:?}");
        assert!(ran.errors.contains("aborting"), "{ran:?}");
    }
    // Who cannot wait says it twice.
    let program = warm();
    program.interrupt().unwrap();
    program
        .wait_for_output("once more to leave at once", PATIENCE)
        .unwrap();
    program.interrupt().unwrap();
    assert_eq!(ended(&program).code, 3);
}

#[test]
fn completions_and_manual_pages_name_every_command() {
    let commands = [
        "coordinator",
        "worker",
        "warm",
        "submit",
        "jobs",
        "status",
        "watch",
        "pause",
        "resume",
        "abort",
        "failures",
        "workers",
        "budget",
        "plan",
        "completions",
        "man",
    ];
    let files = Files::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = stoke("", &["completions", shell]);
        assert_eq!((ran.code, ran.errors.as_str()), (0, ""), "{shell}");
        for command in commands {
            assert!(ran.out.contains(command), "{shell}: {command}");
        }
        if shell == "bash" {
            let script = files.write("stoke.bash", &ran.out);
            let checked = Program::new("bash")
                .unwrap()
                .args(["-n", &script])
                .start()
                .unwrap();
            let ran = ended(&checked);
            assert_eq!((ran.code, ran.errors.as_str()), (0, ""));
        }
    }
    let dir = files.write("unused", "");
    let dir = format!("{dir}.d");
    assert_eq!(stoke("", &["man", "--dir", &dir]).code, 0);
    for command in commands {
        let page = PathBuf::from(&dir).join(format!("stoke-{command}.1"));
        assert!(page.is_file(), "{}", page.display());
    }
    assert!(stoke("", &["man"]).out.contains("Exit codes"));
    let help = stoke("", &["--help", "--color", "always"]);
    assert!(help.code == 0 && help.out.contains('\u{1b}'), "{help:?}");
    assert!(!stoke("", &["--help"]).out.contains('\u{1b}'));
    assert_eq!(stoke("", &["jobs", "--no-such-flag"]).code, 2);
}

#[test]
fn on_a_terminal_there_is_a_bar() {
    let postgres = Postgres::start().unwrap();
    postgres.psql("postgres", SHOP).unwrap();
    let cache = Redis::start().unwrap();
    let line = format!(
        "'{STOKE}' warm --origin {} --cache {} --keys keys.csv --load 'SELECT * FROM products WHERE id IN (:keys)' \
         --key 'p:{{key}}' --ttl 5m --qps 50",
        postgres.url("postgres"),
        cache.url()
    );
    // A terminal is what `script` gives.
    let launch = Program::new("script").unwrap();
    std::fs::write(launch.dir().join("keys.csv"), "key\n1\n2\n").unwrap();
    let launch = launch.args(["-qefc", &line, "/dev/null"]);
    let ran = ended(&launch.env("TERM", "xterm").start().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("PLANNING  [  "), "{ran:?}");
    // What it shows on a terminal is coloured, too.
    assert!(ran.out.contains("\u{1b}[32mSUCCEEDED"), "{ran:?}");
}

#[test]
fn on_a_terminal_there_are_colours_unless_no_color_is_set() {
    let coloured = |environment: &str| {
        let line = format!("{environment} '{STOKE}' --help");
        let launch = Program::new("script").unwrap();
        let launch = launch.args(["-qefc", &line, "/dev/null"]);
        let ran = ended(&launch.env("TERM", "xterm").start().unwrap());
        assert!(ran.code == 0 && ran.out.contains("Exit codes"), "{ran:?}");
        ran.out.contains('\u{1b}')
    };
    assert!(coloured("env -u NO_COLOR"));
    assert!(!coloured("env NO_COLOR=1"));
    // As the convention has it: empty is not set.
    assert!(coloured("env NO_COLOR="));
}
