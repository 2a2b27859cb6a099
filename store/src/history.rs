//! Whether the store forgets what was: one that does not grows with every renewal, until it is full and refuses all writes.
//!
//! etcd forgets where it is told to (`--auto-compaction-retention`), or where somebody compacts it; it says nowhere which.
//! But it says whether an old revision can still be read. How old is too old no store says either: a young etcd has not had
//! the time, and a busy one keeps many revisions of its last hour. So it counts only what no usual setting keeps.

use std::time::Duration;

use stoke_core::units::Moment;

use crate::{Revision, Store, StoreError};

/// What no store keeps that forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// So many revisions, however young they are: 200 workers that renew two budgets each make 1.5 million an hour. An
    /// ack's takes 230 bytes (measured on etcd 3.4): of nine million, etcd's default quota of 2 GiB is full.
    pub many: u64,
    /// A revision so old, once so many have followed: etcd is told hours, at most a day.
    pub long: Duration,
    /// That many.
    pub few: u64,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            many: 2_000_000,
            long: Duration::from_secs(25 * 3600),
            few: 100_000,
        }
    }
}

/// What a store keeps that should have been forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// At least so many revisions.
    pub revisions: u64,
}

/// What this process has seen of the store's history.
#[derive(Clone, Debug)]
pub struct History {
    rule: Rule,
    /// A revision that was the store's present one, and when.
    mark: Option<(Moment, Revision)>,
}

impl History {
    /// Nothing was seen yet.
    #[must_use]
    pub fn new(rule: Rule) -> Self {
        Self { rule, mark: None }
    }

    /// Looks at the store's history; `None`: it forgets, or it is too early to tell.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn look(
        &mut self,
        now: Moment,
        store: &dyn Store,
    ) -> Result<Option<Kept>, StoreError> {
        let present = store.read(&[]).await?.revision;
        let Some(old) = self.too_old(now, present) else {
            return Ok(None);
        };
        if !store.remembers(old).await? {
            self.mark = Some((now, present));
            return Ok(None);
        }
        Ok(Some(Kept {
            revisions: present.0 - old.0,
        }))
    }

    /// The revision that the store should have forgotten.
    fn too_old(&mut self, now: Moment, present: Revision) -> Option<Revision> {
        let Rule { many, long, few } = self.rule;
        let (since, mark) = match self.mark {
            // A store that was restored begins anew.
            Some((since, mark)) if mark <= present => (since, mark),
            _ => *self.mark.insert((now, present)),
        };
        let too_many = present.0.checked_sub(many).filter(|old| *old > 0);
        let too_long = now.since(since) >= long && present.0 - mark.0 >= few;
        // The older of both says more.
        let old = too_many.into_iter().chain(too_long.then_some(mark.0));
        old.min().map(Revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(hours: u32) -> Moment {
        Moment::default() + HOUR * hours
    }

    #[test]
    fn only_what_no_usual_setting_keeps_is_too_old() {
        let mut history = History::new(Rule::default());
        for (hours, present, old) in [
            // Young, and then busy for an hour.
            (0, 1, None),
            (1, 1_500_001, None),
            (2, 2_000_000, None),
            // More than any fleet makes in an hour.
            (2, 2_000_007, Some(7)),
            // The very first is a day old by now.
            (25, 2_100_000, Some(1)),
        ] {
            assert_eq!(
                history.too_old(at(hours), Revision(present)),
                old.map(Revision),
                "{present} after {hours} h"
            );
        }
    }

    #[test]
    fn an_idle_store_keeps_what_it_has() {
        let mut history = History::new(Rule::default());
        assert_eq!(history.too_old(at(0), Revision(5000)), None);
        assert_eq!(history.too_old(at(1000), Revision(104_999)), None);
        assert_eq!(
            history.too_old(at(1000), Revision(105_000)),
            Some(Revision(5000))
        );
    }

    #[test]
    fn a_restored_store_begins_anew() {
        let mut history = History::new(Rule::default());
        history.too_old(at(0), Revision(500_000));
        assert_eq!(history.too_old(at(30), Revision(10)), None);
        assert_eq!(history.too_old(at(31), Revision(700_000)), None);
        assert_eq!(
            history.too_old(at(55), Revision(700_000)),
            Some(Revision(10))
        );
    }
}
