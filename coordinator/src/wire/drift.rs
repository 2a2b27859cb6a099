//! How traffic drifts, as messages have it.

use stoke_core::estimate::{Drift, Fading, KeptOfTop};
use stoke_proto::v1;

/// How traffic drifts, as somebody tells it.
#[must_use]
pub fn drift(told: &v1::Drift) -> Drift {
    let fading = told.fading.map(|fading| Fading {
        chance: fading.chance,
        left: fading.left,
    });
    let tops = told.tops.iter().map(|of| KeptOfTop {
        top: of.top,
        kept: of.kept,
        deviation: of.deviation,
    });
    Drift::of_told(told.requests, told.sampled, fading, tops)
}

/// What is told of how traffic drifts.
#[must_use]
pub fn drift_message(drift: &Drift) -> v1::Drift {
    let of_top = |of: &KeptOfTop| v1::KeptOfTop {
        top: of.top,
        kept: of.kept,
        deviation: of.deviation,
    };
    v1::Drift {
        requests: drift.requests,
        sampled: drift.sampled,
        fading: drift.fading.map(|fading| v1::Fading {
            chance: fading.chance,
            left: fading.left,
        }),
        tops: drift.told().iter().map(of_top).collect(),
    }
}
