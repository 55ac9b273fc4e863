//! `coin-host config`: what a configuration means.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::output::Output;
use crate::config::{self, ConfigError, Request, explain, listing};

#[derive(Debug, Args)]
pub(crate) struct ConfigCommand {
    #[command(subcommand)]
    command: Which,
}

#[derive(Debug, Subcommand)]
enum Which {
    /// Show each value of a configuration and where it comes from
    Explain(Explain),
    /// List all keys with their defaults
    Schema(Schema),
}

#[derive(Debug, Args)]
struct Explain {
    /// Configuration file; without one, the embedded quickstart
    config: Option<PathBuf>,
    /// Only keys that begin with this
    #[arg(long, value_name = "PREFIX")]
    key: Option<String>,
    /// Write a value over the file's: `training.steps=40`
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Schema {
    /// Print the page `docs/config.md`
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl ConfigCommand {
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        match &self.command {
            Which::Explain(explain) => explain.run(output)?,
            Which::Schema(schema) => schema.run(output)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Explain {
    fn run(&self, output: &Output) -> anyhow::Result<()> {
        let request = Request { path: self.config.as_deref(), set: &self.set, ..Request::default() };
        let mut rows = explain::explain(&config::load(&request)?);
        if let Some(prefix) = &self.key {
            rows.retain(|row| row.key.starts_with(prefix));
            if rows.is_empty() {
                return Err(ConfigError::new(format!("no key begins with `{prefix}`"))
                    .hint("`coin-host config schema` lists the keys")
                    .into());
            }
        }
        if self.json {
            return output.json(&rows);
        }
        let lines: Vec<_> = rows.iter().map(|row| format!("{} = {}", row.key, row.value)).collect();
        let width =
            lines.iter().map(|line| line.chars().count()).filter(|&width| width <= 60).max().unwrap_or(0);
        let lines = lines.iter().zip(&rows).map(|(line, row)| format!("{line:width$}  # {}\n", row.origin));
        Ok(output.data(&lines.collect::<String>())?)
    }
}

impl Schema {
    fn run(&self, output: &Output) -> anyhow::Result<()> {
        if self.json {
            return output.json(&listing::json());
        }
        Ok(output.data(&if self.markdown { listing::markdown() } else { listing::toml() })?)
    }
}
