//! `psql | redis-cli --pipe`: the database makes the values, and Redis' protocol around them, and two programs pass it on.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::cache::TTL;
use super::origin::Origin;
use super::process::{Running, Took};

/// How many rows psql fetches at one time. Without this it would first take all rows into its memory, and only then begin.
const FETCH_ROWS: &str = "FETCH_COUNT=1000";

/// Each row is a command. Its last line feed is the one that psql writes after a row.
fn commands(limit: u64) -> String {
    let ttl = TTL.as_secs();
    let digits = ttl.to_string().len();
    format!(
        "SELECT concat(E'*5\\r\\n$3\\r\\nSET\\r\\n$', octet_length(key), E'\\r\\n', key, E'\\r\\n$', octet_length(value), E'\\r\\n', \
         value, E'\\r\\n$2\\r\\nEX\\r\\n${digits}\\r\\n{ttl}\\r') \
         FROM (SELECT 'product:' || id AS key, row_to_json(p)::text AS value FROM products p ORDER BY views DESC LIMIT {limit}) made"
    )
}

fn psql(origin: &Origin, sql: &str) -> Command {
    let mut psql = Command::new(origin.psql_program());
    psql.args([
        "--no-psqlrc",
        "--quiet",
        "--no-align",
        "--tuples-only",
        "--set=ON_ERROR_STOP=1",
    ])
    .arg(format!("--set={FETCH_ROWS}"))
    .arg("--dbname")
    .arg(origin.url())
    .arg("--command")
    .arg(sql)
    .stdin(Stdio::null());
    psql
}

fn redis_cli(port: u16) -> Command {
    let mut cli = Command::new("redis-cli");
    cli.args(["-h", "127.0.0.1", "-p", &port.to_string(), "--pipe"]);
    cli.stdout(Stdio::piped());
    cli
}

/// The whole.
pub(super) fn run(origin: &Origin, limit: u64, port: u16) -> Result<Took> {
    let mut psql = psql(origin, &commands(limit));
    psql.stdout(Stdio::piped());
    let mut running = Running::start([])?;
    let made = running
        .and(psql)?
        .stdout
        .take()
        .context("psql has no output")?;
    let mut cli = redis_cli(port);
    cli.stdin(made);
    running.and(cli)?;
    running.wait()
}

/// Only the second half: of a file that was [prepared](prepare).
pub(super) fn run_prepared(file: &Path, port: u16) -> Result<Took> {
    let mut cli = redis_cli(port);
    cli.stdin(File::open(file).context("opening the prepared file")?);
    Running::start([cli])?.wait()
}

/// Writes the file, with what the first half makes.
pub(super) fn prepare(origin: &Origin, file: &Path) -> Result<()> {
    let mut psql = psql(origin, &commands(origin.rows));
    psql.stdout(File::create(file).context("making the prepared file")?);
    let status = psql.status().context("starting psql")?;
    ensure!(status.success(), "psql failed ({status})");
    Ok(())
}

/// The rows, in order, in PostgreSQL's own binary form, to nobody.
pub(super) fn copy(origin: &Origin) -> Result<Took> {
    let sql = "COPY (SELECT * FROM products ORDER BY views DESC) TO STDOUT (FORMAT binary)";
    let mut psql = psql(origin, sql);
    psql.stdout(Stdio::null());
    Running::start([psql])?.wait()
}
