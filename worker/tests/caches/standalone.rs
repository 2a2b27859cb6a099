//! A standalone Redis.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stoke_harness::{Redis, wait_for};
use stoke_worker::cache::{
    ExtendOutcome, FLUSH_BYTES_MAX, FailureKind, Presence, VALUE_BYTES_MAX, WriteMode, WriteOutcome,
};
use stoke_worker::permit::{Stopped, Unlimited};

use crate::cut::Cut;
use crate::permits::Watching;
use crate::{HOUR, all, connect, connect_impatiently, failure, item, items, present, probe};

#[tokio::test(flavor = "multi_thread")]
async fn any_bytes_are_written_and_found_with_their_ttl() {
    let redis = Redis::start().unwrap();
    let cache = connect(&[redis.url()]).await;
    assert!(!cache.is_cluster());
    let every_byte: Vec<u8> = (0..=255).collect();
    let written = [
        item("plain", "value"),
        item(every_byte.clone(), every_byte),
        item("line\r\nbreaks", "$-1\r\n+OK\r\n"),
        item("", ""),
    ];
    let outcomes = cache
        .write(&Unlimited, WriteMode::Add, &written)
        .await
        .unwrap();
    assert!(all(&outcomes, &WriteOutcome::Written), "{outcomes:?}");
    for presence in probe(&cache, &written).await {
        let Ok(Presence::Present { ttl: Some(ttl) }) = presence else {
            panic!("{presence:?}");
        };
        assert!(ttl <= HOUR && ttl > HOUR / 2, "{ttl:?}");
    }
    let hex = |name| {
        redis
            .cli(&["EVAL", &format!("return redis.sha1hex({name})"), "0"])
            .unwrap()
    };
    let of_all_bytes = "local s = '' for i = 0, 255 do s = s .. string.char(i) end ";
    let there = format!("(function() {of_all_bytes} return redis.call('GET', s) end)()");
    let wanted = format!("(function() {of_all_bytes} return s end)()");
    assert_eq!(hex(there.as_str()), hex(wanted.as_str()));
    assert_eq!(redis.cli(&["GET", "plain"]).unwrap(), "value");
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_tells_missing_keys_and_those_that_never_expire() {
    let redis = Redis::start().unwrap();
    redis.cli(&["SET", "eternal", "1"]).unwrap();
    let cache = connect(&[redis.url()]).await;
    let presences = cache.probe(&[b"missing", b"eternal"]).await;
    assert_eq!(
        presences,
        [Ok(Presence::Missing), Ok(Presence::Present { ttl: None })]
    );
    assert_eq!(cache.probe(&[]).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_overwrite_overwrites_what_the_application_wrote() {
    let redis = Redis::start().unwrap();
    let cache = connect(&[redis.url()]).await;
    for (mode, outcome, value) in [
        (WriteMode::Add, WriteOutcome::Kept, "fresh"),
        (WriteMode::Refresh, WriteOutcome::Kept, "fresh"),
        (WriteMode::Overwrite, WriteOutcome::Written, "warmed"),
    ] {
        redis.cli(&["SET", "theirs", "fresh"]).unwrap();
        redis.cli(&["DEL", "ours"]).unwrap();
        let both = [item("theirs", "warmed"), item("ours", "warmed")];
        let outcomes = cache.write(&Unlimited, mode, &both).await.unwrap();
        assert_eq!(outcomes, [outcome, WriteOutcome::Written], "{mode:?}");
        assert_eq!(redis.cli(&["GET", "theirs"]).unwrap(), value, "{mode:?}");
        assert_eq!(redis.cli(&["GET", "ours"]).unwrap(), "warmed", "{mode:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn extend_gives_present_keys_a_new_ttl_and_makes_none() {
    let redis = Redis::start().unwrap();
    redis.cli(&["SET", "short", "fresh", "EX", "60"]).unwrap();
    let cache = connect(&[redis.url()]).await;
    let keys = [("short", HOUR), ("gone", HOUR)].map(|(key, ttl)| (Bytes::from(key), ttl));
    let outcomes = cache.extend(&Unlimited, &keys).await.unwrap();
    assert_eq!(outcomes, [ExtendOutcome::Extended, ExtendOutcome::Gone]);
    let presences = cache.probe(&[b"short", b"gone"]).await;
    let Ok(Presence::Present { ttl: Some(ttl) }) = presences[0] else {
        panic!("{presences:?}");
    };
    assert!(ttl > HOUR / 2, "{ttl:?}");
    assert_eq!(presences[1], Ok(Presence::Missing));
    assert_eq!(redis.cli(&["GET", "short"]).unwrap(), "fresh");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_flush_passes_the_permit_with_its_commands_within_the_limits() {
    let redis = Redis::start().unwrap();
    let cache = connect(&[redis.url()]).await;
    let permit = Watching::new(|_| Ok(()));
    let many = items("many", 1201);
    let outcomes = cache.write(&permit, WriteMode::Add, &many).await.unwrap();
    assert!(all(&outcomes, &WriteOutcome::Written));
    assert_eq!(permit.passes(), [500, 500, 201]);

    let permit = Watching::new(|_| Ok(()));
    let third = vec![7; FLUSH_BYTES_MAX * 3 / 10];
    let large: Vec<_> = (0..8)
        .map(|n| item(format!("large:{n}"), third.clone()))
        .collect();
    let outcomes = cache.write(&permit, WriteMode::Add, &large).await.unwrap();
    assert!(all(&outcomes, &WriteOutcome::Written));
    assert_eq!(permit.passes(), [3, 3, 2]);

    let permit = Watching::new(|_| Ok(()));
    let keys: Vec<_> = many.iter().map(|item| (item.key.clone(), HOUR)).collect();
    cache.extend(&permit, &keys).await.unwrap();
    assert_eq!(permit.passes(), [500, 500, 201]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_once_the_permit_says_stop() {
    let redis = Redis::start().unwrap();
    let cache = connect(&[redis.url()]).await;
    let permit = Watching::new(|before| if before < 2 { Ok(()) } else { Err(Stopped) });
    let many = items("many", 5000);
    assert_eq!(
        cache.write(&permit, WriteMode::Add, &many).await,
        Err(Stopped)
    );
    assert_eq!(permit.passes().len(), 3);
    assert_eq!(redis.cli(&["DBSIZE"]).unwrap(), "1000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_broke_is_made_again() {
    let redis = Redis::start().unwrap();
    let cache = connect(&[redis.url()]).await;
    let permit = Watching::new(|before| {
        if before == 0 {
            redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]).unwrap();
        }
        Ok(())
    });
    let few = items("few", 10);
    let outcomes = cache.write(&permit, WriteMode::Add, &few).await.unwrap();
    assert!(all(&outcomes, &WriteOutcome::Written), "{outcomes:?}");
    assert_eq!(
        permit.passes(),
        [10, 10],
        "what is sent again takes tokens again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_our_own_whose_answer_was_lost_counts_as_kept() {
    let redis = Redis::start().unwrap();
    let cut = Cut::before(redis.port()).await;
    let cache = connect(&[cut.url()]).await;
    // The connection is there before the permit is passed, so the answer that is swallowed is that of the flush.
    let permit = Watching::new(|before| {
        if before == 0 {
            cut.arm();
        }
        Ok(())
    });
    let few = items("few", 10);
    let outcomes = cache.write(&permit, WriteMode::Add, &few).await.unwrap();
    assert!(!cut.is_armed(), "an answer was swallowed");
    assert!(all(&outcomes, &WriteOutcome::Kept), "{outcomes:?}");
    assert_eq!(redis.cli(&["GET", "few:3"]).unwrap(), "few:3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_fails_the_commands_for_now() {
    let redis = Redis::start().unwrap();
    let cache = connect_impatiently(&[redis.url()]).await;
    redis.stop().unwrap();
    let few = items("few", 10);
    let outcomes = cache.write(&Unlimited, WriteMode::Add, &few).await.unwrap();
    for outcome in &outcomes {
        let error = failure(outcome).unwrap();
        assert_eq!(error.kind, FailureKind::Unreachable);
        assert!(error.is_transient());
    }
    redis.cont().unwrap();
    cache
        .write(&Unlimited, WriteMode::Overwrite, &few)
        .await
        .unwrap();
    assert_eq!(present(&cache, &few).await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_replica_is_written_once_it_is_promoted() {
    let primary = Redis::start().unwrap();
    let replica = Redis::start().unwrap();
    let port = primary.port().to_string();
    replica.cli(&["REPLICAOF", "127.0.0.1", &port]).unwrap();
    wait_for("the replica's link", Duration::from_secs(60), || {
        let info = replica.cli(&["INFO", "replication"])?;
        anyhow::ensure!(info.contains("master_link_status:up"), "{info}");
        Ok(())
    })
    .unwrap();
    let cache = connect_impatiently(&[replica.url()]).await;
    let few = items("few", 10);

    let outcomes = cache.write(&Unlimited, WriteMode::Add, &few).await.unwrap();
    for outcome in &outcomes {
        let error = failure(outcome).unwrap();
        assert_eq!(error.kind, FailureKind::Unavailable);
        assert!(error.is_transient());
        assert!(error.reason.contains("READONLY"), "{}", error.reason);
    }

    let permit = Watching::new(|before| {
        if before == 1 {
            replica.cli(&["REPLICAOF", "NO", "ONE"]).unwrap();
        }
        Ok(())
    });
    let outcomes = cache.write(&permit, WriteMode::Add, &few).await.unwrap();
    assert!(all(&outcomes, &WriteOutcome::Written), "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_too_large_for_redis_is_not_sent() {
    let redis = Redis::start().unwrap();
    let cache = connect(&[redis.url()]).await;
    let permit = Watching::new(|_| Ok(()));
    let both = [
        item("large", vec![0; VALUE_BYTES_MAX + 1]),
        item("small", "value"),
    ];
    let outcomes = cache.write(&permit, WriteMode::Add, &both).await.unwrap();
    assert_eq!(failure(&outcomes[0]).unwrap().kind, FailureKind::TooLarge);
    assert_eq!(outcomes[1], WriteOutcome::Written);
    assert_eq!(permit.passes(), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_changed_fails_the_commands_for_good() {
    let redis = Redis::start().unwrap();
    redis
        .cli(&["ACL", "SETUSER", "warm", "on", ">s3cret", "~*", "+@all"])
        .unwrap();
    let cache = connect(&[format!("redis://warm:s3cret@127.0.0.1:{}", redis.port())]).await;
    redis
        .cli(&["ACL", "SETUSER", "warm", "resetpass", ">changed"])
        .unwrap();
    redis.cli(&["CLIENT", "KILL", "USER", "warm"]).unwrap();
    let outcomes = cache
        .write(&Unlimited, WriteMode::Add, &items("few", 2))
        .await
        .unwrap();
    for outcome in &outcomes {
        let error = failure(outcome).unwrap();
        assert_eq!(error.kind, FailureKind::Denied);
        assert!(!error.is_transient());
        assert!(!error.reason.contains("s3cret"), "{}", error.reason);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_refused_costs_no_other_of_its_flush() {
    let redis = Redis::start().unwrap();
    let ours_only = [
        "ACL", "SETUSER", "warm", "on", ">s3cret", "~ours:*", "+@all",
    ];
    redis.cli(&ours_only).unwrap();
    let cache = connect(&[format!("redis://warm:s3cret@127.0.0.1:{}", redis.port())]).await;
    let three = ["ours:1", "theirs", "ours:2"].map(|key| item(key, "v"));
    let permit = Watching::new(|_| Ok(()));
    let outcomes = cache.write(&permit, WriteMode::Add, &three).await.unwrap();
    assert_eq!(
        permit.passes(),
        [3],
        "one flush, and nothing was sent again"
    );
    assert_eq!(outcomes[0], WriteOutcome::Written);
    assert_eq!(failure(&outcomes[1]).unwrap().kind, FailureKind::Denied);
    assert_eq!(outcomes[2], WriteOutcome::Written);
    let presences = probe(&cache, &three).await;
    assert_eq!(presences[1].as_ref().unwrap_err().kind, FailureKind::Denied);
    assert!(matches!(presences[2], Ok(Presence::Present { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_share_a_connection_and_keep_their_answers_apart() {
    let redis = Redis::start().unwrap();
    let cache = Arc::new(connect(&[redis.url()]).await);
    redis.cli(&["SET", "call 3:5", "fresh"]).unwrap();
    let calls: Vec<_> = (0..8)
        .map(|call| {
            let cache = Arc::clone(&cache);
            let own = items(&format!("call {call}"), 700);
            tokio::spawn(
                async move { cache.write(&Unlimited, WriteMode::Add, &own).await.unwrap() },
            )
        })
        .collect();
    let mut kept = Vec::new();
    for (call, outcomes) in calls.into_iter().enumerate() {
        for (number, outcome) in outcomes.await.unwrap().into_iter().enumerate() {
            match outcome {
                WriteOutcome::Written => {}
                WriteOutcome::Kept => kept.push((call, number)),
                WriteOutcome::Failed(error) => panic!("{error}"),
            }
        }
    }
    assert_eq!(kept, [(3, 5)]);
    let clients = redis.cli(&["CLIENT", "LIST", "TYPE", "normal"]).unwrap();
    let ours = clients
        .lines()
        .filter(|client| !client.contains("cmd=client"))
        .count();
    assert_eq!(ours, 1, "{clients}");
}
