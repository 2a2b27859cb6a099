//! The table: a row a fault.

use std::fmt::Write;

use crate::Caught;
use crate::oracle::usage;
use crate::run::Row;

/// The table, in Markdown, and what did not hold.
pub(crate) fn text(rows: &[Row], caught: Option<&Caught>) -> String {
    let mut text = String::from(
        "| fault | fullest second ÷ ceiling | used from 2·Q on | recovery | healthy part of the run | revisions checked | keys lost | timers late by | |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let _ = writeln!(text, "{}", line(row));
    }
    for row in rows {
        for failure in &row.failures {
            let _ = writeln!(text, "\n{}: {failure}", row.fault.name);
        }
    }
    match caught {
        Some(Ok(found)) => {
            let _ = writeln!(text, "\nA check of the oracles: the mutant {found}");
        }
        Some(Err(missed)) => {
            let _ = writeln!(text, "\nThe oracles are blind: the mutant {missed}");
        }
        None => {
            text.push_str("\nNOT CHECKED: that the oracles find a fault of Stoke itself.\n");
        }
    }
    text
}

fn line(row: &Row) -> String {
    let fullest = &row.fullest;
    let in_hand = match fullest.in_hand {
        0 => String::new(),
        queries => format!(" (+{queries} in hand)"),
    };
    let none = || "-".to_owned();
    format!(
        "| {} | {}/{} = {:.2}{in_hand} | {} | {} | {}% | {} | {} | {} | {} |",
        row.fault.what,
        fullest.statements,
        fullest.ceiling,
        fullest.ratio(),
        row.used
            .map_or_else(none, |used| format!("{:.1}%", used * 100.0)),
        row.recovery_ms
            .map_or_else(none, |ms| format!("{}.{} s", ms / 1000, ms % 1000 / 100)),
        row.healthy_percent,
        row.revisions,
        row.lost.map_or_else(none, |lost| lost.to_string()),
        late(row),
        if row.failures.is_empty() {
            "passed"
        } else {
            "FAILED"
        }
    )
}

/// How late timers were: the median, and one of a hundred.
fn late(row: &Row) -> String {
    let (median, worst) = row.late;
    format!(
        "{:.1}, {:.0} ms",
        median.as_secs_f64() * 1000.0,
        worst.as_secs_f64() * 1000.0
    )
}

/// The page that is kept: the table, with what it was measured on.
pub(crate) fn page(table: &str, machine: &str) -> String {
    format!(
        "# The fault campaign, as last measured\n\n\
         Written by `make faults`. Three members of etcd, two coordinators, four workers, PostgreSQL and Redis on one machine; T = 5 s, \
         Q = 5.352 s; a ceiling of 20 queries a second, or 40 where it is cut to a tenth. What each column says, and who judges it: \
         [src/main.rs](src/main.rs). {:.1}% of a ceiling are usable; {:.0}% must be used. \
         Timers: how late those of a thread fired that does nothing else, the median and one in a hundred: the machine's own noise.\n\n{machine}\n{table}",
        usage::USABLE * 100.0,
        usage::USED_LEAST * 100.0,
    )
}
