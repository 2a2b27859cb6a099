//! Files as warehouses write them, and what is said of those that are wrong.

use std::sync::Arc;

use ::parquet::basic::Compression;
use ::parquet::basic::ZstdLevel;
use ::parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DoubleType, FixedLenByteArray, FixedLenByteArrayType,
    FloatType, Int32Type, Int64Type, Int96, Int96Type,
};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use ::parquet::schema::parser::parse_message_type;
use bytes::Bytes;
use proptest::prelude::*;
use stoke_core::explain::explain;
use stoke_core::job::OnBadLine;
use stoke_core::template::Template;
use tokio::sync::mpsc;

use super::super::{FileError, Format};
use super::*;
use crate::source::{Gathered, Rules, SourceRow};

/// More chunks than any file here has.
const CHUNKS_MAX: usize = 1000;

/// A file of this schema, whose row groups `write` fills.
fn file(
    schema: &str,
    compression: Compression,
    groups: usize,
    write: impl Fn(usize, &mut SerializedRowGroupWriter<'_, Vec<u8>>),
) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_data_page_row_count_limit(100)
        .set_write_batch_size(50)
        .build();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    for n in 0..groups {
        let mut group = writer.next_row_group().unwrap();
        write(n, &mut group);
        group.close().unwrap();
    }
    writer.into_inner().unwrap()
}

/// Writes a group's next column: `levels` says which rows have a value, where the column may lack some.
fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: &[T::T],
    levels: Option<&[i16]>,
) {
    let mut writer = group.next_column().unwrap().unwrap();
    writer
        .typed::<T>()
        .write_batch(values, levels, None)
        .unwrap();
    writer.close().unwrap();
}

fn bytes(texts: &[&str]) -> Vec<ByteArray> {
    texts.iter().map(|text| ByteArray::from(*text)).collect()
}

/// The rows, and how reading ended.
fn read_all(file: Vec<u8>, rules: &Rules) -> (Vec<SourceRow>, Result<Gathered, String>) {
    let (sink, mut chunks) = mpsc::channel(CHUNKS_MAX);
    let mut rows = Rows::new(rules);
    let read = read(Bytes::from(file), &mut rows, &sink);
    let read = super::super::ended(read, rows, Path::new("keys.parquet"), &sink);
    drop(sink);
    let mut rows = Vec::new();
    while let Ok(chunk) = chunks.try_recv() {
        rows.extend(chunk);
    }
    (rows, read.map_err(|error| explain(&error)))
}

fn templated(template: &str) -> Rules {
    let template = Template::parse(template).unwrap();
    Rules {
        template: Some(("product".parse().unwrap(), template)),
        ..Rules::default()
    }
}

/// A file of two columns, in groups of 1,000 rows.
fn keys(compression: Compression, groups: usize) -> Vec<u8> {
    let schema = "message keys { required binary key (UTF8); optional int64 priority; }";
    file(schema, compression, groups, |n, group| {
        let keys: Vec<String> = (0..1000)
            .map(|row| format!("k{}", n * 1000 + row))
            .collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        column::<ByteArrayType>(group, &bytes(&keys), None);
        let levels: Vec<i16> = (0..1000).map(|row| i16::from(row % 3 != 0)).collect();
        let priorities: Vec<i64> = (0..1000).filter(|row| row % 3 != 0).collect();
        column::<Int64Type>(group, &priorities, Some(&levels));
    })
}

#[test]
fn every_row_of_every_group_comes_in_order_whatever_compressed_it() {
    for compression in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(Default::default()),
        Compression::LZ4_RAW,
        Compression::ZSTD(ZstdLevel::default()),
    ] {
        let (rows, read) = read_all(keys(compression, 3), &Rules::default());
        assert_eq!(read.unwrap().rows, 3000, "{compression}");
        for (n, row) in rows.iter().enumerate() {
            assert_eq!(row.key(), format!("k{n}"));
            let within = n as u64 % 1000;
            let expected = if within.is_multiple_of(3) {
                1000
            } else {
                within * 1000
            };
            assert_eq!(row.priority.as_milli(), expected, "{n}");
        }
    }
}

#[test]
fn columns_become_the_texts_that_csv_has() {
    let schema = "message all {
        required binary key (UTF8); optional int32 n; optional int32 small (INTEGER(8, true));
        required int32 u32 (INTEGER(32, false)); required int64 u64 (INTEGER(64, false));
        required float f; required double d; required boolean b; required int32 day (DATE);
        required int64 at (TIMESTAMP(MICROS, true)); required int64 local (TIMESTAMP(NANOS, false));
        required int32 time (TIME(MILLIS, true)); required int96 old;
        required int32 d32 (DECIMAL(9, 2)); required fixed_len_byte_array(5) dfixed (DECIMAL(10, 3));
        required fixed_len_byte_array(16) id (UUID); required binary plain; required binary json (JSON); }";
    let file = file(schema, Compression::UNCOMPRESSED, 1, |_, group| {
        column::<ByteArrayType>(group, &bytes(&["a b"]), None);
        column::<Int32Type>(group, &[], Some(&[0]));
        column::<Int32Type>(group, &[-7], Some(&[1]));
        column::<Int32Type>(group, &[-1], None);
        column::<Int64Type>(group, &[-1], None);
        column::<FloatType>(group, &[0.1], None);
        column::<DoubleType>(group, &[2.5], None);
        column::<BoolType>(group, &[true], None);
        column::<Int32Type>(group, &[-1], None);
        column::<Int64Type>(group, &[1_500_000], None);
        column::<Int64Type>(group, &[1], None);
        column::<Int32Type>(group, &[3_723_004], None);
        column::<Int96Type>(
            group,
            &[Int96::from(vec![1_000_000_000, 0, 2_440_588])],
            None,
        );
        column::<Int32Type>(group, &[-1205], None);
        let fixed = |bytes: Vec<u8>| FixedLenByteArray::from(bytes);
        column::<FixedLenByteArrayType>(group, &[fixed(vec![0, 0, 0, 4, 0xd2])], None);
        column::<FixedLenByteArrayType>(group, &[fixed((0..16).collect())], None);
        column::<ByteArrayType>(group, &bytes(&["x"]), None);
        column::<ByteArrayType>(group, &bytes(&["{}"]), None);
    });
    let (rows, read) = read_all(file, &Rules::default());
    read.unwrap();
    let row = &rows[0];
    for (name, text) in [
        ("key", Some("a b")),
        ("n", None),
        ("small", Some("-7")),
        ("u32", Some("4294967295")),
        ("u64", Some("18446744073709551615")),
        ("f", Some("0.1")),
        ("d", Some("2.5")),
        ("b", Some("true")),
        ("day", Some("1969-12-31")),
        ("at", Some("1970-01-01T00:00:01.5Z")),
        ("local", Some("1970-01-01T00:00:00.000000001")),
        ("time", Some("01:02:03.004")),
        ("old", Some("1970-01-01T00:00:01Z")),
        ("d32", Some("-12.05")),
        ("dfixed", Some("1.234")),
        ("id", Some("00010203-0405-0607-0809-0a0b0c0d0e0f")),
        ("plain", Some("x")),
        ("json", Some("{}")),
    ] {
        assert_eq!(row.get(name), text, "{name}");
    }
}

/// A key, and a list beside it.
fn nested() -> Vec<u8> {
    let schema = "message keys { optional group tags (LIST) { repeated group list { required binary element (UTF8); } }
        required binary key (UTF8); }";
    file(schema, Compression::UNCOMPRESSED, 1, |_, group| {
        let mut tags = group.next_column().unwrap().unwrap();
        let levels = (Some(&[2i16, 2][..]), Some(&[0i16, 1][..]));
        tags.typed::<ByteArrayType>()
            .write_batch(&bytes(&["x", "y"]), levels.0, levels.1)
            .unwrap();
        tags.close().unwrap();
        column::<ByteArrayType>(group, &bytes(&["k"]), None);
    })
}

#[test]
fn a_nested_column_is_a_fault_that_names_it_but_only_where_something_is_made_of_it() {
    for rules in [Rules::default(), templated("product:{key}:{tags}")] {
        let (_, read) = read_all(nested(), &rules);
        let error = read.unwrap_err();
        assert!(
            error.contains("the column \"tags\" cannot be used: it is nested"),
            "{error}"
        );
    }
    let (rows, read) = read_all(nested(), &templated("product:{key}"));
    assert_eq!(read.unwrap().rows, 1);
    assert_eq!(rows[0].cache_key, b"product:k");
}

#[test]
fn a_count_is_read_as_the_priority_where_a_column_has_no_such_name() {
    let counted = |schema: &str, columns: usize| {
        file(schema, Compression::UNCOMPRESSED, 1, |_, group| {
            column::<ByteArrayType>(group, &bytes(&["k"]), None);
            for _ in 0..columns {
                column::<Int64Type>(group, &[7], None);
            }
        })
    };
    let alone = "message keys { required binary key (UTF8); required int64 count; }";
    let (rows, read) = read_all(counted(alone, 1), &templated("product:{key}"));
    assert_eq!(read.unwrap().rows, 1);
    assert_eq!(rows[0].priority.as_milli(), 7000);
    let beside = "message keys { required binary key (UTF8); required int64 priority; required int64 count; }";
    let (rows, _) = read_all(counted(beside, 2), &templated("product:{key}"));
    assert_eq!(rows[0].get("count"), None, "nobody asks for it");
}

#[test]
fn a_bad_row_fails_the_file_or_is_left_out_with_its_number() {
    let schema = "message keys { required binary key; optional double priority; }";
    let file = || {
        file(schema, Compression::UNCOMPRESSED, 2, |_, group| {
            let keys = vec![
                ByteArray::from("a"),
                ByteArray::from(vec![0xff, 0xfe]),
                ByteArray::from(""),
                ByteArray::from("d"),
            ];
            column::<ByteArrayType>(group, &keys, None);
            column::<DoubleType>(group, &[1.5, 1.0, 1.0, -1.0], Some(&[1; 4]));
        })
    };
    let (_, read) = read_all(file(), &Rules::default());
    let error = read.unwrap_err();
    assert!(
        error.contains("row 2") && error.contains("not UTF-8"),
        "{error}"
    );
    let skipping = Rules {
        on_bad_line: OnBadLine::Skip,
        ..Rules::default()
    };
    let (rows, read) = read_all(file(), &skipping);
    let read = read.unwrap();
    assert_eq!((read.rows, read.bad_lines), (2, 6));
    assert!(read.examples[2].contains("row 4"), "{:?}", read.examples);
    assert!(rows.iter().all(|row| row.key() == "a"));
}

#[test]
fn what_is_missing_or_cannot_be_text_is_told_by_its_column() {
    let schema = "message keys { required binary key (UTF8); required fixed_len_byte_array(12) span (INTERVAL); }";
    let file = || {
        file(schema, Compression::UNCOMPRESSED, 1, |_, group| {
            column::<ByteArrayType>(group, &bytes(&["k"]), None);
            let span = FixedLenByteArray::from(vec![0; 12]);
            column::<FixedLenByteArrayType>(group, &[span], None);
        })
    };
    let error = read_all(file(), &templated("{key}:{span}")).1.unwrap_err();
    assert!(
        error.contains("\"span\"") && error.contains("INTERVAL"),
        "{error}"
    );
    let error = read_all(file(), &templated("{key}:{shop}")).1.unwrap_err();
    assert!(
        error.contains("\"shop\"") && error.contains("key, span"),
        "{error}"
    );
    let error = read_all(b"key\n1\n".to_vec(), &Rules::default())
        .1
        .unwrap_err();
    assert!(
        error.contains("cannot read the key file keys.parquet"),
        "{error}"
    );
}

#[tokio::test]
async fn a_parquet_file_is_told_by_its_ending_and_read_from_where_it_lies() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("top keys.parquet");
    std::fs::write(&path, keys(Compression::SNAPPY, 1)).unwrap();
    let url = format!("file://{}", path.display().to_string().replace(' ', "%20"));
    for name in [path.as_path(), Path::new(&url)] {
        let (sink, _chunks) = mpsc::channel(CHUNKS_MAX);
        let read = super::super::read(name, None, &Rules::default(), sink).await;
        assert_eq!(read.unwrap().rows, 1000);
    }
    let (sink, _chunks) = mpsc::channel(CHUNKS_MAX);
    let text = "key\n1\n".to_owned();
    let rules = Rules::default();
    let read = super::super::read_content("job", text, Some(Format::Parquet), &rules, sink).await;
    assert!(matches!(read, Err(FileError::Parquet { .. })), "{read:?}");
}

#[test]
fn where_nobody_takes_the_rows_reading_ends() {
    let (sink, chunks) = mpsc::channel(1);
    drop(chunks);
    let mut rows = Rows::new(&Rules::default());
    let file = Bytes::from(keys(Compression::SNAPPY, 1));
    assert!(matches!(read(file, &mut rows, &sink), Err(Ended::Stopped)));
}

proptest! {
    /// Whatever is damaged, reading ends, and it is an error or rows.
    #[test]
    fn a_damaged_file_is_an_error_and_no_panic(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut file = keys(Compression::UNCOMPRESSED, 1);
        for (at, byte) in damage {
            let at = at.index(file.len());
            file[at] = byte;
        }
        let (rows, read) = read_all(file, &Rules { on_bad_line: OnBadLine::Skip, ..Rules::default() });
        if let Ok(gathered) = read {
            prop_assert_eq!(gathered.rows, rows.len() as u64);
        }
    }
}
