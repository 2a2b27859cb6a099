//! A plan in its order, gone through once: its curve, its keys' length, whose keys they are, and what was asked for later.

use stoke_core::estimate::{Curve, Later, Popularity, key_hash};
use stoke_core::pattern::Pattern;

use super::input::Entries;
use crate::exit::{Exit, Failure, OrExit};
use crate::show::estimate::Tried;

/// What was found on the way.
pub(super) struct Ranked {
    pub(super) curve: Curve,
    /// Σ bytes of keys.
    pub(super) key_bytes: u64,
    /// What share of requests is for keys of one user each.
    pub(super) user_specific: f64,
    later: Option<Asked>,
}

/// What was asked for later.
struct Asked {
    /// Of the plan's keys, in its order.
    of_plan: Curve,
    /// Of other keys, in requests.
    of_others: f64,
    is_sample: bool,
}

impl Ranked {
    /// Goes through all entries.
    pub(super) async fn of(
        entries: Entries,
        later: Option<Later>,
        user_keys: Vec<Pattern>,
    ) -> Result<Self, Failure> {
        let mut ranked = entries.rank().await?;
        let gone = tokio::task::spawn_blocking(move || through(&mut ranked, later, &user_keys));
        gone.await.or_exit(Exit::Unreachable)?
    }

    /// What the tops of the plan got of what was asked for later.
    pub(super) fn tried(&self, popularity: &Popularity) -> Option<Tried> {
        let asked = self.later.as_ref()?;
        let of_plan = asked.of_plan.requests();
        let all = of_plan + asked.of_others;
        let hit_rate = |entries: u64| match asked.of_plan.share(entries) {
            Some(share) if all > 0.0 => share * of_plan / all,
            _ => 0.0,
        };
        Some(Tried {
            requests: all,
            is_sample: asked.is_sample,
            hit_rates: popularity
                .tops
                .iter()
                .map(|top| hit_rate(top.entries))
                .collect(),
        })
    }
}

fn through(
    entries: &mut dyn Iterator<Item = Result<stoke_core::plan::Entry, Failure>>,
    mut later: Option<Later>,
    user_keys: &[Pattern],
) -> Result<Ranked, Failure> {
    let (mut curve, mut of_plan) = (Curve::new(), Curve::new());
    let (mut key_bytes, mut of_users) = (0, 0.0);
    for entry in entries {
        let entry = entry?;
        let milli = entry.priority.as_milli();
        curve.push(milli);
        key_bytes += entry.key.len() as u64;
        if user_keys
            .iter()
            .any(|pattern| pattern.captures(&entry.key).is_some())
        {
            of_users += super::float(milli) / 1000.0;
        }
        if let Some(later) = &mut later {
            of_plan.push(later.take(key_hash(&entry.key)));
        }
    }
    let requests = curve.requests();
    Ok(Ranked {
        curve,
        key_bytes,
        user_specific: if requests > 0.0 {
            of_users / requests
        } else {
            0.0
        },
        later: later.map(|later| Asked {
            of_plan,
            of_others: later.left(),
            is_sample: later.is_sample(),
        }),
    })
}
