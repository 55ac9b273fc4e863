//! Batches that strategies asked for, by number. A number means nothing to another entry of the stack: it may not be allowed to see what is
//! in the batch.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// Batches by number, each with the entry that it belongs to.
#[derive(Debug)]
pub struct KeptBatches<B> {
    batches: BTreeMap<u64, (usize, B)>,
    next: u64,
}

impl<B> Default for KeptBatches<B> {
    fn default() -> KeptBatches<B> {
        KeptBatches { batches: BTreeMap::new(), next: 0 }
    }
}

impl<B> KeptBatches<B> {
    /// Keeps a batch of an entry; gives its number, which never comes again.
    pub(super) fn keep(&mut self, entry: usize, batch: B) -> u64 {
        let number = self.next;
        self.next += 1;
        self.batches.insert(number, (entry, batch));
        number
    }

    /// A batch of this entry.
    pub(super) fn get(&self, entry: usize, number: u64) -> Result<&B> {
        let own = self.batches.get(&number).filter(|(owner, _)| *owner == entry);
        own.map(|(_, batch)| batch).with_context(|| {
            format!(
                "no batch has the number {number}\nhint: batches end with the hook or stage that made them"
            )
        })
    }

    /// Forgets a batch, if it is this entry's.
    pub(super) fn remove(&mut self, entry: usize, number: u64) {
        if self.get(entry, number).is_ok() {
            self.batches.remove(&number);
        }
    }

    /// Forgets all of them, as a stage ends.
    pub(super) fn clear(&mut self) {
        self.batches.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_its_own_entry_s_alone_and_ends_with_the_stage() {
        let mut batches = KeptBatches::default();
        let (first, second) = (batches.keep(0, "old samples"), batches.keep(1, "new samples"));
        assert_eq!(batches.get(0, first).ok(), Some(&"old samples"));
        assert!(batches.get(1, first).is_err() && batches.get(0, second).is_err());
        batches.remove(1, first);
        assert!(batches.get(0, first).is_ok(), "another entry cannot take it away");
        batches.clear();
        assert!(batches.get(0, first).is_err() && batches.get(1, second).is_err());
        assert!(batches.keep(0, "later") > second, "an old number does not come again");
    }
}
