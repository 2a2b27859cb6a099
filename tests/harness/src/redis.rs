//! Redis, standalone.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::certificates::{Pair, ServerTls};
use crate::dir::ServerDir;
use crate::ports::{free_port, on_free_ports};
use crate::process::Recipe;
use crate::service::Service;
use crate::tools;

/// What Redis logs when it listens. That it is in the log of this very run tells it from a stranger on its port.
const LISTENING: &str = "Ready to accept connections";

/// What a sentinel logs then.
const WATCHING: &str = "Sentinel ID is";

/// A standalone Redis.
#[derive(Debug)]
pub struct Redis {
    node: Node,
}

impl Redis {
    /// Starts one, empty and without persistence, and waits until it answers.
    ///
    /// # Errors
    /// It is not installed, or is not usable after a minute: with the end of its log.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// As [`start`](Self::start), with further options: names and values as in redis.conf, for example `requirepass`
    /// (which [`url`](Self::url) and [`cli`](Self::cli) then use) or `maxmemory`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(options: &[(&str, &str)]) -> Result<Self> {
        on_free_ports(|| {
            let node = Node::start(free_port()?, options)?;
            node.wait_until_ready()?;
            Ok(Self { node })
        })
    }

    /// As [`start_with`](Self::start_with), speaking TLS only.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with_tls(tls: ServerTls<'_>, options: &[(&str, &str)]) -> Result<Self> {
        on_free_ports(|| {
            let node = Node::start_on(free_port()?, Some(tls), options)?;
            node.wait_until_ready()?;
            Ok(Self { node })
        })
    }

    /// Starts it again, as [`restart`](Self::restart) does, but does not wait until it serves: it may have much to load.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn restart_without_waiting(&self) -> Result<()> {
        self.node.service.restart()
    }

    /// How clients reach it, with the password if it has one. It stays so over [`restart`](Self::restart).
    #[must_use]
    pub fn url(&self) -> String {
        self.node.url()
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.node.port
    }

    /// Runs `redis-cli` with `args` and returns its output, which is also where errors of Redis are.
    ///
    /// # Errors
    /// redis-cli is not installed, or cannot connect.
    pub fn cli(&self, args: &[&str]) -> Result<String> {
        self.node.cli(args)
    }

    /// Ends it by SIGKILL; what it held is lost.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn kill(&self) -> Result<()> {
        self.node.service.end()
    }

    /// Starts it again on the same port, killing it first if it runs, and waits until it answers.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart(&self) -> Result<()> {
        self.node.restart()
    }

    /// Stops it (SIGSTOP): it neither answers nor closes connections until [`cont`](Self::cont).
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn stop(&self) -> Result<()> {
        self.node.service.signal(Signal::STOP)
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn cont(&self) -> Result<()> {
        self.node.service.signal(Signal::CONT)
    }

    /// The server's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.node.service.pid()
    }
}

/// One Redis process: all there is of a standalone one, a node of a cluster, or a sentinel.
pub(crate) struct Node {
    pub(crate) port: u16,
    pub(crate) service: Service,
    password: Option<String>,
    /// What it logs when it can be used.
    ready: &'static str,
    /// What its clients take: the authority's certificate, a certificate and its key.
    tls: Option<[PathBuf; 3]>,
}

impl Node {
    /// Starts it; it may not be usable yet.
    pub(crate) fn start(port: u16, options: &[(&str, &str)]) -> Result<Self> {
        Self::start_on(port, None, options)
    }

    /// The same, speaking TLS only where it is told how.
    pub(crate) fn start_on(
        port: u16,
        tls: Option<ServerTls<'_>>,
        options: &[(&str, &str)],
    ) -> Result<Self> {
        Self::start_as(&[], LISTENING, port, tls, options)
    }

    /// The same, as a sentinel.
    pub(crate) fn start_sentinel(
        port: u16,
        tls: Option<ServerTls<'_>>,
        options: &[(&str, &str)],
    ) -> Result<Self> {
        Self::start_as(&["--sentinel"], WATCHING, port, tls, options)
    }

    fn start_as(
        args: &[&str],
        ready: &'static str,
        port: u16,
        tls: Option<ServerTls<'_>>,
        options: &[(&str, &str)],
    ) -> Result<Self> {
        let dir = ServerDir::new("redis")?;
        // In a file that only its owner can read: arguments can be seen by everyone on the machine.
        let mut config = format!("bind 127.0.0.1\ndir {}\nsave \"\"\n", dir.path().display());
        let files = tls.map(|tls| {
            let Pair { certificate, key } = tls.identity.clone();
            [tls.authority.certificate(), certificate, key]
        });
        match (tls, &files) {
            (Some(tls), Some([ca, certificate, key])) => {
                let demands = if tls.demands_certificate { "yes" } else { "no" };
                let _ = write!(
                    config,
                    "port 0\ntls-port {port}\ntls-auth-clients {demands}\ntls-ca-cert-file {}\ntls-cert-file {}\n\
                     tls-key-file {}\n",
                    ca.display(),
                    certificate.display(),
                    key.display()
                );
            }
            _ => {
                let _ = writeln!(config, "port {port}");
            }
        }
        for (name, value) in options {
            let _ = writeln!(config, "{name} {value}");
        }
        let path = dir.path().join("redis.conf");
        fs::write(&path, config).with_context(|| format!("writing {}", path.display()))?;
        let mut server = Recipe::new("redis-server");
        server.arg(path).env("LC_ALL", "C");
        for arg in args {
            server.arg(arg);
        }
        let password = options
            .iter()
            .rfind(|(name, _)| *name == "requirepass")
            .map(|(_, value)| (*value).to_owned());
        Ok(Self {
            port,
            service: Service::start("redis-server", dir, server)?,
            password,
            ready,
            tls: files,
        })
    }

    pub(crate) fn restart(&self) -> Result<()> {
        self.service.restart()?;
        self.wait_until_ready()
    }

    pub(crate) fn wait_until_ready(&self) -> Result<()> {
        self.service.wait_until_ready(|log| {
            ensure!(log.contains(self.ready), "it does not listen yet");
            let answer = self.cli(&["PING"])?;
            ensure!(answer == "PONG", "it answers {answer}");
            Ok(())
        })
    }

    /// Its password, where it has one.
    pub(crate) fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls.is_some() {
            "rediss"
        } else {
            "redis"
        };
        match &self.password {
            Some(password) => format!("{scheme}://:{password}@127.0.0.1:{}", self.port),
            None => format!("{scheme}://127.0.0.1:{}", self.port),
        }
    }

    pub(crate) fn cli(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new("redis-cli");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        if let Some([ca, certificate, key]) = &self.tls {
            command.args(["--tls", "--cacert"]).arg(ca);
            command.arg("--cert").arg(certificate).arg("--key").arg(key);
        }
        command.args(args);
        if let Some(password) = &self.password {
            command.env("REDISCLI_AUTH", password);
        }
        tools::run(&command, "")
    }
}

/// Without the password.
impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("port", &self.port)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use crate::ports::PortTaken;

    use super::*;

    #[test]
    fn a_taken_port_is_recognised() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let node = Node::start(taken.local_addr().unwrap().port(), &[]).unwrap();
        let error = node.wait_until_ready().unwrap_err();
        assert!(error.is::<PortTaken>(), "{error:#}");
    }
}
