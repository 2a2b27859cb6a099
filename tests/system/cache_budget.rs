//! A budget of the cache's: for a Redis that serves traffic while it is warmed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stoke_proto::v1::JobState;

use crate::scene::{Scene, assert_w1, is_over, watch_until};
use crate::shop;

const WRITES: u64 = 6_000;
/// What one worker sends to one node at once is paid for before, all of it: so much more can fall into one second.
const FLUSHES: u64 = 3 * 500;

/// How many writes the cache counted, read within this time.
struct Sample {
    from: Instant,
    to: Instant,
    writes: u64,
}

fn count_writes(ports: &[u16]) -> u64 {
    let of_node = |port: &u16| {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
        let stats: String = redis::cmd("INFO")
            .arg("commandstats")
            .query(&mut client.get_connection().unwrap())
            .unwrap();
        let set = stats
            .lines()
            .find_map(|line| line.strip_prefix("cmdstat_set:calls="));
        set.map_or(0, |calls| calls.split(',').next().unwrap().parse().unwrap())
    };
    ports.iter().map(of_node).sum::<u64>()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn no_second_sees_more_writes_than_the_caches_budget() {
    let scene = Scene::start_with(1, 1000, Some(u32::try_from(WRITES).unwrap()));
    shop::fill(&scene);
    let ports = scene.cache.ports();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let sampling = tokio::task::spawn_blocking(move || {
        let mut samples = Vec::new();
        while !stopped.load(Ordering::Relaxed) {
            let from = Instant::now();
            let writes = count_writes(&ports);
            samples.push(Sample {
                from,
                to: Instant::now(),
                writes,
            });
            std::thread::sleep(Duration::from_millis(50));
        }
        samples
    });
    let job = scene.create(shop::job()).await;
    let mut jobs = scene.jobs().await;
    let job = watch_until(&mut jobs, &job.name, is_over).await;
    stop.store(true, Ordering::Relaxed);
    let samples = sampling.await.unwrap();

    assert_eq!(job.state(), JobState::Succeeded, "{}", job.reason);
    assert_w1(&job);
    shop::assert_cache_is_as_seeded(&scene);
    let within_a_second = |first: &Sample, last: &Sample| {
        last.to.duration_since(first.from) <= Duration::from_secs(1)
    };
    let windows = samples.iter().enumerate().flat_map(|(n, first)| {
        let lasts = samples[n..]
            .iter()
            .take_while(|last| within_a_second(first, last));
        lasts.map(|last| last.writes - first.writes)
    });
    let peak = windows.max().unwrap();
    assert!(
        peak > WRITES / 2,
        "the samples are close enough to see anything: {peak}"
    );
    assert!(peak <= WRITES + FLUSHES, "{peak} writes in one second");
}
