//! Is warming worth it? What is known of a plan and of traffic before anything is loaded, and what follows from that.
//!
//! A [`Curve`] says what share of the requests the first ranks of a plan get, in bounded memory; a [`Zipf`] law is fitted to
//! it. A [`History`] looks at who asked for what, and when: what a plan of the past catches of traffic to come is less than its
//! curve says, and by how much is its [`Drift`]. A [`Timeline`] is the hit rate over time, cold and warmed, and a [`Verdict`] says
//! whether the one is worth more than the other costs.
//!
//! All of it is arithmetic: nothing here reads, nothing asks a cache or a database. What is not known is not guessed: whatever needs
//! it is `None`.

mod curve;
mod drift;
mod history;
mod later;
mod mix;
mod popularity;
mod timeline;
mod verdict;
mod worth;
mod zipf;

pub use curve::Curve;
pub use drift::{Drift, DriftRecord, Fading, KeptOfTop, PARTS};
pub use history::History;
pub use later::Later;
pub use mix::Mix;
pub use popularity::{Popularity, TOPS, TopShare, entries_of_top};
pub use timeline::{Moments, Setting, Timeline};
pub use verdict::{Facts, Reason, Verdict};
pub use worth::{Worth, WorthOfTop};
pub use zipf::Zipf;

pub use crate::key_hash::key_hash;

/// A number of which a float keeps 53 bits: enough for a share.
#[expect(
    clippy::cast_precision_loss,
    reason = "shares and estimates, not counts"
)]
pub(crate) const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
pub(crate) mod traffic;
