//! What of a cache is warmed.

use std::ops::RangeInclusive;

use clap::{Args as ClapArgs, ValueEnum};
use stoke_core::job::check_node;
use stoke_core::slot::{NotASlotRange, Slot, Slots, parse_slot_range};
use stoke_proto::v1;

/// Which slots, and which nodes.
#[derive(Debug, Default, ClapArgs)]
pub struct SectionArgs {
    /// Warms only these hash slots, as 0-5460 or 7; several with commas, or the flag again
    #[arg(long = "slots", value_name = "RANGE", value_delimiter = ',', value_parser = range)]
    pub slots: Vec<RangeInclusive<Slot>>,
    /// Warms only what this node owns when the job is planned, as HOST:PORT; several with commas, or the flag again
    #[arg(long = "nodes", value_name = "NODE", value_delimiter = ',', value_parser = node)]
    pub nodes: Vec<String>,
}

/// What is done where the cache has no room for all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FitArg {
    /// What does not fit is skipped: the keys of the lowest priority
    Cut,
    /// All is warmed, and what would be skipped is told
    Warn,
}

impl From<FitArg> for v1::Fit {
    fn from(fit: FitArg) -> Self {
        match fit {
            FitArg::Cut => Self::Cut,
            FitArg::Warn => Self::Warn,
        }
    }
}

impl SectionArgs {
    /// The section that is asked for; `None`: nothing is said.
    pub fn section(&self) -> Option<v1::CacheSection> {
        let range = |range: &RangeInclusive<Slot>| v1::SlotRange {
            first: range.start().0.into(),
            last: range.end().0.into(),
        };
        let is_said = !self.slots.is_empty() || !self.nodes.is_empty();
        is_said.then(|| v1::CacheSection {
            slots: self.slots.iter().map(range).collect(),
            nodes: self.nodes.clone(),
        })
    }

    /// The slots in one text, as the flag takes them.
    pub fn slots_text(&self) -> Option<String> {
        let slots: Slots = self.slots.iter().cloned().collect();
        (!slots.is_empty()).then(|| slots.to_string())
    }

    /// The nodes in one text, as the flag takes them.
    pub fn nodes_text(&self) -> Option<String> {
        (!self.nodes.is_empty()).then(|| self.nodes.join(","))
    }
}

fn range(text: &str) -> Result<RangeInclusive<Slot>, NotASlotRange> {
    parse_slot_range(text)
}

fn node(text: &str) -> Result<String, String> {
    check_node(text)
        .map(|()| text.to_owned())
        .map_err(|error| error.to_string())
}
