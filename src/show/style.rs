//! Colours, where they are wanted.

use std::io::IsTerminal;

use clap::ValueEnum;
use clap::builder::styling::{AnsiColor, Style};
use stoke_proto::v1::JobState;

/// When there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorArg {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// In any case
    Always,
    /// In no case
    Never,
}

/// Whether text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Palette {
    coloured: bool,
}

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// It went well.
    Good,
    /// It went wrong.
    Bad,
    /// It stands still, or was stopped.
    Still,
    /// It goes on.
    Busy,
    /// A heading.
    Heading,
}

impl Palette {
    /// None at all.
    #[cfg(test)]
    pub const PLAIN: Self = Self { coloured: false };

    /// For standard output.
    pub fn of_stdout(wanted: ColorArg) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self::new(wanted, no_color, std::io::stdout().is_terminal())
    }

    fn new(wanted: ColorArg, no_color: bool, terminal: bool) -> Self {
        let coloured = match wanted {
            ColorArg::Always => true,
            ColorArg::Never => false,
            ColorArg::Auto => terminal && !no_color,
        };
        Self { coloured }
    }

    /// The text in its colour.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        if !self.coloured || text.is_empty() {
            return text.to_owned();
        }
        let style = match tone {
            Tone::Good => AnsiColor::Green.on_default(),
            Tone::Bad => AnsiColor::Red.on_default(),
            Tone::Still => AnsiColor::Yellow.on_default(),
            Tone::Busy => AnsiColor::Cyan.on_default(),
            Tone::Heading => Style::new().bold(),
        };
        format!("{style}{text}{style:#}")
    }
}

/// A job's state as it is called everywhere: RUNNING.
pub fn state_name(state: JobState) -> &'static str {
    state.as_str_name().trim_start_matches("JOB_STATE_")
}

/// What a state's colour says.
pub fn tone_of(state: JobState) -> Tone {
    match state {
        JobState::Succeeded => Tone::Good,
        JobState::Failed => Tone::Bad,
        JobState::Paused | JobState::Aborting | JobState::Aborted => Tone::Still,
        _ => Tone::Busy,
    }
}

/// What the command line says of colours, before it is parsed: its own help and errors are coloured, too.
pub fn wanted_by(args: impl IntoIterator<Item = std::ffi::OsString>) -> ColorArg {
    let mut wanted = ColorArg::Auto;
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let value = match arg.to_str() {
            Some("--") => break,
            Some("--color") => args.next().and_then(|value| value.into_string().ok()),
            Some(arg) => arg.strip_prefix("--color=").map(str::to_owned),
            None => None,
        };
        if let Some(value) = value {
            wanted = ColorArg::from_str(&value, false).unwrap_or(wanted);
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_only_where_they_are_wanted() {
        for (wanted, no_color, terminal, coloured) in [
            (ColorArg::Auto, false, true, true),
            (ColorArg::Auto, true, true, false),
            (ColorArg::Auto, false, false, false),
            (ColorArg::Always, true, false, true),
            (ColorArg::Never, false, true, false),
        ] {
            let palette = Palette::new(wanted, no_color, terminal);
            assert_eq!(
                palette.coloured, coloured,
                "{wanted:?} {no_color} {terminal}"
            );
        }
    }

    #[test]
    fn a_painted_text_ends_its_colour() {
        let palette = Palette { coloured: true };
        assert_eq!(
            palette.paint(Tone::Good, "SUCCEEDED"),
            "\u{1b}[32mSUCCEEDED\u{1b}[0m"
        );
        assert_eq!(Palette::PLAIN.paint(Tone::Good, "SUCCEEDED"), "SUCCEEDED");
    }

    #[test]
    fn the_wish_is_found_before_the_command_line_is_parsed() {
        let found = |args: &[&str]| wanted_by(args.iter().map(std::ffi::OsString::from));
        assert_eq!(
            found(&["stoke", "--color", "never", "jobs"]),
            ColorArg::Never
        );
        assert_eq!(
            found(&["stoke", "jobs", "--color=always"]),
            ColorArg::Always
        );
        assert_eq!(found(&["stoke", "jobs", "--color"]), ColorArg::Auto);
        assert_eq!(
            found(&["stoke", "jobs", "--", "--color=never"]),
            ColorArg::Auto
        );
    }
}
