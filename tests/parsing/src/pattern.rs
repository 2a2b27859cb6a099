//! Patterns of keys that are looked for by SCAN.

use stoke_core::pattern::Pattern;

/// A pattern keeps its text, also through JSON; the key that has values in the places of its names is one of its keys, and what
/// is captured makes that key again; and whatever bytes a key has, no more is captured than it has.
///
/// # Panics
/// Where that is not so.
pub fn pattern(bytes: &[u8]) {
    // The first line is the pattern, the rest a key.
    let (line, key) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &b""[..]),
    };
    let Ok(text) = std::str::from_utf8(line) else {
        return;
    };
    let Ok(pattern) = Pattern::parse(text) else {
        return;
    };
    assert_eq!(pattern.as_str(), text);
    let json = serde_json::to_string(&pattern).expect("a text is JSON");
    let again: Pattern = serde_json::from_str(&json).expect("what was written can be read");
    assert_eq!(again, pattern);
    assert!(!pattern.glob().is_empty());

    let names = pattern.names();
    if let Some(parts) = pattern.captures(key) {
        assert_eq!(parts.len(), names.len());
        assert!(parts.iter().all(|part| !part.is_empty()));
        assert!(parts.iter().map(|part| part.len()).sum::<usize>() <= key.len());
        assert!(names.is_empty() || filled(text, &parts) == key, "{text}");
    }
    if !names.is_empty() {
        let values: Vec<&[u8]> = names.iter().map(|_| &b"7"[..]).collect();
        let made = filled(text, &values);
        let parts = pattern.captures(&made).expect("one of its own keys");
        assert_eq!(filled(text, &parts), made, "{text}");
    }
}

/// The pattern's text with these in the places of its names, byte by byte.
fn filled(text: &str, values: &[&[u8]]) -> Vec<u8> {
    let (mut key, mut values) = (Vec::new(), values.iter());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' => match bytes.next() {
                Some(b'{') => key.push(b'{'),
                _ => {
                    let _name = bytes.by_ref().find(|byte| *byte == b'}');
                    key.extend_from_slice(values.next().expect("a value for each name"));
                }
            },
            b'}' => key.extend(bytes.next()),
            byte => key.push(byte),
        }
    }
    key
}
