//! Globs as Redis matches them (`stringmatchlen` in its `util.c`), for keys that no Redis has looked through by one: `*`, `?`,
//! `[abc]`, `[^a-z]`, and `\` before what is meant literally. Bytes are compared, not characters.
//!
//! Redis tries each star anew behind each other one, which takes exponential time; the last star alone is enough, and takes at most
//! the product of both lengths.

/// Whether all of a text matches.
#[must_use]
pub fn matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut glob, mut text) = (glob, text);
    // Behind the last star, and what it has not swallowed yet.
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        if let Some(behind) = glob.strip_prefix(b"*") {
            glob = behind;
            star = Some((behind, text));
            continue;
        }
        let step = match (text.split_first(), one(glob)) {
            (None, None) => return true,
            (Some((byte, rest)), Some((what, behind))) if what.is(*byte) => Some((behind, rest)),
            _ => None,
        };
        if let Some(next) = step {
            (glob, text) = next;
            continue;
        }
        let Some((behind, [_, rest @ ..])) = star else {
            return false;
        };
        star = Some((behind, rest));
        (glob, text) = (behind, rest);
    }
}

/// What stands for one byte.
enum One<'g> {
    Any,
    Byte(u8),
    /// What is in the brackets, without them and `^`, and whether it must not be of these.
    Class(&'g [u8], bool),
}

impl One<'_> {
    fn is(&self, byte: u8) -> bool {
        match *self {
            Self::Any => true,
            Self::Byte(wanted) => wanted == byte,
            Self::Class(members, not) => is_among(members, byte) != not,
        }
    }
}

/// What the glob begins with, which is no star, and what follows; `None` at its end.
fn one(glob: &[u8]) -> Option<(One<'_>, &[u8])> {
    Some(match glob {
        [] => return None,
        [b'?', rest @ ..] => (One::Any, rest),
        [b'\\', byte, rest @ ..] => (One::Byte(*byte), rest),
        [b'[', rest @ ..] => {
            let (members, not) = match rest {
                [b'^', members @ ..] => (members, true),
                members => (members, false),
            };
            let end = end_of_class(members);
            let behind = members.get(end + 1..).unwrap_or_default();
            (One::Class(&members[..end], not), behind)
        }
        [byte, rest @ ..] => (One::Byte(*byte), rest),
    })
}

/// Where the class is closed: at its end, where it never is.
fn end_of_class(members: &[u8]) -> usize {
    let mut at = 0;
    loop {
        at += match &members[at..] {
            [] | [b']', ..] => return at,
            [b'\\', _, ..] => 2,
            [_, b'-', _, ..] => 3,
            [_, ..] => 1,
        };
    }
}

fn is_among(mut members: &[u8], byte: u8) -> bool {
    loop {
        let (is, rest) = match members {
            [] => return false,
            [b'\\', literal, rest @ ..] => (*literal == byte, rest),
            [from, b'-', to, rest @ ..] => {
                let (from, to) = (*from.min(to), *from.max(to));
                ((from..=to).contains(&byte), rest)
            }
            [literal, rest @ ..] => (*literal == byte, rest),
        };
        if is {
            return true;
        }
        members = rest;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn globs_match_as_those_of_redis_do() {
        for (glob, text, expected) in [
            ("*", "", true),
            ("old:*", "old:7", true),
            ("old:*", "older:7", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h*llo", "heeeello", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("a\\", "a\\", true),
            ("[\\]]", "]", true),
            ("a[bc", "ab", true),
            ("a[", "ab", false),
            ("a[]b", "ab", false),
            ("[a-]x", "-x", false),
            ("*a*b*c", "xaybzc", true),
            ("*a*b*c", "xaybz", false),
            ("**", "anything", true),
            ("", "", true),
            ("", "a", false),
        ] {
            let matched = matches(glob.as_bytes(), text.as_bytes());
            assert_eq!(matched, expected, "{glob} of {text}");
        }
    }

    #[test]
    fn many_stars_take_no_longer_than_they_must() {
        let (glob, text) = ("*a".repeat(1000), "a".repeat(100_000));
        assert!(!matches(format!("{glob}b").as_bytes(), text.as_bytes()));
    }

    /// Redis' own way, step by step.
    fn as_redis(mut glob: &[u8], mut text: &[u8]) -> bool {
        while !glob.is_empty() && !text.is_empty() {
            if let Some(behind) = glob.strip_prefix(b"*") {
                return (0..=text.len()).any(|at| as_redis(behind, &text[at..]));
            }
            match one(glob) {
                Some((what, behind)) if what.is(text[0]) => (glob, text) = (behind, &text[1..]),
                _ => return false,
            }
        }
        text.is_empty() && glob.iter().all(|byte| *byte == b'*')
    }

    proptest! {
        #[test]
        fn the_last_star_is_enough(glob in "[ab*?\\[\\]^\\\\-]{0,8}", text in "[ab\\]^-]{0,8}") {
            let (glob, text) = (glob.as_bytes(), text.as_bytes());
            prop_assert_eq!(matches(glob, text), as_redis(glob, text));
        }
    }
}
