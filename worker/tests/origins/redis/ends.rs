//! Each key keeps its end.

use super::*;

/// When a key is gone, as its Redis has it.
fn end(redis: &Redis, key: &str) -> i64 {
    cli(redis, &format!("PEXPIRETIME {key}")).parse().unwrap()
}

async fn copied(from: &Redis, to: &Redis, how: How, ttl: Duration) {
    let keys = ["lasting", "mortal", "hash"];
    let loaded = read(&origin(from), how, &keys).await;
    let mut items = items(&keys, &loaded, str::to_owned);
    for item in &mut items {
        item.ttl = ttl;
    }
    let written = write(&cache(to).await, WriteMode::Overwrite, &items).await;
    assert_eq!(written, vec![WriteOutcome::Written; 3]);
}

fn fill(from: &Redis) {
    cli(from, "SET lasting v");
    cli(from, "SET mortal v PX 3600123");
    cli(from, "HSET hash a 1");
    cli(from, "PEXPIRE hash 7200456");
}

#[tokio::test]
async fn the_end_is_the_same_to_the_millisecond_and_what_has_none_gets_none() {
    let (from, to) = (Redis::start().unwrap(), Redis::start().unwrap());
    fill(&from);
    for how in [How::Dump, How::Typed] {
        copied(&from, &to, how, TTL_OF_ORIGIN).await;
        assert_eq!(end(&to, "lasting"), -1);
        for key in ["mortal", "hash"] {
            assert_eq!(end(&to, key), end(&from, key), "{how:?} {key}");
        }
    }
}

#[tokio::test]
async fn a_time_to_live_of_the_loader_only_shortens() {
    let (from, to) = (Redis::start().unwrap(), Redis::start().unwrap());
    fill(&from);
    // Between the two that the keys have.
    let ttl = Duration::from_secs(5400);
    for how in [How::Dump, How::Typed] {
        let begun = now_ms();
        copied(&from, &to, how, ttl).await;
        assert_eq!(end(&to, "mortal"), end(&from, "mortal"), "{how:?}");
        for key in ["lasting", "hash"] {
            let lives = end(&to, key) - begun;
            assert!(
                (5_400_000..5_460_000).contains(&lives),
                "{how:?} {key}: {lives} ms"
            );
        }
    }
}

#[tokio::test]
async fn a_redis_without_pexpiretime_tells_what_is_left() {
    let old = [("rename-command", "PEXPIRETIME \"\"")];
    let (from, to) = (Redis::start_with(&old).unwrap(), Redis::start().unwrap());
    fill(&from);
    for how in [How::Dump, How::Typed] {
        copied(&from, &to, how, TTL_OF_ORIGIN).await;
        assert_eq!(end(&to, "lasting"), -1);
        for key in ["mortal", "hash"] {
            let here = end(&to, key);
            let there: i64 = cli(&from, &format!("PTTL {key}")).parse().unwrap();
            let there = there + now_ms();
            // What passed between the two questions is in it: the machine may be busy.
            assert!(
                (here - there).abs() < 2_000,
                "{how:?} {key}: {here} and {there}"
            );
        }
    }
}

#[tokio::test]
async fn what_is_gone_is_absent_and_what_ends_on_the_way_is_not_written_for_ever() {
    let (from, to) = (Redis::start().unwrap(), Redis::start().unwrap());
    let to_cache = cache(&to).await;
    for how in [How::Dump, How::Typed] {
        for (key, value) in [("short", "SET short v PX 300"), ("list", "RPUSH list a b")] {
            cli(&from, value);
            cli(&from, &format!("PEXPIRE {key} 300"));
        }
        let keys = ["never-there", "short", "list"];
        let loaded = read(&origin(&from), how, &keys).await;
        assert_eq!(loaded.answers[0], Answer::Absent);
        let items = items(&keys, &loaded, str::to_owned);
        assert_eq!(
            items.len(),
            2,
            "{how:?}: both were there when they were read"
        );
        stoke_harness::wait_for("the keys to be gone", Duration::from_secs(10), || {
            anyhow::ensure!(cli(&from, "EXISTS short list") == "0", "they live");
            Ok(())
        })
        .unwrap();
        for mode in [WriteMode::Add, WriteMode::Overwrite] {
            write(&to_cache, mode, &items).await;
            for key in ["short", "list"] {
                assert_eq!(
                    cli(&to, &format!("EXISTS {key}")),
                    "0",
                    "{how:?} {mode:?} {key}"
                );
            }
        }
        let again = read(&origin(&from), how, &keys).await;
        assert_eq!(again.answers, vec![Answer::Absent; 3], "{how:?}");
    }
}
