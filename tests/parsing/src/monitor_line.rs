//! Lines of MONITOR.

use stoke_core::usage::monitor::Line;

/// What is read of a line is no more than it has, and its keys are among its words; and whatever the bytes, quoted as Redis does it
/// they are read as they were.
///
/// # Panics
/// Where that is not so.
pub fn monitor_line(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(line) = Line::parse(text)
    {
        assert!(text.contains(line.client));
        let words: Vec<_> = line.words().map_while(|word| word).collect();
        assert!(words.iter().map(|word| word.len() + 2).sum::<usize>() <= text.len());
        let keys = line.keys(&[]);
        assert!(keys.len() < words.len().max(1));
        assert!(keys.iter().all(|key| words.contains(key)));
    }
    let quoted = format!("1.5 [0 lua] \"MGET\" {} \"last\"", quoted(bytes));
    let keys = Line::parse(&quoted).expect("a line").keys(&[]);
    assert_eq!(keys, [bytes, b"last"]);
}

/// As `sdscatrepr` has it.
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
