//! `coin-host worker`: runs cells for a parent process, which reads events as JSON lines from its stdout.

use std::process::ExitCode;

use clap::Args;

use crate::cli::output::Output;
use crate::compare::worker;

#[derive(Debug, Args)]
pub(crate) struct WorkerCommand {}

impl WorkerCommand {
    #[expect(clippy::unused_self, reason = "as every command")]
    pub(crate) fn run(&self, _output: &Output) -> anyhow::Result<ExitCode> {
        worker::serve(std::io::stdin().lock(), std::io::stdout().lock())?;
        Ok(ExitCode::SUCCESS)
    }
}
