//! What is checked: a library, pinned to the bytes that were found, and what its package promises.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, Plugins, Trust};
use crate::plugin::discover::{self, Candidate, Origin, Signed, Surroundings};
use crate::plugin::manifest::{self, Manifest};
use crate::plugin::package::{self, Contents};
use crate::plugin::{Catalog, Plugin, PluginError, index, load, shipped, verify};

/// A plugin to check.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Subject {
    pub name: String,
    pub library: PathBuf,
    /// Of the library as it was found: a check that begins anew loads these bytes or none.
    pub sha256: String,
    pub manifest: Option<Manifest>,
    /// The manifest of a package that is signed.
    pub signed: Option<Signed>,
}

impl Subject {
    /// From a library, the folder of a plugin's crate that is built, or a package as a folder or one file, which is written out below
    /// `scratch`.
    ///
    /// # Errors
    /// A [`ConfigError`] where nothing there could be a plugin, a [`PluginError`] for a package that is not what its manifest says.
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
            return Subject::folder(&contents.write_folder(scratch)?);
        }
        let library = path.canonicalize().with_context(|| format!("{} cannot be read", path.display()))?;
        let Some(Candidate { name, .. }) = Candidate::at(&library) else {
            let hint = format!("the plugin `a-b` is {}", discover::library_file("a-b"));
            return Err(usage(format!("{} is not named as a plugin's library", path.display()), &hint).into());
        };
        let manifest = beside(&library, &name)?;
        if manifest.as_ref().is_some_and(|manifest| !manifest.files.is_empty()) {
            return of_package(&library, &name);
        }
        Subject::bare(name, library, manifest)
    }

    fn folder(folder: &Path) -> Result<Subject> {
        let path = folder.join(manifest::FILE);
        if !path.is_file() {
            let hint = "the folder of a plugin's crate or of a package has one";
            return Err(usage(format!("there is no {}", path.display()), hint).into());
        }
        let manifest = Manifest::read(&path).map_err(|error| refused(&path, error))?;
        if !manifest.files.is_empty() {
            return Subject::package(folder);
        }
        let name = manifest.plugin.name.clone();
        let library = discover::built_library(folder, &name);
        if !library.is_file() {
            let hint = "`cargo build --release` in the plugin's folder makes it";
            return Err(usage(format!("there is no {}", library.display()), hint).into());
        }
        Subject::bare(name, library.canonicalize()?, Some(manifest))
    }

    /// Every file of the package is held against its manifest.
    fn package(folder: &Path) -> Result<Subject> {
        let Contents { manifest, text, signature, .. } = Contents::read(folder)?;
        let Some(file) = manifest.library() else {
            let here = manifest::target();
            let hint = "hint: check it on the platform it is for";
            return Err(refused(folder, format!("the package has no library for {here}\n{hint}")).into());
        };
        Ok(Subject {
            name: manifest.plugin.name.clone(),
            library: folder.join(&file.path).canonicalize()?,
            sha256: file.sha256.clone(),
            signed: signature.map(|signature| Signed { manifest: text, signature }),
            manifest: Some(manifest),
        })
    }

    fn bare(name: String, library: PathBuf, manifest: Option<Manifest>) -> Result<Subject> {
        let image = verify::read(&library).map_err(|error| refused(&library, error))?;
        Ok(Subject { name, library, sha256: image.sha256, manifest, signed: None })
    }

    /// Loads the bytes that were found, on the word of whoever asks for the check; nothing is locked by it. That its manifest describes
    /// them is a check of its own.
    ///
    /// # Errors
    /// [`PluginError::Refused`], before any code of it runs: another version of the border, a signature that does not hold or is by a
    /// revoked key, other bytes.
    pub fn load(&self) -> Result<Plugin> {
        let refused = |reason: String| refused(&self.library, reason);
        if let Some(manifest) = &self.manifest {
            load::check_api(&manifest.api.version).map_err(refused)?;
        }
        let candidate = Candidate {
            name: self.name.clone(),
            version: None,
            path: self.library.clone(),
            origin: Origin::Configuration,
            manifest: None,
            signed: self.signed.clone(),
            problem: None,
        };
        let plugins = Plugins { dirs: Vec::new(), dev: Vec::new(), trust: Trust::Any };
        let examined = Catalog::open(&plugins).examine(&candidate)?;
        if examined.image.sha256 != self.sha256 {
            return Err(refused(format!(
                "the file was changed while it was checked: its sha256 is {}, and was {}\nhint: check it again when it is built",
                examined.image.sha256, self.sha256
            ))
            .into());
        }
        Ok(Catalog::load_examined(&candidate, &candidate.name, examined)?)
    }
}

/// A library that lies in its package's folder: the package as a whole.
fn of_package(library: &Path, name: &str) -> Result<Subject> {
    let subject = Subject::package(library.parent().unwrap_or(Path::new(".")))?;
    if subject.library == library {
        return Ok(subject);
    }
    let hint = format!("hint: the package's `{name}` is {}", subject.library.display());
    Err(refused(library, format!("it is not the library of the package it lies in\n{hint}")).into())
}

/// The manifest in a library's folder, if it is this plugin's; of a shipped plugin beside the program, the one that the program has.
fn beside(library: &Path, name: &str) -> Result<Option<Manifest>> {
    let folder = library.parent().unwrap_or(Path::new("."));
    let path = folder.join(manifest::FILE);
    if path.is_file() {
        let manifest = Manifest::read(&path).map_err(|error| refused(&path, error))?;
        return Ok((manifest.plugin.name == name).then_some(manifest));
    }
    let installation = Surroundings::of_process().installation();
    let is_shipped = installation.and_then(|folder| folder.canonicalize().ok()).as_deref() == Some(folder);
    Ok(if is_shipped { shipped::manifest(name).cloned() } else { None })
}

fn refused(path: &Path, reason: String) -> PluginError {
    PluginError::refused(path.display().to_string(), reason)
}

fn usage(reason: String, hint: &str) -> ConfigError {
    ConfigError::new(reason).hint(hint)
}
