//! `coin-host plugin add`, `remove` and `verify`: the plugins in the user's own folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use super::Search;
use crate::cli::output::Output;
use crate::plugin::discover::{self, Candidate, Origin, Surroundings};
use crate::plugin::lock::{self, Lock, Locked};
use crate::plugin::{Catalog, PluginError, package};

#[derive(Debug, Args)]
pub(super) struct AddCommand {
    /// A package (`.coinplugin.tar.zst`, or its folder) or a bare library
    plugin: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct RemoveCommand {
    /// `NAME`, or `NAME@VERSION`
    plugin: String,
}

#[derive(Debug, Args)]
pub(super) struct VerifyCommand {
    /// `NAME` or `NAME@VERSION`; all of them without one
    plugin: Option<String>,
    #[command(flatten)]
    search: Search,
}

/// The user's folder of plugins, and the lock beside it.
struct Shelf {
    folder: PathBuf,
    lock: PathBuf,
}

impl Shelf {
    fn open() -> anyhow::Result<Shelf> {
        let user = Surroundings::of_process().user().context("neither XDG_DATA_HOME nor HOME is set")?;
        Ok(Shelf { folder: user.join("plugins"), lock: user.join(lock::FILE) })
    }

    fn locked(&self) -> anyhow::Result<Lock> {
        Lock::read(&self.lock).map_err(anyhow::Error::msg)
    }

    fn candidates(&self) -> Vec<Candidate> {
        discover::search(&[discover::Folder { path: self.folder.clone(), origin: Origin::User }])
    }
}

impl AddCommand {
    pub(super) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let shelf = Shelf::open()?;
        let mut lock = shelf.locked()?;
        let refused = |reason: anyhow::Error| {
            PluginError::refused(self.plugin.display().to_string(), format!("{reason:#}"))
        };
        std::fs::create_dir_all(&shelf.folder)
            .with_context(|| format!("{} cannot be made", shelf.folder.display()))?;
        let candidate = if self.plugin.is_dir() {
            let manifest = package::check(&self.plugin).map_err(refused)?;
            let place = package::copy(&self.plugin, &manifest, &shelf.folder).map_err(refused)?;
            self.found(&shelf, &place)?
        } else if self.plugin.to_string_lossy().ends_with(".tar.zst") {
            let (_, place) = package::unpack(&self.plugin, &shelf.folder).map_err(refused)?;
            self.found(&shelf, &place)?
        } else {
            self.bare(&shelf)?
        };
        let catalog = Catalog::empty();
        let image = match catalog.read(&candidate) {
            Ok(image) => image,
            Err(error) => {
                discard(&shelf.folder, &candidate.path)?;
                return Err(error.into());
            }
        };
        let path = candidate
            .path
            .strip_prefix(shelf.lock.parent().unwrap_or(Path::new("")))
            .unwrap_or(&candidate.path);
        let entry = Locked {
            name: candidate.name.clone(),
            version: candidate.version.clone(),
            sha256: image.sha256,
            size: image.bytes.len() as u64,
            path: path.display().to_string(),
        };
        lock.plugins.retain(|known| known.path != entry.path);
        output.note(
            "note: a plugin is native code that runs with your rights; add it from people you trust only",
        );
        output.data(&format!(
            "added {}{} ({})",
            entry.name,
            entry.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default(),
            entry.sha256
        ))?;
        lock.plugins.push(entry);
        lock.plugins.sort_by(|a, b| (&a.name, &a.version, &a.path).cmp(&(&b.name, &b.version, &b.path)));
        lock.write(&shelf.lock).with_context(|| format!("{} cannot be written", shelf.lock.display()))?;
        Ok(ExitCode::SUCCESS)
    }

    fn found(&self, shelf: &Shelf, place: &Path) -> anyhow::Result<Candidate> {
        let mut candidates = shelf.candidates().into_iter();
        let found = candidates.find(|candidate| candidate.path.starts_with(place));
        found.with_context(|| format!("{} holds no plugin", self.plugin.display()))
    }

    /// Copies a library, not half of it.
    fn bare(&self, shelf: &Shelf) -> anyhow::Result<Candidate> {
        let Some(candidate) = Candidate::at(&self.plugin) else {
            bail!(
                "{} is neither a package nor named as a plugin's library\nhint: a package ends with .{}, the library of `a-b` is {}",
                self.plugin.display(),
                package::ARCHIVE,
                discover::library_file("a-b")
            )
        };
        let image = Catalog::empty().read(&candidate)?;
        let file = tempfile::NamedTempFile::new_in(&shelf.folder)?;
        std::fs::write(file.path(), &image.bytes)?;
        let path = shelf.folder.join(discover::library_file(&candidate.name));
        file.persist(&path).with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(Candidate { path, origin: Origin::User, ..candidate })
    }
}

/// Takes away what was just put there.
fn discard(shelf: &Path, library: &Path) -> anyhow::Result<()> {
    let below = library.strip_prefix(shelf).context("it does not lie in the folder of plugins")?;
    let Some(first) = below.components().next() else { return Ok(()) };
    let place = shelf.join(first);
    if place.is_dir() { std::fs::remove_dir_all(&place) } else { std::fs::remove_file(&place) }
        .with_context(|| format!("{} cannot be removed", place.display()))
}

impl RemoveCommand {
    pub(super) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let shelf = Shelf::open()?;
        let (name, version) = discover::reference(&self.plugin);
        let answers = |candidate: &Candidate| {
            candidate.name == name
                && version.is_none_or(|wanted| candidate.version.as_deref() == Some(wanted))
        };
        let found: Vec<Candidate> = shelf.candidates().into_iter().filter(answers).collect();
        if found.is_empty() {
            bail!(
                "no plugin `{}` in {}\nhint: only what `coin-host plugin add` put there can be removed; `coin-host plugin list` shows all",
                self.plugin,
                shelf.folder.display()
            );
        }
        let mut lock = shelf.locked()?;
        for candidate in found {
            discard(&shelf.folder, &candidate.path)?;
            lock.plugins.retain(|known| shelf.lock.with_file_name(&known.path) != candidate.path);
            output.data(&format!("removed {}", candidate.path.display()))?;
        }
        lock.write(&shelf.lock).with_context(|| format!("{} cannot be written", shelf.lock.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl VerifyCommand {
    pub(super) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let catalog = self.search.catalog();
        let chosen: Vec<Candidate> = match &self.plugin {
            Some(wanted) => vec![catalog.find(wanted)?.0.clone()],
            None => catalog.candidates().to_vec(),
        };
        let mut refused = None;
        for candidate in &chosen {
            let version = candidate.version.as_deref().unwrap_or("?");
            match catalog.examine(candidate) {
                Ok(examined) => output.data(&format!(
                    "{} {version}: {}, sha256 {}",
                    candidate.name, examined.mark, examined.image.sha256
                ))?,
                Err(error) => {
                    output.data(&format!("{} {version}: refused", candidate.name))?;
                    output.note(&format!("{error}"));
                    refused = Some(error);
                }
            }
        }
        match refused {
            Some(error) if self.plugin.is_some() => Err(error.into()),
            Some(_) => Ok(ExitCode::from(3)),
            None => Ok(ExitCode::SUCCESS),
        }
    }
}
