//! Key files as people write them, and what is said of those that are wrong.

use std::path::Path;

use proptest::prelude::*;
use stoke_core::units::Priority;

use super::*;

fn rows(text: &str, format: Option<Format>) -> Result<Vec<SourceRow>, FileError> {
    let mut rows = Vec::new();
    let count = read_from(text.as_bytes(), Path::new("keys"), format, |chunk| {
        assert!(chunk.len() <= super::super::CHUNK_ROWS);
        rows.extend(chunk);
        true
    })?;
    assert_eq!(count as usize, rows.len());
    Ok(rows)
}

fn error(text: &str, format: Option<Format>) -> String {
    let error = rows(text, format).unwrap_err();
    match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[test]
fn csv_gives_its_columns_as_text() {
    let rows = rows(
        "key,priority,region\n42,1.5,eu\n\"a,\"\"b\",,\n",
        Some(Format::Csv),
    )
    .unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(
        (rows[0].key(), rows[0].get("region"), rows[0].priority),
        ("42", Some("eu"), Priority::from_milli(1500))
    );
    assert_eq!(
        (rows[1].key(), rows[1].get("region"), rows[1].priority),
        ("a,\"b", Some(""), Priority::ONE)
    );
    assert_eq!(rows[1].get("country"), None);
}

#[test]
fn ndjson_keeps_the_digits_of_its_numbers() {
    let text = "{\"key\": 12345678901234567890, \"priority\": \"2\", \"n\": 1.10, \"t\": \"\\u00e4\"}\n\n\
                {\"priority\": null, \"key\": \"x\", \"list\": [1, 2]}";
    let rows = rows(text, Some(Format::Ndjson)).unwrap();
    assert_eq!(
        (rows[0].key(), rows[0].get("n"), rows[0].get("t")),
        ("12345678901234567890", Some("1.10"), Some("ä"))
    );
    assert_eq!(rows[0].priority, Priority::from_milli(2000));
    assert_eq!(
        (rows[1].key(), rows[1].get("list"), rows[1].priority),
        ("x", Some("[1, 2]"), Priority::ONE)
    );
}

#[test]
fn the_format_follows_from_the_ending_or_else_from_the_first_byte() {
    for (name, format) in [
        ("a.csv", Some(Format::Csv)),
        ("a.CSV", Some(Format::Csv)),
        ("a.jsonl", Some(Format::Ndjson)),
        ("a.ndjson", Some(Format::Ndjson)),
        ("a.json", Some(Format::Ndjson)),
        ("a", None),
        ("-", None),
    ] {
        assert_eq!(Format::of_name(Path::new(name)), format, "{name}");
    }
    assert_eq!(rows("{\"key\":1}", None).unwrap()[0].key(), "1");
    assert_eq!(rows("key\n1", None).unwrap()[0].key(), "1");
}

#[test]
fn every_fault_has_its_line() {
    let csv = Some(Format::Csv);
    let ndjson = Some(Format::Ndjson);
    for (text, format, said) in [
        (
            "id,priority\n1,2",
            csv,
            "no column \"key\" among id, priority",
        ),
        ("", csv, "no column \"key\""),
        ("key,key\n", csv, "two columns \"key\""),
        (
            "key,a\n1,2\n3\n",
            csv,
            "malformed at line 3: it has 1 fields where the header has 2",
        ),
        ("key\n1\n\"\"\n", csv, "line 3: the key is empty"),
        ("key,priority\n1,-1\n", csv, "line 2: the priority \"-1\""),
        (
            "key,priority\n\"a\nb\",1\n2,NaN\n",
            csv,
            "line 4: the priority \"NaN\"",
        ),
        (
            "key,priority\n1,many\n",
            csv,
            "line 2: the priority \"many\"",
        ),
        (
            "{\"key\":1}\n{\"id\":1}",
            ndjson,
            "malformed at line 2: there is no column \"key\" among id",
        ),
        (
            "{\"key\":1}\n\n{\"key\":",
            ndjson,
            "malformed at line 3: EOF",
        ),
        (
            "{\"key\":1}\n[1]",
            ndjson,
            "malformed at line 2: invalid type: sequence, expected a JSON object",
        ),
        ("{\"key\":null}", ndjson, "line 1: the key is empty or NULL"),
        (
            "{\"key\":1,\"key\":2}",
            ndjson,
            "malformed at line 1: there are two columns \"key\"",
        ),
        (
            "{\"key\":1,\"priority\":1e99}",
            ndjson,
            "line 1: the priority \"1e99\"",
        ),
    ] {
        let error = error(text, format);
        assert!(error.contains(said), "{text:?}: {error}");
    }
    let bytes = b"key\n1\n\xff\n";
    let error = read_from(&bytes[..], Path::new("keys"), csv, |_| true).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the key file keys is malformed at line 3: it is not UTF-8"
    );
}

#[test]
fn a_line_without_end_is_refused_before_it_is_held() {
    // A quote that is never closed makes one record of all that follows.
    let endless = "x,".repeat(LINE_BYTES_MAX);
    for (text, format, line) in [
        (format!("key\n1\n{endless}"), Format::Csv, 3),
        (
            format!("key\n\"{}", "a\n".repeat(LINE_BYTES_MAX)),
            Format::Csv,
            2,
        ),
        (format!("{{\"key\":1}}\n{endless}"), Format::Ndjson, 2),
    ] {
        let error = error(&text, Some(format));
        assert!(
            error.ends_with(&format!("more than 1048576 bytes: line {line}")),
            "{error}"
        );
    }
}

#[test]
fn a_stray_quote_inside_a_field_does_not_join_lines() {
    let text = format!("key,name\n{}", "1,5\" pipe\n".repeat(LINE_BYTES_MAX / 8));
    assert_eq!(
        rows(&text, Some(Format::Csv)).unwrap().len(),
        LINE_BYTES_MAX / 8
    );
}

#[test]
fn rows_go_out_in_chunks_until_nobody_takes_them() {
    let text = format!("key\n{}", "1\n".repeat(2500));
    let mut sizes = Vec::new();
    let read = read_from(text.as_bytes(), Path::new("keys"), None, |chunk| {
        sizes.push(chunk.len());
        true
    });
    assert_eq!((read.unwrap(), sizes), (2500, vec![1000, 1000, 500]));
    let stopped = read_from(text.as_bytes(), Path::new("keys"), None, |_| false);
    assert!(matches!(stopped, Err(FileError::Stopped { .. })));
}

#[tokio::test]
async fn a_file_is_read_with_back_pressure() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.csv");
    std::fs::write(&path, format!("key\n{}", "1\n".repeat(5000))).unwrap();
    let (sink, mut source) = mpsc::channel(1);
    let (read, received) = tokio::join!(read(&path, None, sink), async {
        let mut received = 0;
        while let Some(chunk) = source.recv().await {
            received += chunk.len();
        }
        received
    });
    assert_eq!((read.unwrap(), received), (5000, 5000));
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    let (sink, _source) = mpsc::channel(1);
    let error = read(Path::new("/nowhere/keys.csv"), None, sink)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot open the key file /nowhere/keys.csv"
    );
}

proptest! {
    #[test]
    fn any_keys_survive_csv(keys in prop::collection::vec("\\PC{1,20}|[a\",\n\r]{1,9}", 1..40)) {
        let mut writer = ::csv::Writer::from_writer(Vec::new());
        writer.write_record(["key"]).unwrap();
        for key in &keys {
            writer.write_record([key]).unwrap();
        }
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        let read: Vec<String> = rows(&text, Some(Format::Csv)).unwrap().iter().map(|row| row.key().to_owned()).collect();
        prop_assert_eq!(read, keys);
    }
}
