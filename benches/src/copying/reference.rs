//! The loop that people write, as a program of its own. Written well: what goes together is sent together, in one connection to each.

use std::process::Command;

use anyhow::{Context, Result, bail};

/// What this program is called with to be the loop.
pub(crate) const REFERENCE: &str = "copy-in-a-loop";

/// The command that runs it.
pub(super) fn command(from: &str, to: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([REFERENCE, from, to]);
    Ok(command)
}

/// Is the loop.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let [from, to] = arguments else {
        bail!("say from which Redis, and to which");
    };
    let connect = |url: &String| redis::Client::open(url.as_str())?.get_connection();
    let (mut from, mut to) = (connect(from)?, connect(to)?);
    let mut cursor = 0_u64;
    loop {
        let scanned: (u64, Vec<Vec<u8>>) = redis::cmd("SCAN")
            .arg(cursor)
            .arg("COUNT")
            .arg(super::BATCH_KEYS)
            .query(&mut from)?;
        let keys = scanned.1;
        let mut asked = redis::pipe();
        for key in &keys {
            asked.cmd("DUMP").arg(key).cmd("PTTL").arg(key);
        }
        let answers: Vec<redis::Value> = asked.query(&mut from).context("reading")?;
        let mut written = redis::pipe();
        for (key, pair) in keys.iter().zip(answers.chunks(2)) {
            let [redis::Value::BulkString(payload), redis::Value::Int(left)] = pair else {
                continue;
            };
            let left = (*left).max(0);
            written
                .cmd("RESTORE")
                .arg(key)
                .arg(left)
                .arg(payload)
                .arg("REPLACE")
                .ignore();
        }
        written.exec(&mut to).context("writing")?;
        cursor = scanned.0;
        if cursor == 0 {
            return Ok(());
        }
    }
}
