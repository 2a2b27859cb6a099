//! What a MariaDB server was sent, read from its general log: an account of the load that is independent of whoever
//! caused it.

use std::collections::HashMap;

/// One command that the server got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The connection that it came on.
    pub connection: u32,
    /// Its kind, as the log calls it: `Connect`, `Query`, `Prepare`, `Execute`, `Close stmt`, `Quit` …
    pub command: String,
    /// What it says: a statement with its parameters' values where it is executed, and without where it is prepared.
    pub text: String,
}

impl Sent {
    /// Whether it is a statement: one that the server has to read, or to run.
    #[must_use]
    pub fn is_statement(&self) -> bool {
        matches!(self.command.as_str(), "Query" | "Prepare" | "Execute")
    }
}

/// What the log says of one user's connections, in the log's order. It names the user where a connection begins.
pub(crate) fn of_user(log: &str, user: &str) -> Vec<Sent> {
    let mut is_ours: HashMap<u32, bool> = HashMap::new();
    let mut all = Vec::new();
    // Whether the lines that follow, if they begin no command, still belong to the last one.
    let mut open = false;
    for line in log.lines() {
        let Some(sent) = first_line(line) else {
            if open && let Some(Sent { text, .. }) = all.last_mut() {
                text.push('\n');
                text.push_str(line);
            }
            continue;
        };
        if sent.command == "Connect" {
            let name = sent.text.strip_prefix("Access denied for user '");
            let name = name.unwrap_or(&sent.text);
            let ours = name
                .strip_prefix(user)
                .is_some_and(|rest| rest.starts_with(['@', '\'']));
            is_ours.insert(sent.connection, ours);
        }
        open = is_ours.get(&sent.connection).copied().unwrap_or(false);
        if open {
            all.push(sent);
        }
    }
    all
}

/// The command that begins on `line`: the time, or a tab where it is the last one's; a tab; the connection, right-aligned, and
/// the command, separated by a space; a tab; what it says.
fn first_line(line: &str) -> Option<Sent> {
    let (time, rest) = line.split_once('\t')?;
    let is_time = time.is_empty() || time.starts_with(|c: char| c.is_ascii_digit());
    let rest = rest
        .strip_prefix('\t')
        .unwrap_or(rest)
        .trim_start_matches(' ');
    let (connection, rest) = rest.split_once(' ')?;
    let connection = connection.parse().ok().filter(|_| is_time)?;
    let (command, text) = rest.split_once('\t').unwrap_or((rest, ""));
    Some(Sent {
        connection,
        command: command.trim().to_owned(),
        text: text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "mariadbd, Version: 10.11. started with:\n\
        Tcp port: 12000  Unix socket: /tmp/x/socket\n\
        Time\t\t    Id Command\tArgument\n\
        241128  5:05:01\t     3 Connect\tstoke@127.0.0.1 on shop using TCP/IP\n\
        \t\t     3 Query\tSET NAMES utf8mb4\n\
        \t\t     4 Connect\troot@localhost on  using Socket\n\
        \t\t     4 Query\tSELECT 1\n\
        241128  5:05:02\t     3 Prepare\tSELECT *\nFROM t WHERE id IN (?)\n\
        \t\t     3 Execute\tSELECT *\nFROM t WHERE id IN (7)\n\
        \t\t     3 Close stmt\t\n\
        \t\t    15 Connect\tAccess denied for user 'stoke'@'127.0.0.1' (using password: YES)\n\
        \t\t     3 Quit\t\n";

    #[test]
    fn what_a_user_sent_is_told_from_what_others_did() {
        let sent = of_user(LOG, "stoke");
        let commands: Vec<(u32, &str)> = sent
            .iter()
            .map(|sent| (sent.connection, sent.command.as_str()))
            .collect();
        assert_eq!(
            commands,
            [
                (3, "Connect"),
                (3, "Query"),
                (3, "Prepare"),
                (3, "Execute"),
                (3, "Close stmt"),
                (15, "Connect"),
                (3, "Quit"),
            ]
        );
        assert_eq!(sent[3].text, "SELECT *\nFROM t WHERE id IN (7)");
        assert_eq!(sent.iter().filter(|sent| sent.is_statement()).count(), 3);
        assert_eq!(of_user(LOG, "sto"), []);
    }
}
