//! Objects of a store in memory, read as workers read them.

use std::io::Read;

use object_store::memory::InMemory;
use object_store::{ObjectStoreExt, PutPayload};
use stoke_core::place::ObjectUrl;
use tokio::sync::mpsc;

use super::matching::found;
use super::stream::PART_BYTES;
use super::*;
use crate::source::SourceRow;

async fn stored(objects: &[(&str, Vec<u8>)]) -> Arc<InMemory> {
    let store = Arc::new(InMemory::new());
    for (key, content) in objects {
        let payload = PutPayload::from(content.clone());
        store.put(&Path::from(*key), payload).await.unwrap();
    }
    store
}

/// Does something with an object as a blocking task does.
async fn with<T: Send + 'static>(
    store: Arc<InMemory>,
    key: &'static str,
    work: impl FnOnce(io::Result<Object>) -> T + Send + 'static,
) -> (T, mpsc::Receiver<Vec<SourceRow>>) {
    let (sink, rows) = mpsc::channel(1);
    let done = tokio::task::spawn_blocking(move || work(Object::of(store, Path::from(key), &sink)));
    (done.await.unwrap(), rows)
}

fn content(bytes: u64) -> Vec<u8> {
    (0..bytes).map(|n| (n % 251) as u8).collect()
}

#[tokio::test]
async fn an_object_of_any_length_is_read_whole() {
    for length in [0, 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES + 77] {
        let store = stored(&[("a/keys.csv", content(length))]).await;
        let (read, _rows) = with(store, "a/keys.csv", |object| {
            let mut read = Vec::new();
            object
                .unwrap()
                .stream()
                .read_to_end(&mut read)
                .map(|_| read)
        })
        .await;
        assert!(read.unwrap() == content(length), "{length}");
    }
}

#[tokio::test]
async fn an_object_that_is_replaced_while_it_is_read_is_an_error_and_never_a_mixture() {
    let store = stored(&[("a", content(3 * PART_BYTES))]).await;
    let replaced = Arc::clone(&store);
    let (read, _rows) = with(store, "a", move |object| {
        let mut stream = object.unwrap().stream();
        stream.read_exact(&mut [0; 10]).unwrap();
        let other = PutPayload::from(vec![0; 3 * PART_BYTES as usize]);
        let path = Path::from("a");
        Handle::current()
            .block_on(replaced.put(&path, other))
            .unwrap();
        stream.read_to_end(&mut Vec::new())
    })
    .await;
    let error = read.unwrap_err().to_string();
    assert!(error.contains("was replaced"), "{error}");
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let (opened, _rows) = with(stored(&[]).await, "a", |object| object.map(drop)).await;
    let error = opened.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(error.to_string().contains("no such object"), "{error}");
}

#[tokio::test]
async fn where_nobody_takes_the_rows_a_store_that_does_not_answer_is_not_waited_for() {
    let (sink, rows) = mpsc::channel(1);
    let waiting = tokio::task::spawn_blocking(move || {
        wait(
            &Handle::current(),
            &sink,
            std::future::pending::<Result<(), Error>>(),
        )
    });
    drop(rows);
    assert!(waiting.await.unwrap().is_err());
}

#[tokio::test]
async fn a_pattern_finds_objects_by_their_names_each_once_and_in_order() {
    let keys = [
        "logs/access.log",
        "logs/access.log.10",
        "logs/access.log.2",
        "logs/error.log",
        "logs/old/access.log",
        "logs2/access.log",
        "logs/a b.log",
        "top",
    ];
    let store = stored(&keys.map(|key| (key, vec![]))).await;
    for (folder, pattern, expected) in [
        (
            "logs",
            "logs/access.log*",
            &["logs/access.log", "logs/access.log.10", "logs/access.log.2"][..],
        ),
        (
            "",
            "log*/access.log",
            &["logs/access.log", "logs2/access.log"],
        ),
        (
            "logs",
            "logs/**/access.log",
            &["logs/access.log", "logs/old/access.log"],
        ),
        ("logs", "logs/a%20b.lo?", &["logs/a b.log"]),
        ("", "*", &["top"]),
        ("none", "none/*", &[]),
    ] {
        let found = found(folder, pattern, &*store).await.unwrap();
        assert_eq!(Vec::from_iter(found), expected, "{pattern}");
    }
    assert!(found("", "a***", &*store).await.is_err());
}

#[tokio::test]
async fn a_server_lists_nothing_and_a_name_without_wildcards_is_its_own() {
    let (sink, _rows) = mpsc::channel(1);
    let url = |text| ObjectUrl::of(text).unwrap().unwrap();
    assert_eq!(
        matching(&url("s3://bucket/a%20b"), &sink).unwrap(),
        ["s3://bucket/a%20b"]
    );
    let error = matching(&url("https://host/a*"), &sink).unwrap_err();
    assert!(error.to_string().contains("name each"), "{error}");
}

#[test]
fn a_store_is_told_by_its_url_and_needs_no_network_to_be_known() {
    for (text, key) in [
        ("s3://bucket/a/b%20c?.csv", "a/b c?.csv"),
        ("gs://bucket/a#1", "a#1"),
        ("http://localhost:1/a.csv", "a.csv"),
    ] {
        let url = ObjectUrl::of(text).unwrap().unwrap();
        // Some stores are not built without credentials; that is said elsewhere.
        match store(&url) {
            Ok((_, path)) => assert_eq!(path.as_ref(), key),
            Err(error) => panic!("{text}: {error}"),
        }
    }
}

#[test]
fn what_stands_behind_a_question_mark_is_not_repeated() {
    for (text, kept) in [
        (
            "GET https://a/b?sig=SECRET failed",
            "GET https://a/b failed",
        ),
        (
            "(https://a/b?SECRET) and 'c?SECRET'",
            "(https://a/b) and 'c'",
        ),
        ("none", "none"),
        ("at the end?SECRET", "at the end"),
    ] {
        assert_eq!(without_queries(text), kept);
    }
}

#[cfg(feature = "parquet")]
#[tokio::test]
async fn ranges_are_read_right_across_the_blocks_that_are_kept() {
    use ::parquet::file::reader::{ChunkReader, Length};

    let length = (3 << 20) + 5;
    let store = stored(&[("a", content(length))]).await;
    let (done, _rows) = with(store, "a", move |object| {
        let ranged = Ranged::new(object.unwrap());
        let all = content(length);
        assert_eq!(Length::len(&ranged), length);
        for (start, bytes) in [
            (0, 10),
            ((1 << 20) - 3, 6),
            (5, 2 << 20),
            (9, 1 << 20),
            (length - 4, 4),
            (7, 0),
        ] {
            let found = ranged.get_bytes(start, bytes).unwrap();
            let start = start as usize;
            assert!(found == all[start..start + bytes], "{start} {bytes}");
        }
        assert!(ranged.get_bytes(length - 4, 5).is_err());
        let mut rest = Vec::new();
        ranged
            .get_read(length - 9)
            .unwrap()
            .read_to_end(&mut rest)
            .unwrap();
        assert!(rest == all[all.len() - 9..]);
    })
    .await;
    done
}

/// A server of one file, which knows ranges or does not.
async fn server(content: Vec<u8>, knows_ranges: bool) -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(client.read_u8().await.unwrap());
            }
            let asked = String::from_utf8(asked).unwrap().to_ascii_lowercase();
            let range = asked.split_once("range: bytes=").filter(|_| knows_ranges);
            let range = range.and_then(|(_, range)| range.lines().next()?.split_once('-'));
            let (status, start, end) = match range {
                Some((first, last)) => {
                    let last: usize = last.parse().unwrap();
                    ("206 Partial Content", first.parse().unwrap(), last + 1)
                }
                None => ("200 OK", 0, content.len()),
            };
            let (part, length) = (&content[start..end], content.len());
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{}/{length}\r\n\
                 Last-Modified: Sat, 28 Nov 2026 00:00:00 GMT\r\nETag: \"1\"\r\nConnection: close\r\n\r\n",
                part.len(),
                end - 1,
            );
            client.write_all(head.as_bytes()).await.unwrap();
            if !asked.starts_with("head") {
                client.write_all(part).await.unwrap();
            }
        }
    });
    address
}

#[tokio::test]
async fn a_file_of_a_server_is_read_in_ranges_and_one_that_knows_none_is_told() {
    for knows_ranges in [true, false] {
        let all = content(PART_BYTES + 9);
        let address = server(all.clone(), knows_ranges).await;
        let (sink, _rows) = mpsc::channel(1);
        let reading = tokio::task::spawn_blocking(move || {
            let url = format!("http://{address}/a.csv");
            let url = ObjectUrl::of(&url).unwrap().unwrap();
            let mut read = Vec::new();
            let mut stream = Object::open(&url, &sink)?.stream();
            stream.read_to_end(&mut read).map(|_| read)
        });
        match reading.await.unwrap() {
            Ok(read) => assert!(knows_ranges && read == all),
            Err(error) => {
                let error = error.to_string();
                assert!(!knows_ranges && error.contains("serve ranges"), "{error}");
            }
        }
    }
}
