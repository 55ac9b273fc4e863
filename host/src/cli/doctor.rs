//! `coin-host doctor`: what was found on this machine, and what stands in the way of a run.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::output::Output;
use crate::config::{Plugins, Trust};
use crate::doctor::{self, PluginState};
use crate::plugin::Catalog;
use crate::plugin::listing::{State, Verdict};

#[derive(Debug, Args)]
pub(crate) struct DoctorCommand {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl DoctorCommand {
    /// Exit code 1 where something stands in the way of a run.
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let catalog = Catalog::open(&Plugins { dirs: Vec::new(), dev: Vec::new(), trust: Trust::Locked });
        let folders: Vec<PathBuf> = catalog.folders().iter().map(|folder| folder.path.clone()).collect();
        let plugins = catalog.states().into_iter().filter(|state| state.hidden_by.is_none()).map(plugin);
        let report = doctor::examine(&folders, plugins.collect());
        if self.json {
            output.json(&report)?;
        } else {
            output.data(&report.text())?;
        }
        Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn plugin(state: State) -> PluginState {
    let verdict = match state.verdict {
        Verdict::Unlocked => doctor::Verdict::Unlocked,
        verdict if verdict.usable() => doctor::Verdict::Ready,
        _ => doctor::Verdict::Refused,
    };
    // The doctor has a hint of its own.
    let reason = match state.verdict {
        Verdict::NotBuilt => Some(String::from("it is not built")),
        _ => state.reason.and_then(|reason| reason.lines().next().map(str::to_owned)),
    };
    let path = state.path.unwrap_or_default();
    PluginState { name: state.name, version: state.version, path, verdict, reason }
}
