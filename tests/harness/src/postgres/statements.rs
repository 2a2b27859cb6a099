//! Which statements a PostgreSQL server was sent, read from its log: an account of the load that is independent of
//! whoever caused it.

use std::collections::VecDeque;

/// The server's `log_line_prefix`: epoch with milliseconds, the process, and the application.
pub(crate) const LINE_PREFIX: &str = "%n %p [%a] ";

/// One statement that the server executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// When the server logged it, which it does before executing it: milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The server's process that executed it: each connection has one.
    pub process: u32,
    /// Its text, as it was sent.
    pub text: String,
}

/// The most statements in any second: of all windows `[t, t + 1000 ms)`, the fullest. In any order; 0 for none.
#[must_use]
pub fn peak_in_a_second(statements: &[Statement]) -> u32 {
    let mut times: Vec<u64> = statements.iter().map(|statement| statement.at_ms).collect();
    times.sort_unstable();
    let mut window = VecDeque::new();
    let mut peak = 0;
    for time in times {
        window.push_back(time);
        while window.front().is_some_and(|first| time - first >= 1000) {
            window.pop_front();
        }
        peak = peak.max(window.len());
    }
    u32::try_from(peak).unwrap_or(u32::MAX)
}

/// What the log says of one application's statements, in the log's order.
pub(crate) fn of_application(log: &str, application: &str) -> Vec<Statement> {
    let mut statements = Vec::new();
    // Whether the lines that follow, if they are indented, still belong to the last statement.
    let mut open = false;
    for line in log.lines() {
        if let Some(more) = line.strip_prefix('\t') {
            if open && let Some(Statement { text, .. }) = statements.last_mut() {
                text.push('\n');
                text.push_str(more);
            }
            continue;
        }
        let statement = first_line(line, application);
        open = statement.is_some();
        statements.extend(statement);
    }
    statements
}

/// The statement that begins on `line`, which is written as [`LINE_PREFIX`] says.
fn first_line(line: &str, application: &str) -> Option<Statement> {
    let (head, rest) = line.split_once(" [")?;
    let (time, process) = head.split_once(' ')?;
    let message = rest.strip_prefix(application)?.strip_prefix("] LOG:  ")?;
    let (seconds, millis) = time.split_once('.')?;
    let at_ms = seconds.parse::<u64>().ok()? * 1000 + millis.parse::<u64>().ok()?;
    let text = match message.strip_prefix("statement: ") {
        Some(text) => text,
        None => {
            // "execute NAME: …"; "execute fetch from NAME: …" is more rows of a statement that was counted already.
            let execution = message.strip_prefix("execute ")?;
            if execution.starts_with("fetch from ") {
                return None;
            }
            execution.split_once(": ")?.1
        }
    };
    Some(Statement {
        at_ms,
        process: process.parse().ok()?,
        text: text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
1700000000.001 7 [] LOG:  database system is ready to accept connections
1700000000.010 7 [psql] LOG:  statement: SELECT 1
1700000000.020 7 [loader] LOG:  statement: SELECT a,
\t  b
\t
\tFROM t
1700000000.030 7 [other] LOG:  execute <unnamed>: SELECT
\t2
1700000000.040 7 [loader] LOG:  execute sqlx_s_1/C_1: SELECT c FROM t WHERE id = ANY($1)
1700000000.040 7 [loader] DETAIL:  parameters: $1 = '{1,2}'
\tmore of the detail
1700000001.005 7 [loader] LOG:  execute fetch from sqlx_s_1/C_1: SELECT c FROM t WHERE id = ANY($1)
1700000001.006 7 [loader] LOG:  duration: 0.1 ms  parse <unnamed>: SELECT 3
1700000001.007 7 [loader] ERROR:  relation \"u\" does not exist at character 1
1700000001.007 7 [loader] STATEMENT:  SELECT * FROM u
1700000001.040 7 [loader] LOG:  execute sqlx_s_1: SELECT 'a: b'
";

    fn at(at_ms: u64, text: &str) -> Statement {
        Statement {
            at_ms,
            process: 7,
            text: text.to_owned(),
        }
    }

    #[test]
    fn executions_of_the_application_are_counted_and_nothing_else() {
        assert_eq!(
            of_application(LOG, "loader"),
            [
                at(1_700_000_000_020, "SELECT a,\n  b\n\nFROM t"),
                at(1_700_000_000_040, "SELECT c FROM t WHERE id = ANY($1)"),
                at(1_700_000_001_040, "SELECT 'a: b'"),
            ]
        );
        assert_eq!(
            of_application(LOG, "other"),
            [at(1_700_000_000_030, "SELECT\n2")]
        );
        assert_eq!(of_application(LOG, "load"), []);
    }

    #[test]
    fn the_peak_is_that_of_the_fullest_window_that_leaves_its_end_out() {
        let peak = |times: &[u64]| {
            peak_in_a_second(&times.iter().map(|time| at(*time, "")).collect::<Vec<_>>())
        };
        assert_eq!(peak(&[]), 0);
        assert_eq!(peak(&[5]), 1);
        assert_eq!(peak(&[0, 999]), 2);
        assert_eq!(peak(&[0, 1000]), 1);
        // Across the border of two seconds of the clock.
        assert_eq!(peak(&[100, 900, 950, 1050, 1850, 1950]), 4);
        // As logged by several processes, not quite in order.
        assert_eq!(peak(&[1950, 100, 1850, 900, 1050, 950]), 4);
    }
}
