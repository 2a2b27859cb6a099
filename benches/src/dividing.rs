//! Dividing ten budgets among a thousand workers: how long the leader's decision takes, beside reading what it decides on.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Result;
use stoke_core::ledger::{
    Ack, Allocator, Cap, Change, Claim, Ledger, Observed, Share, Timing, divide,
};
use stoke_core::names::WorkerName;
use stoke_core::units::Moment;
use stoke_store::{KeyValue, Revision, record};

use crate::table::{Table, percentile, time};

const WORKERS: usize = 1000;
const RESOURCES: usize = 10;
/// How often each situation is measured.
const TIMES: usize = 300;

const NOW: Moment = Moment::from_nanos(1_000_000_000);
const TARGET: Share = Share {
    rate_milli: 20_000_000,
    burst: 20_000,
    in_flight: 5_000,
    rows: Share::ANY_ROWS,
};

type Claims = BTreeMap<WorkerName, Claim>;

/// What is asked of one resource's allocator.
struct Situation {
    name: &'static str,
    observed: Observed,
    target: Share,
    claims: Claims,
    /// How many caps it changes.
    changes: usize,
}

/// The only place that calls it: one decision over one resource.
fn step(allocator: &mut Allocator, situation: &Situation) -> Vec<Change> {
    let wanted = Ledger::new(situation.target);
    allocator.step(NOW, &situation.observed, &wanted, &situation.claims)
}

/// Measures, and gives the tables.
pub(crate) fn run() -> Result<String> {
    let reading = reading()?;
    let mut table = Table::new(&["situation", "caps changed", "median", "p99", "of reading"]);
    for situation in situations() {
        let mut times: Vec<Duration> = (0..TIMES).map(|_| decide(&situation)).collect();
        times.sort_unstable();
        let median = percentile(&times, 50);
        let part = median.as_secs_f64() / reading.as_secs_f64();
        table.row([
            situation.name.to_owned(),
            (situation.changes * RESOURCES).to_string(),
            time(median),
            time(percentile(&times, 99)),
            format!("{:.0} %", part * 100.0),
        ]);
    }
    Ok(format!(
        "## Dividing among {WORKERS} workers × {RESOURCES} resources\n\n\
         One decision of the leader over all resources (`core::ledger::Allocator`, once for each), {TIMES} times each. To \
         judge it by: parsing the {} caps and acks that it decides on takes {} (median; of the same run, without etcd and \
         the network), and a leader decides at most every 50 ms.\n\n{table}\n",
        2 * WORKERS * RESOURCES,
        time(reading),
    ))
}

fn decide(situation: &Situation) -> Duration {
    let mut allocators = vec![Allocator::new(Timing::default()); RESOURCES];
    let begun = Instant::now();
    for allocator in &mut allocators {
        let changes = step(allocator, situation);
        debug_assert_eq!(caps_changed(&changes), situation.changes);
        black_box(changes);
    }
    begun.elapsed()
}

fn caps_changed(changes: &[Change]) -> usize {
    let caps = changes.iter().map(|change| match change {
        Change::Divide(division) => division.caps.len(),
        Change::Reclaim(_) => 0,
    });
    caps.sum()
}

fn situations() -> Vec<Situation> {
    let everybody: Vec<WorkerName> = (0..WORKERS).map(worker).collect();
    let all = claims(&everybody);
    let parts = divide(TARGET, &all, Timing::default().term);
    let shared = observed(parts.clone());
    let alone = observed([(everybody[0].clone(), TARGET)]);
    let first_gave = observed(parts.into_iter().take(1));
    let tenth = Share {
        rate_milli: TARGET.rate_milli / 10,
        burst: TARGET.burst / 10,
        in_flight: TARGET.in_flight / 2,
        rows: Share::ANY_ROWS,
    };
    let but_one = claims(&everybody[1..]);
    let situation = |name, observed: &Observed, target, claims: &Claims| {
        let mut situation = Situation {
            name,
            observed: observed.clone(),
            target,
            claims: claims.clone(),
            changes: 0,
        };
        let mut allocator = Allocator::new(Timing::default());
        situation.changes = caps_changed(&step(&mut allocator, &situation));
        situation
    };
    vec![
        situation("nothing changes", &shared, TARGET, &all),
        situation("1 → 1,000 workers: the first gives", &alone, TARGET, &all),
        situation(
            "1 → 1,000 workers: the others get",
            &first_gave,
            TARGET,
            &all,
        ),
        situation("the target is cut to a tenth", &shared, tenth, &all),
        situation("one worker has no more work", &shared, TARGET, &but_one),
    ]
}

/// Everybody has queries queued, some more than others.
fn claims(workers: &[WorkerName]) -> Claims {
    let claim = |(n, name): (u64, &WorkerName)| {
        let queued = BTreeMap::from([(0, 1_000 + n % 7)]);
        (
            name.clone(),
            Claim {
                weight: 100,
                queued,
            },
        )
    };
    (0..).zip(workers).map(claim).collect()
}

fn worker(n: usize) -> WorkerName {
    format!("worker-{n:04}.{n:08x}")
        .parse()
        .expect("it is a name")
}

/// Workers that have confirmed their caps.
fn observed(shares: impl IntoIterator<Item = (WorkerName, Share)>) -> Observed {
    let ledger = Ledger::new(TARGET);
    let mut observed = Observed {
        ledger: Some((ledger, 1)),
        ..Observed::default()
    };
    for (worker, share) in shares {
        let (cap, ack) = grant(share);
        observed.caps.insert(worker.clone(), (cap, 2));
        observed.acks.insert(worker, (ack, 3));
    }
    observed
}

fn grant(share: Share) -> (Cap, Ack) {
    let term_ms = 5000;
    let ack = Ack {
        share,
        sequence: 1_000,
        lingering: false,
    };
    (Cap { share, term_ms }, ack)
}

/// How long it takes to parse the records that one decision over all resources needs: the median.
fn reading() -> Result<Duration> {
    let everybody: Vec<WorkerName> = (0..WORKERS).map(worker).collect();
    let shares = divide(TARGET, &claims(&everybody), Timing::default().term);
    let entry = |key: String, value| KeyValue {
        key,
        value,
        create_revision: Revision(1),
        mod_revision: Revision(2),
        lease: None,
    };
    let mut caps = Vec::new();
    let mut acks = Vec::new();
    for resource in 0..RESOURCES {
        for (n, share) in shares.values().enumerate() {
            let (cap, ack) = grant(*share);
            let key = |kind| format!("{kind}/origin/{resource}/{}", worker(n));
            caps.push(entry(key("cap"), record::encode(&cap)));
            acks.push(entry(key("ack"), record::encode(&ack)));
        }
    }
    let mut times = Vec::with_capacity(TIMES / 10);
    for _ in 0..TIMES / 10 {
        let begun = Instant::now();
        let mut parsed: BTreeMap<&str, (Option<Cap>, Option<Ack>)> = BTreeMap::new();
        for entry in &caps {
            parsed.entry(&entry.key).or_default().0 = Some(record::decode(entry)?);
        }
        for entry in &acks {
            parsed.entry(&entry.key).or_default().1 = Some(record::decode(entry)?);
        }
        black_box(parsed);
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(percentile(&times, 50))
}
