//! What tells an upload that comes again from another: a digest of its entries, however they are cut into messages.

use stoke_core::units::Priority;
use stoke_proto::v1::EntryBatch;

use super::super::digest::Texts;

/// The digest of the entries of one upload, in their order.
#[derive(Debug)]
pub(super) struct EntriesDigest {
    texts: Texts,
    /// The loader of entries that name none.
    loader: u32,
}

impl EntriesDigest {
    /// Of no entries yet, for a source of this loader.
    pub(super) fn new(loader: u32) -> Self {
        Self {
            texts: Texts::default(),
            loader,
        }
    }

    /// Adds a batch that was checked. What a column that is left out stands for counts as written.
    pub(super) fn add(&mut self, batch: &EntryBatch) {
        for (n, (key, argument)) in batch.keys.iter().zip(&batch.arguments).enumerate() {
            let loader = batch.loaders.get(n).copied().unwrap_or(self.loader);
            let one = Priority::ONE.as_milli();
            let priority_milli = batch.priorities.get(n).copied().unwrap_or(one);
            self.texts.add(key);
            self.texts.add(argument.as_bytes());
            self.texts.add_number(loader.to_le_bytes());
            self.texts.add_number(priority_milli.to_le_bytes());
        }
    }

    /// In hexadecimal.
    pub(super) fn finish(self) -> String {
        self.texts.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(entries: &[(&str, &str, u64, u32)]) -> EntryBatch {
        let mut batch = EntryBatch::default();
        for (key, argument, priority, loader) in entries {
            batch.keys.push(key.as_bytes().to_vec().into());
            batch.arguments.push((*argument).into());
            batch.priorities.push(*priority);
            batch.loaders.push(*loader);
        }
        batch
    }

    fn of(batches: &[EntryBatch]) -> String {
        let mut digest = EntriesDigest::new(1);
        batches.iter().for_each(|batch| digest.add(batch));
        digest.finish()
    }

    #[test]
    fn entries_have_one_digest_however_they_are_cut_and_others_have_another() {
        let (a, b) = (("a", "bc", 1000, 1), ("d", "", 1000, 1));
        let whole = of(&[batch(&[a, b])]);
        assert_eq!(whole.len(), 64);
        assert_eq!(
            whole,
            of(&[batch(&[a]), EntryBatch::default(), batch(&[b])])
        );
        let defaults = EntryBatch {
            priorities: Vec::new(),
            loaders: Vec::new(),
            ..batch(&[b])
        };
        assert_eq!(
            whole,
            of(&[batch(&[a]), defaults]),
            "as if they were written"
        );
        for other in [
            batch(&[a]),
            batch(&[b, a]),
            batch(&[("ab", "c", 1000, 1), b]),
            batch(&[("a", "bc", 1001, 1), b]),
            batch(&[("a", "bc", 1000, 0), b]),
            batch(&[a, b, b]),
        ] {
            assert_ne!(whole, of(&[other]));
        }
    }
}
