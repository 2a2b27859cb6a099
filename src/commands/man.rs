//! `stoke man`: manual pages, made from the command line itself.

use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;
use clap_mangen::Man;

use super::printed;
use crate::args::{Args, ManArgs};
use crate::exit::{Exit, OrExit};
use crate::{Outcome, print};

/// Writes manual pages.
pub fn man(args: &ManArgs) -> Outcome {
    match &args.dir {
        Some(dir) => {
            write_all(dir)
                .with_context(|| format!("--dir: cannot write manual pages to {}", dir.display()))
                .or_exit(Exit::Usage)?;
            Ok(Exit::Succeeded)
        }
        None => {
            let mut page = Vec::new();
            let rendered = Man::new(Args::command()).render(&mut page);
            rendered.or_exit(Exit::Unreachable)?;
            printed(print::data(page))
        }
    }
}

/// One page for each command: stoke.1, stoke-jobs.1, stoke-budget-set.1 …
fn write_all(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(Args::command(), dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_page_with_all_its_flags() {
        let dir = tempfile::tempdir().unwrap();
        write_all(dir.path()).unwrap();
        let mut pages = 0;
        let mut command = Args::command().disable_help_subcommand(true);
        command.build();
        let mut left = vec![command];
        while let Some(command) = left.pop() {
            let name = command.get_display_name().unwrap_or("stoke").to_owned();
            let page = std::fs::read_to_string(dir.path().join(format!("{name}.1"))).unwrap();
            for flag in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                if let Some(long) = flag.get_long() {
                    let long = long.replace('-', "\\-");
                    assert!(page.contains(&format!("\\-\\-{long}")), "{name}: --{long}");
                }
            }
            pages += 1;
            left.extend(command.get_subcommands().cloned());
        }
        assert_eq!(pages, std::fs::read_dir(dir.path()).unwrap().count());
        let main = std::fs::read_to_string(dir.path().join("stoke.1")).unwrap();
        assert!(main.contains("Exit codes"), "{main}");
    }
}
