//! Entries: what failed, and what a plan has. Keys are bytes, and stay what they are: CSV has them raw, JSON as `key` where
//! they are text and as `key_base64` where not, text writes out what is none.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use stoke_proto::v1;

use super::number::milli;
use super::plain;
use crate::print;

/// A key, as JSON has it: one of the two.
#[derive(Debug, Serialize)]
struct Key<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
}

impl<'a> Key<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self {
                key: Some(text),
                key_base64: None,
            },
            Err(_) => Self {
                key: None,
                key_base64: Some(BASE64_STANDARD.encode(bytes)),
            },
        }
    }
}

/// A failed entry, as JSON has it.
#[derive(Debug, Serialize)]
pub struct FailureReport<'a> {
    #[serde(flatten)]
    key: Key<'a>,
    rank: u64,
    loader: &'a str,
    attempts: u32,
    reason: &'a str,
}

impl<'a> FailureReport<'a> {
    /// Of this entry.
    pub fn new(failure: &'a v1::FailedEntry) -> Self {
        Self {
            key: Key::new(&failure.key),
            rank: failure.rank,
            loader: &failure.loader,
            attempts: failure.attempts,
            reason: &failure.reason,
        }
    }
}

/// A failed entry as a line of JSON.
pub fn failure_json(failure: &v1::FailedEntry) -> String {
    print::json(&FailureReport::new(failure))
}

/// A failed entry as a line of text.
pub fn failure_text(failure: &v1::FailedEntry) -> String {
    format!(
        "{} (rank {}, loader {}, {} attempts): {}\n",
        escaped(&failure.key),
        failure.rank,
        plain(&failure.loader),
        failure.attempts,
        plain(&failure.reason)
    )
}

/// The columns of failures as CSV.
pub const FAILURE_COLUMNS: [&str; 5] = ["key", "rank", "loader", "attempts", "reason"];

/// A failed entry's fields, in the order of [`FAILURE_COLUMNS`].
pub fn failure_fields(failure: &v1::FailedEntry) -> Vec<Vec<u8>> {
    vec![
        failure.key.clone(),
        failure.rank.to_string().into(),
        failure.loader.clone().into(),
        failure.attempts.to_string().into(),
        failure.reason.clone().into(),
    ]
}

/// Records as CSV: a header line where `header` is given, then one line for each.
pub fn csv(header: Option<&[&str]>, records: impl IntoIterator<Item = Vec<Vec<u8>>>) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let fine = "writing to memory does not fail, and records have as many fields as the header";
    if let Some(header) = header {
        writer
            .write_record(header)
            .unwrap_or_else(|_| unreachable!("{fine}"));
    }
    for record in records {
        writer
            .write_record(record)
            .unwrap_or_else(|_| unreachable!("{fine}"));
    }
    writer
        .into_inner()
        .unwrap_or_else(|_| unreachable!("{fine}"))
}

/// An entry of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanEntry<'a> {
    rank: u64,
    key: &'a [u8],
    argument: &'a str,
    loader: &'a str,
    priority_milli: u64,
}

#[derive(Debug, Serialize)]
struct PlanReport<'a> {
    rank: u64,
    #[serde(flatten)]
    key: Key<'a>,
    argument: &'a str,
    loader: &'a str,
    priority: serde_json::Number,
}

/// The columns of a plan as CSV: those of a key file that can be uploaded, and the rank.
pub const PLAN_COLUMNS: [&str; 5] = ["rank", "key", "argument", "loader", "priority"];

/// What a batch leaves out where all entries are alike.
const PRIORITY_MILLI_DEFAULT: u64 = 1000;

/// The entries of a batch; `loaders` are the names of the job's.
pub fn plan_entries<'a>(
    batch: &'a v1::EntryBatch,
    loaders: &'a [String],
) -> impl Iterator<Item = PlanEntry<'a>> {
    batch.keys.iter().enumerate().map(move |(n, key)| {
        let loader = batch.loaders.get(n).copied().unwrap_or(0);
        let loader = usize::try_from(loader).ok().and_then(|n| loaders.get(n));
        PlanEntry {
            rank: batch.ranks.get(n).copied().unwrap_or(0),
            key,
            argument: batch.arguments.get(n).map_or("", String::as_str),
            loader: loader.map_or("", String::as_str),
            priority_milli: *batch.priorities.get(n).unwrap_or(&PRIORITY_MILLI_DEFAULT),
        }
    })
}

impl PlanEntry<'_> {
    /// As a line of JSON.
    pub fn json(&self) -> String {
        let priority: serde_json::Number = match self.priority_milli % 1000 {
            0 => (self.priority_milli / 1000).into(),
            _ => milli(self.priority_milli)
                .parse()
                .unwrap_or_else(|_| unreachable!("digits and a point are a number")),
        };
        print::json(&PlanReport {
            rank: self.rank,
            key: Key::new(self.key),
            argument: self.argument,
            loader: self.loader,
            priority,
        })
    }

    /// Its fields, in the order of [`PLAN_COLUMNS`].
    pub fn fields(&self) -> Vec<Vec<u8>> {
        vec![
            self.rank.to_string().into(),
            self.key.to_vec(),
            self.argument.into(),
            self.loader.into(),
            milli(self.priority_milli).into(),
        ]
    }
}

/// A key as text: what is no text, a control character or a backslash is written out, so that no two keys look alike.
fn escaped(key: &[u8]) -> String {
    let mut text = String::new();
    for chunk in key.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\\' || c.is_control() {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(key: &[u8]) -> v1::FailedEntry {
        v1::FailedEntry {
            key: key.to_vec(),
            rank: 6,
            loader: "item".into(),
            reason: "weight: NaN has no form in JSON".into(),
            attempts: 1,
        }
    }

    #[test]
    fn a_failure_is_told_with_its_key_as_it_is() {
        assert_eq!(
            failure_text(&failure(b"item:7")),
            "item:7 (rank 6, loader item, 1 attempts): weight: NaN has no form in JSON\n"
        );
        assert_eq!(
            failure_json(&failure("größe".as_bytes())),
            "{\"key\":\"größe\",\"rank\":6,\"loader\":\"item\",\"attempts\":1,\"reason\":\"weight: NaN has no form in JSON\"}\n"
        );
        assert_eq!(
            failure_json(&failure(b"\xff\x00k")),
            "{\"key_base64\":\"/wBr\",\"rank\":6,\"loader\":\"item\",\"attempts\":1,\"reason\":\"weight: NaN has no form in JSON\"}\n"
        );
        let csv = csv(
            Some(&FAILURE_COLUMNS),
            [failure_fields(&failure(b"\xff,\"k"))],
        );
        assert_eq!(
            csv,
            b"key,rank,loader,attempts,reason\n\"\xff,\"\"k\",6,item,1,weight: NaN has no form in JSON\n"
        );
    }

    #[test]
    fn no_two_keys_look_alike_as_text() {
        assert_eq!(escaped(b"\xffk\n\\xff"), "\\xffk\\n\\\\xff");
        assert_eq!(escaped("größe".as_bytes()), "größe");
    }

    #[test]
    fn a_plans_entries_have_what_a_key_file_needs() {
        let batch = v1::EntryBatch {
            ranks: vec![0, 1],
            keys: vec![b"item:1".to_vec().into(), b"\xff".to_vec().into()],
            priorities: vec![12_500, 1_000_000],
            loaders: vec![1, 0],
            arguments: vec!["1".into(), "two, three".into()],
        };
        let loaders = ["a".to_owned(), "b".to_owned()];
        let entries: Vec<_> = plan_entries(&batch, &loaders).collect();
        assert_eq!(
            csv(Some(&PLAN_COLUMNS), entries.iter().map(PlanEntry::fields)),
            b"rank,key,argument,loader,priority\n0,item:1,1,b,12.5\n1,\xff,\"two, three\",a,1000\n"
        );
        assert_eq!(
            entries[0].json(),
            "{\"rank\":0,\"key\":\"item:1\",\"argument\":\"1\",\"loader\":\"b\",\"priority\":12.5}\n"
        );
        assert_eq!(
            entries[1].json(),
            "{\"rank\":1,\"key_base64\":\"/w==\",\"argument\":\"two, three\",\"loader\":\"a\",\"priority\":1000}\n"
        );
        let alike = v1::EntryBatch {
            ranks: vec![5],
            keys: vec![b"k".to_vec().into()],
            arguments: vec!["7".into()],
            ..v1::EntryBatch::default()
        };
        let entry = plan_entries(&alike, &loaders).next().unwrap();
        assert_eq!(csv(None, [entry.fields()]), b"5,k,7,a,1\n");
    }
}
