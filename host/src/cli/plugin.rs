//! `coin-host plugin`: what is there, what one of them is, and vouching for one.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use coin_plugin_api::Description;
use serde::Serialize;

use crate::cli::output::Output;
use crate::config::{Plugins, Trust};
use crate::plugin::discover::{Candidate, Origin, Surroundings};
use crate::plugin::listing::State;
use crate::plugin::lock::{self, Lock, Locked};
use crate::plugin::{Catalog, shipped};

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
    Lock(LockCommand),
}

#[derive(Debug, Args)]
struct Search {
    /// Look for plugins here first
    #[arg(long, value_name = "FOLDER")]
    plugin_dir: Vec<PathBuf>,
}

impl Search {
    fn catalog(&self) -> Catalog {
        Catalog::open(&Plugins { dirs: self.plugin_dir.clone(), dev: Vec::new(), trust: Trust::Locked })
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

#[derive(Debug, Args)]
struct LockCommand {
    /// Libraries, or names of plugins that are found
    #[arg(required_unless_present = "shipped")]
    plugins: Vec<String>,
    #[command(flatten)]
    search: Search,
    /// Lock the shipped plugins, in the folder of the program: the last step of `make build`
    #[arg(long, conflicts_with_all = ["plugins", "user", "plugin_dir"])]
    shipped: bool,
    /// Write to the lock of the user instead of ./plugins.lock
    #[arg(long)]
    user: bool,
}

impl PluginCommand {
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        match &self.command {
            Command::List(command) => command.run(output),
            Command::Info(command) => command.run(output),
            Command::Lock(command) => command.run(output),
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
    let mut rows = vec![["NAME", "VERSION", "KIND", "API", "TRUST", "FROM"].map(String::from)];
    for state in states {
        let trust = if state.hidden_by.is_some() { "hidden" } else { state.verdict.name() };
        let from = state.path.as_deref().map(|path| near(path).display().to_string());
        rows.push([
            state.name.clone(),
            state.version.clone().unwrap_or_else(|| String::from("?")),
            kinds(state),
            state.api.clone().unwrap_or_else(|| String::from("?")),
            trust.to_string(),
            from.unwrap_or_default(),
        ]);
    }
    let widths: [usize; 6] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    });
    let line = |row: &[String; 6]| {
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
fn near(path: &Path) -> &Path {
    std::env::current_dir().ok().and_then(|current| path.strip_prefix(current).ok()).unwrap_or(path)
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
        add("trust", state.verdict.name().to_string());
        add("from", state.path.as_deref().map(|path| near(path).display().to_string()).unwrap_or_default());
        add("sha256", known(&state.sha256));
        add("size", state.size.map(|size| format!("{size} bytes")).unwrap_or_default());
        for hidden in &self.hides {
            add("hides", near(hidden).display().to_string());
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

impl LockCommand {
    fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let surroundings = Surroundings::of_process();
        let catalog = self.search.catalog();
        let (folder, chosen) = if self.shipped {
            (
                surroundings.installation().context("the program's folder is not known")?,
                shipped_here(&catalog)?,
            )
        } else {
            let user = || surroundings.user().context("neither XDG_DATA_HOME nor HOME is set");
            let folder = if self.user { user()? } else { surroundings.current.clone() };
            let chosen: anyhow::Result<Vec<Candidate>> =
                self.plugins.iter().map(|plugin| candidate(plugin, &catalog)).collect();
            (folder, chosen?)
        };
        std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let path = folder.join(lock::FILE);
        // The lock of a build holds what was built, nothing older.
        let mut lock =
            if self.shipped { Lock::default() } else { Lock::read(&path).map_err(anyhow::Error::msg)? };
        for candidate in &chosen {
            let locked = locked(candidate, &catalog, &folder)?;
            output.note(&format!("locked {} ({})", candidate.name, locked.sha256));
            lock.plugins.retain(|known| known.path != locked.path || known.name != locked.name);
            lock.plugins.push(locked);
        }
        lock.plugins.sort_by(|a, b| (&a.name, &a.version, &a.path).cmp(&(&b.name, &b.version, &b.path)));
        lock.write(&path).with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The shipped plugins beside the program. All of them must be there.
fn shipped_here(catalog: &Catalog) -> anyhow::Result<Vec<Candidate>> {
    let find = |name: &str| {
        let here = |candidate: &&Candidate| candidate.origin == Origin::Program && candidate.name == name;
        catalog.candidates().iter().find(here).cloned()
    };
    let names = shipped::manifests().iter().map(|manifest| manifest.plugin.name.as_str());
    names
        .map(|name| match find(name) {
            Some(candidate) => Ok(candidate),
            None => Ok(catalog.find(name)?.0.clone()),
        })
        .collect()
}

/// A library by its path, or a plugin by its name.
fn candidate(text: &str, catalog: &Catalog) -> anyhow::Result<Candidate> {
    let path = Path::new(text);
    if !path.is_file() {
        return Ok(catalog.find(text)?.0.clone());
    }
    let path = path.canonicalize().with_context(|| format!("{text} cannot be read"))?;
    if let Some(known) = catalog.candidates().iter().find(|known| known.path == path) {
        return Ok(known.clone());
    }
    match Candidate::at(&path) {
        Some(candidate) => Ok(candidate),
        None => bail!(
            "{text} is not named as a plugin's library\nhint: the plugin `a-b` is {}",
            crate::plugin::discover::library_file("a-b")
        ),
    }
}

fn locked(candidate: &Candidate, catalog: &Catalog, folder: &Path) -> anyhow::Result<Locked> {
    let image = catalog.read(candidate)?;
    let path = candidate.path.strip_prefix(folder).unwrap_or(&candidate.path);
    Ok(Locked {
        name: candidate.name.clone(),
        version: candidate.version.clone(),
        sha256: image.sha256,
        size: image.bytes.len() as u64,
        path: path.display().to_string(),
    })
}
