//! `coin-host data`: what data there is, whether it is sound, what it looks like.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};

use crate::cli::output::Output;
use crate::compare::world::{self, PluginCache};
use crate::config::{self, ConfigError, Instruction, Location, Plugins, Request, Task, Trust};
use crate::data::release;
use crate::data::source::Source;

mod list;
mod preview;
mod verify;

#[derive(Debug, Args)]
pub(crate) struct DataCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List known datasets, or the tasks of a configuration with their sizes
    List(list::ListCommand),
    /// Check records and pictures, and that the files are those of the last check
    Verify(verify::VerifyCommand),
    /// Write a page with some records of each task: pictures, prompts, answers
    Preview(preview::PreviewCommand),
}

/// Whose data: the tasks of a configuration, or datasets below a folder.
#[derive(Debug, Args)]
struct Selection {
    /// Configuration file; without one and without --dataset, the embedded quickstart
    #[arg(long, value_name = "FILE", conflicts_with = "dataset")]
    config: Option<PathBuf>,
    /// Datasets in place of a configuration's tasks: `coin-datasets/gqa`, or `coin-datasets` for CoIN's eight
    #[arg(long, value_delimiter = ',', value_name = "A,B,..", requires = "root")]
    dataset: Vec<String>,
    /// Folder of the datasets
    #[arg(long, value_name = "FOLDER", requires = "dataset")]
    root: Option<PathBuf>,
    /// Only these tasks of the configuration
    #[arg(long, value_delimiter = ',', value_name = "A,B,..", conflicts_with = "dataset")]
    tasks: Vec<String>,
    /// Write a value over the configuration's: `tasks.gqa.instruction=diverse`; with --dataset a key of the datasets: `validation=0.0`
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Look for plugins here first
    #[arg(long, value_name = "FOLDER")]
    plugin_dir: Vec<String>,
}

/// The tasks selected, and the seed that draws for them.
struct Selected {
    tasks: Vec<(String, Task)>,
    plugins: Plugins,
    seed: u64,
}

/// A task with its files opened.
struct Opened {
    name: String,
    task: Task,
    root: PathBuf,
    source: Box<dyn Source>,
}

impl DataCommand {
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        match &self.command {
            Command::List(command) => command.run(output),
            Command::Verify(command) => command.run(output),
            Command::Preview(command) => command.run(output),
        }
    }
}

impl Selection {
    fn resolve(&self) -> anyhow::Result<Selected> {
        if let Some(root) = &self.root {
            return self.datasets(root);
        }
        let loaded = config::load(&Request {
            path: self.config.as_deref(),
            set: &self.set,
            tasks: &self.tasks,
            plugin_dirs: &self.plugin_dir,
            ..Request::default()
        })?;
        let seed = loaded.config.seeds.first().copied().unwrap_or(0);
        Ok(Selected { tasks: loaded.config.tasks, plugins: loaded.config.plugins, seed })
    }

    fn datasets(&self, root: &Path) -> anyhow::Result<Selected> {
        let mut keys = toml::Table::new();
        for text in &self.set {
            let (key, value) =
                text.split_once('=').ok_or_else(|| ConfigError::new(format!("--set {text}: no `=`")))?;
            let parsed = format!("value = {value}").parse::<toml::Table>().ok();
            let value = parsed.and_then(|mut table| table.remove("value"));
            keys.insert(key.to_string(), value.unwrap_or_else(|| text[key.len() + 1..].into()));
        }
        let mut tasks = Vec::new();
        for dataset in &self.dataset {
            let all: Vec<&str> = match dataset.as_str() {
                "coin-datasets" => release::SIZES.iter().map(|size| size.dataset).collect(),
                one => vec![one],
            };
            for dataset in all {
                let Some((_, name)) = dataset.split_once('/') else {
                    bail!(
                        ConfigError::new(format!("`{dataset}` does not name a plugin and its dataset"))
                            .hint("write `PLUGIN/DATASET`, for example `coin-datasets/gqa`")
                    );
                };
                let task = Task {
                    dataset: dataset.to_string(),
                    root: Location::Folder(std::path::absolute(root)?),
                    instruction: Instruction::original(),
                    metric: None,
                    max_new_tokens: 1,
                    accumulate: None,
                    template: None,
                    config: keys.clone(),
                };
                tasks.push((name.to_string(), task));
            }
        }
        ensure!(!tasks.is_empty(), ConfigError::new("no dataset is named"));
        let plugins = self.plugin_dir.iter().map(PathBuf::from).collect();
        Ok(Selected {
            tasks,
            plugins: Plugins { dirs: plugins, dev: Vec::new(), trust: Trust::Locked },
            seed: 0,
        })
    }
}

impl Selected {
    /// Opens every task; one that cannot be opened is an error of its own.
    fn open(self) -> Vec<(String, Task, anyhow::Result<Opened>)> {
        let mut shelf = PluginCache::new(&self.plugins);
        let mut open = |(name, task): (String, Task)| {
            let opened = world::root(&task.root).and_then(|root| {
                let source = world::source(&name, &task, &root, &mut shelf)?;
                Ok(Opened { name: name.clone(), task: task.clone(), root, source })
            });
            (name, task, opened)
        };
        self.tasks.into_iter().map(&mut open).collect()
    }
}

/// Rows below their headings, columns as wide as they need; all but the first `texts` columns hold numbers.
fn table(rows: &[Vec<String>], texts: usize) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column < texts { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A page or manifest is written whole or not at all.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    crate::files::replace(path, text.as_bytes())
        .with_context(|| format!("{} cannot be written", path.display()))
}
