//! `coin-host plugin remove`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::output::Output;
use crate::plugin::discover::Surroundings;
use crate::plugin::shelf::Shelf;

#[derive(Debug, Args)]
pub(super) struct RemoveCommand {
    /// `NAME`, or `NAME@VERSION`
    plugin: String,
}

impl RemoveCommand {
    pub(super) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        for path in Shelf::open(&Surroundings::of_process())?.remove(&self.plugin)? {
            output.data(&format!("removed {}", path.display()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
