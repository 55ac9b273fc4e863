//! `coin-host plugin lock`: vouching for libraries.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::{Search, pack};
use crate::cli::output::Output;
use crate::config::ConfigError;
use crate::plugin::discover::{self, Candidate, Origin, Surroundings};
use crate::plugin::lock::{self, Lock, Locked};
use crate::plugin::{Catalog, shipped};

#[derive(Debug, Args)]
pub(super) struct LockCommand {
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

impl LockCommand {
    pub(super) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let surroundings = Surroundings::of_process();
        let catalog = self.search.catalog();
        let (folder, chosen) = if self.shipped {
            let nowhere = || {
                ConfigError::new("the program's folder is not known").hint("start coin-host by its full path")
            };
            (surroundings.installation().ok_or_else(nowhere)?, shipped_here(&catalog)?)
        } else {
            let folder = if self.user { surroundings.home()? } else { surroundings.current.clone() };
            let chosen: anyhow::Result<Vec<Candidate>> =
                self.plugins.iter().map(|plugin| candidate(plugin, &catalog)).collect();
            (folder, chosen?)
        };
        let path = folder.join(lock::FILE);
        // The shipped plugins are of the checkout that they were built in.
        let commit = if self.shipped { pack::build(&folder).commit } else { None };
        Lock::change(&path, |lock| {
            // The lock of a build holds what was built, nothing older.
            if self.shipped {
                lock.plugins.clear();
            }
            for candidate in &chosen {
                let known = catalog.vouch(candidate)?;
                let path = candidate.path.strip_prefix(&folder).unwrap_or(&candidate.path);
                let locked = Locked {
                    path: path.display().to_string(),
                    commit: commit.clone().or_else(|| known.commit.clone()),
                    ..known
                };
                output.note(&format!("locked {} ({})", candidate.name, locked.sha256));
                lock.forget(catalog.keyring(), |known| {
                    known.path == locked.path && known.name == locked.name
                });
                lock.put(locked);
            }
            Ok(())
        })?;
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
        None => {
            let hint = format!("the plugin `a-b` is {}", discover::library_file("a-b"));
            Err(ConfigError::new(format!("{text} is not named as a plugin's library")).hint(hint).into())
        }
    }
}
