//! The grid: methods x orders x seeds, run in worker processes, gathered into one result.

pub mod arguments;
pub mod estimate;
pub mod event;
pub mod plan;
pub mod progress;

use arguments::{CompareArguments, Outcome};

/// Runs a comparison and writes its results into the run's folder.
///
/// # Errors
/// What keeps the run from starting. A cell that fails is part of the outcome.
pub fn run(_arguments: &CompareArguments) -> anyhow::Result<Outcome> {
    anyhow::bail!("this build does not run cells yet\nhint: `--dry-run` lists them")
}
