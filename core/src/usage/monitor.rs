//! What MONITOR shows of a Redis: a line for each command, as `1339518083.107412 [0 127.0.0.1:60866] "GET" "key"`.
//!
//! Arguments are quoted as `sdscatrepr` (in Redis' `sds.c`) does it: `\\`, `\"`, `\n`, `\r`, `\t`, `\a`, `\b`, and `\xHH` for whatever
//! cannot be printed. Who sent it is HOST:PORT, `unix:PATH`, or `lua` where a script did.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::names::OriginName;
use crate::pattern::Pattern;

/// The longest that nodes may be watched.
pub const DURATION_MS_MAX: u64 = 600_000;
/// The shortest.
pub const DURATION_MS_MIN: u64 = 1000;
/// How much of a core a node may be busy where nobody says, in thousandths: Redis has one for its commands.
pub const CPU_MAX_PERMILLE_DEFAULT: u32 = 900;
/// The most that a node may be allowed: more cores than any has that serves one Redis.
pub const CPU_MAX_PERMILLE_MAX: u32 = 100_000;
/// How many commands may be named.
pub const COMMANDS_MAX: usize = 100;
/// The longest name of a command, in bytes.
pub const COMMAND_BYTES_MAX: usize = 64;

/// The commands that a Redis is sent, watched for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Monitor {
    /// Where: a Redis.
    pub origin: OriginName,
    /// Which keys, and what of them is a column.
    pub pattern: Pattern,
    /// For how long: from [`DURATION_MS_MIN`] to [`DURATION_MS_MAX`].
    pub duration_ms: u64,
    /// How many of the masters are watched, in thousandths of them: from 1 to 1000, and at least one.
    pub nodes_permille: u32,
    /// A node that is busier than this is left alone, in thousandths of a core.
    pub cpu_max_permille: u32,
    /// Which commands count, in capitals; those that read where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'l> {
    /// The number of the database.
    pub database: u64,
    /// Who sent it.
    pub client: &'l str,
    /// The command, with its arguments, as they are quoted.
    words: &'l str,
}

impl<'l> Line<'l> {
    /// Reads a line; `None` where it is none.
    #[must_use]
    pub fn parse(line: &'l str) -> Option<Self> {
        let (time, rest) = line.split_once(" [")?;
        let is_time = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let (seconds, micros) = time.split_once('.')?;
        if !is_time(seconds) || !is_time(micros) {
            return None;
        }
        let (sender, words) = rest.split_once("] \"")?;
        let (database, client) = sender.split_once(' ')?;
        // The quote belongs to the first word.
        let from = rest.len() - words.len() - 1;
        Some(Self {
            database: database.parse().ok()?,
            client,
            words: rest.get(from..)?,
        })
    }

    /// The command and its arguments, one by one; `None` where the rest is no word.
    pub fn words(&self) -> impl Iterator<Item = Option<Cow<'l, [u8]>>> + use<'l> {
        let mut rest = self.words;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let Some((word, behind)) = word(rest) else {
                rest = "";
                return Some(None);
            };
            rest = behind.strip_prefix(' ').unwrap_or(behind);
            Some(Some(word))
        })
    }

    /// The keys that it asks for, where it is one of the commands, or else reads.
    pub fn keys(&self, commands: &[String]) -> Vec<Cow<'l, [u8]>> {
        let mut words = self.words();
        let Some(Some(name)) = words.next() else {
            return Vec::new();
        };
        let name = String::from_utf8_lossy(&name).to_ascii_uppercase();
        let counts = match commands {
            [] => ONE_KEY.contains(&&*name) || ALL_KEYS.contains(&&*name) || name == JSON_MGET,
            given => given.contains(&name),
        };
        if !counts {
            return Vec::new();
        }
        let mut keys: Vec<Cow<'l, [u8]>> = words.map_while(|word| word).collect();
        if name == JSON_MGET {
            // The path stands last.
            keys.pop();
        } else if !ALL_KEYS.contains(&&*name) {
            keys.truncate(1);
        }
        keys
    }
}

/// Reads all arguments but the last as keys.
const JSON_MGET: &str = "JSON.MGET";

/// Commands all of whose arguments are keys that they read.
const ALL_KEYS: [&str; 6] = ["MGET", "EXISTS", "PFCOUNT", "SUNION", "SINTER", "SDIFF"];

/// Commands that read the key that is their first argument.
const ONE_KEY: [&str; 62] = [
    "GET",
    "GETEX",
    "GETRANGE",
    "SUBSTR",
    "STRLEN",
    "GETBIT",
    "BITCOUNT",
    "BITPOS",
    "BITFIELD_RO",
    "HGET",
    "HMGET",
    "HGETALL",
    "HKEYS",
    "HVALS",
    "HLEN",
    "HEXISTS",
    "HSTRLEN",
    "HSCAN",
    "HRANDFIELD",
    "LRANGE",
    "LINDEX",
    "LLEN",
    "LPOS",
    "SMEMBERS",
    "SISMEMBER",
    "SMISMEMBER",
    "SCARD",
    "SRANDMEMBER",
    "SSCAN",
    "ZRANGE",
    "ZREVRANGE",
    "ZRANGEBYSCORE",
    "ZREVRANGEBYSCORE",
    "ZRANGEBYLEX",
    "ZREVRANGEBYLEX",
    "ZSCORE",
    "ZMSCORE",
    "ZCARD",
    "ZCOUNT",
    "ZLEXCOUNT",
    "ZRANK",
    "ZREVRANK",
    "ZSCAN",
    "ZRANDMEMBER",
    "XRANGE",
    "XREVRANGE",
    "XLEN",
    "GEOPOS",
    "GEODIST",
    "GEOHASH",
    "GEOSEARCH",
    "GEORADIUS_RO",
    "GEORADIUSBYMEMBER_RO",
    "SORT_RO",
    "JSON.GET",
    "JSON.STRLEN",
    "JSON.ARRLEN",
    "JSON.OBJLEN",
    "JSON.OBJKEYS",
    "JSON.TYPE",
    "JSON.RESP",
    "TS.GET",
];

/// The quoted word that a text begins with, and what follows.
fn word(text: &str) -> Option<(Cow<'_, [u8]>, &str)> {
    let text = text.strip_prefix('"')?;
    let end = text.find(['"', '\\'])?;
    if text.as_bytes()[end] == b'"' {
        return Some((Cow::Borrowed(&text.as_bytes()[..end]), &text[end + 1..]));
    }
    let mut word = text.as_bytes()[..end].to_vec();
    let mut rest = &text.as_bytes()[end..];
    loop {
        rest = match rest {
            [b'"', ..] => break,
            [b'\\', b'x', high, low, behind @ ..] => {
                word.push(hex(*high)? << 4 | hex(*low)?);
                behind
            }
            [b'\\', escaped, behind @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'a' => 7,
                    b'b' => 8,
                    b'\\' | b'"' => *escaped,
                    _ => return None,
                });
                behind
            }
            [b'\\'] | [] => return None,
            [byte, behind @ ..] => {
                word.push(*byte);
                behind
            }
        };
    }
    let behind = text.get(text.len() - rest.len() + 1..)?;
    Some((Cow::Owned(word), behind))
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

/// How many of so many nodes are watched.
#[must_use]
pub fn watched(nodes: usize, permille: u32) -> usize {
    let share = u64::try_from(nodes)
        .unwrap_or(u64::MAX)
        .saturating_mul(permille.into());
    let watched = usize::try_from(share.div_ceil(1000)).unwrap_or(usize::MAX);
    watched.clamp(nodes.min(1), nodes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(words: &str) -> Vec<String> {
        let line = format!("1339518083.107412 [0 127.0.0.1:60866] {words}");
        let line = Line::parse(&line).unwrap();
        let text = |key: Cow<'_, [u8]>| String::from_utf8_lossy(&key).into_owned();
        line.keys(&[]).into_iter().map(text).collect()
    }

    #[test]
    fn a_line_says_where_by_whom_and_what() {
        for (line, database, client) in [
            (
                "1339518083.107412 [0 127.0.0.1:60866] \"keys\" \"*\"",
                0,
                "127.0.0.1:60866",
            ),
            (
                "1339518083.1 [15 [::1]:60866] \"keys\" \"*\"",
                15,
                "[::1]:60866",
            ),
            ("1339518083.107412 [0 lua] \"keys\" \"*\"", 0, "lua"),
            (
                "1339518083.107412 [3 unix:/tmp/a b.sock] \"keys\" \"*\"",
                3,
                "unix:/tmp/a b.sock",
            ),
        ] {
            let parsed = Line::parse(line).unwrap();
            assert_eq!((parsed.database, parsed.client), (database, client));
            let words: Vec<_> = parsed.words().map(Option::unwrap).collect();
            assert_eq!(words, [&b"keys"[..], b"*"]);
        }
        for line in [
            "",
            "OK",
            "1339518083.107412",
            "x.y [0 a] \"get\"",
            "1.2 [a b] \"get\"",
            "1.2 [0] \"get\"",
            "1.2 [0 a] get",
        ] {
            assert_eq!(Line::parse(line), None, "{line}");
        }
    }

    #[test]
    fn commands_that_read_tell_their_keys() {
        for (words, expected) in [
            ("\"get\" \"a\"", vec!["a"]),
            (
                "\"GET\" \"with \\\"quotes\\\" and \\\\ and \\n\\r\\t\"",
                vec!["with \"quotes\" and \\ and \n\r\t"],
            ),
            (
                "\"MGET\" \"a\" \"b c\" \"\\xc3\\xa4\"",
                vec!["a", "b c", "ä"],
            ),
            ("\"EXISTS\" \"a\" \"b\"", vec!["a", "b"]),
            ("\"HMGET\" \"h\" \"f\" \"g\"", vec!["h"]),
            ("\"JSON.GET\" \"j\" \"$\"", vec!["j"]),
            ("\"JSON.MGET\" \"j\" \"k\" \"$\"", vec!["j", "k"]),
            ("\"SET\" \"a\" \"b\"", vec![]),
            ("\"AUTH\" \"(redacted)\"", vec![]),
            ("\"GET\"", vec![]),
            ("\"GET\" \"never closed", vec![]),
            ("\"GET\" \"\\q\"", vec![]),
            ("\"GET\" \"\\x4\"", vec![]),
            ("\"GET\" \"\"", vec![""]),
        ] {
            assert_eq!(keys(words), expected, "{words}");
        }
        let line = Line::parse("1.2 [0 a] \"fcall_ro\" \"k\" \"v\"").unwrap();
        assert_eq!(line.keys(&["FCALL_RO".to_owned()]), [&b"k"[..]]);
    }

    #[test]
    fn at_least_one_node_is_watched_and_no_more_than_there_are() {
        for (nodes, permille, expected) in [
            (3, 1000, 3),
            (3, 1, 1),
            (3, 334, 2),
            (3, 333, 1),
            (10, 500, 5),
            (0, 1000, 0),
            (1, 1, 1),
        ] {
            assert_eq!(watched(nodes, permille), expected, "{nodes}, {permille}");
        }
    }

    /// As Redis writes an argument.
    fn quoted(bytes: &[u8]) -> String {
        let mut text = String::from("\"");
        for byte in bytes {
            match byte {
                b'\\' | b'"' => text.extend(['\\', char::from(*byte)]),
                b'\n' => text.push_str("\\n"),
                b'\r' => text.push_str("\\r"),
                b'\t' => text.push_str("\\t"),
                7 => text.push_str("\\a"),
                8 => text.push_str("\\b"),
                b' '..=b'~' => text.push(char::from(*byte)),
                _ => text.push_str(&format!("\\x{byte:02x}")),
            }
        }
        text.push('"');
        text
    }

    proptest! {
        #[test]
        fn whatever_bytes_arguments_have_they_are_read_as_they_were(
            arguments in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 1..6),
        ) {
            let words: Vec<String> = arguments.iter().map(|argument| quoted(argument)).collect();
            let line = format!("1339518083.107412 [0 127.0.0.1:60866] {}", words.join(" "));
            let read: Vec<_> = Line::parse(&line).unwrap().words().map(Option::unwrap).collect();
            prop_assert_eq!(read, arguments);
        }

        #[test]
        fn no_line_breaks_it(line in "(1\\.2 \\[0 a\\] )?[\\x00-\\x7fä\"\\\\x ]{0,60}") {
            if let Some(line) = Line::parse(&line) {
                let _ = line.keys(&[]);
                prop_assert!(line.words().count() <= 61);
            }
        }
    }
}
