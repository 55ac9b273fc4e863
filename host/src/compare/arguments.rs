//! What `compare` is asked to do, and what comes of it.

use std::path::PathBuf;

use serde::Serialize;

use crate::config::RunConfig;

/// A comparison to run.
#[derive(Debug, Clone)]
pub struct CompareArguments {
    pub config: RunConfig,
    /// Folder of the run. One that holds a run with the same configuration goes on.
    pub out: PathBuf,
    /// Cells at a time; without a number one on a GPU, on CPU as many as the cores carry.
    pub jobs: Option<usize>,
    /// Leave out what cannot run instead of stopping before the first cell.
    pub keep_going: bool,
    /// No progress.
    pub quiet: bool,
}

/// How a comparison ended.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// `results.json` of the run.
    pub results: PathBuf,
    pub finished: usize,
    pub failed: usize,
    /// Reference runs that could not be made, with the reason.
    pub failures: Vec<(String, String)>,
}
