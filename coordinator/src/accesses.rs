//! What applications report of the keys that they ask for, feed by feed, in bounded memory: see [`HeavyHitters`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stoke_core::heavy_hitters::{HeavyHitters, Hitter};
use stoke_core::names::FeedName;

/// How many feeds there may be.
pub(crate) const FEEDS_MAX: usize = 8;

/// For how long nothing must have been reported to a feed, so that another may take its place.
const SILENT_MS: u64 = 3_600_000;

/// How reported accesses are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessSettings {
    /// How many keys of each feed have counts of their own. A key takes some hundred bytes and its own, at most 1,200.
    pub counters: usize,
    /// After so long an access counts half; `None`: all count alike.
    pub half_life: Option<Duration>,
}

impl Default for AccessSettings {
    /// 65,536, and a day.
    fn default() -> Self {
        Self {
            counters: 65_536,
            half_life: Some(Duration::from_secs(86_400)),
        }
    }
}

/// There are as many feeds as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyFeeds;

/// All feeds.
#[derive(Debug)]
pub(crate) struct Accesses {
    settings: AccessSettings,
    feeds: Mutex<BTreeMap<FeedName, Known>>,
}

/// A feed, and when somebody began to report to it last.
#[derive(Debug)]
struct Known {
    feed: Feed,
    opened_ms: u64,
}

impl Known {
    /// For how long nobody has reported; none where somebody is there to.
    fn silent_ms(&self, now_ms: u64) -> u64 {
        // Whoever reports holds it.
        if Arc::strong_count(&self.feed) > 1 {
            return 0;
        }
        // Accesses may be of long ago when they are reported.
        let heard_ms = lock(&self.feed).newest_ms().max(self.opened_ms);
        now_ms.saturating_sub(heard_ms)
    }
}

/// A feed: each has a lock of its own.
pub(crate) type Feed = Arc<Mutex<HeavyHitters>>;

/// What a feed has.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Listed {
    pub(crate) hitters: Vec<Hitter>,
    pub(crate) total: f64,
    pub(crate) error_max: f64,
}

impl Accesses {
    pub(crate) fn new(settings: AccessSettings) -> Self {
        Self {
            settings,
            feeds: Mutex::default(),
        }
    }

    /// The feed of this name, which begins where there is none.
    ///
    /// # Errors
    /// Where there are too many.
    pub(crate) fn feed(&self, name: &FeedName, now_ms: u64) -> Result<Feed, TooManyFeeds> {
        let mut feeds = lock(&self.feeds);
        if let Some(known) = feeds.get_mut(name) {
            known.opened_ms = known.opened_ms.max(now_ms);
            return Ok(Arc::clone(&known.feed));
        }
        if feeds.len() >= FEEDS_MAX {
            // One that nobody has reported to for long gives way; a name that was mistyped once must not stand for ever.
            let most = feeds
                .iter()
                .map(|(name, known)| (known.silent_ms(now_ms), name.clone()))
                .max();
            match most.filter(|(silent_ms, _)| *silent_ms >= SILENT_MS) {
                Some((_, name)) => feeds.remove(&name),
                None => return Err(TooManyFeeds),
            };
        }
        let hitters = HeavyHitters::new(self.settings.counters, self.settings.half_life);
        let feed = Arc::new(Mutex::new(hitters));
        let known = Known {
            feed: Arc::clone(&feed),
            opened_ms: now_ms,
        };
        feeds.insert(name.clone(), known);
        Ok(feed)
    }

    /// What a feed has, at this moment: so many keys at most. `None`: there is no such feed.
    pub(crate) fn list(&self, name: &FeedName, top: usize, now_ms: u64) -> Option<Listed> {
        let feed = Arc::clone(&lock(&self.feeds).get(name)?.feed);
        let feed = lock(&feed);
        let mut hitters = feed.hitters(now_ms);
        hitters.truncate(top);
        Some(Listed {
            hitters,
            total: feed.total(now_ms),
            error_max: feed.error_max(now_ms),
        })
    }

    /// The names of all feeds.
    pub(crate) fn names(&self) -> Vec<FeedName> {
        lock(&self.feeds).keys().cloned().collect()
    }

    /// All is forgotten: somebody else leads, and hears what is reported from now on.
    pub(crate) fn forget(&self) {
        lock(&self.feeds).clear();
    }
}

/// Counts an access; whether it counts. What is said to come is now: else it would make all others old.
pub(crate) fn count(
    feed: &mut HeavyHitters,
    key: &[u8],
    count: u64,
    at_ms: u64,
    now_ms: u64,
) -> bool {
    !key.is_empty() && feed.add(key, count.max(1), at_ms.min(now_ms))
}

pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Whole at every instant, so a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: usize) -> FeedName {
        format!("feed-{n}").parse().unwrap()
    }

    #[test]
    fn there_are_so_many_feeds_and_no_more_and_each_counts_for_itself() {
        let accesses = Accesses::new(AccessSettings::default());
        for n in 0..FEEDS_MAX {
            let feed = accesses.feed(&name(n), 5).unwrap();
            assert!(count(&mut lock(&feed), b"k", n as u64, 5, 5));
        }
        assert!(accesses.feed(&name(FEEDS_MAX), 5).is_err());
        assert!(accesses.feed(&name(0), 5).is_ok());
        let counts = |n| accesses.list(&name(n), 10, 5).unwrap().hitters[0].count;
        assert_eq!((counts(0), counts(7)), (1.0, 7.0));
        assert_eq!(accesses.list(&name(99), 10, 5), None);
        assert_eq!(accesses.names().len(), FEEDS_MAX);
        let later = 5 + SILENT_MS;
        // What is reported late is no less a report; and whoever is there need not say anything.
        let late = accesses.feed(&name(0), later).unwrap();
        count(&mut lock(&late), b"k", 1, 7, later);
        drop(late);
        let quiet = accesses.feed(&name(1), 5).unwrap();
        for n in 1..FEEDS_MAX - 1 {
            assert!(accesses.feed(&name(FEEDS_MAX + n), later).is_ok(), "{n}");
        }
        let left = accesses.names();
        assert!(
            left.contains(&name(0)) && left.contains(&name(1)),
            "{left:?}"
        );
        assert!(
            accesses.feed(&name(99), later).is_err(),
            "all were heard of"
        );
        drop(quiet);
        assert!(accesses.feed(&name(99), later).is_ok());
        assert_eq!(accesses.names().len(), FEEDS_MAX);
        assert!(accesses.names().contains(&name(0)), "it is not silent");
        accesses.forget();
        assert!(accesses.names().is_empty());
    }

    #[test]
    fn what_is_said_to_come_makes_nothing_old() {
        let accesses = Accesses::new(AccessSettings::default());
        let feed = accesses.feed(&name(0), 5).unwrap();
        count(&mut lock(&feed), b"now", 8, 1_000_000, 1_000_000);
        count(&mut lock(&feed), b"far", 4, u64::MAX, 1_000_000);
        assert!(!count(&mut lock(&feed), b"", 4, 1, 1_000_000));
        let listed = accesses.list(&name(0), 1, 1_000_000).unwrap();
        assert_eq!(
            (listed.hitters[0].count, listed.hitters.len(), listed.total),
            (8.0, 1, 12.0)
        );
    }
}
