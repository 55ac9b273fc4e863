//! `coin-host plugin`: what is there, what one of them is, and vouching for one.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use coin_plugin_api::Description;
use serde::Serialize;

use crate::cli::output::Output;
use crate::config::{Plugins, Trust};
use crate::plugin::Catalog;
use crate::plugin::listing::State;
use crate::plugin::manifest::shown;

mod add;
mod check;
mod index;
mod keygen;
mod lock;
mod new;
mod pack;
mod password;
mod remove;
mod trust;
mod verify;

#[derive(Debug, Args)]
pub(crate) struct PluginCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show every plugin that is found, and whether it would be loaded; loads none of them
    List(ListCommand),
    /// Say what a plugin is: kinds, needs, trust, default configuration
    Info(InfoCommand),
    /// Vouch for libraries: their sha256 goes into plugins.lock
    Lock(lock::LockCommand),
    /// Write the crate of a new plugin that builds, is tested and runs as it stands
    New(new::NewCommand),
    /// Run the conformance suite on a plugin, in a process of its own
    Check(check::CheckCommand),
    #[command(hide = true)]
    CheckChild(check::ChildCommand),
    /// Make a package of a built plugin: one folder or file that other labs can add
    Pack(pack::PackCommand),
    /// Make a key pair to sign packages with
    Keygen(keygen::KeygenCommand),
    /// Say whose signatures count: labs, their keys, revoked keys
    Trust(trust::TrustCommand),
    /// List a folder's packages in its index.toml, for others to add from
    Index(index::IndexCommand),
    /// Put a package or a library into your own plugins, and lock it
    Add(add::AddCommand),
    /// Take a plugin out of your own plugins
    Remove(remove::RemoveCommand),
    /// Check libraries against locks and manifests; loads none of them
    Verify(verify::VerifyCommand),
}

/// Where plugins are looked for, and what of that is loaded, on the word of whoever gives the command.
#[derive(Debug, Default, Args)]
pub(crate) struct Search {
    /// Look for plugins here first
    #[arg(long, value_name = "FOLDER")]
    plugin_dir: Vec<PathBuf>,
    /// The policy that they are judged by, as `plugins.trust` of a run
    #[arg(long, value_name = "POLICY", default_value = "locked", value_parser = ["locked", "signed", "any"])]
    trust: String,
}

impl Search {
    pub(crate) fn plugins(&self) -> Plugins {
        let trust = match self.trust.as_str() {
            "signed" => Trust::Signed,
            "any" => Trust::Any,
            _ => Trust::Locked,
        };
        Plugins { dirs: self.plugin_dir.clone(), dev: Vec::new(), trust }
    }

    fn catalog(&self) -> Catalog {
        Catalog::open(&self.plugins())
    }
}

#[derive(Debug, Args)]
struct ListCommand {
    #[command(flatten)]
    search: Search,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct InfoCommand {
    /// `NAME` or `NAME@VERSION`
    plugin: String,
    #[command(flatten)]
    search: Search,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl PluginCommand {
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        match &self.command {
            Command::List(command) => command.run(output),
            Command::Info(command) => command.run(output),
            Command::Lock(command) => command.run(output),
            Command::New(command) => command.run(output),
            Command::Check(command) => command.run(output),
            Command::CheckChild(command) => command.run(output),
            Command::Pack(command) => command.run(output),
            Command::Keygen(command) => command.run(output),
            Command::Trust(command) => command.run(output),
            Command::Index(command) => command.run(output),
            Command::Add(command) => command.run(output),
            Command::Remove(command) => command.run(output),
            Command::Verify(command) => command.run(output),
        }
    }
}

impl ListCommand {
    fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let states = self.search.catalog().states();
        if self.json {
            output.json(&states)?;
        } else {
            output.data(&table(&states))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// One line a plugin, and beneath it why it is not usable.
fn table(states: &[State]) -> String {
    let mut rows =
        vec![["NAME", "VERSION", "KIND", "API", "TARGET", "TRUST", "SIGNATURE", "FROM"].map(String::from)];
    for state in states {
        let trust = if state.hidden_by.is_some() { "hidden" } else { state.verdict.name() };
        let from = state.path.as_deref().map(near);
        rows.push([
            state.name.clone(),
            state.version.clone().unwrap_or_else(|| String::from("?")),
            kinds(state),
            state.api.clone().unwrap_or_else(|| String::from("?")),
            if state.targets.is_empty() { String::from("?") } else { state.targets.join(",") },
            trust.to_string(),
            state.signature.clone().unwrap_or_else(|| String::from("-")),
            from.unwrap_or_default(),
        ]);
    }
    let widths: [usize; 8] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    });
    let line = |row: &[String; 8]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    let mut lines = vec![line(&rows[0])];
    for (row, state) in rows[1..].iter().zip(states) {
        lines.push(line(row));
        let reason = state.reason.as_deref().filter(|_| state.hidden_by.is_none());
        lines.extend(reason.into_iter().flat_map(str::lines).map(|reason| format!("    {reason}")));
    }
    lines.join("\n")
}

fn kinds(state: &State) -> String {
    let names: Vec<&str> = state.kinds.iter().map(|kind| kind.name()).collect();
    if names.is_empty() { String::from("?") } else { names.join(",") }
}

/// A path below the current folder as it is seen from there.
fn near(path: &Path) -> String {
    let current = std::env::current_dir().ok();
    let near = current.as_ref().and_then(|current| path.strip_prefix(current).ok()).unwrap_or(path);
    shown(&near.display().to_string())
}

/// A plugin in full.
#[derive(Serialize)]
struct Info<'a> {
    #[serde(flatten)]
    state: &'a State,
    datasets: &'a [String],
    /// The keys of its stack entry with their defaults.
    defaults: Option<&'a toml::Table>,
    hides: Vec<&'a Path>,
}

impl InfoCommand {
    fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let catalog = self.search.catalog();
        let (candidate, hidden) = catalog.find(&self.plugin)?;
        let states = catalog.states();
        let same =
            |state: &&State| state.path.as_deref() == Some(&candidate.path) && state.name == candidate.name;
        let mut state = states.iter().find(same).context("the plugin is gone")?.clone();
        // Only what is accepted is loaded, and only then can it speak for itself.
        let loaded = catalog.load(&self.plugin);
        let description: Option<&Description> = loaded.as_ref().ok().map(|plugin| plugin.description());
        if let Some(description) = description {
            state.version = Some(description.version.clone());
            state.api = Some(description.api.clone());
            state.needs.clone_from(&description.needs);
        }
        let info = Info {
            state: &state,
            datasets: description.map_or(&[], |description| &description.datasets),
            defaults: description.map(|description| &description.defaults),
            hides: hidden.iter().map(|hidden| hidden.path.as_path()).collect(),
        };
        if self.json {
            output.json(&info)?;
        } else {
            output.data(&info.text())?;
        }
        match loaded {
            Ok(_) => Ok(ExitCode::SUCCESS),
            Err(error) => Err(error.into()),
        }
    }
}

impl Info<'_> {
    fn text(&self) -> String {
        let state = self.state;
        let needs: Vec<&str> = state.needs.iter().map(|need| need.name()).collect();
        let known = |text: &Option<String>| text.clone().unwrap_or_default();
        let mut lines = Vec::new();
        let mut add = |subject: &str, text: String| {
            if !text.is_empty() {
                lines.push(format!("{subject:<12}{text}"));
            }
        };
        add("plugin", format!("{} {}", state.name, known(&state.version)));
        add("", known(&state.description));
        add("kind", if state.kinds.is_empty() { String::new() } else { kinds(state) });
        add("datasets", self.datasets.join(", "));
        add("needs", needs.join(", "));
        add("api", known(&state.api));
        add("paper", known(&state.paper));
        add("license", known(&state.license));
        add("target", state.targets.join(", "));
        add("trust", state.verdict.name().to_string());
        add("signature", known(&state.signature));
        add("key", known(&state.key));
        add("commit", known(&state.commit));
        add("from", state.path.as_deref().map(near).unwrap_or_default());
        add("sha256", known(&state.sha256));
        add("size", state.size.map(|size| format!("{size} bytes")).unwrap_or_default());
        for hidden in &self.hides {
            add("hides", near(hidden));
        }
        if let Some(defaults) = self.defaults.filter(|defaults| !defaults.is_empty()) {
            lines.push(String::from("\nkeys of its stack entry, with defaults:"));
            lines.extend(
                toml::to_string(defaults).unwrap_or_default().lines().map(|line| format!("  {line}")),
            );
        }
        lines.join("\n")
    }
}
