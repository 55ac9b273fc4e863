//! A user's own plugins: packages and libraries in one folder, vouched for by the lock beside it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use super::discover::{self, Candidate, Origin, Surroundings};
use super::lock::{self, Lock, Locked};
use super::package::{self, Staged};
use super::{Catalog, PluginError, shipped};
use crate::files;

/// The folder and its lock.
#[derive(Debug)]
pub struct Shelf {
    folder: PathBuf,
    lock: PathBuf,
}

impl Shelf {
    /// That of the user.
    ///
    /// # Errors
    /// A user without a home.
    pub fn open(surroundings: &Surroundings) -> Result<Shelf> {
        let user = surroundings
            .user()
            .context("the user has no folder for plugins\nhint: set XDG_DATA_HOME or HOME")?;
        Ok(Shelf { folder: user.join("plugins"), lock: user.join(lock::FILE) })
    }

    /// Takes in a package, packed or as a folder, or a bare library, and locks it. No code of it runs, and nothing changes unless it
    /// is sound.
    ///
    /// # Errors
    /// [`PluginError::Refused`], also for the name of a shipped plugin unless `replace` is set; a folder that cannot be written.
    pub fn add(&self, source: &Path, replace: bool) -> Result<Locked> {
        let mut lock = self.locked()?;
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("{} cannot be made", self.folder.display()))?;
        let entry = match source {
            _ if source.is_dir() => self.add_package(package::copy(source, &self.folder)?, replace)?,
            _ if source.to_string_lossy().ends_with(".tar.zst") => {
                self.add_package(package::unpack(source, &self.folder)?, replace)?
            }
            _ => self.add_library(source, replace)?,
        };
        lock.plugins.retain(|known| known.path != entry.path);
        lock.plugins.push(entry.clone());
        lock.plugins.sort_by(|a, b| (&a.name, &a.version, &a.path).cmp(&(&b.name, &b.version, &b.path)));
        lock.write(&self.lock)?;
        Ok(entry)
    }

    fn add_package(&self, staged: Staged, replace: bool) -> Result<Locked> {
        let candidate = discover::package(staged.path(), Origin::User);
        not_shipped(&candidate.name, replace)?;
        let image = Catalog::empty().read(&candidate)?;
        let file = candidate.path.strip_prefix(staged.path())?.to_path_buf();
        let path = staged.settle(&self.folder)?.join(file);
        Ok(self.entry(candidate, &path, image))
    }

    fn add_library(&self, source: &Path, replace: bool) -> Result<Locked> {
        ensure!(
            source.exists(),
            "there is no {}\nhint: give the path of a package or of a library",
            source.display()
        );
        let Some(candidate) = Candidate::at(source) else {
            let reason = format!(
                "neither a package nor named as a plugin's library\nhint: a package ends with .{}, the library of `a-b` is {}",
                package::ARCHIVE,
                discover::library_file("a-b")
            );
            return Err(PluginError::refused(source.display().to_string(), reason).into());
        };
        not_shipped(&candidate.name, replace)?;
        let image = Catalog::empty().read(&candidate)?;
        let path = self.folder.join(discover::library_file(&candidate.name));
        files::replace(&path, &image.bytes)
            .with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(self.entry(candidate, &path, image))
    }

    fn entry(&self, candidate: Candidate, path: &Path, image: super::verify::Image) -> Locked {
        let root = self.lock.parent().unwrap_or(Path::new(""));
        Locked {
            name: candidate.name,
            version: candidate.version,
            sha256: image.sha256,
            size: image.bytes.len() as u64,
            path: path.strip_prefix(root).unwrap_or(path).display().to_string(),
        }
    }

    /// Where a locked plugin lies.
    pub fn place(&self, entry: &Locked) -> PathBuf {
        self.lock.with_file_name(&entry.path)
    }

    /// Takes out a plugin (`lora`, or `lora@1.2.0`), its lock too; gives what was removed.
    ///
    /// # Errors
    /// [`PluginError::NotFound`]; a file that cannot be removed.
    pub fn remove(&self, wanted: &str) -> Result<Vec<PathBuf>> {
        let (name, version) = discover::reference(wanted);
        let folder = discover::Folder { path: self.folder.clone(), origin: Origin::User };
        let found: Vec<Candidate> = discover::search(&[folder])
            .into_iter()
            .filter(|candidate| {
                let same = version.is_none_or(|wanted| candidate.version.as_deref() == Some(wanted));
                candidate.name == name && same
            })
            .collect();
        if found.is_empty() {
            let message = format!(
                "no plugin `{wanted}` in {}\nhint: only what `coin-host plugin add` put there can be removed",
                self.folder.display()
            );
            return Err(PluginError::NotFound { plugin: wanted.to_string(), message }.into());
        }
        let mut lock = self.locked()?;
        let mut removed = Vec::new();
        for candidate in found {
            let place = self.top(&candidate.path)?;
            lock.plugins.retain(|known| !self.place(known).starts_with(&place));
            if place.is_dir() { std::fs::remove_dir_all(&place) } else { std::fs::remove_file(&place) }
                .with_context(|| format!("{} cannot be removed", place.display()))?;
            removed.push(place);
        }
        lock.write(&self.lock)?;
        Ok(removed)
    }

    /// What stands directly in the folder: the package that a library is part of, or the library.
    fn top(&self, library: &Path) -> Result<PathBuf> {
        let Ok(below) = library.strip_prefix(&self.folder) else {
            bail!("{} is not in {}", library.display(), self.folder.display())
        };
        Ok(self.folder.join(below.components().next().context("an empty path")?))
    }

    fn locked(&self) -> Result<Lock> {
        Lock::read(&self.lock).map_err(anyhow::Error::msg)
    }
}

/// A plugin of a shipped one's name would take its place in every later run.
fn not_shipped(name: &str, replace: bool) -> Result<()> {
    if replace || shipped::manifest(name).is_none() {
        return Ok(());
    }
    let reason = "a shipped plugin has this name, and runs would use this one in its place\nhint: give yours another name, or add it with --replace-shipped";
    Err(PluginError::refused(format!("`{name}`"), reason).into())
}
