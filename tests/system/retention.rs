//! What nobody needs any more is removed, and what an unfinished job needs is not.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use stoke_harness::{Program, wait_for};
use stoke_proto::v1::{self, JobState};

use crate::scene::{PATIENCE, Scene, assert_w1, done, is_over, watch_until};
use crate::shop;

const QPS: u32 = 10;

/// All files of a folder that have this in their path.
fn files(folder: &Path, job: &str) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    let mut open = vec![folder.to_owned()];
    while let Some(inner) = open.pop() {
        // A folder that is empty may go at any time.
        for entry in std::fs::read_dir(inner).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else {
                files.insert(path.to_str().unwrap().to_owned());
            }
        }
    }
    files.retain(|file| file.contains(job));
    files
}

/// Runs `stoke jobs prune`; what it printed on standard output, each line parsed, and on standard error.
fn prune(coordinator: &str, args: &[&str]) -> (Vec<Value>, String) {
    let launch = Program::new(env!("CARGO_BIN_EXE_stoke")).unwrap();
    let launch = launch.args(["jobs", "prune", "--coordinator", coordinator]);
    let launch = launch.args(["--older-than", "0s", "--output", "json"]);
    let program = launch.args(args).start().unwrap();
    let status = program.wait(PATIENCE).unwrap();
    let (out, errors) = (program.stdout().unwrap(), program.log().unwrap());
    assert!(status.success(), "{errors}");
    let lines = out.lines().map(|line| serde_json::from_str(line).unwrap());
    (lines.collect(), errors)
}

/// The keys of all records that speak of a job.
fn records(scene: &Scene, job: &str) -> Vec<String> {
    let all = scene.records("");
    let of_job = all.into_iter().filter(|(key, _)| key.contains(job));
    of_job.map(|(key, _)| key).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pruned_job_leaves_nothing_and_an_unfinished_one_ends_as_if_nothing_had_been() {
    let scene =
        Scene::start_configured(QPS, "[retention]\njobs = \"forever\"\norphans = \"1s\"", "");
    let folder = scene.plans.path().to_owned();
    shop::fill(&scene);
    let unfinished = scene.create(shop::lasting_job()).await.name;
    let mut jobs = scene.jobs().await;
    watch_until(&mut jobs, &unfinished, |job| done(job) > 5_000).await;
    let pause = v1::PauseJobRequest {
        name: unfinished.clone(),
        ..v1::PauseJobRequest::default()
    };
    jobs.pause_job(pause).await.unwrap();

    let finished = scene.create(shop::job()).await.name;
    let job = watch_until(&mut jobs, &finished, is_over).await;
    assert_eq!(job.state(), JobState::Succeeded, "{}", job.reason);
    let past = wait_for("the job to be cleaned up", PATIENCE, || {
        let past = scene.records("past/").into_iter().next();
        past.ok_or_else(|| anyhow::anyhow!("it is not"))
    });
    let (past, _) = past.unwrap();
    let had = files(&folder, &finished);
    let has_kind = |kind: &str| had.iter().any(|file| file.contains(kind));
    assert!(has_kind("/plans/") && has_kind("/failures/"), "{had:?}");
    let kept = files(&folder, &unfinished);
    // What an attempt at planning left that was killed while it wrote.
    for half in ["0-0/band-000000", "0-0/band-000001#1"] {
        let file = folder.join(format!("plans/{unfinished}/{half}"));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, b"half of it").unwrap();
    }

    let leader = scene.leader();
    let (told, said) = prune(&leader, &["--dry-run"]);
    assert!(said.contains("would be forgotten"), "{said}");
    assert_eq!(files(&folder, &finished), had);
    let (pruned, said) = prune(&leader, &[]);
    assert!(said.contains("1 job forgotten"), "{said}");
    for job in [&told[0], &pruned[0]] {
        assert_eq!(job["job"], Value::from(finished.as_str()));
        assert_eq!(job["objects"], Value::from(had.len()));
    }
    assert_eq!((told.len(), pruned.len()), (1, 1));
    assert!(files(&folder, &finished).is_empty());
    assert!(records(&scene, &finished).is_empty());
    assert!(scene.records("").iter().all(|(key, _)| *key != past));
    let (again, said) = prune(&leader, &[]);
    assert!(again.is_empty() && said.contains("no such jobs"), "{said}");

    // The leader's turns do the rest.
    wait_for("what no job names to be gone", PATIENCE, || {
        let left = files(&folder, &unfinished);
        anyhow::ensure!(left == kept, "{left:?}");
        Ok(())
    })
    .unwrap();
    let told = "removed what is kept no longer";
    scene
        .coordinator(&leader)
        .wait_for_output(told, PATIENCE)
        .unwrap();
    let resume = v1::ResumeJobRequest {
        name: unfinished.clone(),
        ..v1::ResumeJobRequest::default()
    };
    jobs.resume_job(resume).await.unwrap();
    let job = watch_until(&mut jobs, &unfinished, is_over).await;
    assert_eq!(job.state(), JobState::Succeeded, "{}", job.reason);
    assert_w1(&job);
    let outcomes = job.progress.unwrap().outcomes.unwrap();
    assert_eq!(outcomes.failed, shop::count(shop::is_poison));
    let request = v1::ListFailuresRequest { name: unfinished };
    let mut list = jobs.list_failures(request).await.unwrap().into_inner();
    let mut listed = 0;
    while let Some(message) = list.message().await.unwrap() {
        listed += message.failures.len() as u64;
    }
    assert_eq!(listed, outcomes.failed);
    shop::assert_cache_is_as_seeded(&scene);
}
