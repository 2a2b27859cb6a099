//! Never more commands about keys than tokens: as the server counts them.

use super::*;

/// How many commands about keys the server has counted: those of the copying, and of SCAN.
fn commands(redis: &Redis) -> u64 {
    const COUNTED: [&str; 12] = [
        "dump",
        "pexpiretime",
        "pttl",
        "type",
        "get",
        "strlen",
        "hlen",
        "hscan",
        "llen",
        "lrange",
        "scan",
        "scard",
    ];
    let said = cli(redis, "INFO commandstats");
    let of = |line: &str| {
        let (name, stats) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let calls = stats.split(',').next()?.parse::<u64>().ok()?;
        COUNTED.contains(&name).then_some(calls)
    };
    said.lines().filter_map(of).sum()
}

#[tokio::test]
async fn every_command_about_keys_takes_a_token_and_is_counted_as_a_query() {
    let from = Redis::start().unwrap();
    let keys: Vec<String> = (0..700).map(|n| format!("key:{n}")).collect();
    for key in &keys {
        cli(&from, &format!("SET {key} value"));
    }
    cli(&from, "HSET hash a 1");
    cli(&from, "RPUSH list a");
    let mut keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    keys.extend(["hash", "list", "absent"]);
    for how in [How::Dump, How::Typed] {
        cli(&from, "CONFIG RESETSTAT");
        let (tokens, from_origin) = (Tokens::default(), origin(&from));
        let copied = from_origin
            .copy(&tokens, &copying(how), &names(&keys))
            .await;
        let counted = commands(&from);
        assert_eq!(tokens.taken(), counted, "{how:?}");
        assert_eq!(
            (copied.unwrap().queries, from_origin.queries()),
            (counted, counted)
        );
        assert!(counted >= 2 * keys.len() as u64 - 1, "{how:?}: {counted}");
    }
}

#[tokio::test]
async fn whoever_is_stopped_sends_nothing() {
    let from = Redis::start().unwrap();
    cli(&from, "SET key value");
    let (tokens, from_origin) = (Tokens::default(), origin(&from));
    from_origin.reach(&Unlimited).await.unwrap();
    cli(&from, "CONFIG RESETSTAT");
    tokens
        .stopped
        .store(true, std::sync::atomic::Ordering::Relaxed);
    let stopped = from_origin
        .copy(&tokens, &copying(How::Dump), &names(&["key"]))
        .await;
    assert!(stopped.unwrap_err().is_stopped());
    assert_eq!(commands(&from), 0);
}
