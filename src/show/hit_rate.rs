//! The hit rate of a cache, interval by interval: for people a line each, for scripts an object.

use serde::Serialize;
use stoke_core::hit_rate::rate;
use stoke_proto::v1;
use v1::Warmth;

use super::number::{grouped, percent};
use super::plain;

/// One JSON object. Its fields are kept as they are from version to version; new ones may come.
#[derive(Debug, Serialize)]
pub struct HitRateReport<'a> {
    hits: u64,
    misses: u64,
    /// Null where nothing was asked for.
    hit_rate: Option<f64>,
    own_hits: u64,
    own_misses: u64,
    /// UNKNOWN, COLD or WARM.
    warmth: &'static str,
    /// Null where it is not known yet.
    steady_state: Option<f64>,
    nodes: Vec<NodeReport<'a>>,
    troubles: &'a [String],
}

#[derive(Debug, Serialize)]
struct NodeReport<'a> {
    node: &'a str,
    hits: u64,
    misses: u64,
    hit_rate: Option<f64>,
}

fn known(hits: u64, misses: u64) -> Option<f64> {
    (hits + misses > 0).then(|| rate(hits, hits + misses))
}

impl<'a> HitRateReport<'a> {
    /// Of an interval.
    pub fn new(interval: &'a v1::WatchHitRateResponse) -> Self {
        let node = |node: &'a v1::NodeHits| NodeReport {
            node: &node.node,
            hits: node.hits,
            misses: node.misses,
            hit_rate: known(node.hits, node.misses),
        };
        Self {
            hits: interval.hits,
            misses: interval.misses,
            hit_rate: known(interval.hits, interval.misses),
            own_hits: interval.own_hits,
            own_misses: interval.own_misses,
            warmth: match interval.warmth() {
                Warmth::Warm => "WARM",
                Warmth::Cold => "COLD",
                Warmth::Unknown | Warmth::Unspecified => "UNKNOWN",
            },
            steady_state: interval.steady_state,
            nodes: interval.nodes.iter().map(node).collect(),
            troubles: &interval.troubles,
        }
    }
}

/// An interval as lines: all nodes together, then each.
pub fn text(interval: &v1::WatchHitRateResponse) -> String {
    let warmth = match interval.warmth() {
        Warmth::Warm => "warm",
        Warmth::Cold => "cold",
        Warmth::Unknown | Warmth::Unspecified => "not known yet",
    };
    let steady = match interval.steady_state {
        Some(steady) => format!(" (steady state {})", percent(steady)),
        None => String::new(),
    };
    let own = interval.own_hits + interval.own_misses;
    let without = match own {
        0 => String::new(),
        own => format!(", without {} looks of Stoke's own", grouped(own)),
    };
    let all = of(interval.hits, interval.misses);
    let mut told = format!("{all}{without}: {warmth}{steady}\n");
    if interval.nodes.len() > 1 {
        for node in &interval.nodes {
            told += &format!("  {}  {}\n", plain(&node.node), of(node.hits, node.misses));
        }
    }
    for trouble in &interval.troubles {
        told += &format!("  {}\n", plain(trouble));
    }
    told
}

fn of(hits: u64, misses: u64) -> String {
    match known(hits, misses) {
        Some(rate) => format!(
            "{} of {} requests are hits",
            percent(rate),
            grouped(hits + misses)
        ),
        None => "no requests".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_told_with_its_nodes() {
        let node = |node: &str, hits, misses| v1::NodeHits {
            node: node.into(),
            hits,
            misses,
        };
        let interval = v1::WatchHitRateResponse {
            nodes: vec![node("a:1", 900, 100), node("b:1", 0, 0)],
            hits: 900,
            misses: 100,
            own_hits: 7,
            own_misses: 5000,
            warmth: Warmth::Warm.into(),
            steady_state: Some(0.91),
            troubles: vec!["b:1: gone".into()],
        };
        assert_eq!(
            text(&interval),
            "90.0 % of 1,000 requests are hits, without 5,007 looks of Stoke's own: warm (steady state 91.0 %)\n\
             \x20 a:1  90.0 % of 1,000 requests are hits\n\
             \x20 b:1  no requests\n\
             \x20 b:1: gone\n"
        );
        let json = crate::print::json(&HitRateReport::new(&interval));
        assert!(
            json.starts_with("{\"hits\":900,\"misses\":100,\"hit_rate\":0.9,\"own_hits\":7,"),
            "{json}"
        );
        assert!(
            json.contains("\"warmth\":\"WARM\"") && json.contains("\"hit_rate\":null"),
            "{json}"
        );
        assert_eq!(
            text(&v1::WatchHitRateResponse::default()),
            "no requests: not known yet\n"
        );
    }
}
