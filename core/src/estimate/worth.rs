//! What of a plan's popularity is kept with its record: in whole numbers, so that records can be compared.

use serde::{Deserialize, Serialize};

use super::mix::Mix;
use super::popularity::Popularity;

/// What a plan's priorities say, as a record has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worth {
    /// Zipf's exponent, in thousandths; none where no law can be fitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exponent_milli: Option<u32>,
    /// How far the law is from the truth at most, in millionths of all requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance_ppm: Option<u32>,
    /// The tops of the plan, from the smallest on.
    pub tops: Vec<WorthOfTop>,
}

/// What the top of a plan is worth, were requests to come like the priorities say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorthOfTop {
    /// Which part of the plan, in thousandths.
    pub top_permille: u32,
    /// How many entries these are.
    pub entries: u64,
    /// The hit rate, in millionths.
    pub hit_rate_ppm: u32,
    /// How many of the entries each of several loaders has, about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_loader: Vec<u64>,
}

impl Worth {
    /// Of a plan of this popularity, whose loaders are mixed so.
    #[must_use]
    pub fn of(popularity: &Popularity, mix: &Mix) -> Self {
        let by_loader = |entries: u64| match mix.all() {
            [] | [_] => Vec::new(),
            _ => mix.of_top(entries),
        };
        let zipf = popularity.zipf.as_ref();
        Self {
            exponent_milli: zipf.map(|zipf| parts(zipf.exponent, 1e3)),
            distance_ppm: zipf.map(|zipf| parts(zipf.distance, 1e6)),
            tops: popularity
                .tops
                .iter()
                .map(|top| WorthOfTop {
                    top_permille: parts(top.top, 1e3),
                    entries: top.entries,
                    hit_rate_ppm: parts(top.as_planned, 1e6),
                    by_loader: by_loader(top.entries),
                })
                .collect(),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small, and not negative; saturates"
)]
fn parts(number: f64, of_one: f64) -> u32 {
    (number * of_one).round() as u32
}

#[cfg(test)]
mod tests {
    use super::super::curve::Curve;
    use super::*;

    #[test]
    fn a_record_has_what_the_priorities_say() {
        let (mut curve, mut mix) = (Curve::new(), Mix::default());
        for rank in 1..=1000u64 {
            mix.push(usize::from(rank > 10));
            curve.push(1_000_000_000 / rank);
        }
        let popularity = Popularity::of(&curve, None).unwrap();
        let worth = Worth::of(&popularity, &mix);
        assert_eq!(worth.tops[2].by_loader, [10, 40]);
        assert_eq!(worth.exponent_milli, Some(1000));
        assert!(worth.distance_ppm.is_some_and(|distance| distance < 100));
        let tops: Vec<_> = worth
            .tops
            .iter()
            .map(|top| (top.top_permille, top.entries))
            .collect();
        assert_eq!(tops[..3], [(1, 1), (10, 10), (50, 50)]);
        // H(10) / H(1000).
        assert_eq!(worth.tops[1].hit_rate_ppm, 391_287);
        assert_eq!(
            worth.tops.last().map(|top| top.hit_rate_ppm),
            Some(1_000_000)
        );
        let text = serde_json::to_string(&worth).unwrap();
        assert_eq!(serde_json::from_str::<Worth>(&text).unwrap(), worth);
        assert!(text.len() < 750, "it is a part of a record: {text}");
    }
}
