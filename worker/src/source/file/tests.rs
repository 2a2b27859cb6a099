//! Key files as people write them, and what is said of those that are wrong. All go through real files and the reader
//! that workers use.

use std::io::BufReader;
use std::path::Path;

use proptest::prelude::*;
use stoke_core::job::OnBadLine;
use stoke_core::template::Template;
use stoke_core::units::Priority;

use super::*;

const CSV: Option<Format> = Some(Format::Csv);
const NDJSON: Option<Format> = Some(Format::Ndjson);

fn skipping() -> Rules {
    Rules {
        on_bad_line: OnBadLine::Skip,
        ..Rules::default()
    }
}

/// Rules of a loader with this template.
fn templated(on_bad_line: OnBadLine, template: &str) -> Rules {
    let template = Template::parse(template).unwrap();
    Rules {
        on_bad_line,
        template: Some(("product".parse().unwrap(), template)),
        ..Rules::default()
    }
}

/// Reads a real file of this content.
fn read_file(
    content: impl AsRef<[u8]>,
    format: Option<Format>,
    rules: &Rules,
) -> (Vec<SourceRow>, Result<Gathered, FileError>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    std::fs::write(&path, content).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (sink, mut source) = mpsc::channel(1);
        let (read, rows) = tokio::join!(read(&path, format, rules, sink), async {
            let mut rows = Vec::new();
            while let Some(chunk) = source.recv().await {
                assert!(chunk.len() <= super::super::CHUNK_ROWS);
                rows.extend(chunk);
            }
            rows
        });
        if let Ok(gathered) = &read {
            assert_eq!(gathered.rows as usize, rows.len());
        }
        (rows, read)
    })
}

fn rows(content: impl AsRef<[u8]>, format: Option<Format>) -> Vec<SourceRow> {
    let (rows, read) = read_file(content, format, &Rules::default());
    read.unwrap();
    rows
}

fn keys(rows: &[SourceRow]) -> Vec<&str> {
    rows.iter().map(SourceRow::key).collect()
}

fn explained(read: Result<Gathered, FileError>) -> String {
    stoke_core::explain::explain(&read.unwrap_err())
}

#[test]
fn csv_gives_its_columns_as_text() {
    let rows = rows("key,priority,region\n42,1.5,eu\n\"a,\"\"b\",,\n", CSV);
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
fn a_count_is_the_priority_where_no_column_has_that_name() {
    let priorities = |content: &str, format, rules: &Rules| {
        let (rows, read) = read_file(content, format, rules);
        read.unwrap();
        let priorities = rows.iter().map(|row| row.priority.as_milli());
        priorities.collect::<Vec<_>>()
    };
    let any = Rules::default();
    assert_eq!(priorities("key,count\na,5\nb,\n", CSV, &any), [5000, 1000]);
    assert_eq!(
        priorities("key,count,priority\na,5,7\nb,many,\n", CSV, &any),
        [7000, 1000]
    );
    let lines = "{\"key\":\"a\",\"count\":5}\n{\"count\":5,\"key\":\"b\",\"priority\":7}\n";
    assert_eq!(priorities(lines, NDJSON, &any), [5000, 7000]);
    let other = templated(OnBadLine::Fail, "product:{key}");
    assert_eq!(priorities("key,count\na,5\n", CSV, &other), [5000]);
    // What the key is made of says nothing of how often it is asked for.
    let named = templated(OnBadLine::Fail, "page:{key}:{count}");
    assert_eq!(priorities("key,count\na,all\n", CSV, &named), [1000]);
    let part = Rules {
        key_parts: vec!["list".to_owned(), "count".to_owned()],
        ..Rules::default()
    };
    assert_eq!(priorities("list,count\na,all\n", CSV, &part), [1000]);
}

#[test]
fn ndjson_keeps_the_digits_of_its_numbers() {
    let text = "{\"key\": 12345678901234567890, \"priority\": \"2\", \"n\": 1.10, \"t\": \"\\u00e4\"}\n\n\
                {\"priority\": null, \"key\": \"x\", \"list\": [1, 2]}";
    let rows = rows(text, NDJSON);
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
        ("a.csv", CSV),
        ("a.CSV", CSV),
        ("a.jsonl", NDJSON),
        ("a.ndjson", NDJSON),
        ("a.json", NDJSON),
        ("a.csv.gz", CSV),
        ("s3://bucket/a.ndjson.zst", NDJSON),
        ("a.parquet", Some(Format::Parquet)),
        ("a.gz", None),
        ("a", None),
        ("-", None),
    ] {
        assert_eq!(Format::of_name(Path::new(name)), format, "{name}");
    }
    for (content, key) in [
        ("{\"key\":1}", "1"),
        ("key\n1", "1"),
        ("\u{feff}{\"key\":1}", "1"),
        ("\u{feff}key\n1", "1"),
    ] {
        assert_eq!(keys(&rows(content, None)), [key], "{content:?}");
    }
}

#[test]
fn unusual_files_that_are_right_are_read_as_they_are_meant() {
    for (what, content, format, expected) in [
        (
            "CRLF",
            &b"key,n\r\n1,a\r\n2,b\r\n"[..],
            CSV,
            &["1", "2"][..],
        ),
        ("CR alone", b"key\r1\r2\r", CSV, &["1", "2"]),
        ("a byte order mark", b"\xef\xbb\xbfkey\n1\n", CSV, &["1"]),
        (
            "a mark before quotes",
            b"\xef\xbb\xbf\"key\"\n1\n",
            CSV,
            &["1"],
        ),
        ("a header only", b"key,priority\n", CSV, &[]),
        ("a header without newline", b"key", CSV, &[]),
        (
            "blank lines",
            b"\n\nkey\n\n1\n\r\n\n2\n\n",
            CSV,
            &["1", "2"],
        ),
        ("no newline at the end", b"key\n1\n2", CSV, &["1", "2"]),
        ("a quoted end", b"key\n\"1\"\n\"2\"", CSV, &["1", "2"]),
        ("NUL bytes", b"key\na\0b\n", CSV, &["a\0b"]),
        (
            "lines inside quotes",
            b"key,n\n\"a\nb\",\"\r\n\"\n2,\n",
            CSV,
            &["a\nb", "2"],
        ),
        (
            "a quote inside a field",
            b"key,n\n1,5\" pipe\n2,6\" pipe\n",
            CSV,
            &["1", "2"],
        ),
        ("nothing", b"", NDJSON, &[]),
        (
            "CRLF in JSON",
            b"{\"key\":1}\r\n\r\n{\"key\":2}",
            NDJSON,
            &["1", "2"],
        ),
        ("NUL in JSON", b"{\"key\":\"a\\u0000b\"}", NDJSON, &["a\0b"]),
    ] {
        for rules in [Rules::default(), skipping()] {
            let (rows, read) = read_file(content, format, &rules);
            let gathered = read.unwrap();
            assert_eq!(
                (keys(&rows), gathered.bad_lines),
                (expected.to_vec(), 0),
                "{what}"
            );
        }
    }
}

/// A file, its format, the number of its bad line, what is said of that line, and what is shown of it.
type OneBadLine = (Vec<u8>, Option<Format>, u64, &'static str, String);

/// Files with one bad line between the keys 1 and 2.
fn with_one_bad_line() -> Vec<OneBadLine> {
    let csv = |header: &str, good: &str, bad: &[u8]| {
        let mut content = format!("{header}\n1{good}\n").into_bytes();
        content.extend_from_slice(bad);
        content.extend_from_slice(format!("\n2{good}\n").as_bytes());
        content
    };
    let json = |bad: &[u8]| {
        let mut content = b"{\"key\":1}\n\n".to_vec();
        content.extend_from_slice(bad);
        content.extend_from_slice(b"\n{\"key\":2}");
        content
    };
    let one = |bad: &str| csv("key", "", bad.as_bytes());
    let two = |bad: &str| csv("key,priority", ",1", bad.as_bytes());
    let long = "x".repeat(LINE_BYTES_MAX + 1);
    let cut = format!("\"{}…\"", "x".repeat(200));
    let is_long = "it is longer than 1048576 bytes";
    let no_priority = "is not a number from 0 to 1000000000000";
    let shown = |text: &str| format!("\"{text}\"");
    let mut cases = vec![
        (
            two("3"),
            CSV,
            3,
            "it has 1 field where the header has 2",
            shown("3"),
        ),
        (
            two("3,1,2"),
            CSV,
            3,
            "it has 3 fields where the header has 2",
            shown("3,1,2"),
        ),
        (two(",1"), CSV, 3, "the key is empty or NULL", shown(",1")),
        (
            one("\"\""),
            CSV,
            3,
            "the key is empty or NULL",
            shown("\"\""),
        ),
        (
            two("\"3\"x,1"),
            CSV,
            3,
            "there is text behind a closing quote",
            shown("\"3\"x,1"),
        ),
        (
            csv("key", "", b"M\xfcller"),
            CSV,
            3,
            "it is not UTF-8",
            shown("M\u{fffd}ller"),
        ),
        (
            csv("key,n", ",", b"3,\xff"),
            CSV,
            3,
            "it is not UTF-8",
            shown("3,\u{fffd}"),
        ),
        (one(&long), CSV, 3, is_long, cut.clone()),
        (
            one(&format!("\"{long}\"")),
            CSV,
            3,
            is_long,
            format!("\"\"{}…\"", "x".repeat(199)),
        ),
        (
            one(&"k".repeat(70_000)),
            CSV,
            3,
            "the key has 70000 bytes",
            format!("\"{}…\"", "k".repeat(200)),
        ),
        (
            json(b"{\"key\":"),
            NDJSON,
            3,
            "EOF while parsing",
            shown("{\"key\":"),
        ),
        (
            json(b"[1]"),
            NDJSON,
            3,
            "invalid type: sequence, expected a JSON object",
            shown("[1]"),
        ),
        (
            json(b"{\"key\":1} x"),
            NDJSON,
            3,
            "trailing characters (character 11)",
            shown("{\"key\":1} x"),
        ),
        (
            json(b"{\"id\":1}"),
            NDJSON,
            3,
            "there is no column \"key\" among id",
            shown("{\"id\":1}"),
        ),
        (
            json(b"{\"key\":null}"),
            NDJSON,
            3,
            "the key is empty or NULL",
            shown("{\"key\":null}"),
        ),
        (
            json(b"{\"key\":\"\"}"),
            NDJSON,
            3,
            "the key is empty or NULL",
            shown("{\"key\":\"\"}"),
        ),
        (
            json(b"{\"key\":[1]}"),
            NDJSON,
            3,
            "the key is an object or a list",
            shown("{\"key\":[1]}"),
        ),
        (
            json(b"{\"key\":1,\"key\":2}"),
            NDJSON,
            3,
            "there are two columns \"key\"",
            shown("{\"key\":1,\"key\":2}"),
        ),
        (
            json(b"{\"key\":\"\xe4\"}"),
            NDJSON,
            3,
            "it is not UTF-8",
            shown("{\"key\":\"\u{fffd}\"}"),
        ),
        (
            json(b"{\"key\":\"a\0\"}"),
            NDJSON,
            3,
            "control character",
            shown("{\"key\":\"a\\0\"}"),
        ),
        (json(long.as_bytes()), NDJSON, 3, is_long, cut),
    ];
    for priority in ["-1", "NaN", "inf", "many", "1e13", "0x10"] {
        let line = format!("3,{priority}");
        cases.push((two(&line), CSV, 3, no_priority, shown(&line)));
        let line = format!("{{\"key\":3,\"priority\":\"{priority}\"}}");
        cases.push((json(line.as_bytes()), NDJSON, 3, no_priority, shown(&line)));
        let line = format!("{{\"key\":3,\"count\":\"{priority}\"}}");
        cases.push((
            json(line.as_bytes()),
            NDJSON,
            3,
            "the count \"",
            shown(&line),
        ));
    }
    cases
}

#[test]
fn a_bad_line_fails_the_file_and_is_told_with_its_line_what_is_wrong_and_what_to_do() {
    for (content, format, line, what, shown) in with_one_bad_line() {
        let (_, read) = read_file(content, format, &Rules::default());
        let error = explained(read);
        assert!(
            error.contains(&format!("keys cannot be used: line {line}: ")),
            "{error}"
        );
        assert!(error.contains(what), "{what}: {error}");
        assert!(error.contains(&shown), "{shown}: {error}");
        assert!(
            error.ends_with(
                "; correct it, or let bad lines be skipped (on_bad_line, --on-bad-line skip)"
            ),
            "{error}"
        );
    }
}

#[test]
fn a_bad_line_that_is_skipped_is_counted_and_shown_and_the_next_lines_are_right() {
    for (content, format, line, what, shown) in with_one_bad_line() {
        let (rows, read) = read_file(content, format, &skipping());
        let gathered = read.unwrap();
        assert_eq!(keys(&rows), ["1", "2"], "{what}");
        assert_eq!((gathered.rows, gathered.bad_lines), (2, 1), "{what}");
        let [example] = &gathered.examples[..] else {
            panic!("{gathered:?}")
        };
        assert!(example.starts_with(&format!("line {line}: ")), "{example}");
        assert!(
            example.contains(what) && example.ends_with(&shown),
            "{what} {shown}: {example}"
        );
        assert!(example.chars().count() < 450, "{example}");
    }
}

#[test]
fn lines_of_a_mebibyte_are_read_and_longer_ones_are_not_held() {
    // Fields beside the key: the key itself has a bound of its own.
    let fitting = format!("key,n\n1,{}\n2,\n", "x".repeat(LINE_BYTES_MAX - 2));
    assert_eq!(keys(&rows(fitting, CSV)), ["1", "2"]);
    let json = |bytes: usize| {
        let start = "{\"key\":1,\"n\":\"";
        format!(
            "{start}{}\"}}\n{{\"key\":2}}",
            "x".repeat(bytes - start.len() - 2)
        )
    };
    assert_eq!(keys(&rows(json(LINE_BYTES_MAX), NDJSON)), ["1", "2"]);
    let (rows, read) = read_file(json(LINE_BYTES_MAX + 1), NDJSON, &skipping());
    assert_eq!((keys(&rows), read.unwrap().bad_lines), (vec!["2"], 1));
}

/// Gives so many bytes, and counts what was taken.
struct Endless {
    start: &'static [u8],
    left: u64,
}

impl io::Read for Endless {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if !self.start.is_empty() {
            return self.start.read(buf);
        }
        let length = buf.len().min(usize::try_from(self.left).unwrap());
        buf[..length].fill(b'x');
        self.left -= length as u64;
        Ok(length)
    }
}

#[test]
fn a_line_without_end_is_refused_at_once_where_bad_lines_are_not_skipped() {
    for (start, format) in [
        (&b"key\n1\n"[..], CSV),
        (b"key\n1\n\"", CSV),
        (b"{\"key\":1}\n", NDJSON),
    ] {
        let mut endless = Endless {
            start,
            left: 1 << 40,
        };
        let reader = BufReader::new(&mut endless);
        let (sink, _source) = mpsc::channel(1);
        let read = read_from(reader, Path::new("keys"), format, &Rules::default(), &sink);
        assert!(explained(read).contains("it is longer than 1048576 bytes"));
        let taken = (1u64 << 40) - endless.left;
        assert!(taken < 3 << 20, "{taken} bytes were read");
    }
}

#[test]
fn a_quote_that_is_never_closed_swallows_all_behind_it_and_says_so() {
    let content = "key,n\n1,a\n2,\"b\n3,c\n4,d\n";
    let error = explained(read_file(content, CSV, &Rules::default()).1);
    assert!(
        error.contains("line 3: a quote is opened in it and never closed, which swallows all that follows, up to line 6, the file's last: \"2,\"b\\n3,c\\n4,d\""),
        "{error}"
    );
    let (rows, read) = read_file(content, CSV, &skipping());
    assert_eq!((keys(&rows), read.unwrap().bad_lines), (vec!["1"], 1));
    // Over the bound, too.
    let content = format!("key,n\n1,a\n2,\"{}", "b\n".repeat(LINE_BYTES_MAX));
    let (rows, read) = read_file(content, CSV, &skipping());
    let gathered = read.unwrap();
    assert_eq!((keys(&rows), gathered.bad_lines), (vec!["1"], 1));
    assert!(
        gathered.examples[0].contains("never closed, which swallows all"),
        "{gathered:?}"
    );
}

#[test]
fn of_many_bad_lines_the_first_three_are_shown_and_all_are_counted() {
    let content = format!("key,n\n{}7,x\n", "3\n".repeat(5000));
    let (rows, read) = read_file(content, CSV, &skipping());
    let gathered = read.unwrap();
    assert_eq!((keys(&rows), gathered.bad_lines), (vec!["7"], 5000));
    let lines: Vec<&str> = gathered.examples.iter().map(|e| &e[..8]).collect();
    assert_eq!(lines, ["line 2: ", "line 3: ", "line 4: "]);
}

#[test]
fn what_is_wrong_with_the_header_is_never_skipped() {
    for (content, said) in [
        (
            &b""[..],
            "there is no column \"key\" among the columns (there are none)",
        ),
        (b"\n\n", "there is no column \"key\""),
        (
            b"id,priority\n1,2",
            "there is no column \"key\" among id, priority",
        ),
        (b"key,key\n1,2\n", "there are two columns \"key\""),
        (b"key,\xff\n1,2\n", "line 1: it is not UTF-8"),
        (
            b"key,\"n\n1,2\n",
            "line 1: a quote is opened in it and never closed",
        ),
    ] {
        for rules in [Rules::default(), skipping()] {
            let (rows, read) = read_file(content, CSV, &rules);
            let error = explained(read);
            assert!(
                error.contains(said) && rows.is_empty(),
                "{content:?}: {error}"
            );
            assert!(!error.contains("--on-bad-line"), "{error}");
        }
    }
}

#[test]
fn a_column_that_the_template_names_is_missed_as_soon_as_the_columns_are_known() {
    for on_bad_line in [OnBadLine::Fail, OnBadLine::Skip] {
        let rules = templated(on_bad_line, "p:{region}:{key}");
        let error = explained(read_file("key,country\n", CSV, &rules).1);
        assert!(
            error.contains("the key template of loader product names the column \"region\", which is not among key, country"),
            "{error}"
        );
    }
    let (found, read) = read_file(
        "key,region\n1,eu\n2,us\n",
        CSV,
        &templated(OnBadLine::Fail, "p:{region}:{key}"),
    );
    read.unwrap();
    let cache_keys: Vec<&[u8]> = found.iter().map(|row| &row.cache_key[..]).collect();
    assert_eq!(cache_keys, [&b"p:eu:1"[..], b"p:us:2"]);
}

#[test]
fn an_object_without_the_templates_columns_is_a_bad_line() {
    let content = "{\"key\":1}\n{\"key\":2,\"region\":null}\n{\"key\":3,\"region\":\"eu\"}";
    let error = explained(
        read_file(
            content,
            NDJSON,
            &templated(OnBadLine::Fail, "{region}:{key}"),
        )
        .1,
    );
    assert!(
        error.contains("line 1: the key template of loader product names the column \"region\", which is not among key"),
        "{error}"
    );
    let (rows, read) = read_file(
        content,
        NDJSON,
        &templated(OnBadLine::Skip, "{region}:{key}"),
    );
    let gathered = read.unwrap();
    assert_eq!((keys(&rows), gathered.bad_lines), (vec!["3"], 2));
    assert!(
        gathered.examples[1].starts_with(
            "line 2: the column \"region\", which the key template of loader product names, is NULL"
        ),
        "{gathered:?}"
    );
}

#[test]
fn a_cache_key_that_redis_would_not_take_is_a_bad_line() {
    let content = format!("key,region\n1,\n2,{}\n3,eu\n", "x".repeat(70_000));
    let (rows, read) = read_file(content, CSV, &templated(OnBadLine::Skip, "{region}"));
    let gathered = read.unwrap();
    assert_eq!((keys(&rows), gathered.bad_lines), (vec!["3"], 2));
    assert!(
        gathered.examples[0].contains("the cache key by the template of loader product is empty")
    );
    assert!(gathered.examples[1].contains("the cache key has 70000 bytes: at most 65536"));
}

#[test]
fn rows_go_out_in_chunks_until_nobody_takes_them() {
    let text = format!("key\n{}", "1\n".repeat(2500));
    let rules = Rules::default();
    let (sink, mut source) = mpsc::channel(3);
    let read = read_from(text.as_bytes(), Path::new("keys"), None, &rules, &sink);
    drop(sink);
    let sizes = std::iter::from_fn(|| source.try_recv().ok().map(|chunk| chunk.len()));
    let sizes: Vec<usize> = sizes.collect();
    assert_eq!((read.unwrap().rows, sizes), (2500, vec![1000, 1000, 500]));
    let (sink, source) = mpsc::channel(3);
    drop(source);
    let stopped = read_from(text.as_bytes(), Path::new("keys"), None, &rules, &sink);
    assert!(matches!(stopped, Err(FileError::Stopped { .. })));
}

/// Gives a text, and then another again and again; on the way it drops the rows' receiver.
struct Abandoned {
    start: &'static [u8],
    again: Vec<u8>,
    source: Option<mpsc::Receiver<Vec<SourceRow>>>,
    /// With which read the receiver goes. The file has some more, which nobody should ask for.
    goes: u32,
    reads: u32,
}

impl io::Read for Abandoned {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if !self.start.is_empty() {
            return self.start.read(buf);
        }
        self.reads += 1;
        if self.reads == self.goes {
            self.source = None;
        }
        if self.reads == self.goes + 10 {
            return Ok(0);
        }
        (&self.again[..]).read(buf)
    }
}

#[test]
fn where_nobody_takes_the_rows_any_more_a_file_without_any_is_not_read_on() {
    // So many reads are more than a line may have; and some are many lines.
    let (long, some) = (300, 3);
    for (what, start, again, format, goes) in [
        ("zeros", "", "\0", CSV, long),
        ("a line without end", "key\n", "x", CSV, long),
        ("a quote without end", "key\n\"", "x\n", CSV, long),
        ("bad lines", "key,n\n", "1\n", CSV, some),
        ("text behind quotes", "key\n", "\"1\"x\n", CSV, some),
        ("blank lines", "key\n", "\n", CSV, some),
        ("zeros", "", "\0", NDJSON, long),
        ("bad lines", "", "1\n", NDJSON, some),
        ("blank lines", "", "\n", NDJSON, some),
    ] {
        let (sink, source) = mpsc::channel(1);
        let mut file = Abandoned {
            start: start.as_bytes(),
            again: again.repeat(4096).into_bytes(),
            source: Some(source),
            goes,
            reads: 0,
        };
        let reader = BufReader::new(&mut file);
        let read = read_from(reader, Path::new("keys"), format, &skipping(), &sink);
        assert!(
            matches!(read, Err(FileError::Stopped { .. })),
            "{what}: {read:?}"
        );
        assert_eq!(file.reads, goes, "{what}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    let (sink, _source) = mpsc::channel(1);
    let path = Path::new("/nowhere/keys.csv");
    let error = read(path, None, &Rules::default(), sink).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot open the key file /nowhere/keys.csv"
    );
}

#[test]
fn what_is_compressed_is_told_by_its_content_and_a_cut_is_said() {
    let content = "key,priority\na,3\nb,2\n";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, content.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(content.as_bytes(), 1).unwrap();
    for file in [&gzip, &zstd] {
        assert_eq!(keys(&rows(file, None)), ["a", "b"]);
        let (_, cut) = read_file(&file[..file.len() - 5], None, &skipping());
        let error = explained(cut);
        assert!(
            error.contains("in the middle of what is compressed"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_file_may_be_named_by_its_url_and_no_error_repeats_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("top keys.csv");
    std::fs::write(&path, "key\na\n").unwrap();
    let url = format!("file://{}", path.display()).replace(' ', "%20");
    let (sink, mut source) = mpsc::channel(1);
    let read = super::read(Path::new(&url), None, &Rules::default(), sink).await;
    assert_eq!(read.unwrap().rows, 1);
    assert_eq!(keys(&source.recv().await.unwrap()), ["a"]);
    for url in [
        "s3://me:SECRET@bucket/keys.csv",
        "https://host/keys.parquet?sig=SECRET",
    ] {
        let (sink, _source) = mpsc::channel(1);
        let read = super::read(Path::new(url), None, &Rules::default(), sink).await;
        let error = explained(read);
        assert!(!error.contains("SECRET"), "{error}");
        #[cfg(feature = "parquet")]
        assert!(error.contains("is refused"), "{error}");
    }
}

#[cfg(not(feature = "parquet"))]
#[tokio::test]
async fn parquet_is_refused_by_the_name_of_the_feature_that_is_missing() {
    let (sink, _source) = mpsc::channel(1);
    let read = super::read(Path::new("keys.parquet"), None, &Rules::default(), sink).await;
    let error = explained(read);
    assert!(error.contains("feature parquet"), "{error}");
}

#[cfg(not(feature = "object-stores"))]
#[tokio::test]
async fn an_object_is_refused_by_the_name_of_the_feature_that_is_missing() {
    let (sink, _source) = mpsc::channel(1);
    let read = super::read(
        Path::new("s3://bucket/keys.csv"),
        None,
        &Rules::default(),
        sink,
    )
    .await;
    let error = explained(read);
    assert!(
        error.contains("s3://bucket/keys.csv") && error.contains("feature object-stores"),
        "{error}"
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
        let read = rows(writer.into_inner().unwrap(), CSV);
        let read: Vec<String> = read.iter().map(|row| row.key().to_owned()).collect();
        prop_assert_eq!(read, keys);
    }
}
