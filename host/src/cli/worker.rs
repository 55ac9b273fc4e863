//! `coin-host worker`: runs cells for a parent process, which reads events as JSON lines from its stdout.

use std::process::ExitCode;

use clap::Args;

use crate::cli::output::Output;

#[derive(Debug, Args)]
pub(crate) struct WorkerCommand {}

impl WorkerCommand {
    #[expect(clippy::unused_self, reason = "as every command")]
    pub(crate) fn run(&self, _output: &Output) -> anyhow::Result<ExitCode> {
        anyhow::bail!("workers are started by `coin-host compare`")
    }
}
