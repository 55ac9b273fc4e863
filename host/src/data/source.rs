//! Where records come from: a dataset plugin, seen without its plugin.

use anyhow::Result;
use coin_plugin_api::{DatasetDescription, Record, Split, Verification};

/// Reads the records of one task.
pub trait Source: Send + Sync {
    /// Its own metric and form of answers.
    fn describe(&self) -> Result<DatasetDescription>;

    /// Records of a split.
    fn len(&self, split: Split) -> Result<usize>;

    /// Whether a split has no record.
    fn is_empty(&self, split: Split) -> Result<bool> {
        Ok(self.len(split)? == 0)
    }

    /// Records `start..end` of a split.
    fn records(&self, split: Split, start: usize, end: usize) -> Result<Vec<Record>>;

    /// Counts and problems of the files.
    fn verify(&self) -> Result<Verification>;

    /// A score of the dataset's own, in `0..=1`.
    fn score(&self, prediction: &str, record: &Record) -> Result<Option<f64>>;
}
