//! Whether a store is still the one that was read before, or has been restored from a backup since.
//!
//! A restored store knows nothing of what was promised after its backup was made. It shows by another id, by a revision
//! that went back, or, where writes have made up for that meanwhile, by a record that is older than it was: what one has
//! put oneself, and is only ever put again, cannot have an earlier revision than one was told.
//!
//! Left to others: what to do about it. Pure; a caller that never saw the store before its restoration cannot know.

use std::collections::BTreeMap;

use crate::Revision;

/// What one process has seen of a store.
#[derive(Clone, Debug, Default)]
pub struct Continuity {
    /// The store's id and revision when it was last read.
    last: Option<(u64, Revision)>,
    /// At which revision records were put last, as far as is known.
    records: BTreeMap<String, Revision>,
}

/// How a store shows that it is not the one that was read before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Restored {
    /// It has another id.
    #[error("its cluster id was {was:x}, and is {is:x}")]
    OtherId {
        /// Before.
        was: u64,
        /// Now.
        is: u64,
    },
    /// Its revision went back.
    #[error("its revision was {}, and is {}", was.0, is.0)]
    WentBack {
        /// Before.
        was: Revision,
        /// Now.
        is: Revision,
    },
    /// A record is as it was before.
    #[error("{key} was put at revision {}, and is as of revision {}", was.0, is.0)]
    OldRecord {
        /// Which.
        key: String,
        /// When it was put last.
        was: Revision,
        /// When the store says that it was.
        is: Revision,
    },
}

impl Continuity {
    /// Notes that a record was put.
    pub fn put(&mut self, key: String, at: Revision) {
        let known = self.records.entry(key).or_default();
        *known = (*known).max(at);
    }

    /// Looks whether what was just read goes on from what was seen before, and notes it. `records` are those of the read
    /// that are only ever put again, with their mod revisions; one that is not among them is not judged.
    ///
    /// # Errors
    /// How it does not: once, for from there on the store is the new one.
    pub fn look<'k>(
        &mut self,
        id: u64,
        revision: Revision,
        records: impl IntoIterator<Item = (&'k str, Revision)>,
    ) -> Result<(), Restored> {
        let found: Vec<(&str, Revision)> = records.into_iter().collect();
        let goes_on = self.goes_on(id, revision, &found);
        if goes_on.is_err() {
            self.records.clear();
        }
        self.last = Some((id, revision));
        for (key, at) in found {
            self.put(key.to_owned(), at);
        }
        goes_on
    }

    fn goes_on(
        &self,
        id: u64,
        revision: Revision,
        found: &[(&str, Revision)],
    ) -> Result<(), Restored> {
        if let Some((was, _)) = self.last.filter(|(was, _)| *was != id) {
            return Err(Restored::OtherId { was, is: id });
        }
        if let Some((_, was)) = self.last.filter(|(_, was)| *was > revision) {
            return Err(Restored::WentBack { was, is: revision });
        }
        let older = found.iter().find_map(|(key, is)| {
            let was = *self.records.get(*key)?;
            (was > *is).then(|| Restored::OldRecord {
                key: (*key).to_owned(),
                was,
                is: *is,
            })
        });
        older.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Revision = Revision(100);

    fn seen() -> Continuity {
        let mut seen = Continuity::default();
        seen.look(7, AT, [("ledger", Revision(90))]).unwrap();
        seen.put("ack".into(), Revision(101));
        seen
    }

    #[test]
    fn a_store_that_goes_on_is_the_same_and_a_first_look_has_nothing_to_compare() {
        assert_eq!(Continuity::default().look(1, AT, [("a", AT)]), Ok(()));
        for (revision, records) in [
            (100, vec![]),
            (100, vec![("ledger", 90)]),
            (500, vec![("ledger", 400), ("ack", 101)]),
            (500, vec![("new", 3)]),
        ] {
            let records = records.iter().map(|(key, at)| (*key, Revision(*at)));
            assert_eq!(seen().look(7, Revision(revision), records), Ok(()));
        }
    }

    #[test]
    fn another_id_an_earlier_revision_or_an_older_record_is_a_restored_store() {
        for (id, revision, record, said) in [
            (8, 200, ("ledger", 150), "its cluster id was 7, and is 8"),
            (7, 99, ("ledger", 90), "its revision was 100, and is 99"),
            (
                7,
                200,
                ("ledger", 89),
                "ledger was put at revision 90, and is as of revision 89",
            ),
            (
                7,
                200,
                ("ack", 100),
                "ack was put at revision 101, and is as of revision 100",
            ),
        ] {
            let records = [(record.0, Revision(record.1))];
            let restored = seen().look(id, Revision(revision), records).unwrap_err();
            assert_eq!(restored.to_string(), said);
        }
    }

    #[test]
    fn it_is_told_once_and_the_restored_store_is_the_one_that_counts_from_there() {
        let mut seen = seen();
        seen.look(7, Revision(50), [("ledger", Revision(40))])
            .unwrap_err();
        seen.look(
            7,
            Revision(51),
            [("ledger", Revision(40)), ("ack", Revision(45))],
        )
        .unwrap();
        seen.look(7, Revision(50), []).unwrap_err();
    }
}
