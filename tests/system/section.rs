//! Warming a part of a cache only, as after a scale-out: some nodes, and some slots.

use std::collections::BTreeSet;

use stoke_core::slot::Slot;
use stoke_proto::v1::{self, JobState};

use crate::scene::{Scene, assert_w1, is_over, watch_until};
use crate::shop;

/// The job, for these slots and nodes of the cache only.
fn job_for(slots: Vec<v1::SlotRange>, nodes: Vec<String>) -> v1::JobSpec {
    let mut spec = shop::job();
    let Some(v1::job_spec::Work::Batch(batch)) = &mut spec.work else {
        panic!("{spec:?}")
    };
    batch.section = Some(v1::CacheSection { slots, nodes });
    spec
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_the_named_nodes_own_and_the_named_slots_are_warmed_and_the_rest_is_counted() {
    let scene = Scene::start(1, 40);
    shop::fill(&scene);
    let cluster = shop::Nodes::connect(&scene);
    let [first, second, _] = scene.cache.ports()[..] else {
        panic!("three nodes")
    };
    // All that the second node owns, and one slot of the first one's.
    let slot = (0..Slot::COUNT).map(Slot).find(|slot| {
        let mut keys = shop::ids().map(shop::key);
        let key = keys.find(|key| Slot::of(key.as_bytes()) == *slot);
        key.is_some_and(|key| cluster.owner(&key) == first)
    });
    let slot = slot.unwrap();
    let is_meant = |id: &u64| {
        let key = shop::key(*id);
        cluster.owner(&key) == second || Slot::of(key.as_bytes()) == slot
    };
    let ranges = vec![v1::SlotRange {
        first: slot.0.into(),
        last: slot.0.into(),
    }];
    let spec = job_for(ranges, vec![format!("127.0.0.1:{second}")]);
    let job = scene.create(spec).await;
    let mut jobs = scene.jobs().await;
    let job = watch_until(&mut jobs, &job.name, is_over).await;
    assert_eq!(job.state(), JobState::Succeeded, "{}", job.reason);
    assert_w1(&job);
    let meant = shop::ids().filter(is_meant).count() as u64;
    assert_eq!(
        (job.progress.unwrap().planned, job.left_out),
        (meant, shop::PLANNED - meant)
    );
    let found = cluster.find(shop::ids());
    let found: BTreeSet<u64> = found.into_keys().collect();
    let expected =
        shop::ids().filter(|id| shop::is_present(*id) || (shop::is_warmable(*id) && is_meant(id)));
    assert_eq!(found, expected.collect());

    let spec = job_for(Vec::new(), vec!["10.0.0.7:6379".into()]);
    let job = scene.create(spec).await;
    let job = watch_until(&mut jobs, &job.name, is_over).await;
    assert_eq!(job.state(), JobState::Failed, "{}", job.reason);
    let owners =
        format!("cache \"main\": 10.0.0.7:6379 owns no slots; those that do are 127.0.0.1:{first}");
    assert!(job.reason.contains(&owners), "{}", job.reason);
}
