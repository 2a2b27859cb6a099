use std::time::Duration;

use super::*;
use crate::catalog::VALUE_BYTES_DEFAULT;

/// A column's value: its form in JSON, its form in text, and what it holds.
type Cell = (&'static str, &'static str, Scalar<'static>);

/// A row as a database might give it; `None` is NULL.
struct Given(Vec<Option<Cell>>);

impl Given {
    fn cell(&self, column: usize) -> Result<Cell, Reason> {
        self.0[column].ok_or_else(|| format!("column {column} is NULL"))
    }
}

impl Row for Given {
    fn is_null(&self, column: usize) -> Result<bool, Reason> {
        Ok(self.0[column].is_none())
    }

    fn json(&self, column: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        let (json, ..) = self.cell(column)?;
        out.extend_from_slice(json.as_bytes());
        Ok(())
    }

    fn text(&self, column: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        let (_, text, _) = self.cell(column)?;
        out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn scalar(&self, column: usize) -> Result<Scalar<'_>, Reason> {
        self.cell(column).map(|(.., scalar)| scalar)
    }
}

const COLUMNS: [&str; 4] = ["id", "Name", "blob", "tags"];

fn row() -> Given {
    Given(vec![
        Some(("7", "7", Scalar::Integer(7))),
        Some(("\"a\\\"b\"", "a\"b", Scalar::Text)),
        Some(("\"\\\\x00ff\"", "\\x00ff", Scalar::Bytes(&[0, 0xff]))),
        Some(("[1,\"x\"]", "[1,\"x\"]", Scalar::Json)),
    ])
}

fn loader(form: &str, max_value_bytes: u64) -> LoaderSpec {
    LoaderSpec {
        name: "l".parse().unwrap(),
        origin: "o".parse().unwrap(),
        query: String::new(),
        key: "k:{key}".parse().unwrap(),
        key_column: Default::default(),
        ttl: Duration::from_secs(60),
        ttl_jitter_permille: 0,
        batch_keys: 1.into(),
        max_value_bytes,
        scan: None,
        value: stoke_core::value::ValueSpec {
            form: form.parse().unwrap(),
            ..Default::default()
        },
    }
}

fn encoded(form: &str, row: &Given, bytes_max: u64) -> Result<Value, Reason> {
    let columns = COLUMNS.map(str::to_owned);
    let encoder = Encoder::new(&loader(form, bytes_max), &columns, Dialect::MySql).unwrap();
    encoder
        .encode(row, &mut vec![b'?'; 3])
        .map(|made| made.value)
}

fn string(form: &str, row: &Given) -> String {
    match encoded(form, row, VALUE_BYTES_DEFAULT).unwrap() {
        Value::String(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        other => panic!("no string: {other:?}"),
    }
}

#[test]
fn each_form_is_made_of_the_same_row() {
    let object = r#"{"id":7,"Name":"a\"b","blob":"\\x00ff","tags":[1,"x"]}"#;
    assert_eq!(string("object", &row()), object);
    // The sheet puts the objects together.
    assert_eq!(string("array", &row()), object);
    assert_eq!(string("column:name", &row()), "a\"b");
    assert_eq!(string("column:tags", &row()), "[1,\"x\"]");
    assert_eq!(
        encoded("column:blob", &row(), 16),
        Ok(Value::String(Bytes::from_static(&[0, 0xff])))
    );
    assert_eq!(
        string("template:{{{id}}}|{NAME}|{blob}", &row()),
        "{7}|a\"b|\\x00ff"
    );
    let field = |name: &'static str, value: &'static [u8]| (name.into(), value.into());
    let hash = vec![
        field("id", b"7"),
        field("Name", b"a\"b"),
        field("blob", &[0, 0xff]),
        field("tags", b"[1,\"x\"]"),
    ];
    assert_eq!(encoded("hash", &row(), 1000), Ok(Value::Hash(hash)));
    let packed = [
        &[0x84][..],
        b"\xa2id\x07",
        b"\xa4Name\xa3a\"b",
        b"\xa4blob\xc4\x02\x00\xff",
        b"\xa4tags\x92\x01\xa1x",
    ];
    let packed = Value::String(packed.concat().into());
    assert_eq!(encoded("messagepack", &row(), 1000), Ok(packed));
}

#[test]
fn nulls_are_what_each_form_has_for_them() {
    let mut row = row();
    for column in 1..4 {
        row.0[column] = None;
    }
    assert_eq!(
        string("object", &row),
        r#"{"id":7,"Name":null,"blob":null,"tags":null}"#
    );
    assert_eq!(string("template:{id}|{blob}|", &row), "7||");
    let id = vec![("id".into(), "7".into())];
    assert_eq!(encoded("hash", &row, 1000), Ok(Value::Hash(id)));
    let packed = b"\x84\xa2id\x07\xa4Name\xc0\xa4blob\xc0\xa4tags\xc0";
    let packed = Value::String(Bytes::from_static(packed));
    assert_eq!(encoded("messagepack", &row, 1000), Ok(packed));
    let error = encoded("column:blob", &row, 1000).unwrap_err();
    assert!(error.contains("is NULL"), "{error}");
    row.0[0] = None;
    let error = encoded("hash", &row, 1000).unwrap_err();
    assert!(error.contains("without fields"), "{error}");
}

#[test]
fn no_value_is_larger_than_its_loader_allows() {
    for form in [
        "object",
        "hash",
        "messagepack",
        "column:tags",
        "template:{tags}{id}",
    ] {
        let size = encoded(form, &row(), 1000).unwrap().size_bytes();
        let largest = size as u64;
        assert!(encoded(form, &row(), largest).is_ok(), "{form}");
        let error = encoded(form, &row(), largest - 1).unwrap_err();
        let says = format!("max-value-bytes is {}", largest - 1);
        assert!(error.contains(&says), "{form}: {error}");
    }
}

#[test]
fn a_column_that_a_form_names_must_be_there_as_the_database_spells_it() {
    let columns = COLUMNS.map(str::to_owned);
    let of = |form: &str, dialect| Encoder::new(&loader(form, 10), &columns, dialect).map(drop);
    assert_eq!(of("column:NAME", Dialect::Sqlite), Ok(()));
    assert_eq!(of("template:{name}", Dialect::MySql), Ok(()));
    assert_eq!(of("column:Name", Dialect::Postgres), Ok(()));
    for form in ["column:name", "template:{id}{name}"] {
        let error = of(form, Dialect::Postgres).unwrap_err().to_string();
        assert!(
            error.contains("\"name\", but the query gives id, Name, blob, tags"),
            "{error}"
        );
    }
    assert!(of("column:nothing", Dialect::MySql).is_err());
    // One that is spelled the same goes before one that is only alike.
    let twins = ["NAME".to_owned(), "name".to_owned()];
    assert_eq!(position(&twins, "name", Dialect::MySql), Some(1));
    assert_eq!(position(&twins, "Name", Dialect::MySql), Some(0));
}

#[test]
fn numbers_keep_their_kind_in_messagepack() {
    let of = |scalar| {
        let row = Given(vec![Some(("", "1.50", scalar))]);
        let columns = ["x".to_owned()];
        let loader = loader("messagepack", 100);
        let encoder = Encoder::new(&loader, &columns, Dialect::Postgres).unwrap();
        match encoder.encode(&row, &mut Vec::new()).unwrap().value {
            Value::String(bytes) => bytes.slice(3..).to_vec(),
            other => panic!("no string: {other:?}"),
        }
    };
    assert_eq!(of(Scalar::Bool(true)), [0xc3]);
    assert_eq!(of(Scalar::Integer(-1)), [0xff]);
    let most = of(Scalar::Unsigned(u64::MAX));
    assert_eq!(most, [&[0xcf][..], &[0xff; 8]].concat());
    assert_eq!(of(Scalar::Single(1.5)), [0xca, 0x3f, 0xc0, 0, 0]);
    let nan = of(Scalar::Double(f64::NAN));
    assert_eq!((nan[0], nan.len()), (0xcb, 9));
    // A decimal number is its digits.
    assert_eq!(of(Scalar::Text), b"\xa41.50");
    assert_eq!(Scalar::whole(i128::MAX), None);
    assert_eq!(Scalar::whole(1 << 63), Some(Scalar::Unsigned(1 << 63)));
}

#[test]
fn a_row_tells_when_its_value_must_be_gone_and_which_version_it_is() {
    let columns = COLUMNS.map(str::to_owned);
    let mut loader = loader("column:tags", 100);
    loader.value.expiry_column = Some("id".into());
    loader.value.versions = Some(stoke_core::value::Versions {
        column: "BLOB".into(),
        origin: None,
    });
    let encoder = Encoder::new(&loader, &columns, Dialect::MySql).unwrap();
    let mut given = row();
    let made = encoder.encode(&given, &mut Vec::new()).unwrap();
    let seven = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(7);
    assert_eq!(made.expires_at, Some(seven));
    assert_eq!(made.version, Some(Bytes::from_static(&[0, 0xff])));
    assert_eq!(made.value, "[1,\"x\"]".into());
    given.0[0] = None;
    let made = encoder.encode(&given, &mut Vec::new()).unwrap();
    assert_eq!(made.expires_at, None);
    given.0[2] = None;
    let error = encoder.encode(&given, &mut Vec::new()).unwrap_err();
    assert!(error.contains("version is NULL"), "{error}");
    given.0[0] = Some(("[]", "[]", Scalar::Json));
    let error = encoder.encode(&given, &mut Vec::new()).unwrap_err();
    assert!(error.contains("holds no time"), "{error}");
    loader.value.expiry_column = Some("until".into());
    let missing = Encoder::new(&loader, &columns, Dialect::MySql).map(drop);
    assert!(missing.unwrap_err().to_string().contains("\"until\""));
}
