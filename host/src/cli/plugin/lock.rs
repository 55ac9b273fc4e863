//! `coin-host plugin lock`: vouching for libraries.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use super::{Search, pack};
use crate::cli::output::Output;
use crate::plugin::discover::{Candidate, Origin, Surroundings};
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
        // The shipped plugins are of the checkout that they were built in.
        let commit = if self.shipped { pack::build(&folder).commit } else { None };
        for candidate in &chosen {
            let locked = Locked { commit: commit.clone(), ..locked(candidate, &catalog, &folder)? };
            output.note(&format!("locked {} ({})", candidate.name, locked.sha256));
            lock.plugins.retain(|known| known.path != locked.path || known.name != locked.name);
            lock.plugins.push(locked);
        }
        lock.plugins.sort_by(|a, b| (&a.name, &a.version, &a.path).cmp(&(&b.name, &b.version, &b.path)));
        lock.write(&path)?;
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
        ..Locked::default()
    })
}
