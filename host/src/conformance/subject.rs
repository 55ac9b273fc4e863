//! What is checked: a library, and the manifest that speaks for it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::config::ConfigError;
use crate::plugin::discover::{self, Candidate, Origin, Surroundings};
use crate::plugin::manifest::{self, Manifest};
use crate::plugin::package::{self, Contents};
use crate::plugin::{index, shipped};

/// A plugin to check.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Subject {
    pub name: String,
    pub library: PathBuf,
    pub manifest: Option<Manifest>,
}

impl Subject {
    /// From a library, the folder of a plugin's crate that is built, or a package as a folder or one file, which is written out below
    /// `scratch`.
    ///
    /// # Errors
    /// Nothing there that could be a plugin; a package that is damaged.
    pub fn find(path: &Path, scratch: &Path) -> Result<Subject> {
        if path.is_dir() {
            return Subject::folder(path);
        }
        if !path.is_file() {
            let near = "a plugin's library, its built crate's folder, or a package";
            return Err(usage(format!("there is no `{}`", path.display()), near).into());
        }
        if path.to_string_lossy().ends_with(".tar.zst") {
            let contents = package::open(&index::read_archive(path)?, &path.display().to_string())?;
            contents.check()?;
            return Subject::folder(&contents.write_folder(scratch)?);
        }
        let library = path.canonicalize().with_context(|| format!("{} cannot be read", path.display()))?;
        let Some(Candidate { name, .. }) = Candidate::at(&library) else {
            let hint = format!("the plugin `a-b` is {}", discover::library_file("a-b"));
            return Err(usage(format!("{} is not named as a plugin's library", path.display()), &hint).into());
        };
        let manifest = beside(&library, &name)?;
        Ok(Subject { name, library, manifest })
    }

    fn folder(folder: &Path) -> Result<Subject> {
        let path = folder.join(manifest::FILE);
        if !path.is_file() {
            let hint = "the folder of a plugin's crate or of a package has one";
            return Err(usage(format!("there is no {}", path.display()), hint).into());
        }
        let manifest =
            Manifest::read(&path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
        let name = manifest.plugin.name.clone();
        let library = if manifest.files.is_empty() {
            discover::built_library(folder, &name)
        } else {
            Contents::read(folder)?;
            let listed = manifest.library().map(|file| folder.join(&file.path));
            listed.with_context(|| format!("the package has no library for {}", manifest::target()))?
        };
        if !library.is_file() {
            let hint = "`cargo build --release` in the plugin's folder makes it";
            return Err(usage(format!("there is no {}", library.display()), hint).into());
        }
        Ok(Subject { name, library: library.canonicalize()?, manifest: Some(manifest) })
    }

    /// As the loader takes it, without its manifest: what that says is a check of its own.
    pub fn candidate(&self) -> Candidate {
        Candidate {
            name: self.name.clone(),
            version: None,
            path: self.library.clone(),
            origin: Origin::Configuration,
            manifest: None,
            signed: None,
            problem: None,
        }
    }
}

/// The manifest in a library's folder, if it is this plugin's; of a shipped plugin beside the program, the one that the program has.
fn beside(library: &Path, name: &str) -> Result<Option<Manifest>> {
    let folder = library.parent().unwrap_or(Path::new("."));
    let path = folder.join(manifest::FILE);
    if path.is_file() {
        let manifest =
            Manifest::read(&path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
        return Ok((manifest.plugin.name == name).then_some(manifest));
    }
    let installation = Surroundings::of_process().installation();
    let is_shipped = installation.and_then(|folder| folder.canonicalize().ok()).as_deref() == Some(folder);
    Ok(if is_shipped { shipped::manifest(name).cloned() } else { None })
}

fn usage(reason: String, hint: &str) -> ConfigError {
    ConfigError::new(reason).hint(hint)
}
