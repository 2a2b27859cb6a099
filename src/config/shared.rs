//! What the configurations of coordinators and workers have in common.

use std::time::Duration;

use serde::{Deserialize, Deserializer};
use stoke_core::ledger::{Contradiction, Timing};
use stoke_store::etcd::{EtcdConfig, Password};

/// `[etcd]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct EtcdTable {
    /// Its members' addresses.
    endpoints: Vec<String>,
    /// What all keys begin with.
    prefix: Option<String>,
    /// Who to log in as.
    username: Option<String>,
    /// A file whose content is the password.
    password_file: Option<std::path::PathBuf>,
    /// How long a call may take.
    timeout: Option<Time>,
}

impl EtcdTable {
    pub(super) fn config(&self) -> anyhow::Result<EtcdConfig> {
        let mut config = EtcdConfig::new(self.endpoints.clone());
        if let Some(prefix) = &self.prefix {
            config.prefix.clone_from(prefix);
        }
        if let Some(Time(timeout)) = self.timeout {
            config.timeout = timeout;
        }
        config.user = match (&self.username, &self.password_file) {
            (Some(user), Some(file)) => {
                Some((user.clone(), Password::new(super::read(file)?.trim_end())))
            }
            (None, None) => None,
            _ => anyhow::bail!(
                "etcd.username and etcd.password-file belong together: set both, or neither"
            ),
        };
        Ok(config)
    }
}

/// `[timing]`: the same for all processes of a cluster.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(super) struct TimingTable {
    /// T: how long a grant lasts.
    term: Option<Time>,
    /// How often it is renewed.
    renew_every: Option<Time>,
    /// How long a renewal may take.
    renew_deadline: Option<Time>,
    /// Q: how long until a dead worker's grant is given to others.
    quarantine: Option<Time>,
    /// How much two clocks may drift apart, in thousandths.
    drift_permille: Option<u32>,
    /// S: how long a dead worker's queries may run on.
    statement_timeout: Option<Time>,
}

impl TimingTable {
    pub(super) fn timing(&self) -> Result<Timing, Contradiction> {
        let default = Timing::default();
        let or = |time: &Option<Time>, default| time.map_or(default, |Time(time)| time);
        let term = or(&self.term, default.term);
        let drift_permille = self.drift_permille.unwrap_or(default.drift_permille);
        let timing = Timing {
            term,
            renew_every: or(&self.renew_every, default.renew_every),
            renew_deadline: or(&self.renew_deadline, default.renew_deadline),
            quarantine: or(
                &self.quarantine,
                Timing::least_quarantine(term, drift_permille),
            ),
            drift_permille,
            statement_timeout: or(&self.statement_timeout, default.statement_timeout),
        };
        timing.check()?;
        Ok(timing)
    }
}

/// A duration with its unit: "5s", "10m".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time(pub(super) Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = humantime::parse_duration(&text);
        time.map(Self).map_err(|error| {
            serde::de::Error::custom(format!("{text:?} is no duration: {error}; write 5s or 10m"))
        })
    }
}
