//! MariaDB, with a log of every statement that it was sent.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::geteuid;

use crate::certificates::ServerTls;
use crate::dir::ServerDir;
use crate::ports::{free_port, on_free_ports};
use crate::process::Recipe;
use crate::service::Service;
use crate::tools;

pub(crate) mod statements;

use statements::Sent;

/// Who does as they please, through the socket in the server's folder.
const ROOT: &str = "root";
/// Who a worker is, from 127.0.0.1.
const USER: &str = "stoke";
const PASSWORD: &str = "s3cret-of-tests";

/// Where Debian keeps the server's program: outside the PATH of whoever is not root.
const DEBIAN_FOLDER: &str = "/usr/sbin";

/// Nothing here survives the machine, so nothing need be safe from its crash; but it is from the server's own. Small, for many
/// run at once.
const SETTINGS: &[(&str, &str)] = &[
    ("bind-address", "127.0.0.1"),
    ("skip-name-resolve", "1"),
    ("innodb-flush-log-at-trx-commit", "2"),
    ("innodb-flush-method", "nosync"),
    ("innodb-doublewrite", "0"),
    ("innodb-buffer-pool-size", "32M"),
    ("innodb-log-file-size", "8M"),
    ("general-log", "1"),
    ("log-output", "FILE"),
    ("character-set-server", "utf8mb4"),
    ("collation-server", "utf8mb4_general_ci"),
];

/// A MariaDB server with the users `root`, of the harness, and `stoke`, who reads and writes everything by a password.
#[derive(Debug)]
pub struct MariaDb {
    port: u16,
    service: Service,
}

impl MariaDb {
    /// Starts one and waits until it takes connections. It has the database `shop`, which is empty.
    ///
    /// # Errors
    /// It is not installed, or is not usable after a minute: with the end of its log.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// As [`start`](Self::start), with further settings: names and values as on mariadbd's command line.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(settings: &[(&str, &str)]) -> Result<Self> {
        on_free_ports(|| Self::start_on(free_port()?, settings, None))
    }

    /// As [`start`](Self::start), speaking TLS, too. (Whether a certificate is demanded the users say, not `tls`.)
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_tls(tls: ServerTls<'_>) -> Result<Self> {
        on_free_ports(|| Self::start_on(free_port()?, &[], Some(tls)))
    }

    fn start_on(port: u16, settings: &[(&str, &str)], tls: Option<ServerTls<'_>>) -> Result<Self> {
        let dir = ServerDir::new("mariadb")?;
        let data = dir.path().join("data");
        make_data_folder(dir.path(), &data)?;

        let mut server = Recipe::new(find_server()?);
        // First, or else the system's files of settings would be read.
        server.arg("--no-defaults");
        server.arg(option("datadir", &data.display().to_string()));
        server.arg(option("socket", &socket(dir.path()).display().to_string()));
        server.arg(option(
            "general-log-file",
            &log_of(dir.path()).display().to_string(),
        ));
        server.arg(option("tmpdir", &dir.path().display().to_string()));
        server.arg(option("port", &port.to_string()));
        if geteuid().is_root() {
            server.arg("--user=root");
        }
        for (name, value) in SETTINGS.iter().chain(settings) {
            server.arg(option(name, value));
        }
        if let Some(tls) = tls {
            for (name, file) in [
                ("ssl-cert", &tls.identity.certificate),
                ("ssl-key", &tls.identity.key),
                ("ssl-ca", &tls.authority.certificate()),
            ] {
                server.arg(option(name, &file.display().to_string()));
            }
        }
        let service = Service::start("mariadb", dir, server)?;
        let mariadb = Self { port, service };
        mariadb.wait_until_ready()?;
        mariadb.sql(
            "",
            &format!(
                "CREATE DATABASE shop; CREATE USER {USER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'; \
                 GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, EXECUTE, PROCESS ON *.* TO {USER}@'127.0.0.1';"
            ),
        )?;
        Ok(mariadb)
    }

    /// How clients reach `database`, as the user `stoke`.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!(
            "mysql://{USER}:{PASSWORD}@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// The password in [`url`](Self::url), which nobody else should see.
    #[must_use]
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs `sql` as root in `database` (in none where that is empty), as many statements as it has, and returns their rows:
    /// columns separated by tabs.
    ///
    /// # Errors
    /// The client is not installed, or a statement fails: those after it are not run.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String> {
        let mut client = Command::new("mariadb");
        client.args([
            "--no-defaults",
            "--batch",
            "--skip-column-names",
            "--default-character-set=utf8mb4",
        ]);
        client.arg(option("user", ROOT));
        client.arg(option(
            "socket",
            &socket(self.service.dir()).display().to_string(),
        ));
        if !database.is_empty() {
            client.arg(database);
        }
        tools::run(&client, sql)
    }

    /// What `user`'s connections have sent, as the server's general log tells, in the log's order.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn sent_by(&self, user: &str) -> Result<Vec<Sent>> {
        let log = fs::read(log_of(self.service.dir())).context("reading MariaDB's general log")?;
        Ok(statements::of_user(&String::from_utf8_lossy(&log), user))
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

    fn wait_until_ready(&self) -> Result<()> {
        self.service.wait_until_ready(|log| {
            ensure!(log.contains("ready for connections"), "it still starts");
            self.sql("", "SELECT 1").map(drop)
        })
    }
}

fn option(name: &str, value: &str) -> String {
    format!("--{name}={value}")
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("socket")
}

fn log_of(folder: &Path) -> PathBuf {
    folder.join("general.log")
}

/// Makes the folder with the server's own tables, where root needs no password.
fn make_data_folder(folder: &Path, data: &Path) -> Result<()> {
    fs::create_dir(data).with_context(|| format!("making {}", data.display()))?;
    fs::set_permissions(data, fs::Permissions::from_mode(0o700))
        .with_context(|| format!("closing {} to others", data.display()))?;
    let mut install = Command::new("mariadb-install-db");
    install
        .arg("--no-defaults")
        .arg(option("datadir", &data.display().to_string()))
        .args([
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
        ])
        // A server that starts removes the temporary tables of others from a folder that they share.
        .env("TMPDIR", folder)
        .current_dir(folder);
    if geteuid().is_root() {
        install.arg("--user=root");
    }
    tools::run(&install, "").context("making MariaDB's data folder")?;
    Ok(())
}

/// The server's program: in PATH, or where Debian keeps it.
fn find_server() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain([PathBuf::from(DEBIAN_FOLDER)])
        .map(|folder| folder.join("mariadbd"))
        .find(|program| program.is_file());
    match found {
        Some(program) => Ok(program),
        None => {
            bail!("MariaDB is not installed (deploy/install-dependencies installs what is needed)")
        }
    }
}
