//! Every type is copied as it is.

use super::*;

/// Fills a Redis with keys of every type; their names.
fn fill(redis: &Redis) -> Vec<&'static str> {
    for line in [
        "SET string plain",
        "SET number 12345",
        "HSET hash a 1 b two",
        "RPUSH list x y x",
        "SADD set one two three",
        "SADD numbers 1 2 3",
        "ZADD sorted 1.5 a -inf b 1e300 c",
        "XADD stream 1-1 field value",
        "PFADD hyperloglog a b c",
        "SETBIT bits 7 1",
        "GEOADD places 13.4 52.5 Berlin",
    ] {
        cli(redis, line);
    }
    // More than one piece of each.
    let many = |command: &str, each: fn(u32) -> Vec<String>| {
        let mut line: Vec<String> = vec![command.to_owned(), format!("large-{command}")];
        line.extend((0..1700).flat_map(each));
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        redis.cli(&line).unwrap();
    };
    many("RPUSH", |n| vec![format!("element {n}")]);
    many("SADD", |n| vec![format!("member {n}")]);
    many("HSET", |n| vec![format!("field {n}"), format!("value {n}")]);
    many("ZADD", |n| vec![format!("{n}.25"), format!("member {n}")]);
    redis.cli(&["SET", "empty", ""]).unwrap();
    vec![
        "string",
        "number",
        "hash",
        "list",
        "set",
        "numbers",
        "sorted",
        "hyperloglog",
        "bits",
        "places",
        "large-RPUSH",
        "large-SADD",
        "large-HSET",
        "large-ZADD",
        "empty",
        "stream",
    ]
}

/// What a key has, read by the commands of its type, in an order that depends on nothing else.
fn content(redis: &Redis, key: &str) -> Vec<String> {
    let kind = redis.cli(&["TYPE", key]).unwrap();
    let args: &[&str] = match kind.as_str() {
        "string" => &["GET", key],
        "hash" => &["HGETALL", key],
        "list" => &["LRANGE", key, "0", "-1"],
        "set" => &["SMEMBERS", key],
        "zset" => &["ZRANGE", key, "0", "-1", "WITHSCORES"],
        "stream" => &["XRANGE", key, "-", "+"],
        other => panic!("{key} is of type {other}"),
    };
    let said = redis.cli(args).unwrap();
    let mut lines: Vec<String> = said.lines().map(str::to_owned).collect();
    match kind.as_str() {
        "set" => lines.sort(),
        "hash" => {
            let mut pairs: Vec<String> = lines.chunks(2).map(|pair| pair.join("=")).collect();
            pairs.sort();
            lines = pairs;
        }
        _ => {}
    }
    lines.push(kind);
    lines
}

#[tokio::test]
async fn dump_copies_every_type() {
    let (from, to) = (Redis::start().unwrap(), Redis::start().unwrap());
    let keys = fill(&from);
    let outcomes = copy(&origin(&from), &cache(&to).await, How::Dump, &keys).await;
    assert_eq!(outcomes, vec![WriteOutcome::Written; keys.len()]);
    for key in keys {
        assert_eq!(content(&to, key), content(&from, key), "{key}");
    }
}

#[tokio::test]
async fn what_has_commands_of_its_type_is_copied_by_them_and_a_stream_says_that_it_has_none() {
    let (from, to) = (Redis::start().unwrap(), Redis::start().unwrap());
    let keys = fill(&from);
    let (from_origin, to_cache) = (origin(&from), cache(&to).await);
    let loaded = read(&from_origin, How::Typed, &keys).await;
    let (stream, others) = keys.split_last().unwrap();
    let why = reason(loaded.answers.last().unwrap());
    assert!(why.contains("type stream") && why.contains("dump"), "{why}");
    let items = items(others, &loaded, str::to_owned);
    let outcomes = write(&to_cache, WriteMode::Add, &items).await;
    assert_eq!(outcomes, vec![WriteOutcome::Written; others.len()]);
    for key in others {
        assert_eq!(content(&to, key), content(&from, key), "{key}");
    }
    assert_eq!(to.cli(&["EXISTS", stream]).unwrap(), "0");
}

#[tokio::test]
async fn a_typed_copy_stands_in_place_of_another_type_or_not_at_all() {
    let (from, to) = (Redis::start().unwrap(), Redis::start().unwrap());
    let keys = ["string", "hash", "list", "set", "sorted"];
    fill(&from);
    let to_cache = cache(&to).await;
    for key in keys {
        cli(&to, &format!("RPUSH {key} the application's"));
    }
    let loaded = read(&origin(&from), How::Typed, &keys).await;
    let items = items(&keys, &loaded, str::to_owned);
    let kept = write(&to_cache, WriteMode::Add, &items).await;
    assert_eq!(kept, vec![WriteOutcome::Kept; keys.len()]);
    for key in keys {
        assert!(content(&to, key).contains(&"application's".to_owned()));
    }
    let written = write(&to_cache, WriteMode::Overwrite, &items).await;
    assert_eq!(written, vec![WriteOutcome::Written; keys.len()]);
    for key in keys {
        assert_eq!(content(&to, key), content(&from, key), "{key}");
    }
}

#[tokio::test]
async fn what_is_larger_than_allowed_fails_alone() {
    let from = Redis::start().unwrap();
    fill(&from);
    for how in [How::Dump, How::Typed] {
        let small = LoaderSpec {
            max_value_bytes: 2_000,
            ..copying(how)
        };
        let keys = names(&["large-RPUSH", "large-HSET", "string"]);
        let loaded = origin(&from).copy(&Unlimited, &small, &keys).await.unwrap();
        for large in &loaded.answers[..2] {
            assert!(
                reason(large).contains("max-value-bytes"),
                "{how:?}: {large:?}"
            );
        }
        assert!(matches!(loaded.answers[2], Answer::Row(_)), "{how:?}");
    }
}
