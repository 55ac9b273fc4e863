//! `coin-host verify-run`: whether a finished run is still what it says it is.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::cli::output::Output;
use crate::cli::plugin::Search;
use crate::compare::arguments::CompareArguments;
use crate::compare::message::message;
use crate::config::ConfigError;
use crate::data::bad_input::BadInput;
use crate::stop::Stop;
use crate::verification::{self, Part, Verification};

#[derive(Debug, Args)]
pub(crate) struct VerifyRunCommand {
    /// Folder of the run
    run: PathBuf,
    #[command(flatten)]
    search: Search,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl VerifyRunCommand {
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let mut manifest = verification::manifest(&self.run)
            .map_err(|error| BadInput::from(anyhow::anyhow!(message(&error))))?;
        outside(&self.run)?;
        // Whose run it is must not say what is loaded here, nor where is written.
        manifest.config.plugins = self.search.plugins();
        manifest.config.backbone.feature_cache = None;
        manifest.config.backbone.feature_cache_gib = None;
        let arguments = CompareArguments {
            config: manifest.config.clone(),
            out: self.run.clone(),
            jobs: Some(1),
            keep_going: false,
            redo: Vec::new(),
            stop: Stop::on_signals()?,
            quiet: true,
        };
        let found = verification::verify(&arguments, &manifest)?;
        if self.json {
            output.json(&found)?;
        } else {
            output.data(&text(&found))?;
        }
        Ok(if found.matches { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Refuses to look at a run from inside its folder: the current folder's own plugins and lock count.
fn outside(run: &Path) -> anyhow::Result<()> {
    let current = std::env::current_dir().and_then(|folder| folder.canonicalize());
    let current = current.context("the current folder cannot be read")?;
    let folder = run.canonicalize().with_context(|| format!("{} cannot be read", run.display()))?;
    if !current.starts_with(&folder) {
        return Ok(());
    }
    let reason =
        "the current folder is in that of the run, whose `plugins.lock` and `plugins/dist` would count here";
    let hint = format!("start it from outside: `coin-host verify-run {}`", folder.display());
    Err(ConfigError::new(reason).hint(hint).into())
}

/// A line a part, beneath it what no longer matches, and the verdict.
fn text(found: &Verification) -> String {
    let line = |part: &Part| {
        let what = match part.faults.len() {
            0 => format!("{:<14}{} checked, all match", part.name, part.checked),
            faults => format!("{:<14}{} checked, {faults} do not match", part.name, part.checked),
        };
        let faults = part.faults.iter().flat_map(|fault| fault.lines()).map(|line| format!("    {line}"));
        std::iter::once(what).chain(faults).collect::<Vec<_>>().join("\n")
    };
    let mut lines: Vec<String> = found.parts.iter().map(line).collect();
    lines.extend(found.remarks.iter().map(|remark| format!("remark: {remark}")));
    let verdict = if found.matches { "the run matches" } else { "the run does not match what it says" };
    lines.push(String::from(verdict));
    lines.join("\n")
}
