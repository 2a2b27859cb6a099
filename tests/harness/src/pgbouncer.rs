//! PgBouncer, before a PostgreSQL of the harness.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::dir::ServerDir;
use crate::ports::{free_port, on_free_ports};
use crate::postgres::{Postgres, account};
use crate::process::Recipe;
use crate::service::Service;

/// Where Debian keeps the program: outside the PATH of whoever is not root.
const DEBIAN: &str = "/usr/sbin/pgbouncer";

/// What it logs when it listens. That it is in the log of this very run tells it from a stranger on its port.
const LISTENING: &str = "listening on 127.0.0.1:";

/// A PgBouncer that lets everybody in as `postgres`.
#[derive(Debug)]
pub struct PgBouncer {
    port: u16,
    _service: Service,
}

impl PgBouncer {
    /// Starts one before `postgres`, with settings as in pgbouncer.ini, and waits until it takes connections. It pools by
    /// transactions unless they say otherwise.
    ///
    /// # Errors
    /// It is not installed, or is not usable after a minute: with the end of its log.
    pub fn start(postgres: &Postgres, settings: &[(&str, &str)]) -> Result<Self> {
        on_free_ports(|| Self::start_on(free_port()?, postgres, settings))
    }

    fn start_on(port: u16, postgres: &Postgres, settings: &[(&str, &str)]) -> Result<Self> {
        let dir = ServerDir::new("pgbouncer")?;
        let mut file = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\n",
            postgres.port()
        );
        for (name, value) in [("pool_mode", "transaction")].iter().chain(settings) {
            file.push_str(&format!("{name} = {value}\n"));
        }
        let path = dir.path().join("pgbouncer.ini");
        fs::write(&path, file).with_context(|| format!("writing {}", path.display()))?;
        // It refuses to run as root.
        let account = account()?;
        if account.is_some() {
            fs::set_permissions(dir.path(), Permissions::from_mode(0o711))
                .with_context(|| format!("opening {} for others", dir.path().display()))?;
        }
        let mut recipe = Recipe::new(program());
        recipe.account = account;
        recipe.arg(&path);
        let service = Service::start("pgbouncer", dir, recipe)?;
        service.wait_until_ready(|log| {
            ensure!(log.contains(LISTENING), "it does not listen yet");
            Ok(())
        })?;
        Ok(Self {
            port,
            _service: service,
        })
    }

    /// How clients reach `database` through it.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

fn program() -> PathBuf {
    let debian = Path::new(DEBIAN);
    match debian.is_file() {
        true => debian.to_owned(),
        false => "pgbouncer".into(),
    }
}
