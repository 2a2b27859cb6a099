//! `stoke completions`.

use clap::CommandFactory;

use super::printed;
use crate::args::{Args, CompletionsArgs};
use crate::{Outcome, print};

/// Writes completions for a shell.
pub fn completions(args: &CompletionsArgs) -> Outcome {
    // Into memory: it panics where it cannot write.
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "stoke", &mut text);
    printed(print::data(text))
}
