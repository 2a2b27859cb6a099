//! What sharing a budget costs: dividing it among a thousand workers, and renewing their shares in a real etcd. What big
//! plans cost: ranking, banding and streaming them. And how long partitions take to be handed over.
//!
//! Without arguments it measures everything, prints the tables and writes them to `benches/RESULTS.md`; with the names of
//! parts (`dividing`, `renewing`, `planning`, `handing-over`) only those, and writes nothing. Build it with `--release`.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")
)]

mod dividing;
mod handing_over;
mod machine;
mod planning;
mod renewing;
mod rule;
mod table;

use std::path::Path;

use anyhow::{Context, Result, bail};

const PARTS: [&str; 4] = ["dividing", "renewing", "planning", "handing-over"];

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let [first, rest @ ..] = &wanted[..]
        && first == planning::SERVE
    {
        return planning::serve(rest);
    }
    if let Some(unknown) = wanted.iter().find(|part| !PARTS.contains(&part.as_str())) {
        bail!(
            "there is no part {unknown:?}: there are {}",
            PARTS.join(", ")
        );
    }
    let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|name| name == part);
    if cfg!(debug_assertions) {
        eprintln!("This is no release build: what it measures says little.");
    }
    let mut report = machine::describe()?;
    if is_wanted("dividing") {
        let part = dividing::run()?;
        println!("{part}");
        report += &part;
    }
    if is_wanted("renewing") {
        let part = renewing::run()?;
        println!("{part}");
        report += &part;
    }
    if is_wanted("planning") {
        let part = planning::run()?;
        report += "\n";
        report += &part;
    }
    if is_wanted("handing-over") {
        let part = handing_over::run()?;
        println!("{part}");
        report += &part;
    }
    if wanted.is_empty() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("RESULTS.md");
        std::fs::write(&file, report).with_context(|| format!("writing {}", file.display()))?;
        println!("Written to {}", file.display());
    }
    Ok(())
}
