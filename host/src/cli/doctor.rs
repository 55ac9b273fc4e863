//! `coin-host doctor`: what was found on this machine, and what stands in the way of a run.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::cli::output::Output;
use crate::doctor;

#[derive(Debug, Args)]
pub(crate) struct DoctorCommand {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl DoctorCommand {
    /// Exit code 1 where something stands in the way of a run.
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let beside = std::env::current_exe()?.parent().map(Path::to_path_buf);
        let folders: Vec<PathBuf> = beside.into_iter().collect();
        let report = doctor::examine(&folders, Vec::new());
        if self.json {
            output.json(&report)?;
        } else {
            output.data(&report.text())?;
        }
        Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
