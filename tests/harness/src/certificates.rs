//! Certificates for tests of TLS: an authority of our own, made anew each time, and what it issues. By OpenSSL's program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::dir::ServerDir;
use crate::tools;

/// The least that `openssl req` wants to be told in a file. (Without one it would add extensions of its own.)
const CONFIG: &str = "[req]\ndistinguished_name = dn\n[dn]\n";

/// How long what is issued is valid.
const DAYS: &str = "2";

/// An authority that nobody trusts but who is told to. Its files go with it.
#[derive(Debug)]
pub struct Authority {
    dir: ServerDir,
}

/// A certificate and its key, each a file in PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub certificate: PathBuf,
    /// The key, which only its owner can read.
    pub key: PathBuf,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// OpenSSL is not installed.
    pub fn new() -> Result<Self> {
        let authority = Self {
            dir: ServerDir::new("authority")?,
        };
        let config = authority.file("openssl.cnf");
        fs::write(&config, CONFIG).with_context(|| format!("writing {}", config.display()))?;
        let extensions = ["basicConstraints=critical,CA:TRUE", "keyUsage=keyCertSign"];
        authority.request("ca", "an authority for tests", &extensions, &[])?;
        Ok(authority)
    }

    /// Its own certificate: what is to be trusted.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.file("ca.crt")
    }

    /// For a server that is reached as 127.0.0.1 or localhost.
    ///
    /// # Errors
    /// OpenSSL fails.
    pub fn for_this_machine(&self) -> Result<Pair> {
        self.issue("server", "IP:127.0.0.1,DNS:localhost")
    }

    /// For a server of another name.
    ///
    /// # Errors
    /// OpenSSL fails.
    pub fn for_elsewhere(&self) -> Result<Pair> {
        self.issue("elsewhere", "DNS:elsewhere.example")
    }

    /// For a client, whose name is its certificate's common name.
    ///
    /// # Errors
    /// OpenSSL fails.
    pub fn for_client(&self, name: &str) -> Result<Pair> {
        self.issue(name, &format!("DNS:{name}"))
    }

    fn issue(&self, name: &str, names: &str) -> Result<Pair> {
        let (ca, key) = (self.file("ca.crt"), self.file("ca.key"));
        let extensions = [
            "basicConstraints=critical,CA:FALSE",
            "extendedKeyUsage=serverAuth,clientAuth",
            &format!("subjectAltName={names}"),
        ];
        let issuer: [&Path; 4] = ["-CA".as_ref(), &ca, "-CAkey".as_ref(), &key];
        self.request(name, name, &extensions, &issuer)?;
        Ok(Pair {
            certificate: self.file(&format!("{name}.crt")),
            key: self.file(&format!("{name}.key")),
        })
    }

    fn request(&self, file: &str, name: &str, extensions: &[&str], issuer: &[&Path]) -> Result<()> {
        let mut openssl = Command::new("openssl");
        openssl
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
            .args(["ec_paramgen_curve:prime256v1", "-nodes", "-days", DAYS])
            .args(["-subj", &format!("/CN={name}"), "-config"])
            .arg(self.file("openssl.cnf"))
            .args(issuer)
            .arg("-keyout")
            .arg(self.file(&format!("{file}.key")))
            .arg("-out")
            .arg(self.file(&format!("{file}.crt")));
        for extension in extensions {
            openssl.args(["-addext", extension]);
        }
        tools::run(&openssl, "").context("making a certificate")?;
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// How a server speaks TLS.
#[derive(Clone, Copy, Debug)]
pub struct ServerTls<'a> {
    /// Whose certificates it takes, where it looks at those of clients.
    pub authority: &'a Authority,
    /// What it shows.
    pub identity: &'a Pair,
    /// Whether it lets nobody in without a certificate. (What the harness runs itself shows `identity`.)
    pub demands_certificate: bool,
}
