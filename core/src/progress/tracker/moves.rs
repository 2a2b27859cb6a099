//! How partitions come and go while the others are worked on.
//!
//! One that shall go to another is *left*: nothing more of it is taken. Once nothing of it is in flight it is *released*:
//! what was taken and not done is put back, so that its state says exactly what is left to do, and no entry that is done
//! is done again. A new assignment is *followed* where it goes on from what this owner knows; else the owner begins anew
//! where the store says.

use std::collections::{BTreeMap, BTreeSet};

use super::{Standing, Track, Tracker, Verdict};
use crate::mutant::Mutant;
use crate::progress::PartitionState;
use crate::records::Assignment;
use crate::units::PartitionId;

/// What following a new assignment asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// Nothing: work goes on.
    On,
    /// Partitions have come: the stream must be opened again, to bring all from where each stands.
    Opens,
    /// It cannot be followed, for it does not go on from what this owner knows: begin anew where the store says.
    Anew,
}

impl Tracker {
    /// Whether nothing more of this partition is to be done here.
    #[must_use]
    pub fn has_left(&self, partition: PartitionId) -> bool {
        let track = self.tracks.get(&partition);
        track.is_none_or(|track| track.standing != Standing::Active)
    }

    /// The partitions that are left and not released yet.
    pub fn leaving(&self) -> impl Iterator<Item = PartitionId> {
        self.standing(Standing::Leaving)
    }

    /// The partitions that may go.
    pub fn released(&self) -> impl Iterator<Item = PartitionId> {
        self.standing(Standing::Released)
    }

    fn standing(&self, standing: Standing) -> impl Iterator<Item = PartitionId> {
        let is_so = move |(_, track): &(&PartitionId, &Track)| track.standing == standing;
        self.tracks.iter().filter(is_so).map(|(id, _)| *id)
    }

    /// Releases a partition of which nothing is in flight any more.
    pub fn release(&mut self, partition: PartitionId) {
        if let Some(track) = self.tracks.get_mut(&partition) {
            track.release(self.retries_max);
        }
    }

    /// Releases all, once nothing is in flight any more.
    pub fn release_all(&mut self) {
        for track in self.tracks.values_mut() {
            track.release(self.retries_max);
        }
    }

    /// Follows an assignment that replaces the present one. `known` is how the store had each partition when this owner last
    /// knew: where it has a partition that this owner works on otherwise, somebody else had it meanwhile.
    pub fn follow(
        &mut self,
        known: &BTreeMap<PartitionId, PartitionState>,
        given: &Assignment,
    ) -> Followed {
        let stands = |id: &PartitionId| {
            let state = given.partitions.get(id);
            state.is_some() && state == known.get(id)
        };
        let goes_on = |(id, track): (&PartitionId, &Track)| match track.standing {
            Standing::Active => stands(id),
            Standing::Leaving => stands(id) && given.leaving.contains(id),
            Standing::Released => true,
        };
        if !self.tracks.iter().all(goes_on) && !Mutant::FollowAnything.is_on() {
            return Followed::Anew;
        }
        self.tracks
            .retain(|id, _| given.partitions.contains_key(id));
        let mut opens = false;
        for (id, state) in &given.partitions {
            let leaves = given.leaving.contains(id);
            let track = self.tracks.get_mut(id);
            match track {
                Some(track) if track.standing == Standing::Active => {
                    if leaves {
                        track.standing = Standing::Leaving;
                    }
                }
                // That it was released was said under the assignment before: it is said again.
                Some(track) if leaves && stands(id) => track.standing = Standing::Leaving,
                // It has come, or it comes back: nothing of it is in flight.
                found => {
                    let own = found
                        .filter(|_| stands(id))
                        .map(|track| track.state.clone());
                    let mut track = Track::new(own.unwrap_or_else(|| state.clone()));
                    if leaves {
                        track.standing = Standing::Leaving;
                    } else {
                        opens = true;
                    }
                    self.tracks.insert(*id, track);
                }
            }
        }
        if opens { Followed::Opens } else { Followed::On }
    }

    /// Leaves these partitions.
    pub fn leave(&mut self, partitions: &BTreeSet<PartitionId>) {
        for (id, track) in &mut self.tracks {
            if partitions.contains(id) && track.standing == Standing::Active {
                track.standing = Standing::Leaving;
            }
        }
    }
}

impl Track {
    /// Puts back what was taken and is not done: from the end, or, where something behind it is done, among those to try
    /// again. With more of those than there may be, the position stops, and what is done behind it is done again.
    fn release(&mut self, retries_max: usize) {
        while self.open.back().is_some_and(|last| last.verdict.is_none()) {
            self.open.pop_back();
            // The stream has to bring it again: the position must not go on to the next band.
            self.completed = None;
        }
        for open in &mut self.open {
            open.verdict.get_or_insert(Verdict::Retry { attempts: 0 });
        }
        self.advance(retries_max);
        self.standing = Standing::Released;
        debug_assert!(self.open.is_empty() || self.state.retries.len() >= retries_max);
    }
}

#[cfg(test)]
mod tests;
