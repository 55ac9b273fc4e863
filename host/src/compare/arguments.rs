//! What `compare` is asked to do, and what comes of it.

use std::path::PathBuf;

use serde::Serialize;

use crate::config::RunConfig;
use crate::stop::Stop;

/// A comparison to run.
#[derive(Debug, Clone)]
pub struct CompareArguments {
    pub config: RunConfig,
    /// Folder of the run. One that holds a run goes on, where this configuration only adds cells to it or leaves some away.
    pub out: PathBuf,
    /// Cells at a time; without a number one on a GPU, on CPU as many as the cores carry.
    pub jobs: Option<usize>,
    /// Leave out what cannot run instead of stopping before the first cell.
    pub keep_going: bool,
    /// Methods whose cells are done again although they are finished, or `all`.
    pub redo: Vec<String>,
    /// Ends the comparison where it stands.
    pub stop: Stop,
    /// No progress.
    pub quiet: bool,
}

/// How a comparison ended.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// `results.json` of the run.
    pub results: PathBuf,
    /// `report.html` of the run.
    pub report: PathBuf,
    pub finished: usize,
    pub failed: usize,
    /// Reference runs that could not be made, with the reason.
    pub failures: Vec<(String, String)>,
}
