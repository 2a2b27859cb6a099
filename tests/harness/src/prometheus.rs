//! Prometheus: a server that scrapes, and its tool.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::dir::ServerDir;
use crate::ports::{free_port, on_free_ports};
use crate::process::Recipe;
use crate::service::Service;
use crate::tools;

/// What it logs when it listens. That it is in the log of this very run tells it from a stranger on its port.
const LISTENING: &str = "Server is ready to receive web requests";

/// How long an HTTP server may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    port: u16,
    service: Service,
}

impl Prometheus {
    /// Starts one with this configuration (YAML), and waits until it answers.
    ///
    /// # Errors
    /// It is not installed, or is not usable after a minute: with the end of its log.
    pub fn start(config: &str) -> Result<Self> {
        on_free_ports(|| {
            let port = free_port()?;
            let dir = ServerDir::new("prometheus")?;
            let file = dir.path().join("prometheus.yml");
            fs::write(&file, config).with_context(|| format!("writing {}", file.display()))?;
            let mut recipe = Recipe::new("prometheus");
            recipe.arg(format!("--config.file={}", file.display()));
            recipe.arg(format!(
                "--storage.tsdb.path={}",
                dir.path().join("data").display()
            ));
            recipe.arg(format!("--web.listen-address=127.0.0.1:{port}"));
            let service = Service::start("prometheus", dir, recipe)?;
            service.wait_until_ready(|log| {
                ensure!(log.contains(LISTENING), "it does not listen yet");
                Ok(())
            })?;
            Ok(Self { port, service })
        })
    }

    /// Asks a query of PromQL, as of now: the server's answer, in JSON, be it a refusal.
    ///
    /// # Errors
    /// It gives no answer.
    pub fn query(&self, query: &str) -> Result<String> {
        let escaped: String = query
            .bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
                _ => format!("%{byte:02X}"),
            })
            .collect();
        let (_, body) = http_get(self.port, &format!("/api/v1/query?query={escaped}"))?;
        Ok(body)
    }

    /// Where it is asked: `http://HOST:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.service.pid()
    }
}

/// Asks an HTTP server of this machine for a page: the status, and the page.
///
/// # Errors
/// It gives no answer that could be read.
pub fn http_get(port: u16, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connecting")?;
    stream
        .set_read_timeout(Some(ANSWER_WITHIN))
        .context("limiting the wait")?;
    // Of version 1.0, so that the answer ends with the connection and comes in one piece.
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .context("asking")?;
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .context("reading the answer")?;
    let answer = String::from_utf8(answer).context("the answer is no text")?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("the answer has no body")?;
    let status = head
        .split_whitespace()
        .nth(1)
        .context("the answer has no status")?;
    Ok((status.parse().context("status")?, body.to_owned()))
}

/// Runs `promtool` in `folder` and returns its output.
///
/// # Errors
/// It is not installed, or finds something wrong: with what it said.
pub fn promtool(folder: &Path, args: &[&str]) -> Result<String> {
    let mut command = Command::new("promtool");
    command.current_dir(folder).args(args);
    tools::run(&command, "")
}
