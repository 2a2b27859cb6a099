//! What people and scripts see: from messages of the API to text, tables and JSON.
//!
//! All of it is pure: what is shown here is printed elsewhere. Text that others chose (labels, reasons) never reaches a
//! terminal with its control characters.

pub mod budget;
pub mod entries;
pub mod estimate;
pub mod estimate_svg;
pub mod fleet;
pub mod forecast;
pub mod gate;
pub mod hit_rate;
pub mod job;
pub mod jobs;
pub mod number;
pub mod pace;
pub mod popularity;
pub mod progress;
pub mod pruned;
pub mod ranked;
pub mod status;
pub mod style;
pub mod table;
pub mod time;
pub mod verification;

/// A text that others chose, fit for a terminal: control characters are written out.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
pub mod samples;

#[cfg(test)]
mod tests {
    #[test]
    fn no_control_character_reaches_a_terminal() {
        assert_eq!(
            super::plain("red \u{1b}[31m, and\nmore ü"),
            "red \\u{1b}[31m, and\\nmore ü"
        );
    }
}
