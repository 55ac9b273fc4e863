//! `coin-host worker`: runs cells for a parent process; the two speak JSON lines over the worker's stdin and stdout.

use std::fs::File;
use std::io::{self, BufReader};
use std::os::fd::AsFd;
use std::process::ExitCode;

use anyhow::Context;

use clap::Args;

use crate::cli::output::Output;
use crate::compare::worker;

#[derive(Debug, Args)]
pub(crate) struct WorkerCommand {}

impl WorkerCommand {
    #[expect(clippy::unused_self, reason = "as every command")]
    pub(crate) fn run(&self, _output: &Output) -> anyhow::Result<ExitCode> {
        let (requests, replies) =
            private_streams(io::stderr()).context("the worker's streams cannot be set up")?;
        worker::serve(BufReader::new(requests), replies)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Takes stdin and stdout away from everything else in this process, before any plugin is loaded: what a plugin prints goes to
/// `printed` and cannot pass for a reply, what it reads is empty, and a process that it starts inherits neither.
pub(crate) fn private_streams(printed: impl AsFd) -> io::Result<(File, File)> {
    let requests = io::stdin().as_fd().try_clone_to_owned()?;
    let replies = io::stdout().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::stdio::dup2_stdout(printed)?;
    Ok((requests.into(), replies.into()))
}
