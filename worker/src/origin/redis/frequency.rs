//! What a key that is found counts for: one request, or as many as its node's access counter stands for.
//!
//! Neither SCAN nor OBJECT FREQ counts as a use of a key. Each key that matches takes an OBJECT FREQ, so a command, and a token, of
//! its own; they are sent in pipelines. Masters only are asked: what replicas are read for, their own counters tell them alone.

use stoke_core::units::Priority;
use stoke_core::usage::lfu;

use super::Engine;
use crate::cache::{Cache, CommandError, Lfu, NodeAddr};
use crate::origin::OriginError;
use crate::origin::meter::Meter;
use crate::permit::{Permit, Stopped};

/// By what keys are weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weighing {
    /// All alike.
    Alike,
    /// By how often they are used; those whose counter stands lower are left out.
    Frequency { min: u8 },
}

/// As [`Weighing`], at one node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scale {
    Alike,
    Frequency { min: u8, lfu: Lfu },
}

impl Engine {
    /// How keys of a node are weighed. One that counts no accesses is an error.
    pub(super) async fn scale(
        &self,
        meter: &Meter<'_>,
        cache: &Cache,
        node: &NodeAddr,
        weighing: Weighing,
    ) -> Result<Result<Scale, CommandError>, OriginError> {
        let Weighing::Frequency { min } = weighing else {
            return Ok(Ok(Scale::Alike));
        };
        let lfu = cache.lfu(&meter.sharing(), node).await?;
        Ok(lfu.map(|lfu| Scale::Frequency { min, lfu }))
    }
}

/// What each of these keys counts for; `None`: it is left out, or gone.
pub(super) async fn weigh(
    permit: &dyn Permit,
    cache: &Cache,
    scale: Scale,
    keys: &[&[u8]],
) -> Result<Result<Vec<Option<Priority>>, CommandError>, Stopped> {
    let Scale::Frequency { min, lfu } = scale else {
        return Ok(Ok(vec![Some(Priority::ONE); keys.len()]));
    };
    let frequencies = cache.frequencies(permit, keys).await?;
    let priority = |counter: Option<u8>| {
        let counter = counter.filter(|counter| *counter >= min)?;
        Some(lfu::accesses(counter, lfu.log_factor))
    };
    let weighed = frequencies.into_iter().map(|counter| counter.map(priority));
    Ok(weighed.collect())
}
