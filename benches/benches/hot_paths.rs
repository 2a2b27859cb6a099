//! What each key passes through on its way into a cache, each alone: its hash slot, its entry out of the plan's stream, its row
//! into JSON, its command into Redis' protocol. `make hot-paths` measures, and says what has changed since last time.
#![allow(missing_docs, reason = "Criterion's macros make what would need them")]

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use prost::Message;
use sqlx::Type;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgTypeInfo, Postgres};
use stoke_core::slot::Slot;
use stoke_proto::v1::{Encoding, EntryBatch, Segment};
use stoke_worker::doors::{self, PostgresColumns};

/// How many keys are in a batch of each kind.
const KEYS: u32 = 1_000;
/// How many entries of a full band fall into one partition of 256.
const ENTRIES_OF_A_PARTITION: u64 = 512;

fn keys() -> Vec<String> {
    (0..KEYS)
        .map(|n| format!("product:{}", n * 7_919))
        .collect()
}

fn hash_slot(criterion: &mut Criterion) {
    let keys = keys();
    let mut group = criterion.benchmark_group("hash slot");
    group.throughput(Throughput::Elements(KEYS.into()));
    group.bench_function("of 1,000 keys", |bencher| {
        bencher.iter(|| {
            keys.iter()
                .fold(0, |sum, key| sum ^ Slot::of(black_box(key.as_bytes())).0)
        });
    });
    group.finish();
}

/// A product, as PostgreSQL sends it: a row of some 350 bytes.
fn row_to_json(criterion: &mut Criterion) {
    let oid = |oid| PgTypeInfo::with_oid(Oid(oid));
    let columns = [
        ("id", oid(20)),
        ("name", oid(25)),
        ("description", oid(25)),
        ("price", oid(1700)),
        ("stock", oid(23)),
        ("updated_at", oid(1184)),
        ("tags", <Vec<String> as Type<Postgres>>::type_info()),
        ("views", oid(20)),
    ];
    let columns = PostgresColumns::new(&columns).expect("all have a form in JSON");
    let description = "A sturdy lamp made of oak, one of the things that our customers come back for. It is packed without plastic, \
                       leaves our own storehouse within a day, and can be sent back for thirty days. Article \
                       c4ca4238a0b923820dcc509a6f75849b.";
    // Two digits of the base 10,000, the first of weight 0, two digits behind the point: 123.99.
    let price = [2_i16, 0, 0, 2, 123, 9_900].map(i16::to_be_bytes).concat();
    let values: [&[u8]; 8] = [
        &424_242_i64.to_be_bytes(),
        b"sturdy oak lamp",
        description.as_bytes(),
        &price,
        &77_i32.to_be_bytes(),
        &820_000_000_000_000_i64.to_be_bytes(),
        &text_array(&["sturdy", "oak", "lamp", "shelf-424"]),
        &2_357_i64.to_be_bytes(),
    ];
    let values = values.map(Some);
    let mut json = Vec::new();
    assert!(
        columns.write(&values, &mut json),
        "the row cannot be written"
    );
    let said = String::from_utf8_lossy(&json);
    for part in [
        r#""price":123.99"#,
        r#""updated_at":"2025-12-25T"#,
        r#""tags":["sturdy","oak","#,
    ] {
        assert!(said.contains(part), "{said} has no {part}");
    }
    let mut group = criterion.benchmark_group("row to JSON");
    group.throughput(Throughput::Elements(1));
    group.bench_function("a product", |bencher| {
        bencher.iter(|| columns.write(black_box(&values), &mut json));
    });
    group.finish();
}

/// One dimension, no NULL, elements of type text, as many as there are, counted from 1; each with its length.
fn text_array(texts: &[&str]) -> Vec<u8> {
    let length = |length: usize| i32::try_from(length).unwrap_or(i32::MAX);
    let head = [1, 0, 25, length(texts.len()), 1]
        .map(i32::to_be_bytes)
        .concat();
    let elements = texts
        .iter()
        .flat_map(|text| [&length(text.len()).to_be_bytes(), text.as_bytes()].concat());
    head.into_iter().chain(elements).collect()
}

fn flush(criterion: &mut Criterion) {
    let (keys, value) = (keys(), [b'v'; 400]);
    let entries: Vec<(&[u8], &[u8])> = keys
        .iter()
        .map(|key| (key.as_bytes(), &value[..]))
        .collect();
    let packed = doors::flush(&entries, Duration::from_secs(3600));
    assert!(
        packed.starts_with(b"*6\r\n$3\r\nSET\r\n$9\r\nproduct:0\r\n$400\r\n"),
        "no command is there"
    );
    let mut group = criterion.benchmark_group("Redis' protocol");
    group.throughput(Throughput::Elements(KEYS.into()));
    group.bench_function("a flush of 1,000 values of 400 bytes", |bencher| {
        bencher.iter(|| doors::flush(black_box(&entries), Duration::from_secs(3600)));
    });
    group.finish();
}

/// A full band of one worker of one: 256 partitions, each in a segment.
fn entries(criterion: &mut Criterion) {
    let segments: Vec<Segment> = (0..256).map(segment).collect();
    let count = 256 * ENTRIES_OF_A_PARTITION;
    let read = doors::segments(segments.clone()).expect("they can be read");
    assert_eq!(read.len() as u64, count, "entries are missing");
    let mut group = criterion.benchmark_group("entries of a plan");
    group
        .throughput(Throughput::Elements(count))
        .sample_size(10);
    group.bench_function("unpacked, decoded and merged: a band", |bencher| {
        bencher.iter_batched(
            || segments.clone(),
            doors::segments,
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn segment(partition: u32) -> Segment {
    let ranks: Vec<u64> = (0..ENTRIES_OF_A_PARTITION)
        .map(|n| n * 256 + u64::from(partition))
        .collect();
    let id = |rank: &u64| (rank * 7_919).to_string();
    let batch = EntryBatch {
        keys: ranks
            .iter()
            .map(|rank| Bytes::from(format!("product:{}", id(rank))))
            .collect(),
        arguments: ranks.iter().map(id).collect(),
        priorities: ranks
            .iter()
            .map(|rank| 1_000_000_000 / (rank + 1))
            .collect(),
        loaders: Vec::new(),
        ranks,
    };
    let body = zstd::stream::encode_all(&batch.encode_to_vec()[..], 1).expect("memory takes it");
    Segment {
        partition,
        entries: u32::try_from(batch.keys.len()).unwrap_or(u32::MAX),
        encoding: Encoding::Zstd.into(),
        body: body.into(),
    }
}

criterion_group!(hot_paths, hash_slot, row_to_json, flush, entries);
criterion_main!(hot_paths);
