//! What servers do not take, or do not allow.

use super::*;

fn failure(outcome: &WriteOutcome) -> (FailureKind, &str) {
    match outcome {
        WriteOutcome::Failed(error) => (error.kind, &error.reason),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_there_is_kept_by_restore_and_overwritten_where_that_is_asked_for() {
    let (from, to) = (Redis::start().unwrap(), Redis::start().unwrap());
    cli(&from, "SET key theirs");
    cli(&to, "SET key ours");
    let loaded = read(&origin(&from), How::Dump, &["key"]).await;
    let items = items(&["key"], &loaded, str::to_owned);
    let to_cache = cache(&to).await;
    for mode in [WriteMode::Add, WriteMode::Refresh] {
        assert_eq!(write(&to_cache, mode, &items).await, [WriteOutcome::Kept]);
        assert_eq!(cli(&to, "GET key"), "ours");
    }
    assert_eq!(
        write(&to_cache, WriteMode::Overwrite, &items).await,
        [WriteOutcome::Written]
    );
    assert_eq!(cli(&to, "GET key"), "theirs");
}

#[tokio::test]
async fn a_payload_that_the_server_does_not_take_is_told_from_other_refusals() {
    let (from, to) = (Redis::start().unwrap(), Redis::start().unwrap());
    cli(&from, "SET key value");
    let loaded = read(&origin(&from), How::Dump, &["key"]).await;
    let mut items = items(&["key"], &loaded, str::to_owned);
    let Value::Copied(copied) = &mut items[0].value else {
        panic!("a copy");
    };
    let stoke_worker::cache::Content::Dump(payload) = &mut copied.content else {
        panic!("a dump");
    };
    // Ten bytes from its end stands the format's version: no server knows this one.
    let mut newer = payload.to_vec();
    let version = newer.len() - 10;
    newer[version] = 0xff;
    *payload = newer.into();
    let outcomes = write(&cache(&to).await, WriteMode::Add, &items).await;
    let (kind, why) = failure(&outcomes[0]);
    assert_eq!(kind, FailureKind::Payload, "{why}");
    assert!(
        why.contains("DUMP payload version or checksum are wrong"),
        "{why}"
    );
    // A Redis that has no RESTORE at all is as good.
    let without = Redis::start_with(&[("rename-command", "RESTORE \"\"")]).unwrap();
    let outcomes = write(&cache(&without).await, WriteMode::Add, &items).await;
    assert_eq!(failure(&outcomes[0]).0, FailureKind::Payload);
}

#[tokio::test]
async fn a_user_who_may_not_dump_is_told_so_before_anything_is_copied() {
    let from = Redis::start().unwrap();
    cli(&from, "SET app:key value");
    cli(&from, "ACL SETUSER copier on >secret ~app:* +@all -dump");
    let url = format!("redis://copier:secret@127.0.0.1:{}", from.port());
    let denied = origin_at(std::slice::from_ref(&url));
    let error = denied
        .prepare(&Unlimited, &copying(How::Auto))
        .await
        .unwrap_err();
    let said = error.explain();
    assert!(said.contains("dump") && said.contains("NOPERM"), "{said}");
    assert!(!error.is_transient() && !said.contains("secret"), "{said}");
    cli(
        &from,
        "ACL SETUSER untold on >secret ~app:* +@all -pexpiretime",
    );
    let untold = origin_at(&[url.replace("copier", "untold")]);
    let error = untold.prepare(&Unlimited, &copying(How::Auto)).await;
    let said = error.unwrap_err().explain();
    assert!(said.contains("pexpiretime"), "{said}");
    let loaded = denied
        .copy(&Unlimited, &copying(How::Auto), &names(&["app:key"]))
        .await
        .unwrap();
    assert!(reason(&loaded.answers[0]).contains("NOPERM"));
    // Its own keys are all that it must be allowed.
    let typed = copying(How::Typed);
    denied.prepare(&Unlimited, &typed).await.unwrap();
    let loaded = denied
        .copy(&Unlimited, &typed, &names(&["app:key"]))
        .await
        .unwrap();
    assert!(matches!(loaded.answers[0], Answer::Row(_)), "{loaded:?}");
}

#[tokio::test]
async fn where_the_origin_has_no_dump_auto_copies_by_type() {
    let old = [("rename-command", "DUMP \"\"")];
    let (from, to) = (Redis::start_with(&old).unwrap(), Redis::start().unwrap());
    cli(&from, "SET key value");
    let outcomes = copy(&origin(&from), &cache(&to).await, How::Auto, &["key"]).await;
    assert_eq!(outcomes, [WriteOutcome::Written]);
    assert_eq!(cli(&to, "GET key"), "value");
    let loaded = read(&origin(&from), How::Dump, &["key"]).await;
    assert!(reason(&loaded.answers[0]).contains("unknown command"));
}

#[tokio::test]
async fn a_redis_is_asked_nothing_in_sql_and_a_loader_with_a_query_is_refused() {
    let from = Redis::start().unwrap();
    let from_origin = origin(&from);
    let sql = loader("SELECT * FROM t WHERE id IN (:keys)");
    let error = from_origin.prepare(&Unlimited, &sql).await.unwrap_err();
    assert!(
        error.explain().contains("knows no SQL"),
        "{}",
        error.explain()
    );
    let probe = from_origin
        .probe(&Unlimited, "SELECT 1", Duration::from_secs(1))
        .await;
    assert!(probe.unwrap_err().explain().contains("knows no SQL"));
    from_origin.canary(&Unlimited, "").await.unwrap();
    from_origin.reach(&Unlimited).await.unwrap();
    from.kill().unwrap();
    let error = from_origin
        .copy(&Unlimited, &copying(How::Auto), &names(&["a"]))
        .await
        .unwrap_err();
    assert!(
        error.is_outage() && error.is_transient(),
        "{}",
        error.explain()
    );
}
