//! A coordinator in a process of its own, whose memory is its own.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use stoke_coordinator::plan_store::PlanStore;
use stoke_coordinator::ranking::RankingSettings;
use stoke_coordinator::{Coordinator, Retention, Settings};
use stoke_core::ledger::{Share, Timing};
use stoke_store::clock::BootClock;
use stoke_store::etcd::{EtcdConfig, EtcdStore};
use tokio::io::AsyncReadExt;
use tonic::transport::server::TcpIncoming;

use crate::machine::{peak_kib, processor_time, reset_peak};

/// What this program is called with to be the coordinator.
pub(crate) const SERVE: &str = "serve-plans";

/// A budget that is no bound.
const QPS: u64 = 1_000_000;

/// Is the coordinator, until standard input ends.
pub(crate) fn serve(arguments: &[String]) -> Result<()> {
    let [folder, endpoints @ ..] = arguments else {
        anyhow::bail!("say which folder, and etcd's endpoints");
    };
    let runtime = tokio::runtime::Runtime::new().context("starting tokio")?;
    runtime.block_on(async {
        let folder = Path::new(folder);
        let store = EtcdStore::connect(EtcdConfig::new(endpoints.to_vec())).await?;
        let plans = PlanStore::in_directory(&folder.join("plans"))?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}", listener.local_addr()?);
        let share = Share {
            rate_milli: QPS * 1000,
            burst: QPS,
            in_flight: 1000,
            rows: Share::ANY_ROWS,
        };
        let settings = Settings {
            name: "bench".into(),
            address: address.clone(),
            budgets: [("origin/shop".parse()?, share)].into(),
            guards: BTreeMap::new(),
            timing: Timing::default(),
            retention: Retention::default(),
            leader_ttl: Duration::from_secs(5),
            accesses: stoke_coordinator::AccessSettings::default(),
            ranking: RankingSettings {
                spill_dir: folder.join("spill"),
                ..RankingSettings::default()
            },
            meter: stoke_coordinator::metrics::none(),
        };
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let coordinator = Coordinator::start(
            settings,
            Arc::new(store),
            plans,
            Arc::new(BootClock),
            incoming,
        )
        .await?;
        println!("{address}");
        std::io::stdout().flush()?;
        tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
        coordinator.stop().await;
        Ok(())
    })
}

/// The coordinator's process; dropped, it ends.
pub(super) struct Served {
    pub(super) address: String,
    child: Child,
    input: Option<ChildStdin>,
}

impl Served {
    pub(super) fn start(etcd: &[String], folder: &Path) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(SERVE)
            .arg(folder)
            .args(etcd)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the coordinator")?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("no output")?;
        let mut address = String::new();
        BufReader::new(output).read_line(&mut address)?;
        Ok(Self {
            address: address.trim().to_owned(),
            child,
            input,
        })
    }

    /// Its peak memory is what it has now.
    pub(super) fn reset_peak(&self) -> Result<()> {
        reset_peak(self.child.id())
    }

    /// The most memory that it had since.
    pub(super) fn peak_mib(&self) -> Result<u64> {
        Ok(peak_kib(self.child.id())? / 1024)
    }

    pub(super) fn processor_time(&self) -> Result<Duration> {
        processor_time(self.child.id())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.input.take();
        let _ = self.child.wait();
    }
}
