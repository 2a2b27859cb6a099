//! Whether it pays to ask the cache which entries it has before they are loaded.
//!
//! Pure. A key that is found there costs its origin nothing. But where nearly none is found, asking after all of them takes the
//! cache and the worker more than the few rows that it spares the origin; then only samples are asked after, so that it shows
//! when that changes. What is written is safe either way: an add writes nothing over a value that is there, and says that it was.

/// How many entries must have been asked after before anything is concluded; of more, the older count less and less.
const WINDOW: u32 = 8_192;
/// It pays where at least one in so many is there: what is not asked after costs the origin at most so small a part more.
const ONE_IN: u32 = 100;
/// While it does not pay, one in so many lots is asked after.
const SAMPLED_ONE_IN: u32 = 8;

/// What was found in the cache lately.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Presence {
    asked: u32,
    present: u32,
    /// Lots that were not asked after since the last one that was.
    passed: u32,
}

impl Presence {
    /// Whether the cache is to be asked after the next lot of entries.
    pub(super) fn asks(&mut self) -> bool {
        let pays = self.asked < WINDOW
            || u64::from(self.present) * u64::from(ONE_IN) >= u64::from(self.asked);
        self.passed += 1;
        let asks = pays || self.passed >= SAMPLED_ONE_IN;
        if asks {
            self.passed = 0;
        }
        asks
    }

    /// Notes how many of those that were asked after were there.
    pub(super) fn saw(&mut self, asked: usize, present: usize) {
        // A lot is never so large.
        let number = |count| u32::try_from(count).unwrap_or(u32::MAX / 4);
        self.asked = self.asked.saturating_add(number(asked));
        self.present = self.present.saturating_add(number(present));
        while self.asked >= 2 * WINDOW {
            self.asked /= 2;
            self.present = self.present.div_ceil(2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOT: usize = 2_000;

    /// Which of so many lots are asked after, where so many of each are present.
    fn asked(presence: &mut Presence, lots: usize, present: usize) -> Vec<bool> {
        let lot = |_| {
            let asks = presence.asks();
            if asks {
                presence.saw(LOT, present);
            }
            asks
        };
        (0..lots).map(lot).collect()
    }

    #[test]
    fn a_cold_cache_is_asked_for_samples_only() {
        let mut presence = Presence::default();
        let asks = asked(&mut presence, 25, 0);
        let first = [true; 5];
        assert_eq!(asks[..5], first, "nothing is concluded from few");
        assert_eq!(asks[5..].iter().filter(|asks| **asks).count(), 2);
        assert!(asks[12] && asks[20], "{asks:?}");
    }

    #[test]
    fn where_one_in_a_hundred_is_there_all_are_asked_after() {
        let mut presence = Presence::default();
        assert!(
            asked(&mut presence, 100, LOT / 100)
                .into_iter()
                .all(|asks| asks)
        );
        assert!(
            !asked(&mut presence, 100, LOT / 100 - 1)
                .into_iter()
                .all(|asks| asks)
        );
    }

    #[test]
    fn it_shows_when_entries_begin_to_be_there() {
        let mut presence = Presence::default();
        asked(&mut presence, 1_000, 0);
        let later = asked(&mut presence, 20, LOT);
        let from = later.iter().position(|asks| *asks).unwrap();
        assert!(
            from < 8 && later[from..].iter().all(|asks| *asks),
            "{later:?}"
        );
    }
}
