//! `coin-host model`: backbones.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::output::Output;
use crate::train::pretrain::config::PretrainConfig;
use crate::train::pretrain::pretrain;

#[derive(Debug, Args)]
pub(crate) struct ModelCommand {
    #[command(subcommand)]
    command: Which,
}

#[derive(Debug, Subcommand)]
enum Which {
    /// Train a small backbone from nothing on the quickstart's captions
    Pretrain(Pretrain),
}

#[derive(Debug, Args)]
struct Pretrain {
    /// Configuration file, such as configs/pretrain-tiny.toml
    #[arg(long)]
    config: PathBuf,
    /// Folder for checkpoints, log and the finished backbone; a run found there is continued
    #[arg(long)]
    out: PathBuf,
    /// Write a value over the file's: `alignment.steps=40`
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl ModelCommand {
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let Which::Pretrain(command) = &self.command;
        let config = PretrainConfig::read(&command.config, &command.set)?;
        pretrain(&config, &command.out, &|line| output.note(line))?;
        Ok(ExitCode::SUCCESS)
    }
}
