//! Which keys there are.

use stoke_core::job::OnBadLine;
use stoke_core::template::Template;
use stoke_core::units::Priority;
use stoke_worker::origin::OriginError;
use stoke_worker::source::{Gathered, Rules, SourceRow};
use tokio::sync::mpsc;

use super::*;

/// What a scan gives: cache keys with the whole keys, in order, each once.
pub(super) async fn scan(
    origin: &Origin,
    pattern: &str,
    template: &str,
    on_bad_line: OnBadLine,
) -> Result<(Vec<(Vec<u8>, String)>, Gathered), String> {
    let rules = Rules {
        copies: true,
        ..rules(template, on_bad_line)
    };
    scan_for(origin, pattern, &rules).await
}

/// Rules of a database's loader.
pub(crate) fn rules(template: &str, on_bad_line: OnBadLine) -> Rules {
    Rules {
        on_bad_line,
        template: Some(("load".parse().unwrap(), Template::parse(template).unwrap())),
        ..Rules::default()
    }
}

/// What is sent while a source is read: cache key, key, and thousandths of the priority, in their order.
pub(crate) async fn taken(
    read: impl AsyncFnOnce(mpsc::Sender<Vec<SourceRow>>) -> Result<Gathered, OriginError>,
) -> Result<(Vec<(String, String, u64)>, Gathered), String> {
    let (sink, mut chunks) = mpsc::channel::<Vec<SourceRow>>(4);
    let taking = async move {
        let mut rows = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            rows.extend(chunk.into_iter().map(|row| {
                let milli = Priority::as_milli(row.priority);
                let (cache_key, key) = row.into_keys();
                (String::from_utf8(cache_key).unwrap(), key, milli)
            }));
        }
        rows.sort();
        rows
    };
    let (read, rows) = tokio::join!(read(sink), taking);
    Ok((rows, read.map_err(|error| error.explain())?))
}

async fn scan_for(
    origin: &Origin,
    pattern: &str,
    rules: &Rules,
) -> Result<(Vec<(Vec<u8>, String)>, Gathered), String> {
    let (sink, mut chunks) = mpsc::channel::<Vec<SourceRow>>(4);
    let taking = async move {
        let mut rows = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            rows.extend(
                chunk
                    .iter()
                    .map(|row| (row.cache_key.clone(), row.key().to_owned())),
            );
        }
        rows.sort();
        rows.dedup();
        rows
    };
    let pattern = pattern.parse().unwrap();
    let scanning = origin.scan(&Unlimited, &pattern, 100, rules, sink);
    let (scanned, rows) = tokio::join!(scanning, taking);
    Ok((rows, scanned.map_err(|error| error.explain())?))
}

#[tokio::test]
async fn keys_are_found_on_every_master_and_renamed_by_their_parts() {
    let cluster = RedisCluster::start(3).unwrap();
    for n in 0..300 {
        let key = format!("old:{n}:v1");
        cluster
            .cli(cluster.ports()[0], &["-c", "SET", &key, "v"])
            .unwrap();
    }
    cluster
        .cli(cluster.ports()[0], &["-c", "SET", "old:x:v2", "v"])
        .unwrap();
    let from = origin_at(&cluster.urls()[..1]);
    let (found, gathered) = scan(&from, "old:{id}:v1", "v2:{id}", OnBadLine::Fail)
        .await
        .unwrap();
    assert_eq!((found.len(), gathered.rows), (300, 300));
    let pair = (b"v2:7".to_vec(), "old:7:v1".to_owned());
    assert!(found.contains(&pair));
    let (found, _) = scan(&from, "old:*:v2", "{key}", OnBadLine::Fail)
        .await
        .unwrap();
    assert_eq!(found, [(b"old:x:v2".to_vec(), "old:x:v2".to_owned())]);
}

#[tokio::test]
async fn keys_that_are_no_text_keep_their_names_or_are_bad_lines() {
    let from = Redis::start().unwrap();
    cli(&from, "SET old:text v");
    let mut connection = redis::Client::open(from.url())
        .unwrap()
        .get_connection()
        .unwrap();
    let binary = b"old:\xff\x00".to_vec();
    redis::cmd("SET")
        .arg(&binary)
        .arg("bytes")
        .exec(&mut connection)
        .unwrap();
    let from_origin = origin(&from);
    let (found, _) = scan(&from_origin, "old:*", "{key}", OnBadLine::Fail)
        .await
        .unwrap();
    // Its cache key says which it is.
    assert_eq!(found[1], (binary.clone(), String::new()));
    let copied = from_origin
        .copy(&Unlimited, &copying(How::Dump), &[binary.into()])
        .await;
    assert!(matches!(copied.unwrap().answers[0], Answer::Row(_)));
    let refused = scan(&from_origin, "old:{id}", "v2:{id}", OnBadLine::Fail)
        .await
        .unwrap_err();
    assert!(
        refused.contains("not UTF-8") && refused.contains("own names"),
        "{refused}"
    );
    let (found, gathered) = scan(&from_origin, "old:{id}", "v2:{id}", OnBadLine::Skip)
        .await
        .unwrap();
    assert_eq!((found.len(), gathered.bad_lines), (1, 1));
    redis::cmd("SET")
        .arg("")
        .arg("nameless")
        .exec(&mut connection)
        .unwrap();
    let refused = scan(&from_origin, "*", "{key}", OnBadLine::Fail)
        .await
        .unwrap_err();
    assert!(refused.contains("the key is empty"), "{refused}");
    let missing = scan(&from_origin, "old:*", "v2:{id}", OnBadLine::Skip)
        .await
        .unwrap_err();
    assert!(missing.contains("names the column \"id\""), "{missing}");
}

#[tokio::test]
async fn a_databases_loader_is_given_the_part_of_each_key_that_it_compares() {
    let from = Redis::start().unwrap();
    cli(
        &from,
        "MSET product:7 a product:8 b cart:7 c product:de:9 d",
    );
    let from = origin(&from);
    let of_database = rules("product:{id}", OnBadLine::Fail);
    let (found, _) = scan_for(&from, "product:{id}", &of_database).await.unwrap();
    let pair = |key: &str, id: &str| (key.as_bytes().to_vec(), id.to_owned());
    let expected = [
        ("product:7", "7"),
        ("product:8", "8"),
        ("product:de:9", "de:9"),
    ];
    assert_eq!(found, expected.map(|(key, id)| pair(key, id)));
    let of_parts = Rules {
        key_parts: vec!["lang".into(), "id".into()],
        ..rules("product:{lang}:{id}", OnBadLine::Fail)
    };
    let (found, _) = scan_for(&from, "product:{lang}:{id}", &of_parts)
        .await
        .unwrap();
    assert_eq!(found, [pair("product:de:9", r#"["de","9"]"#)]);
    let unclear = scan_for(&from, "product:{lang}:{id}", &of_database).await;
    assert!(
        unclear
            .unwrap_err()
            .contains("which of the pattern's names")
    );
}
