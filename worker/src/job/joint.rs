//! What a job's caches say of an entry, each on its own, joined into one word. Pure.
//!
//! An entry has failed, or is to be tried again, where any of its caches failed; else it is missing, where any lacks it; else it is
//! what it came to where something was written for it, and present where nothing had to be.

use stoke_core::job::CACHES_MAX;
use stoke_core::names::CacheName;
use stoke_core::progress::Outcome;

use super::load::Verdict;

/// Which of its job's caches an entry is still to be written to, by their places in the job. All, where nobody has asked them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lacking(u8);

const _: () = assert!(CACHES_MAX <= u8::BITS as usize, "a bit for each cache");

impl Lacking {
    /// All of them.
    pub const EVERYWHERE: Self = Self(u8::MAX);

    /// Whether it is lacking at this place.
    #[must_use]
    pub const fn at(self, place: usize) -> bool {
        self.0 & (1 << place) != 0
    }
}

impl Default for Lacking {
    fn default() -> Self {
        Self::EVERYWHERE
    }
}

/// What has been said of one entry.
#[derive(Debug, Default)]
pub(super) struct Joint {
    /// How many caches have said something.
    said: usize,
    /// The places of those that lack it, or failed.
    lacking: u8,
    /// What it came to in the others.
    outcome: Option<Outcome>,
    /// Why caches failed: each reason with the places that gave it.
    failures: Vec<(String, Vec<usize>)>,
    /// One of the reasons may pass.
    again: bool,
}

impl Joint {
    /// Takes what the next cache says, in the order of the job; `None`: it lacks the entry.
    pub(super) fn add(&mut self, said: Option<Verdict>) {
        let place = self.said;
        self.said += 1;
        match said {
            None => self.lacking |= 1 << place,
            Some(Verdict::Done(outcome)) => {
                let more = |before: Outcome| weight(outcome) > weight(before);
                if self.outcome.is_none_or(more) {
                    self.outcome = Some(outcome);
                }
            }
            Some(Verdict::Again(reason)) => {
                self.again = true;
                self.fail(place, reason);
            }
            Some(Verdict::Failed(reason)) => self.fail(place, reason),
            // A range has come to that, of which no cache knows.
            Some(Verdict::Read { .. }) => {}
        }
    }

    fn fail(&mut self, place: usize, reason: String) {
        self.lacking |= 1 << place;
        match self.failures.iter_mut().find(|(same, _)| *same == reason) {
            Some((_, places)) => places.push(place),
            None => self.failures.push((reason, vec![place])),
        }
    }

    /// The one word, `None`: the entry is missing; and where it is still to be written.
    pub(super) fn word(self, caches: &[CacheName]) -> (Option<Verdict>, Lacking) {
        let all = (1u16 << self.said) - 1;
        let lacking = if u16::from(self.lacking) == all {
            Lacking::EVERYWHERE
        } else {
            Lacking(self.lacking)
        };
        let verdict = if self.failures.is_empty() {
            let outcome = self.outcome.filter(|_| self.lacking == 0);
            outcome.map(Verdict::Done)
        } else {
            let reason = told(self.failures, caches);
            Some(if self.again {
                // Also where another cache's reason stays: this one may yet get it.
                Verdict::Again(reason)
            } else {
                Verdict::Failed(reason)
            })
        };
        (verdict, lacking)
    }
}

/// Which of two outcomes counts. What was written tells more than what was there.
const fn weight(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Warmed => 3,
        Outcome::Absent => 2,
        Outcome::Skipped => 1,
        Outcome::Present | Outcome::Failed | Outcome::Cancelled => 0,
    }
}

/// The reasons, each with whose it is where there are several caches.
fn told(failures: Vec<(String, Vec<usize>)>, caches: &[CacheName]) -> String {
    let one = |(reason, places): (String, Vec<usize>)| {
        let names = places.iter().filter_map(|place| caches.get(*place));
        let names: Vec<String> = names.map(|name| format!("{:?}", name.as_str())).collect();
        match (caches.len(), names.len()) {
            (1, _) => reason,
            (_, 1) => format!("cache {}: {reason}", names[0]),
            _ => format!("caches {}: {reason}", names.join(", ")),
        }
    };
    let each: Vec<String> = failures.into_iter().map(one).collect();
    each.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<CacheName> {
        let name = |n: usize| format!("c{n}").parse().unwrap();
        (0..count).map(name).collect()
    }

    fn word(said: &[Option<Verdict>]) -> (Option<Verdict>, Lacking) {
        let mut joint = Joint::default();
        said.iter().cloned().for_each(|said| joint.add(said));
        joint.word(&names(said.len()))
    }

    fn done(outcome: Outcome) -> Option<Verdict> {
        Some(Verdict::Done(outcome))
    }

    fn failed(why: &str) -> Option<Verdict> {
        Some(Verdict::Failed(why.into()))
    }

    fn again(why: &str) -> Option<Verdict> {
        Some(Verdict::Again(why.into()))
    }

    #[test]
    fn an_entry_is_done_where_it_is_done_everywhere_and_what_was_written_counts() {
        use Outcome::{Absent, Present, Skipped, Warmed};
        for (said, joined) in [
            ([Present, Present], Present),
            ([Present, Warmed], Warmed),
            ([Warmed, Present], Warmed),
            ([Warmed, Warmed], Warmed),
            ([Absent, Present], Absent),
            ([Present, Skipped], Skipped),
        ] {
            let (verdict, lacking) = word(&said.map(done));
            assert_eq!(verdict, done(joined), "{said:?}");
            assert!(!lacking.at(0) && !lacking.at(1));
        }
    }

    #[test]
    fn it_is_missing_where_any_lacks_it_and_only_that_one_is_written() {
        let present = || done(Outcome::Present);
        let (verdict, lacking) = word(&[present(), None, present()]);
        assert_eq!(verdict, None);
        assert_eq!([0, 1, 2].map(|n| lacking.at(n)), [false, true, false]);
        let (verdict, lacking) = word(&[None, None]);
        assert_eq!((verdict, lacking), (None, Lacking::EVERYWHERE));
    }

    #[test]
    fn it_failed_where_any_cache_failed_and_is_tried_again_where_that_may_help_one() {
        let warmed = || done(Outcome::Warmed);
        for (said, joined, lacks, why) in [
            (
                vec![failed("full")],
                failed("full"),
                vec![true],
                "one cache needs no name",
            ),
            (
                vec![warmed(), failed("full")],
                failed("cache \"c1\": full"),
                vec![false, true],
                "the one that failed is named",
            ),
            (
                vec![again("gone"), warmed()],
                again("cache \"c0\": gone"),
                vec![true, false],
                "what was written stays written",
            ),
            (
                vec![failed("no"), again("gone"), None],
                again("cache \"c0\": no; cache \"c1\": gone"),
                vec![true; 3],
                "trying again may help the second",
            ),
            (
                vec![again("old"), warmed(), again("old")],
                again("caches \"c0\", \"c2\": old"),
                vec![true, false, true],
                "one reason is told once",
            ),
            (
                vec![None, failed("no")],
                failed("cache \"c1\": no"),
                vec![true; 2],
                "nothing is loaded for an entry that has failed",
            ),
        ] {
            let (verdict, lacking) = word(&said);
            assert_eq!(verdict, joined, "{why}");
            let at: Vec<bool> = (0..said.len()).map(|n| lacking.at(n)).collect();
            assert_eq!(at, lacks, "{why}");
        }
    }

    #[test]
    fn as_many_caches_as_a_job_may_have_fit() {
        let mut said = vec![done(Outcome::Present); CACHES_MAX];
        said[CACHES_MAX - 1] = None;
        let (verdict, lacking) = word(&said);
        assert_eq!(verdict, None);
        assert!(lacking.at(CACHES_MAX - 1) && !lacking.at(0));
        let (_, lacking) = word(&vec![None; CACHES_MAX]);
        assert_eq!(lacking, Lacking::EVERYWHERE);
    }
}
