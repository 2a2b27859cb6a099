//! What a run leaves behind for whoever must find out what went wrong.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use stoke_harness::Statement;

use crate::history::Change;
use crate::scene::Scene;

/// What all processes of Stoke and PostgreSQL have said.
pub(crate) fn keep_logs(folder: &Path, scene: &Scene) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    for (name, program) in scene.programs() {
        write(&folder.join(format!("{name}.log")), &program.log()?)?;
    }
    fs::copy(scene.postgres.log_path(), folder.join("postgres.log"))
        .context("copying PostgreSQL's log")?;
    Ok(())
}

/// What was judged, one JSON object a line.
pub(crate) fn keep(
    folder: &Path,
    history: &[Change],
    statements: &[Statement],
    job: &Value,
) -> Result<()> {
    let mut lines = String::new();
    for change in history {
        let line = json!({"revision": change.revision, "seen_ms": change.seen_ms, "key": change.key, "value": change.value});
        let _ = writeln!(lines, "{line}");
    }
    write(&folder.join("history.jsonl"), &lines)?;
    let mut lines = String::new();
    for Statement {
        at_ms,
        process,
        text,
    } in statements
    {
        let _ = writeln!(
            lines,
            "{}",
            json!({"at_ms": at_ms, "process": process, "text": text})
        );
    }
    write(&folder.join("statements.jsonl"), &lines)?;
    write(&folder.join("job.json"), &job.to_string())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
