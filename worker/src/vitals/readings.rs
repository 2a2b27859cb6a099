//! What the probes of a vigil last gave, numbered so that one that is told of again is not taken for a new one.

use std::collections::BTreeMap;

use stoke_proto::v1::ProbeReading;
use stoke_proto::v1::probe_reading;

/// The longest text of why there is no reading, in characters.
const TEXT_MAX: usize = 300;

/// A number, or why there is none and what to do.
pub(crate) type Outcome = Result<f64, String>;

/// The last reading of each probe.
#[derive(Debug, Default)]
pub(super) struct Readings {
    last: BTreeMap<String, ProbeReading>,
    /// Grows on when the vigil comes back.
    number: u64,
    /// One more whenever the vigil is given up: what a probe of an earlier one still finds comes too late.
    vigil: u64,
}

impl Readings {
    /// Which vigil is kept, if one is.
    pub(super) const fn vigil(&self) -> u64 {
        self.vigil
    }

    /// Notes what a probe of this vigil gave.
    pub(super) fn note(&mut self, vigil: u64, name: &str, outcome: Outcome) {
        if vigil != self.vigil {
            return;
        }
        self.number += 1;
        let reading = ProbeReading {
            name: name.to_owned(),
            number: self.number,
            outcome: Some(match outcome {
                Ok(value) => probe_reading::Outcome::Value(value),
                Err(why) => probe_reading::Outcome::Error(why.chars().take(TEXT_MAX).collect()),
            }),
        };
        self.last.insert(name.to_owned(), reading);
    }

    pub(super) fn forget(&mut self) {
        self.last.clear();
        self.vigil += 1;
    }

    pub(super) fn report(&self) -> Vec<ProbeReading> {
        self.last.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reading_has_a_number_of_its_own_even_when_the_vigil_comes_back() {
        let mut readings = Readings::default();
        readings.note(0, "lag", Ok(2.0));
        readings.note(0, "lag", Err("x".repeat(1000)));
        readings.note(0, "sessions", Ok(1.0));
        let told = readings.report();
        let numbers: Vec<_> = told.iter().map(|r| (r.name.as_str(), r.number)).collect();
        assert_eq!(numbers, [("lag", 2), ("sessions", 3)]);
        let short = "x".repeat(TEXT_MAX);
        assert_eq!(told[0].outcome, Some(probe_reading::Outcome::Error(short)));
        readings.forget();
        assert!(readings.report().is_empty());
        readings.note(0, "lag", Ok(5.0));
        assert!(readings.report().is_empty(), "it comes too late");
        readings.note(readings.vigil(), "lag", Ok(0.0));
        assert_eq!(readings.report()[0].number, 4);
    }
}
