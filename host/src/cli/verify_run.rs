//! `coin-host verify-run`: whether a finished run is still what it says it is.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::output::Output;
use crate::cli::plugin::Search;
use crate::compare::arguments::CompareArguments;
use crate::compare::message::message;
use crate::compare::stop::Stop;
use crate::data::bad_input::BadInput;
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
