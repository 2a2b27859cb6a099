//! How many renewals a second an etcd sustains: more and more at a time, each as soon as the one before is answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use stoke_core::ledger::{Ack, Share, Timing};
use stoke_harness::EtcdCluster;
use stoke_store::etcd::{EtcdConfig, EtcdStore};
use stoke_store::{Compare, Op, Revision, Store, Txn, TxnOutcome, record};
use tokio::task::JoinSet;

use crate::rule::LATE_PART;
use crate::table::{Table, percentile, time};

const AT_A_TIME: [usize; 6] = [1, 4, 16, 64, 256, 512];
const EACH_LASTS: Duration = Duration::from_secs(4);

/// Measures, and gives a table, and the most renewals a second of which 99 of 100 are answered in good time.
pub(super) async fn sustained(etcd: &EtcdCluster, members: usize) -> Result<(String, f64)> {
    let enough = Timing::default().renew_deadline / LATE_PART;
    let mut table = Table::new(&["at a time", "writes/s", "p50", "p99"]);
    let mut measured = Vec::new();
    for at_a_time in AT_A_TIME {
        let mut stores = Vec::new();
        for _ in 0..at_a_time {
            stores.push(connect(etcd).await?);
        }
        // All at one time, once all are connected.
        let until = Instant::now() + EACH_LASTS;
        let mut tasks = JoinSet::new();
        for (n, store) in stores.into_iter().enumerate() {
            tasks.spawn(renew_on(store, n, until));
        }
        let mut times = Vec::new();
        for ended in tasks.join_all().await {
            times.extend(ended?);
        }
        times.sort_unstable();
        let rate = times.len() as f64 / EACH_LASTS.as_secs_f64();
        let (p50, p99) = (percentile(&times, 50), percentile(&times, 99));
        table.row([
            at_a_time.to_string(),
            format!("{rate:.0}"),
            time(p50),
            time(p99),
        ]);
        measured.push((rate, p99));
    }
    let in_time = measured.iter().filter(|(_, p99)| *p99 <= enough);
    let most = in_time.map(|(rate, _)| *rate).reduce(f64::max);
    let (sustained, how) = match (most, measured.first()) {
        (Some(rate), _) => (
            rate,
            format!("the most with a p99 of at most {}", time(enough)),
        ),
        (None, Some((rate, _))) => {
            let how = "no rate had a p99 of at most";
            (
                *rate,
                format!("{how} {}, so what one at a time came to", time(enough)),
            )
        }
        (None, None) => bail!("nothing was measured"),
    };
    let told = format!(
        "### What etcd sustains, {members} member(s)\n\n\
         Renewals (one compare, one put) as fast as they are answered, for {} each. Sustained: {how}: {sustained:.0} a \
         second.\n\n{table}\n",
        time(EACH_LASTS),
    );
    Ok((told, sustained))
}

/// How long a connection may take: thousands come at once.
const CONNECTED_WITHIN: Duration = Duration::from_secs(60);

/// A connection to any member, tried again while etcd is too busy to answer, as a worker does.
pub(crate) async fn connect(etcd: &EtcdCluster) -> Result<Arc<dyn Store>> {
    let begun = Instant::now();
    loop {
        match EtcdStore::connect(EtcdConfig::new(etcd.endpoints())).await {
            Ok(store) => return Ok(Arc::new(store)),
            Err(_) if begun.elapsed() < CONNECTED_WITHIN => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(error).context("connecting to etcd"),
        }
    }
}

/// Renews one worker's share again and again.
async fn renew_on(store: Arc<dyn Store>, n: usize, until: Instant) -> Result<Vec<Duration>> {
    let (cap, ack) = (
        format!("cap/origin/load/w{n}"),
        format!("ack/origin/load/w{n}"),
    );
    let share = Share {
        rate_milli: 20_000,
        burst: 20,
        in_flight: 5,
        rows: Share::ANY_ROWS,
    };
    let value = |sequence| {
        record::encode(&Ack {
            share,
            sequence,
            lingering: false,
        })
    };
    let put = |key: &str, sequence| Op::Put {
        key: key.to_owned(),
        value: value(sequence),
        lease: None,
    };
    let first = Txn {
        compares: vec![],
        ops: vec![put(&cap, 0)],
    };
    let TxnOutcome::Committed(expected) = store.txn(first).await? else {
        bail!("a transaction without compares was refused");
    };
    let mut times = Vec::new();
    while Instant::now() < until {
        let renewal = Txn {
            compares: vec![Compare::ModRevision(cap.clone(), Revision(expected.0))],
            ops: vec![put(&ack, times.len() as u64)],
        };
        let begun = Instant::now();
        match store.txn(renewal).await {
            Ok(TxnOutcome::Committed(_)) => times.push(begun.elapsed()),
            Ok(TxnOutcome::Refused) => bail!("a renewal was refused"),
            // Counted as what it is: too late.
            Err(_) => times.push(begun.elapsed()),
        }
    }
    Ok(times)
}
