//! Synthetic traffic whose drift is known, for tests: seeded, so that it is the same every time.

use super::float;

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to 1.
    pub(crate) fn share(&mut self) -> f64 {
        float(self.next() >> 11) / float(1 << 53)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}

/// Requests by Zipf's law for keys whose places change.
#[derive(Clone, Debug)]
pub(crate) struct Traffic {
    chance: Chance,
    /// What the first places get together.
    sums: Vec<f64>,
    /// Which key has each place.
    keys: Vec<u64>,
    next_key: u64,
    /// How many places get a new key with each request.
    new_keys: f64,
    /// Of so many requests in a row one is the beginning of a burst for a key of its own.
    burst: Option<(f64, u64)>,
    bursting: (u64, u64),
}

impl Traffic {
    pub(crate) fn zipf(places: u64, exponent: f64, seed: u64) -> Self {
        let mut sum = 0.0;
        let sums = (1..=places).map(|place| {
            sum += float(place).powf(-exponent);
            sum
        });
        Self {
            chance: Chance(seed),
            sums: sums.collect(),
            keys: (0..places).collect(),
            next_key: places,
            new_keys: 0.0,
            burst: None,
            bursting: (0, 0),
        }
    }

    /// After so many requests, all keys have been replaced by new ones once, on average.
    pub(crate) fn renewed_after(mut self, requests: u64) -> Self {
        self.new_keys = float(self.keys.len() as u64) / float(requests);
        self
    }

    /// So often a burst of so many requests begins, for a key that is never asked for again.
    pub(crate) fn bursting(mut self, chance: f64, requests: u64) -> Self {
        self.burst = Some((chance, requests));
        self
    }
}

impl Iterator for Traffic {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if let Some((chance, requests)) = self.burst {
            if self.bursting.1 > 0 {
                // Every other request, so that bursts are mixed with the rest.
                if self.chance.share() < 0.5 {
                    self.bursting.1 -= 1;
                    return Some(self.bursting.0);
                }
            } else if self.chance.share() < chance {
                self.next_key += 1;
                self.bursting = (self.next_key, requests);
            }
        }
        if self.chance.share() < self.new_keys {
            let place = self.chance.below(self.keys.len());
            self.next_key += 1;
            self.keys[place] = self.next_key;
        }
        let drawn = self.chance.share() * self.sums.last()?;
        let place = self.sums.partition_point(|sum| *sum < drawn);
        Some(self.keys[place.min(self.keys.len() - 1)])
    }
}
