//! How the loaders of a plan are mixed along its ranks, in bounded memory.

/// From one mark to the next, ranks grow by this part.
const STEP: f64 = 1.05;

/// How many entries each loader has among the first ranks: kept at marks that lie ever further apart, and between two marks loaders are
/// taken to be mixed evenly. A plan of a billion entries has some 400.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mix {
    counts: Vec<u64>,
    entries: u64,
    /// So many entries, of which each loader has these.
    marks: Vec<(u64, Vec<u64>)>,
    next_mark: u64,
}

impl Mix {
    /// The next entry, of this loader.
    pub fn push(&mut self, loader: usize) {
        if self.counts.len() <= loader {
            self.counts.resize(loader + 1, 0);
        }
        self.counts[loader] += 1;
        self.entries += 1;
        if self.entries > self.next_mark {
            self.marks.push((self.entries, self.counts.clone()));
            self.next_mark = further(self.entries);
        }
    }

    /// How many entries each loader has; loaders after the last that has one are left out.
    #[must_use]
    pub fn all(&self) -> &[u64] {
        &self.counts
    }

    /// How many of the first so many entries each loader has, about.
    #[must_use]
    pub fn of_top(&self, entries: u64) -> Vec<u64> {
        if entries >= self.entries {
            return self.counts.clone();
        }
        let behind = self.marks.partition_point(|(mark, _)| *mark <= entries);
        let none = (0, Vec::new());
        let (from, of_from) = match behind.checked_sub(1) {
            Some(n) => &self.marks[n],
            None => &none,
        };
        let end = (self.entries, self.counts.clone());
        let (to, of_to) = self.marks.get(behind).unwrap_or(&end);
        let of = |loader: usize| {
            let before = of_from.get(loader).copied().unwrap_or(0);
            let all = of_to.get(loader).copied().unwrap_or(0) - before;
            let part =
                u128::from(all) * u128::from(entries - from) / u128::from((to - from).max(1));
            before + u64::try_from(part).unwrap_or(u64::MAX)
        };
        (0..self.counts.len()).map(of).collect()
    }
}

/// Behind which entry the next mark stands.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "about"
)]
fn further(entries: u64) -> u64 {
    (entries as f64 * STEP) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_of_a_plan_may_be_of_one_loader_and_the_rest_of_another() {
        let mut mix = Mix::default();
        for rank in 0..1_000_000_u64 {
            mix.push(usize::from(rank >= 10_000));
        }
        assert_eq!(mix.all(), [10_000, 990_000]);
        assert_eq!(mix.of_top(1), [1, 0]);
        assert_eq!(mix.of_top(5000), [5000, 0]);
        let of_top = mix.of_top(100_000);
        assert!(
            of_top[0].abs_diff(10_000) <= 1 && of_top[1].abs_diff(90_000) <= 1,
            "{of_top:?}"
        );
        assert_eq!(mix.of_top(u64::MAX), [10_000, 990_000]);
        assert!(mix.marks.len() < 300, "{}", mix.marks.len());
    }

    #[test]
    fn every_top_has_all_of_its_entries_but_for_rounding() {
        let mut mix = Mix::default();
        let loaders = [0, 2, 2, 1, 0, 3, 2, 0, 0, 1];
        (0..5000).for_each(|n| mix.push(loaders[n * n % loaders.len()]));
        let mut before = vec![0; 4];
        for entries in 0..=5000 {
            let of_top = mix.of_top(entries);
            let all: u64 = of_top.iter().sum();
            assert!(all <= entries && all + 4 > entries, "{entries}: {of_top:?}");
            assert!(
                of_top
                    .iter()
                    .zip(&before)
                    .all(|(now, before)| now >= before)
            );
            before = of_top;
        }
        assert_eq!(Mix::default().of_top(5), [0; 0]);
    }
}
