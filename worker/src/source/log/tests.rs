//! Logs as servers write them, and as they should not be. All go through real files and the reader that workers use.

use std::collections::BTreeMap;
use std::io::Write;

use stoke_core::access_log::{Fields, Filter, UrlRule};
use stoke_core::job::OnBadLine;
use stoke_core::template::Template;

use super::*;

const TIME: &str = "[29/Feb/2024:12:00:00 +0000]";

fn hit(url: &str) -> String {
    format!("h - - {TIME} \"GET {url} HTTP/1.1\" 200 5\n")
}

fn rules(on_bad_line: OnBadLine, loader: u32, template: &str) -> Rules {
    Rules {
        on_bad_line,
        template: Some(("l".parse().unwrap(), Template::parse(template).unwrap())),
        loader,
        ..Rules::default()
    }
}

/// Products of the first loader, users of the second.
fn urls() -> Vec<UrlRule> {
    let rule = |pattern: &str, loader| UrlRule {
        pattern: pattern.parse().unwrap(),
        loader,
    };
    vec![rule("/product/{id}", 0), rule("/user/{user}?tab=cart", 1)]
}

fn both(on_bad_line: OnBadLine) -> Vec<Rules> {
    vec![
        rules(on_bad_line, 0, "product:{key}"),
        rules(on_bad_line, 1, "cart:{user}"),
    ]
}

fn log(paths: Vec<String>) -> AccessLog {
    AccessLog {
        paths,
        lines: Lines::Auto,
        fields: Fields::default(),
        urls: urls(),
        filter: Filter::default(),
        half_life_s: None,
    }
}

/// What there was in it, and each cache key's loader, argument and priority in thousandths.
type Ranked = BTreeMap<String, (u32, String, u64)>;

fn read_with(
    log: &AccessLog,
    rules: &[Rules],
    counts_bytes_max: usize,
) -> (Ranked, Result<Read, LogError>) {
    let (sink, mut source) = mpsc::channel(1);
    let (log, rules) = (log.clone(), rules.to_vec());
    let reader = std::thread::spawn(move || {
        let reading = Reading::new(
            &log,
            &rules,
            SystemTime::UNIX_EPOCH,
            &sink,
            counts_bytes_max,
        )?;
        reading.all()
    });
    let mut ranked = Ranked::new();
    while let Some(rows) = source.blocking_recv() {
        for row in rows {
            let (loader, priority) = (row.loader, row.priority.as_milli());
            let (cache_key, key) = row.into_keys();
            let cache_key = String::from_utf8(cache_key).unwrap();
            ranked.entry(cache_key).or_insert((loader, key, 0)).2 += priority;
        }
    }
    (ranked, reader.join().unwrap())
}

fn read(log: &AccessLog, rules: &[Rules]) -> (Ranked, Result<Read, LogError>) {
    read_with(log, rules, COUNTS_BYTES_MAX)
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }
}

fn explained(error: &LogError) -> String {
    stoke_core::explain::explain(error)
}

#[test]
fn each_url_counts_for_the_loader_of_the_first_pattern_that_it_is_of() {
    let folder = Folder::new();
    let lines = [
        hit("/product/7"),
        hit("/product/7?from=mail"),
        hit("/product/8"),
        hit("/user/ann?tab=cart"),
        hit("/user/ann?tab=orders"),
        hit("/style.css"),
        "\n".to_owned(),
        hit("/product/9").replace("GET", "POST"),
        hit("/product/9").replace("\" 200", "\" 404"),
        hit("/a%20b").replace("/a", "/product/a"),
    ];
    let path = folder.file("access.log", lines.concat());
    let (ranked, read) = read(&log(vec![path]), &both(OnBadLine::Fail));
    let read = read.unwrap();
    let expected = [
        ("product:7", (0, "7", 2000)),
        ("product:8", (0, "8", 1000)),
        ("product:a b", (0, "a b", 1000)),
        ("cart:ann", (1, "ann", 1000)),
    ];
    let expected = expected.map(|(key, (loader, argument, count))| {
        (key.to_owned(), (loader, argument.to_owned(), count))
    });
    assert_eq!(ranked, expected.into());
    assert_eq!(
        (
            read.lines,
            read.filtered,
            read.unmatched,
            read.gathered.rows
        ),
        (9, 2, 2, 4)
    );
    assert_eq!(
        read.unmatched_example.as_deref(),
        Some("\"/user/ann?tab=orders\"")
    );
}

#[test]
fn no_name_in_a_pattern_says_how_often_a_url_is_asked_for() {
    let folder = Folder::new();
    let path = folder.file("access.log", hit("/list/new?count=all").repeat(2));
    let mut log = log(vec![path]);
    log.urls = vec![UrlRule {
        pattern: "/list/{key}?count={count}".parse().unwrap(),
        loader: 0,
    }];
    let (ranked, read) = read(&log, &[rules(OnBadLine::Fail, 0, "list:{key}")]);
    read.unwrap();
    let expected = ("list:new".to_owned(), (0, "new".to_owned(), 2000));
    assert_eq!(ranked, [expected].into());
}

#[test]
fn counts_add_up_whatever_is_held_of_them_over_any_number_of_files() {
    let folder = Folder::new();
    let line = |n: u64| hit(&format!("/product/{}", n * n % 1009));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let halves = [0..30_000, 30_000..60_000_u64].map(|half| half.map(line).collect::<String>());
    folder.file("access.log", &halves[0]);
    gzip.write_all(halves[1].as_bytes()).unwrap();
    folder.file("access.log.1", gzip.finish().unwrap());
    let all = format!("{}/access.log*", folder.0.path().display());
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for n in 0..60_000_u64 {
        *expected
            .entry(format!("product:{}", n * n % 1009))
            .or_default() += 1000;
    }
    for counts_bytes_max in [0, 2000, COUNTS_BYTES_MAX] {
        let (ranked, read) = read_with(
            &log(vec![all.clone()]),
            &both(OnBadLine::Fail),
            counts_bytes_max,
        );
        assert_eq!(read.unwrap().lines, 60_000);
        let counts = ranked.into_iter().map(|(key, (_, _, count))| (key, count));
        assert_eq!(
            counts.collect::<BTreeMap<_, _>>(),
            expected,
            "{counts_bytes_max}"
        );
    }
}

#[test]
fn lines_that_are_no_accesses_fail_the_source_or_are_counted() {
    let folder = Folder::new();
    let content = [
        b"half a line\n".as_slice(),
        hit("/product/1").as_bytes(),
        b"\x00\xff\x16\x03 binary\n",
        &vec![b'x'; super::super::file::LINE_BYTES_MAX + 7],
        b"\n",
        hit("/product/2").as_bytes(),
        hit("/product/%ff").as_bytes(),
        hit(&format!("/product/{}", "k".repeat(70_000))).as_bytes(),
        br#"{"time":"2024-02-29T12:00:00Z","method":"GET","url":"/product/3","status":200}"#,
        b"\n",
        hit("/product/{tag}%0Ax").trim_end().as_bytes(),
    ]
    .concat();
    let path = folder.file("access.log", content);
    let (ranked, read_of_it) = read(&log(vec![path.clone()]), &both(OnBadLine::Skip));
    let read_of_it = read_of_it.unwrap();
    assert_eq!(
        ranked.keys().collect::<Vec<_>>(),
        ["product:1", "product:2", "product:3", "product:{tag}\nx"],
        "and the one of another format"
    );
    // Half a line, binary, too long; and two keys that are none.
    assert_eq!(read_of_it.gathered.bad_lines, 5, "{read_of_it:?}");
    let examples = read_of_it.gathered.examples.join("; ");
    for says in [
        "line 1: it is no access of the common format",
        "line 3: there is no time",
        "line 4: it is longer than",
    ] {
        assert!(examples.contains(says), "{examples}");
    }
    let (ranked, failed) = read(&log(vec![path]), &both(OnBadLine::Fail));
    assert!(ranked.is_empty());
    let error = explained(&failed.unwrap_err());
    assert!(
        error.contains("line 1: it is no access") && error.contains("half a line"),
        "{error}"
    );
}

#[test]
fn a_server_that_is_told_another_format_loses_nothing() {
    let folder = Folder::new();
    let object = |id: u32| format!("{{\"uri\":\"/product/{id}\",\"status\":200}}\n");
    let before: String = (0..100).map(|id| hit(&format!("/product/{id}"))).collect();
    let after: String = (0..100).map(object).collect();
    let path = folder.file("access.log", before + &after + "neither\n" + &object(7));
    let (ranked, read_of_it) = read(&log(vec![path.clone()]), &both(OnBadLine::Skip));
    assert_eq!(read_of_it.unwrap().gathered.bad_lines, 1);
    assert_eq!(ranked.len(), 100);
    assert!(
        ranked
            .values()
            .all(|(_, _, count)| [2000, 3000].contains(count)),
        "{ranked:?}"
    );
    // Where it was said how lines are written, others are none.
    let said = AccessLog {
        lines: Lines::Common,
        ..log(vec![path])
    };
    let (ranked, read_of_it) = read(&said, &both(OnBadLine::Skip));
    assert_eq!(
        (ranked.len(), read_of_it.unwrap().gathered.bad_lines),
        (100, 102)
    );
}

#[test]
fn a_log_without_accesses_is_not_read_to_its_end() {
    let folder = Folder::new();
    let path = folder.file("app.log", "something happened\n".repeat(30_000));
    let with = |lines: Lines| AccessLog {
        lines,
        ..log(vec![path.clone()])
    };
    for lines in [
        Lines::Auto,
        Lines::Common,
        Lines::Regex("^(?<url>/.*)".into()),
    ] {
        let (_, read) = read(&with(lines), &both(OnBadLine::Skip));
        let error = explained(&read.unwrap_err());
        assert!(
            error.contains("none of the first 10000 lines from")
                && error.contains("something happened"),
            "{error}"
        );
    }
    let (_, short) = read(
        &log(vec![folder.file("short.log", "no\n")]),
        &both(OnBadLine::Skip),
    );
    assert!(explained(&short.unwrap_err()).contains("none of the first 1 lines"));
    let (ranked, empty) = read(
        &log(vec![folder.file("empty.log", "")]),
        &both(OnBadLine::Fail),
    );
    assert_eq!((ranked.len(), empty.unwrap()), (0, Read::default()));
}

#[test]
fn a_file_that_was_cut_off_gives_what_can_be_read_and_says_so() {
    let folder = Folder::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    for n in 0..5000 {
        gzip.write_all(hit(&format!("/product/{n}")).as_bytes())
            .unwrap();
    }
    let whole = gzip.finish().unwrap();
    let cut = folder.file("a.log.gz", &whole[..whole.len() / 2]);
    let next = folder.file("b.log", hit("/product/b"));
    let paths = vec![cut, next];
    let (_, failed) = read(&log(paths.clone()), &both(OnBadLine::Fail));
    let error = explained(&failed.unwrap_err());
    assert!(
        error.contains("a.log.gz behind line 25") && error.contains("ends in the middle"),
        "{error}"
    );
    let (ranked, read) = read(&log(paths), &both(OnBadLine::Skip));
    let read = read.unwrap();
    assert!(
        ranked.len() > 2000 && ranked.contains_key("product:b"),
        "{}",
        ranked.len()
    );
    assert_eq!(read.gathered.bad_lines, 1);
    assert!(
        read.gathered.examples[0].contains("ends in the middle"),
        "{read:?}"
    );
}

#[test]
fn what_ends_lines_and_begins_files_is_no_part_of_them() {
    let folder = Folder::new();
    let of_keys = |content: &str| {
        let log = AccessLog {
            urls: Vec::new(),
            lines: Lines::Regex("^(?<key>.*)$".into()),
            ..log(vec![folder.file("keys", content)])
        };
        let (ranked, read) = read(&log, &[rules(OnBadLine::Fail, 0, "p:{key}")]);
        read.unwrap();
        ranked.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(of_keys("a\r\nb\nc"), ["p:a", "p:b", "p:c"]);
    let marked = folder.file(
        "marked",
        "\u{feff}url,status\n/product/1,200\n/product/2,-1\n",
    );
    let (ranked, read) = read(&log(vec![marked]), &both(OnBadLine::Fail));
    assert_eq!(ranked.into_keys().collect::<Vec<_>>(), ["product:1"]);
    assert_eq!(read.unwrap().filtered, 1);
}

#[test]
fn each_line_of_a_key_that_is_none_is_bad() {
    let folder = Folder::new();
    let content = [hit("/product/%ff").repeat(5), hit("/product/1")].concat();
    let (_, read) = read(
        &log(vec![folder.file("x", content)]),
        &both(OnBadLine::Skip),
    );
    let read = read.unwrap();
    assert_eq!(
        (read.lines, read.gathered.bad_lines, read.gathered.rows),
        (6, 5, 1)
    );
}

#[test]
fn objects_without_what_is_wanted_are_no_accesses() {
    let folder = Folder::new();
    let path = folder.file("x", "{\"log\":\"GET /product/7\"}\n".repeat(20_000));
    let of = |log: &AccessLog, rules: &[Rules]| explained(&read(log, rules).1.unwrap_err());
    let json = AccessLog {
        lines: Lines::Json,
        ..log(vec![path])
    };
    let error = of(&json, &both(OnBadLine::Skip));
    assert!(
        error.contains("none of the first 10000") && error.contains("no field with a URL"),
        "{error}"
    );
    let keys = AccessLog {
        urls: Vec::new(),
        ..json
    };
    let error = of(&keys, &[rules(OnBadLine::Skip, 0, "p:{key}")]);
    assert!(
        error.contains("they lack one of the fields key (as \"{\"log\""),
        "{error}"
    );
}

#[test]
fn accesses_that_have_faded_away_are_told() {
    let folder = Folder::new();
    let faded = AccessLog {
        half_life_s: Some(60),
        filter: Filter {
            until: Some(1_709_208_000 + 3600),
            ..Filter::default()
        },
        ..log(vec![folder.file("x", hit("/product/1").repeat(1000))])
    };
    let error = explained(&read(&faded, &both(OnBadLine::Skip)).1.unwrap_err());
    assert!(
        error.contains("newest access is 60 half-lives old"),
        "{error}"
    );
}

#[test]
fn nobody_reads_on_for_rows_that_are_not_wanted() {
    let (sink, source) = mpsc::channel(1);
    drop(source);
    // A line without end, too.
    for content in ["/dev/zero", "/dev/urandom"] {
        let log = log(vec![content.into()]);
        let rules = both(OnBadLine::Skip);
        let reading = Reading::new(&log, &rules, SystemTime::UNIX_EPOCH, &sink, 0).unwrap();
        assert!(matches!(reading.all(), Err(LogError::Stopped)));
    }
}

#[test]
fn old_accesses_count_less_and_clocks_may_jump_back() {
    let folder = Folder::new();
    const START: i64 = 1_700_000_000;
    let at = |seconds: i64, id: &str| {
        let seconds = START + seconds;
        format!("{{\"ts\":{seconds},\"uri\":\"/product/{id}\"}}\n")
    };
    let lines = [
        at(1000, "new"),
        at(900, "old"),
        at(999, "new"),
        at(0, "ancient"),
        at(1000, "old"),
        at(1001, "late"),
    ];
    let half_life = AccessLog {
        filter: Filter {
            until: Some(START + 1001),
            ..Filter::default()
        },
        half_life_s: Some(1),
        ..log(vec![folder.file("x", lines.concat())])
    };
    let (ranked, read_of_it) = read(&half_life, &both(OnBadLine::Fail));
    let counts: Vec<(&str, u64)> = ranked
        .iter()
        .map(|(key, (_, _, count))| (key.as_str(), *count))
        .collect();
    // One second before counts half, two a quarter; what has faded away counts the least that there is.
    assert_eq!(
        counts,
        [
            ("product:ancient", 1),
            ("product:new", 750),
            ("product:old", 500)
        ]
    );
    assert_eq!(read_of_it.unwrap().filtered, 1);
    let (_, timeless) = read(
        &AccessLog {
            paths: vec![folder.file("y", "{\"uri\":\"/product/1\"}\n")],
            ..half_life
        },
        &both(OnBadLine::Fail),
    );
    assert!(explained(&timeless.unwrap_err()).contains("it has no time"));
}

#[test]
fn without_patterns_the_fields_are_the_columns() {
    let folder = Folder::new();
    let of = |content: &str, lines: Lines, rules: Rules| {
        let log = AccessLog {
            urls: Vec::new(),
            lines,
            ..log(vec![folder.file("keys.log", content)])
        };
        read(&log, &[rules])
    };
    let one = rules(OnBadLine::Fail, 3, "p:{key}");
    let (ranked, _) = of(
        "{\"key\":7}\n{\"key\":\"7\"}\n{\"other\":1}\n",
        Lines::Auto,
        one.clone(),
    );
    assert_eq!(
        ranked,
        [("p:7".to_owned(), (3, "7".to_owned(), 2000))].into()
    );
    let (ranked, read) = of(
        "miss a b\nmiss a c\nhit\n",
        Lines::Regex("^miss (?<tenant>\\S+) (?<id>\\S+)".into()),
        Rules {
            on_bad_line: OnBadLine::Skip,
            key_parts: vec!["tenant".into(), "id".into()],
            ..rules(OnBadLine::Skip, 0, "t:{tenant}:{id}")
        },
    );
    let keys: Vec<(&str, &str)> = ranked
        .iter()
        .map(|(key, (_, argument, _))| (key.as_str(), argument.as_str()))
        .collect();
    assert_eq!(
        keys,
        [("t:a:b", "[\"a\",\"b\"]"), ("t:a:c", "[\"a\",\"c\"]")]
    );
    assert_eq!(read.unwrap().gathered.bad_lines, 1);
    let (_, refused) = of(&hit("/a"), Lines::Common, one.clone());
    assert!(explained(&refused.unwrap_err()).contains("by patterns"));
    let (_, refused) = of("a,b\n", Lines::Csv, one);
    assert!(explained(&refused.unwrap_err()).contains("the columns a, b lack one of key"));
}

#[test]
fn what_the_loader_needs_and_the_pattern_does_not_name_is_told_before_anything_is_read() {
    let folder = Folder::new();
    let path = folder.file("access.log", hit("/user/ann?tab=cart"));
    let (_, read) = read(
        &log(vec![path]),
        &[
            rules(OnBadLine::Fail, 0, "p:{sku}"),
            rules(OnBadLine::Fail, 1, "u:{user}"),
        ],
    );
    let error = explained(&read.unwrap_err());
    assert!(
        error.contains("names the column \"sku\", which is not among id, key"),
        "{error}"
    );
}

#[derive(Default)]
struct AllSeen(Vec<(Vec<u8>, Option<i64>)>);

impl Observer for AllSeen {
    fn see(&mut self, seen: Seen<'_>) {
        self.0.push((seen.key.to_vec(), seen.at));
    }
}

#[tokio::test]
async fn each_access_that_counts_is_shown_in_the_order_of_the_lines() {
    let folder = Folder::new();
    let content = [
        hit("/product/b"),
        "half a line\n".to_owned(),
        hit("/user/b?tab=cart"),
        hit("/product/b?ref=mail"),
        hit("/style.css"),
        "{\"uri\":\"/product/b\"}\n".to_owned(),
        hit("/product/a").replace("GET", "POST"),
        hit("/product/a"),
    ];
    let log = log(vec![folder.file("access.log", content.concat())]);
    let (sink, mut rows) = mpsc::channel(1);
    let reading = read_observed(
        log,
        both(OnBadLine::Skip),
        SystemTime::UNIX_EPOCH,
        sink,
        AllSeen::default(),
    );
    let (read, ()) = tokio::join!(reading, async { while rows.recv().await.is_some() {} });
    let (read, AllSeen(seen)) = read.unwrap();
    assert_eq!(read.filtered, 1);
    let mut keys = Vec::new();
    for (n, (key, at)) in seen.into_iter().enumerate() {
        // The object has no time.
        assert_eq!(at, (n != 3).then_some(1_709_208_000));
        keys.push(key);
    }
    let [product, cart, again, object, other] = &keys[..] else {
        panic!("{keys:?}");
    };
    assert_eq!([product, product], [again, object]);
    assert!(product != cart && product != other);
}
