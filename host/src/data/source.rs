//! Where records come from: a dataset plugin, seen without its plugin.

use std::path::PathBuf;

use anyhow::Result;
use coin_plugin_api::{DatasetDescription, Record, Split};

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

    /// The files that records are read from, below the task's root folder or absolute; none where the source does not say.
    fn files(&self) -> Result<Vec<PathBuf>>;

    /// Problems that the records do not show, one line each.
    fn verify(&self) -> Result<Vec<String>>;

    /// A score of the dataset's own, in `0..=1`.
    fn score(&self, prediction: &str, record: &Record) -> Result<Option<f64>>;
}
