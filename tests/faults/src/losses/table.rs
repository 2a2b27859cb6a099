//! The table: a row a loss.

use std::fmt::Write;

use super::run::Row;

/// The table, in Markdown, and what did not hold.
pub(crate) fn text(rows: &[Row]) -> String {
    let mut text = String::from(
        "| loss | planned = warmed + present + absent + failed + cancelled | missing, wrong, surplus keys | repeated work | resumed after | |\n\
         |---|---|---|---|---|---|\n",
    );
    for row in rows {
        let _ = writeln!(text, "{}", line(row));
    }
    for row in rows {
        for failure in &row.failures {
            let _ = writeln!(text, "\n{}: {failure}", row.loss.name);
        }
    }
    text
}

fn line(row: &Row) -> String {
    let count = |outcome: &str| row.job["outcomes"][outcome].as_u64().unwrap_or(0);
    let differences = &row.differences;
    format!(
        "| {} | {} = {} + {} + {} + {} + {} | {}, {}, {} | {} | {} | {} |",
        row.loss.what,
        row.job["planned"].as_u64().unwrap_or(0),
        count("warmed"),
        count("present"),
        count("absent"),
        count("failed"),
        count("cancelled"),
        if row.loss.ends == "SUCCEEDED" {
            differences.missing.to_string()
        } else {
            "-".into()
        },
        differences.wrong,
        differences.surplus,
        repeated(row.asked),
        row.resumed_ms.map_or_else(
            || "-".to_owned(),
            |ms| format!("{}.{} s", ms / 1000, ms % 1000 / 100)
        ),
        if row.failures.is_empty() {
            "passed"
        } else {
            "FAILED"
        }
    )
}

/// How many of the keys that the database was asked for it had been asked for before, in percent of what was to do.
fn repeated((all, distinct): (u64, u64)) -> String {
    let thousandths = (all - distinct) * 100_000 / distinct.max(1);
    format!("{}.{:02}%", thousandths / 1000, thousandths % 1000 / 10)
}
