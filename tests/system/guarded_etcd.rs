//! An etcd that asks who comes: for a password, with tokens that run out, or for a client's certificate.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use stoke_harness::{Authority, Etcd, Pair, Program, ServerDir, ServerTls, free_port, wait_for};
use stoke_proto::v1::JobState;

use crate::scene::{PATIENCE, Scene, assert_w1, done, is_over, watch_until};
use crate::shop;

const PASSWORD: &str = "s3cret";
const TOKEN_TTL: Duration = Duration::from_secs(2);

fn login(user: &str, password: &str) -> String {
    format!("username = \"{user}\"\npassword = \"{password}\"")
}

/// When each leader and member came to be: it stays so while nobody's lease lapses.
fn there_since(scene: &Scene) -> BTreeMap<String, String> {
    let mut since = BTreeMap::new();
    for prefix in ["leader", "member/", "peer/"] {
        let key = format!("/stoke/v1/{prefix}");
        let args = ["get", "--prefix", &key, "--write-out=fields"];
        let said = scene.etcd.ctl(&args).unwrap();
        let of = |name: &str| {
            let name = format!("\"{name}\" : ");
            let values = said
                .lines()
                .filter_map(move |line| line.strip_prefix(&name).map(str::to_owned));
            values.collect::<Vec<_>>()
        };
        since.extend(of("Key").into_iter().zip(of("CreateRevision")));
    }
    since
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn with_passwords_all_goes_on_while_tokens_run_out_and_after_a_restart_of_etcd_that_forgets_them()
 {
    let dir = ServerDir::new("jwt").unwrap();
    let key = dir.path().join("key");
    fs::write(&key, "a key that signs tokens, of 32 bytes or more").unwrap();
    let token = format!(
        "--auth-token=jwt,priv-key={},sign-method=HS256,ttl={}s",
        key.display(),
        TOKEN_TTL.as_secs()
    );
    let etcd = Etcd::start_as(None, &[&token]).unwrap();
    etcd.admit("stoke", PASSWORD, "readwrite", "/stoke/v1/")
        .unwrap();
    etcd.lock().unwrap();
    let scene = Scene::start_guarded(etcd, &login("stoke", PASSWORD), 2, 4);
    shop::fill(&scene);
    let job = scene.create(shop::lasting_job()).await;
    let mut jobs = scene.jobs().await;
    watch_until(&mut jobs, &job.name, |job| done(job) > 1_000).await;
    let since = there_since(&scene);
    assert_eq!(since.len(), 6, "a leader, 2 peers, 3 members: {since:?}");
    // Not a wait for something to happen: that nothing does while tokens run out again and again is the claim.
    let until = Instant::now() + 4 * TOKEN_TTL;
    while Instant::now() < until {
        tokio::time::sleep(TOKEN_TTL / 4).await;
        assert_eq!(there_since(&scene), since, "nobody left, or came anew");
    }
    let done_before = done(&watch_until(&mut jobs, &job.name, |_| true).await);
    scene.etcd.restart().unwrap();
    let mut jobs = scene.jobs().await;
    let further = watch_until(&mut jobs, &job.name, |job| done(job) > done_before + 5_000).await;
    assert!(!is_over(&further), "it should still be under way");
    let mut jobs = scene.jobs().await;
    let job = watch_until(&mut jobs, &job.name, is_over).await;
    assert_eq!(job.state(), JobState::Succeeded, "{}", job.reason);
    assert_w1(&job);
    shop::assert_cache_is_as_seeded(&scene);
    for program in scene
        .workers
        .iter()
        .chain(scene.coordinators.iter().map(|(_, p)| p))
    {
        assert!(!program.log().unwrap().contains(PASSWORD));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn with_client_certificates_a_whole_job_is_done() {
    let authority = Authority::new().unwrap();
    let identity = authority.for_this_machine().unwrap();
    let etcd = Etcd::start_as(Some(demanding(&authority, &identity)), &[]).unwrap();
    let ours = authority.for_client("stoke").unwrap();
    let scene = Scene::start_guarded(etcd, &certificates(&authority, Some(&ours)), 1, 20);
    shop::fill(&scene);
    let job = scene.create(shop::job()).await;
    let mut jobs = scene.jobs().await;
    let job = watch_until(&mut jobs, &job.name, is_over).await;
    assert_eq!(job.state(), JobState::Succeeded, "{}", job.reason);
    assert_w1(&job);
    shop::assert_cache_is_as_seeded(&scene);
}

fn demanding<'a>(authority: &'a Authority, identity: &'a Pair) -> ServerTls<'a> {
    ServerTls {
        authority,
        identity,
        demands_certificate: true,
    }
}

fn certificates(authority: &Authority, ours: Option<&Pair>) -> String {
    let ca = authority.certificate();
    let shown = ours.map_or(String::new(), |pair| {
        let (certificate, key) = (pair.certificate.display(), pair.key.display());
        format!("\ncert-file = \"{certificate}\"\nkey-file = \"{key}\"")
    });
    format!("ca-file = \"{}\"{shown}", ca.display())
}

/// How a process ends that etcd does not let in, and what it says.
fn turned_away(command: &str, etcd: &Etcd, access: &str) -> (Option<i32>, String) {
    let own = match command {
        "coordinator" => format!(
            "listen = \"127.0.0.1:{}\"\nplan-store = \"plans\"\n",
            free_port().unwrap()
        ),
        _ => String::new(),
    };
    let config = format!(
        "name = \"x1\"\n{own}[etcd]\nendpoints = [\"{}\"]\n{access}\n",
        etcd.endpoint()
    );
    let launch = Program::new(env!("CARGO_BIN_EXE_stoke")).unwrap();
    let launch = launch.arg(command);
    let program = launch
        .config("--config", "x.toml", &config)
        .unwrap()
        .start()
        .unwrap();
    let status = program.wait(PATIENCE).unwrap();
    (status.code(), program.log().unwrap())
}

#[test]
fn whoever_etcd_does_not_let_in_is_told_why_and_ends_with_4() {
    let locked = Etcd::start().unwrap();
    locked
        .admit("reader", PASSWORD, "read", "/stoke/v1/")
        .unwrap();
    locked
        .admit("elsewhere", PASSWORD, "readwrite", "/other/")
        .unwrap();
    locked.lock().unwrap();
    let authority = Authority::new().unwrap();
    let identity = authority.for_this_machine().unwrap();
    let demanding = Etcd::start_as(Some(demanding(&authority, &identity)), &[]).unwrap();
    let other = Authority::new().unwrap();
    let strangers = other.for_client("stoke").unwrap();
    let cases = [
        (&locked, login("reader", "wrong"), "check both"),
        (&locked, login("reader", PASSWORD), "lacks a permission"),
        (&locked, login("elsewhere", PASSWORD), "lacks a permission"),
        (&locked, String::new(), "give them"),
        (&demanding, certificates(&authority, None), "cert-file"),
        (
            &demanding,
            certificates(&authority, Some(&strangers)),
            "cert-file",
        ),
    ];
    for command in ["coordinator", "worker"] {
        for (etcd, access, words) in &cases {
            let (code, said) = turned_away(command, etcd, access);
            assert_eq!(code, Some(4), "{command} {access}: {said}");
            assert!(said.contains(words), "{command} {access}: {said}");
            assert!(said.contains(&etcd.endpoint()), "{said}");
            assert!(!said.contains(PASSWORD), "{said}");
            let lines = said.lines().filter(|line| line.contains("stoke: "));
            assert_eq!(lines.count(), 1, "one clear line: {said}");
        }
    }
}

#[test]
fn an_etcd_that_is_full_when_a_worker_starts_is_waited_for() {
    let etcd = Etcd::start_as(None, &["--quota-backend-bytes=4194304"]).unwrap();
    let filler = "x".repeat(100 * 1024);
    wait_for("etcd to be full", PATIENCE, || {
        match etcd.ctl(&["put", "/filler", &filler]) {
            Err(error) if format!("{error:#}").contains("space exceeded") => Ok(()),
            other => anyhow::bail!("not yet: {other:?}"),
        }
    })
    .unwrap();
    let config = format!(
        "name = \"w1\"\n[etcd]\nendpoints = [\"{}\"]\n",
        etcd.endpoint()
    );
    let worker = crate::scene::stoke("worker", &config);
    worker.wait_for_output("works", PATIENCE).unwrap();
}
