//! PostgreSQL, with a log of every statement that it was sent.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Signal, geteuid};

use crate::certificates::ServerTls;
use crate::dir::ServerDir;
use crate::ports::{free_port, on_free_ports};
use crate::process::{Account, Recipe};
use crate::service::Service;
use crate::tools;

pub(crate) mod statements;

use statements::Statement;

/// The superuser, and who the server runs as where this process is root's.
const USER: &str = "postgres";

/// The folder for the data, in the server's.
const DATA: &str = "data";

/// How the harness' own statements are named in the log.
const OWN_APPLICATION: &str = "stoke-harness";

/// Where Debian keeps the server's programs: outside PATH, in a folder for each major version.
const DEBIAN_VERSIONS: &str = "/usr/lib/postgresql";

/// Nothing here survives the machine, so nothing need be safe from its crash. The log names the time (epoch, with
/// milliseconds) and the application of each statement: what [`statements`] reads.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""),
    ("max_connections", "200"),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    ("dynamic_shared_memory_type", "mmap"),
    ("log_destination", "stderr"),
    ("logging_collector", "off"),
    ("log_statement", "all"),
    ("log_line_prefix", statements::LINE_PREFIX),
    ("log_timezone", "UTC"),
    ("lc_messages", "C"),
];

/// A PostgreSQL server whose only user is `postgres`, without a password.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    service: Service,
    programs: PathBuf,
}

impl Postgres {
    /// Starts one and waits until it takes connections. It has the databases of a new server only: `postgres` among
    /// them.
    ///
    /// # Errors
    /// It is not installed, or is not usable after a minute: with the end of its log.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// As [`start`](Self::start), with further settings: names and values as in postgresql.conf, without quotes.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(settings: &[(&str, &str)]) -> Result<Self> {
        let programs = find_programs()?;
        on_free_ports(|| Self::start_on(free_port()?, &programs, settings, None, &[]))
    }

    /// As [`start`](Self::start), with lines of pg_hba.conf that go before those that let everybody in, and speaking TLS
    /// too where it is told how. (Whether a certificate is demanded the lines say, not `tls`.)
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_guarded(tls: Option<ServerTls<'_>>, rules: &[&str]) -> Result<Self> {
        let programs = find_programs()?;
        on_free_ports(|| Self::start_on(free_port()?, &programs, &[], tls, rules))
    }

    /// Starts one that standbys can follow.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_primary() -> Result<Self> {
        Self::start_with(&[("wal_level", "replica"), ("max_wal_senders", "10")])
    }

    /// Starts a standby, which follows this server (one of [`start_primary`](Self::start_primary)) by streaming, with further
    /// settings, and waits until it can be read.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_standby(&self, settings: &[(&str, &str)]) -> Result<Self> {
        on_free_ports(|| {
            let dir = ServerDir::new("standby")?;
            let account = account()?;
            let data = make_data_folder(dir.path(), account)?;
            let mut copy = Recipe::new(self.programs.join("pg_basebackup"));
            copy.account = account;
            copy.arg("--pgdata").arg(&data);
            copy.arg("--dbname").arg(self.url("postgres"));
            for option in [
                "--wal-method=stream",
                "--checkpoint=fast",
                "--no-sync",
                "--write-recovery-conf",
            ] {
                copy.arg(option);
            }
            tools::run(&copy.command(dir.path()), "").context("copying the primary's data")?;
            let following = [("wal_level", "replica"), ("max_wal_senders", "10")];
            let settings: Vec<_> = following.iter().chain(settings).copied().collect();
            Self::serve(free_port()?, &self.programs, (dir, account), &settings)
        })
    }

    fn start_on(
        port: u16,
        programs: &Path,
        settings: &[(&str, &str)],
        tls: Option<ServerTls<'_>>,
        rules: &[&str],
    ) -> Result<Self> {
        let dir = ServerDir::new("postgres")?;
        let account = account()?;
        let data = make_data_folder(dir.path(), account)?;

        let mut initdb = Recipe::new(programs.join("initdb"));
        initdb.account = account;
        initdb
            .arg("--pgdata")
            .arg(&data)
            .arg("--username")
            .arg(USER);
        for option in [
            "--auth=trust",
            "--no-sync",
            "--encoding=UTF8",
            "--no-locale",
        ] {
            initdb.arg(option);
        }
        tools::run(&initdb.command(dir.path()), "").context("making PostgreSQL's data folder")?;

        let hba = data.join("pg_hba.conf");
        let everybody = fs::read_to_string(&hba).context("reading pg_hba.conf")?;
        fs::write(&hba, format!("{}\n{everybody}", rules.join("\n")))
            .context("writing pg_hba.conf")?;
        let mut of_tls = Vec::new();
        if let Some(tls) = tls {
            of_tls.push(("ssl", "on".to_owned()));
            for (setting, file) in [
                ("ssl_cert_file", &tls.identity.certificate),
                ("ssl_key_file", &tls.identity.key),
                ("ssl_ca_file", &tls.authority.certificate()),
            ] {
                let own = give_file(file, &data.join(setting), account)?;
                of_tls.push((setting, own.display().to_string()));
            }
        }

        let of_tls = of_tls.iter().map(|(name, value)| (*name, value.as_str()));
        let settings: Vec<_> = settings.iter().copied().chain(of_tls).collect();
        Self::serve(port, programs, (dir, account), &settings)
    }

    /// Starts a server on the data in a folder.
    fn serve(
        port: u16,
        programs: &Path,
        (dir, account): (ServerDir, Option<Account>),
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let data = dir.path().join(DATA);
        let mut server = Recipe::new(programs.join("postgres"));
        server.account = account;
        // An immediate shutdown. SIGKILL would leave a piece of shared memory behind.
        server.end = Signal::QUIT;
        server
            .arg("-D")
            .arg(&data)
            .arg("-c")
            .arg(format!("port={port}"));
        for (name, value) in SETTINGS.iter().chain(settings) {
            server.arg("-c").arg(format!("{name}={value}"));
        }
        let service = Service::start("postgres", dir, server)?;
        let postgres = Self {
            port,
            service,
            programs: programs.to_owned(),
        };
        postgres.wait_until_ready()?;
        Ok(postgres)
    }

    /// How clients reach `database`.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// One of the programs that came with the server, as `psql`: what a distribution has in PATH may be a script that looks
    /// for it.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// Runs `sql`, as many statements as it has, each on its own, and returns their rows: columns separated by `|`.
    ///
    /// # Errors
    /// psql is not installed, or a statement fails: those after it are not run.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String> {
        let mut psql = Command::new(self.program("psql"));
        psql.args([
            "--no-psqlrc",
            "--quiet",
            "--no-align",
            "--tuples-only",
            "--set=ON_ERROR_STOP=1",
        ])
        .arg("--dbname")
        .arg(self.url(database))
        .env("PGAPPNAME", OWN_APPLICATION);
        tools::run(&psql, sql)
    }

    /// The statements that `application` (its connections' `application_name`) has had executed, as the server's log
    /// tells, in the log's order: one for each execution of a prepared statement, and one for each string of the
    /// simple protocol. A statement that the server could not parse is not among them.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn statements(&self, application: &str) -> Result<Vec<Statement>> {
        Ok(statements::of_application(
            &self.service.log()?,
            application,
        ))
    }

    /// Ends it at once, as by a crash: its connections break, and it recovers when it is started again.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn kill(&self) -> Result<()> {
        self.service.end()
    }

    /// Starts it again on the same data and port, ending it first if it runs, and waits until it takes connections.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart(&self) -> Result<()> {
        self.service.restart()?;
        self.wait_until_ready()
    }

    /// The process that started all others of the server.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.service.pid()
    }

    /// The server's log file.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.service.log_path()
    }

    fn wait_until_ready(&self) -> Result<()> {
        let status = self.service.dir().join("data/postmaster.pid");
        self.service.wait_until_ready(|_| {
            // Its first line is the server's process, its eighth how far that has come.
            let text = fs::read_to_string(&status).context("reading postmaster.pid")?;
            let mut lines = text.lines().map(str::trim);
            let pid = lines.next().unwrap_or_default();
            ensure!(pid == self.pid().to_string(), "the status is another run's");
            ensure!(lines.nth(6) == Some("ready"), "it still starts");
            Ok(())
        })
    }
}

/// The folder for the data, whose owner is `account`; that can pass through `folder`.
fn make_data_folder(folder: &Path, account: Option<Account>) -> Result<PathBuf> {
    let data = folder.join(DATA);
    fs::create_dir(&data).with_context(|| format!("making {}", data.display()))?;
    // A standby's server demands it; initdb would see to it itself.
    fs::set_permissions(&data, Permissions::from_mode(0o700))
        .with_context(|| format!("closing {} to others", data.display()))?;
    if let Some(Account { uid, gid }) = account {
        chown(&data, Some(uid), Some(gid))
            .with_context(|| format!("giving {} away", data.display()))?;
        fs::set_permissions(folder, Permissions::from_mode(0o711))
            .with_context(|| format!("opening {} for others", folder.display()))?;
    }
    Ok(data)
}

/// A copy of a file that `account`, and nobody else, can read.
fn give_file(from: &Path, to: &Path, account: Option<Account>) -> Result<PathBuf> {
    fs::copy(from, to).with_context(|| format!("copying {}", from.display()))?;
    fs::set_permissions(to, Permissions::from_mode(0o600))
        .with_context(|| format!("closing {} to others", to.display()))?;
    if let Some(Account { uid, gid }) = account {
        chown(to, Some(uid), Some(gid)).with_context(|| format!("giving {} away", to.display()))?;
    }
    Ok(to.to_owned())
}

/// Who the server runs as, where it is not this process' account.
pub(crate) fn account() -> Result<Option<Account>> {
    geteuid().is_root().then(unprivileged_account).transpose()
}

/// PostgreSQL refuses to run as root.
fn unprivileged_account() -> Result<Account> {
    let id = |kind: &str, name: &str| -> Result<u32> {
        let mut id = Command::new("id");
        id.args([kind, name]);
        tools::run(&id, "")?
            .parse()
            .context("reading an account's number")
    };
    [USER, "nobody"]
        .into_iter()
        .find_map(|name| {
            Some(Account {
                uid: id("-u", name).ok()?,
                gid: id("-g", name).ok()?,
            })
        })
        .context(
            "PostgreSQL does not run as root, and there is neither an account postgres nor nobody",
        )
}

/// The folder with PostgreSQL's programs: the newest of Debian's, else the first in PATH.
fn find_programs() -> Result<PathBuf> {
    let has_server =
        |folder: &PathBuf| folder.join("initdb").is_file() && folder.join("postgres").is_file();
    let version = |folder: &PathBuf| folder.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    let debian = fs::read_dir(DEBIAN_VERSIONS)
        .map(|entries| {
            entries
                .flatten()
                .map(|entry| entry.path().join("bin"))
                .collect::<Vec<_>>()
        })
        .unwrap_or_default();
    if let Some(newest) = debian.into_iter().filter(has_server).max_by_key(version) {
        return Ok(newest);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    match std::env::split_paths(&path).find(has_server) {
        Some(folder) => Ok(folder),
        None => bail!(
            "PostgreSQL is not installed (deploy/install-dependencies installs what is needed)"
        ),
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
        let port = taken.local_addr().unwrap().port();
        let programs = find_programs().unwrap();
        let error = Postgres::start_on(port, &programs, &[], None, &[]).unwrap_err();
        assert!(error.is::<PortTaken>(), "{error:#}");
    }

    #[test]
    fn a_server_that_does_not_start_says_why() {
        let error = Postgres::start_with(&[("no_such_setting", "1")]).unwrap_err();
        assert!(
            format!("{error:#}").contains("no_such_setting"),
            "{error:#}"
        );
    }
}
