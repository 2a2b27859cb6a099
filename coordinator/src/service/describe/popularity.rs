//! What is to be expected of warming a plan: what each part of it brings, and takes.

use std::collections::BTreeMap;

use stoke_core::estimate::{Drift, Worth, WorthOfTop};
use stoke_core::job::{Batch, Work};
use stoke_core::names::OriginName;
use stoke_core::plan::PlanSummary;
use stoke_core::records::Job;
use stoke_proto::v1;

use super::duration;
use crate::view::JobView;
use crate::wire::drift_message;

/// What the job's plan says; of ranges, whose keys nobody knows, nothing.
pub(super) fn popularity(job: &JobView) -> Option<v1::Popularity> {
    if job.ranges() > 0 {
        return None;
    }
    let record = &job.record.value;
    let Work::Batch(batch) = &record.spec.work;
    let plan = record.plan.as_ref()?;
    let Worth {
        exponent_milli,
        distance_ppm,
        tops,
    } = plan.worth.as_ref()?;
    let drift = drift(record, batch);
    let tops = tops.iter().map(|top| v1::TopShare {
        expected_hit_rate: drift.as_ref().map(|drift| expected(top, drift)),
        ..top_share(job, plan, top)
    });
    Some(v1::Popularity {
        zipf_exponent: exponent_milli.map(|milli| f64::from(milli) / 1e3),
        zipf_distance: distance_ppm.map(|ppm| f64::from(ppm) / 1e6),
        tops: tops.collect(),
        drift: drift.as_ref().map(drift_message),
    })
}

/// How the traffic of all its key sources drifts; `None` where one does not tell, for it may be most of the plan.
fn drift(record: &Job, batch: &Batch) -> Option<Drift> {
    let mut sources = Vec::new();
    for (source, report) in batch.sources.iter().zip(&record.sources) {
        if report.entries > 0 {
            let known = Drift::from(report.log.as_ref()?.drift.as_ref()?);
            #[expect(clippy::cast_precision_loss, reason = "a share of all of them")]
            let requests = known.requests as f64 * source.weight.as_number();
            sources.push((requests, known));
        }
    }
    Drift::together(&sources)
}

/// The hit rate to expect of the top of a plan.
fn expected(top: &WorthOfTop, drift: &Drift) -> f64 {
    f64::from(top.hit_rate_ppm) / 1e6 * drift.kept(f64::from(top.top_permille) / 1e3)
}

fn top_share(job: &JobView, plan: &PlanSummary, top: &WorthOfTop) -> v1::TopShare {
    let queries = queries(job, plan, top);
    v1::TopShare {
        top: f64::from(top.top_permille) / 1e3,
        entries: top.entries,
        hit_rate: f64::from(top.hit_rate_ppm) / 1e6,
        origin_queries: queries.values().sum(),
        duration: (!queries.is_empty())
            .then(|| duration(job, queries))
            .flatten(),
        expected_hit_rate: None,
    }
}

/// What the entries of a top take of each origin; none where a loader's terms are not known.
fn queries(job: &JobView, plan: &PlanSummary, top: &WorthOfTop) -> BTreeMap<OriginName, u64> {
    let record = &job.record.value;
    let mut queries: BTreeMap<OriginName, u64> = BTreeMap::new();
    for (n, entries) in by_loader(plan, top).into_iter().enumerate() {
        let Some(terms) = record.terms.get(n).filter(|terms| terms.origin.is_some()) else {
            return BTreeMap::new();
        };
        for (origin, of_origin) in terms.queries(entries) {
            *queries.entry(origin.clone()).or_default() += of_origin;
        }
    }
    queries
}

/// How many entries of a top each loader has, without what was cut off.
fn by_loader(plan: &PlanSummary, top: &WorthOfTop) -> Vec<u64> {
    if top.entries >= plan.entries {
        return plan.entries_by_loader.clone();
    }
    match plan.entries_by_loader.as_slice() {
        [_] => vec![top.entries],
        // An older coordinator has ranked it: as if they were mixed evenly.
        several if top.by_loader.is_empty() => {
            let part = |entries: &u64| {
                let part = u128::from(*entries) * u128::from(top.entries);
                u64::try_from(part / u128::from(plan.entries.max(1))).unwrap_or(u64::MAX)
            };
            several.iter().map(part).collect()
        }
        _ => top.by_loader.clone(),
    }
}
