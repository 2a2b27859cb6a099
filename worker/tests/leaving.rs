//! How a worker lets go: of tasks and runs that the store gives it no longer, and of everything when it leaves. A whole worker
//! over a store in memory, on tokio's paused clock, and a coordinator that takes its calls and never answers them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

#[path = "leaving/scene.rs"]
mod scene;

use std::time::Duration;

use stoke_core::job::Phase;
use stoke_core::names::Resource;
use stoke_core::records::{PlanningTask, keys};
use stoke_worker::Unfinished;

use scene::{Change, Scene, Takes, cache, job, leave, origin};

/// The calls for two jobs that the worker has a part of.
const BOTH: [&str; 2] = ["entries of j1", "entries of j2"];

/// A worker's grant of a resource.
fn grant(scene: &Scene, resource: &Resource) -> [String; 2] {
    [keys::ack, keys::cap].map(|key| key(resource, scene.name()))
}

/// Asserts that the worker gave these grants back when it was no member any more: before, they would be given anew.
async fn assert_went_last(scene: &Scene, resources: &[Resource]) {
    let history = scene.history().await;
    let member = history.last(&Change::Delete(keys::member(scene.name())));
    for key in resources.iter().flat_map(|resource| grant(scene, resource)) {
        assert!(!scene.has(&key).await, "{key} is left");
        assert!(member < history.last(&Change::Delete(key)));
    }
}

#[tokio::test(start_paused = true)]
async fn who_leaves_writes_its_last_checkpoints_then_ends_its_membership_then_gives_its_grants_back()
 {
    let (scene, worker) = Scene::start().await;
    for name in ["j1", "j2"] {
        scene.assign(name).await;
    }
    scene.until_at(&BOTH).await;
    scene.take_checkpoints(Takes::After(Duration::from_secs(5)));
    assert_eq!(leave(worker).await, []);
    let history = scene.history().await;
    let member = history.last(&Change::Delete(keys::member(scene.name())));
    for name in ["j1", "j2"] {
        assert!(scene.checkpoint(name).await.unwrap().stopped);
        let checkpoint = keys::checkpoint(&job(name), scene.name());
        // Else its partitions would be taken as they stood before.
        assert!(history.last(&Change::Put(checkpoint)) < member);
    }
    assert_went_last(&scene, &[origin(), cache()]).await;
}

#[tokio::test(start_paused = true)]
async fn who_cannot_write_its_last_checkpoints_says_so_and_leaves_all_the_same() {
    let (scene, worker) = Scene::start().await;
    for name in ["j1", "j2"] {
        scene.assign(name).await;
    }
    scene.until_at(&BOTH).await;
    scene.take_checkpoints(Takes::Never);
    let expected = ["j1", "j2"].map(|name| Unfinished::Checkpoint(job(name)));
    assert_eq!(leave(worker).await, expected);
    // A statement may still run that was not waited for.
    for key in grant(&scene, &origin()) {
        assert!(scene.has(&key).await, "{key} is gone");
    }
    assert_went_last(&scene, &[cache()]).await;
}

#[tokio::test(start_paused = true)]
async fn who_leaves_drops_its_tasks_of_planning_and_not_the_grant_that_their_statements_may_still_need()
 {
    let (scene, worker) = Scene::start().await;
    scene.create("j", Phase::Planning).await;
    scene.give_task("j", scene.name(), 1).await;
    scene.until_at(&["attempt 1 at planning j"]).await;
    assert_eq!(leave(worker).await, []);
    scene.until_at(&[]).await;
    for key in grant(&scene, &origin()) {
        assert!(scene.has(&key).await, "{key} is gone");
    }
    assert_went_last(&scene, &[cache()]).await;
}

#[tokio::test(start_paused = true)]
async fn who_leaves_begins_nothing_more_while_its_last_checkpoints_are_written() {
    let (scene, worker) = Scene::start().await;
    scene.assign("j1").await;
    scene.create("j2", Phase::Planning).await;
    scene.give_task("j2", scene.name(), 1).await;
    let calls = ["attempt 1 at planning j2", "entries of j1"];
    scene.until_at(&calls).await;
    scene.take_checkpoints(Takes::After(Duration::from_secs(5)));
    let giving_more = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        scene.assign("j3").await;
        scene.create("j4", Phase::Planning).await;
        scene.give_task("j4", scene.name(), 1).await;
        // It beats more than once in that time.
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(scene.calls().is_empty(), "{:?}", scene.calls());
    };
    let (unfinished, ()) = tokio::join!(leave(worker), giving_more);
    assert_eq!(unfinished, []);
    assert!(scene.checkpoint("j1").await.unwrap().stopped);
    assert_eq!(scene.checkpoint("j3").await, None);
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_when_its_assignment_is_gone_and_no_other_does() {
    let (scene, worker) = Scene::start().await;
    for name in ["j1", "j2"] {
        scene.assign(name).await;
    }
    scene.until_at(&BOTH).await;
    scene.take_away("j1").await;
    scene.until_at(&BOTH[1..]).await;
    scene.assign("j1").await;
    scene.until_at(&BOTH).await;
    scene.take_away("j1").await;
    scene.until_at(&BOTH[1..]).await;
    assert_eq!(leave(worker).await, [], "it has nothing to say of j1");
    let stopped = async |name| scene.checkpoint(name).await.is_some_and(|c| c.stopped);
    assert_eq!((stopped("j1").await, stopped("j2").await), (false, true));
}

#[tokio::test(start_paused = true)]
async fn a_task_of_planning_ends_when_it_is_anothers_or_of_another_attempt_or_the_job_is_not_planned()
 {
    let (scene, _worker) = Scene::start().await;
    let attempts = ["attempt 1 at planning j", "attempt 2 at planning j"];
    scene.create("j", Phase::Planning).await;
    scene.give_task("j", scene.name(), 1).await;
    scene.until_at(&attempts[..1]).await;
    scene.give_task("j", &"other.0".parse().unwrap(), 1).await;
    scene.until_at(&[]).await;
    scene.give_task("j", scene.name(), 1).await;
    scene.until_at(&attempts[..1]).await;
    scene.give_task("j", scene.name(), 2).await;
    scene.until_at(&attempts[1..]).await;
    scene.become_phase("j", Phase::Running).await;
    scene.until_at(&[]).await;
    scene.become_phase("j", Phase::Planning).await;
    scene.until_at(&attempts[1..]).await;
    // Whoever aborts the job waits for this.
    scene.become_phase("j", Phase::Aborting).await;
    let task = keys::read(&job("j"), PlanningTask::Prepare);
    scene.until_gone(&task).await;
    scene.until_at(&[]).await;
}
