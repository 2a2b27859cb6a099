//! etcd: one member, or a cluster of several.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::certificates::{Pair, ServerTls};
use crate::dir::ServerDir;
use crate::ports::{free_port, on_free_ports};
use crate::process::Recipe;
use crate::service::Service;
use crate::tools;
use crate::wait::wait_for;

/// How long a member may take to answer a question about itself.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How long a cluster may be without a leader.
const ELECTED_WITHIN: Duration = Duration::from_secs(30);

/// What a member logs when it listens. That it is in the log of this very run tells it from a stranger on its port.
const LISTENING: &str = "ready to serve client requests";

/// The password of `root` where passwords are asked for.
const ROOT_PASSWORD: &str = "hunter2";

/// A single etcd.
#[derive(Debug)]
pub struct Etcd {
    cluster: EtcdCluster,
}

impl Etcd {
    /// Starts one and waits until it answers.
    ///
    /// # Errors
    /// It is not installed, or is not usable after a minute: with the end of its log.
    pub fn start() -> Result<Self> {
        Ok(Self {
            cluster: EtcdCluster::start(1)?,
        })
    }

    /// As [`start`](Self::start), speaking TLS only with clients where it is told how, and with further options of its
    /// command line, such as `--quota-backend-bytes=20000000`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_as(tls: Option<ServerTls<'_>>, options: &[&str]) -> Result<Self> {
        Ok(Self {
            cluster: EtcdCluster::start_as(1, tls, options)?,
        })
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.cluster.members[0].ports.client
    }

    /// Where clients find it: `http://127.0.0.1:PORT`. It stays so over [`restart`](Self::restart).
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.cluster.members[0].endpoint()
    }

    /// Ends it by SIGKILL.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn kill(&self) -> Result<()> {
        self.cluster.kill(0)
    }

    /// Starts it again on the same data and port, killing it first if it runs, and waits until it answers.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart(&self) -> Result<()> {
        self.cluster.restart(0)
    }

    /// Stops it (SIGSTOP): it neither answers nor closes connections until [`cont`](Self::cont).
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn stop(&self) -> Result<()> {
        self.cluster.stop(0)
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn cont(&self) -> Result<()> {
        self.cluster.cont(0)
    }

    /// Runs `etcdctl` (API 3) with `args` and returns its output.
    ///
    /// # Errors
    /// It is not installed, or fails.
    pub fn ctl(&self, args: &[&str]) -> Result<String> {
        self.cluster.ctl(args)
    }

    /// The server's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.cluster.pid(0)
    }

    /// Asks everybody for a password from here on; [`ctl`](Self::ctl) comes as `root`.
    ///
    /// # Errors
    /// As [`ctl`](Self::ctl).
    pub fn lock(&self) -> Result<()> {
        self.cluster.lock()
    }

    /// Lets a user in with this password: `access` is `read`, `write` or `readwrite`, to all keys that begin with
    /// `prefix`.
    ///
    /// # Errors
    /// As [`ctl`](Self::ctl).
    pub fn admit(&self, user: &str, password: &str, access: &str, prefix: &str) -> Result<()> {
        self.ctl(&["user", "add", &format!("{user}:{password}")])?;
        self.ctl(&["role", "add", user])?;
        let grant = ["role", "grant-permission", user, "--prefix=true"];
        self.ctl(&[&grant[..], &[access, prefix]].concat())?;
        self.ctl(&["user", "grant-role", user, user])?;
        Ok(())
    }

    /// Saves a backup of all its data to a file.
    ///
    /// # Errors
    /// As [`ctl`](Self::ctl).
    pub fn save_to(&self, backup: &Path) -> Result<()> {
        self.ctl(&["snapshot", "save", &backup.display().to_string()])?;
        Ok(())
    }

    /// Ends it, puts a backup in place of its data, and starts it again, as [`restart`](Self::restart) does. The cluster
    /// keeps its id where `token` is `etcd-cluster`, and gets another one where it is anything else.
    ///
    /// # Errors
    /// The backup cannot be read; and as [`start`](Self::start).
    pub fn restore_from(&self, backup: &Path, token: &str) -> Result<()> {
        self.kill()?;
        self.cluster.members[0].restore(backup, token)?;
        self.restart()
    }
}

/// An etcd cluster, its members counted from 0.
#[derive(Debug)]
pub struct EtcdCluster {
    members: Vec<Member>,
    /// Whether it asks for a password.
    locked: OnceLock<()>,
}

impl EtcdCluster {
    /// Starts `members` members and waits until each of them answers.
    ///
    /// # Errors
    /// As [`Etcd::start`].
    pub fn start(members: usize) -> Result<Self> {
        Self::start_as(members, None, &[])
    }

    fn start_as(members: usize, tls: Option<ServerTls<'_>>, options: &[&str]) -> Result<Self> {
        on_free_ports(|| {
            let ports = (0..members)
                .map(|_| {
                    Ok(Ports {
                        client: free_port()?,
                        peer: free_port()?,
                        metrics: free_port()?,
                    })
                })
                .collect::<Result<Vec<_>>>()?;
            let members = (0..members)
                .map(|number| Member::start(number, &ports, tls, options))
                .collect::<Result<Vec<_>>>()?;
            // All are started before one is waited for: none is usable without a majority.
            members.iter().try_for_each(Member::wait_until_ready)?;
            let locked = OnceLock::new();
            Ok(Self { members, locked })
        })
    }

    /// Where clients find the members, in their order.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(Member::endpoint).collect()
    }

    /// Which member leads.
    ///
    /// # Errors
    /// None does for half a minute: there is no majority.
    pub fn leader(&self) -> Result<usize> {
        wait_for("etcd to elect a leader", ELECTED_WITHIN, || {
            let leads = |member: &Member| {
                let metrics = get(member.ports.metrics, "/metrics").unwrap_or_default();
                metrics
                    .lines()
                    .any(|line| line == "etcd_server_is_leader 1")
            };
            self.members.iter().position(leads).context("none leads")
        })
    }

    /// Ends a member by SIGKILL.
    ///
    /// # Errors
    /// The kernel refuses.
    ///
    /// # Panics
    /// There is no such member; the same goes for the other calls that take one.
    pub fn kill(&self, member: usize) -> Result<()> {
        self.members[member].service.end()
    }

    /// Starts a member again on the same data and ports, killing it first if it runs, and waits until it answers.
    ///
    /// # Errors
    /// As [`Etcd::start`]; without a majority it does not answer.
    pub fn restart(&self, member: usize) -> Result<()> {
        let member = &self.members[member];
        member.service.restart()?;
        member.wait_until_ready()
    }

    /// Stops a member (SIGSTOP).
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn stop(&self, member: usize) -> Result<()> {
        self.members[member].service.signal(Signal::STOP)
    }

    /// Lets a member go on (SIGCONT).
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn cont(&self, member: usize) -> Result<()> {
        self.members[member].service.signal(Signal::CONT)
    }

    /// Runs `etcdctl` (API 3) with all endpoints and `args`, and returns its output.
    ///
    /// # Errors
    /// It is not installed, or fails.
    pub fn ctl(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new("etcdctl");
        command
            .env("ETCDCTL_API", "3")
            .arg("--endpoints")
            .arg(self.endpoints().join(","));
        if let Some([ca, certificate, key]) = self.members.first().and_then(|m| m.tls.as_ref()) {
            command.arg("--cacert").arg(ca);
            command.arg("--cert").arg(certificate).arg("--key").arg(key);
        }
        if self.locked.get().is_some() {
            command.arg(format!("--user=root:{ROOT_PASSWORD}"));
        }
        command.args(args);
        tools::run(&command, "")
    }

    fn lock(&self) -> Result<()> {
        self.ctl(&["user", "add", &format!("root:{ROOT_PASSWORD}")])?;
        for args in ["role add root", "user grant-role root root", "auth enable"] {
            self.ctl(&args.split(' ').collect::<Vec<_>>())?;
        }
        self.locked.get_or_init(|| ());
        Ok(())
    }

    /// A member's process.
    #[must_use]
    pub fn pid(&self, member: usize) -> u32 {
        self.members[member].service.pid()
    }
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    client: u16,
    peer: u16,
    /// For health and metrics, without TLS.
    metrics: u16,
}

#[derive(Debug)]
struct Member {
    ports: Ports,
    /// What its clients take: the authority's certificate, a certificate and its key.
    tls: Option<[PathBuf; 3]>,
    service: Service,
}

impl Member {
    fn start(
        number: usize,
        all: &[Ports],
        tls: Option<ServerTls<'_>>,
        options: &[&str],
    ) -> Result<Self> {
        let ports = all[number];
        let dir = ServerDir::new("etcd")?;
        let client = client_url(ports.client, tls.is_some());
        let peer = format!("http://127.0.0.1:{}", ports.peer);
        let members: Vec<String> = all
            .iter()
            .enumerate()
            .map(|(number, ports)| format!("member-{number}=http://127.0.0.1:{}", ports.peer))
            .collect();
        let mut etcd = Recipe::new("etcd");
        etcd.arg(format!("--name=member-{number}"))
            .arg(format!("--data-dir={}", dir.path().join("data").display()))
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster={}", members.join(",")));
        etcd.arg(format!(
            "--listen-metrics-urls=http://127.0.0.1:{}",
            ports.metrics
        ));
        let files = tls.map(|tls| {
            let Pair { certificate, key } = tls.identity.clone();
            [tls.authority.certificate(), certificate, key]
        });
        if let (Some(tls), Some([ca, certificate, key])) = (tls, &files) {
            etcd.arg(format!("--cert-file={}", certificate.display()))
                .arg(format!("--key-file={}", key.display()));
            if tls.demands_certificate {
                etcd.arg("--client-cert-auth")
                    .arg(format!("--trusted-ca-file={}", ca.display()));
            }
        }
        for option in options {
            etcd.arg(option);
        }
        if cfg!(target_arch = "aarch64") {
            // etcd before 3.5 starts there only if told that this is known.
            etcd.env("ETCD_UNSUPPORTED_ARCH", "arm64");
        }
        Ok(Self {
            ports,
            tls: files,
            service: Service::start("etcd", dir, etcd)?,
        })
    }

    /// Puts a backup in place of the data of the only member, which does not run.
    fn restore(&self, backup: &Path, token: &str) -> Result<()> {
        let data = self.service.dir().join("data");
        fs::remove_dir_all(&data).with_context(|| format!("removing {}", data.display()))?;
        let peer = format!("http://127.0.0.1:{}", self.ports.peer);
        let mut command = Command::new("etcdctl");
        command
            .env("ETCDCTL_API", "3")
            .args(["snapshot", "restore"])
            .arg(backup)
            .arg("--name=member-0")
            .arg(format!("--data-dir={}", data.display()))
            .arg(format!("--initial-cluster=member-0={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster-token={token}"));
        tools::run(&command, "")?;
        Ok(())
    }

    fn endpoint(&self) -> String {
        client_url(self.ports.client, self.tls.is_some())
    }

    fn wait_until_ready(&self) -> Result<()> {
        self.service.wait_until_ready(|log| {
            ensure!(log.contains(LISTENING), "it does not listen yet");
            let health = get(self.ports.metrics, "/health")?;
            ensure!(health.contains(r#""health":"true""#), "it says {health}");
            Ok(())
        })
    }
}

fn client_url(port: u16, tls: bool) -> String {
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://127.0.0.1:{port}")
}

/// What etcd answers to an HTTP GET: headers and body.
fn get(port: u16, path: &str) -> Result<String> {
    let mut stream =
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connecting to etcd")?;
    stream
        .set_read_timeout(Some(ANSWER_WITHIN))
        .context("limiting the wait for etcd's answer")?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").context("asking etcd")?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .context("reading etcd's answer")?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use crate::ports::PortTaken;

    use super::*;

    #[test]
    fn a_taken_port_is_recognised_be_it_for_clients_or_for_peers() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = taken.local_addr().unwrap().port();
        for ports in [
            Ports {
                client: taken,
                peer: free_port().unwrap(),
                metrics: free_port().unwrap(),
            },
            Ports {
                client: free_port().unwrap(),
                peer: taken,
                metrics: free_port().unwrap(),
            },
        ] {
            let member = Member::start(0, &[ports], None, &[]).unwrap();
            let error = member.wait_until_ready().unwrap_err();
            assert!(error.is::<PortTaken>(), "{error:#}");
        }
    }
}
