//! What is to be expected of warming a plan: what each part of it brings, and takes.

use std::collections::BTreeMap;

use stoke_core::estimate::{Worth, WorthOfTop};
use stoke_core::job::{From, Work};
use stoke_core::names::OriginName;
use stoke_core::plan::PlanSummary;
use stoke_proto::v1;

use super::duration;
use crate::view::JobView;

/// What the job's plan says; of ranges, whose keys nobody knows, nothing.
pub(super) fn popularity(job: &JobView) -> Option<v1::Popularity> {
    let record = &job.record.value;
    let Work::Batch(batch) = &record.spec.work;
    if batch.sources.iter().any(|source| source.from == From::Scan) {
        return None;
    }
    let plan = record.plan.as_ref()?;
    let Worth {
        exponent_milli,
        distance_ppm,
        tops,
    } = plan.worth.as_ref()?;
    let tops = tops.iter().map(|top| top_share(job, plan, top));
    Some(v1::Popularity {
        zipf_exponent: exponent_milli.map(|milli| f64::from(milli) / 1e3),
        zipf_distance: distance_ppm.map(|ppm| f64::from(ppm) / 1e6),
        tops: tops.collect(),
    })
}

fn top_share(job: &JobView, plan: &PlanSummary, top: &WorthOfTop) -> v1::TopShare {
    let queries = queries(job, plan, top.entries);
    v1::TopShare {
        top: f64::from(top.top_permille) / 1e3,
        entries: top.entries,
        hit_rate: f64::from(top.hit_rate_ppm) / 1e6,
        origin_queries: queries.values().sum(),
        duration: (!queries.is_empty())
            .then(|| duration(job, queries))
            .flatten(),
    }
}

/// What so many entries from the top take of each origin, were its loaders mixed in the plan as they are in its top; none where a loader's
/// terms are not known.
fn queries(job: &JobView, plan: &PlanSummary, top: u64) -> BTreeMap<OriginName, u64> {
    let record = &job.record.value;
    let mut queries: BTreeMap<OriginName, u64> = BTreeMap::new();
    for (n, entries) in plan.entries_by_loader.iter().enumerate() {
        // About, as a plan that was cut counts them.
        let part = u128::from(*entries) * u128::from(top.min(plan.entries))
            / u128::from(plan.entries.max(1));
        let part = u64::try_from(part).unwrap_or(u64::MAX);
        let Some(terms) = record.terms.get(n).filter(|terms| terms.origin.is_some()) else {
            return BTreeMap::new();
        };
        for (origin, of_origin) in terms.queries(part) {
            *queries.entry(origin.clone()).or_default() += of_origin;
        }
    }
    queries
}
