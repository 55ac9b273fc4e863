//! What is there to load, and loading it: the steps of the module's page in their order.

use std::path::Path;

use coin_plugin_api::Description;

use super::discover::{self, Candidate, Folder, Surroundings};
use super::error::{PluginError, label};
use super::keyring::Keyring;
use super::listing::{self, State};
use super::load::{self, Loaded};
use super::lock::Locked;
use super::manifest::{self, Kind, Manifest};
use super::trust::{Ground, Policy};
use super::verify::{self, Image};
use super::{Plugin, elf};
use crate::config::{Plugins, Trust};

/// The plugins of a configuration's folders.
#[derive(Debug, Clone)]
pub struct Catalog {
    folders: Vec<Folder>,
    candidates: Vec<Candidate>,
    policy: Policy,
}

/// A library that may be loaded.
#[derive(Debug)]
pub struct Examined {
    pub image: Image,
    pub ground: Ground,
}

impl Catalog {
    /// Looks into the folders. Nothing is read but manifests and locks.
    pub fn open(plugins: &Plugins) -> Catalog {
        Catalog::open_in(plugins, &Surroundings::of_process())
    }

    /// As [`Self::open`], somewhere else than in this process' surroundings.
    pub fn open_in(plugins: &Plugins, surroundings: &Surroundings) -> Catalog {
        let folders = surroundings.folders(&plugins.dirs);
        let candidates = discover::search(&folders);
        let policy = Policy::new(plugins.trust, &plugins.dev, surroundings);
        Catalog { folders, candidates, policy }
    }

    /// A catalog of nothing, for looking at a library wherever it is.
    pub fn empty() -> Catalog {
        let policy = Policy::new(Trust::Locked, &[], &Surroundings::default());
        Catalog { folders: Vec::new(), candidates: Vec::new(), policy }
    }

    /// The folders that were looked in, in their order.
    pub fn folders(&self) -> &[Folder] {
        &self.folders
    }

    /// Everything found, in search order, what is hidden too.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// The plugin of this name (`lora`, or `lora@1.2.0`) and those it hides.
    ///
    /// # Errors
    /// [`PluginError::NotFound`].
    pub fn find(&self, wanted: &str) -> Result<(&Candidate, Vec<&Candidate>), PluginError> {
        discover::find(&self.candidates, &self.folders, wanted)
    }

    /// Reads and verifies a library. No code of it runs.
    ///
    /// # Errors
    /// [`PluginError::Refused`].
    pub fn examine(&self, candidate: &Candidate) -> Result<Examined, PluginError> {
        self.verify(candidate).map_err(|reason| refused(candidate, reason))
    }

    /// Reads a library and checks everything but whether it is trusted. No code of it runs.
    ///
    /// # Errors
    /// [`PluginError::Refused`].
    pub fn read(&self, candidate: &Candidate) -> Result<Image, PluginError> {
        sound(candidate).map_err(|reason| refused(candidate, reason))
    }

    /// Reads a library to vouch for it: what is known of where it comes from stays with it, and what a revoked key signed is refused. No
    /// code of it runs.
    ///
    /// # Errors
    /// [`PluginError::Refused`].
    pub fn vouch(&self, candidate: &Candidate) -> Result<Locked, PluginError> {
        let image = self.read(candidate)?;
        let origin = self.policy.origin(candidate, &image);
        let origin = origin.map_err(|distrust| refused(candidate, distrust.to_string()))?;
        Ok(Locked {
            name: candidate.name.clone(),
            version: candidate.version.clone(),
            sha256: image.sha256,
            size: image.bytes.len() as u64,
            ..origin
        })
    }

    /// The keys that are trusted and revoked.
    pub fn keyring(&self) -> &Keyring {
        self.policy.keyring()
    }

    fn verify(&self, candidate: &Candidate) -> Result<Examined, String> {
        let image = sound(candidate)?;
        let ground = self.policy.judge(candidate, &image).map_err(|distrust| distrust.to_string())?;
        Ok(Examined { image, ground })
    }

    /// What would become of everything that was found. No code of a plugin runs.
    pub fn states(&self) -> Vec<State> {
        listing::states(&self.candidates, &self.policy)
    }

    /// Finds, verifies, loads and attaches a plugin.
    ///
    /// # Errors
    /// [`PluginError::NotFound`] or [`PluginError::Refused`].
    pub fn load(&self, wanted: &str) -> Result<Plugin, PluginError> {
        let (candidate, _shadowed) = self.find(wanted)?;
        self.load_candidate(candidate, wanted)
    }

    /// The same for a library wherever it is: verifies, loads and attaches it.
    ///
    /// # Errors
    /// [`PluginError::Refused`].
    pub fn load_candidate(&self, candidate: &Candidate, wanted: &str) -> Result<Plugin, PluginError> {
        let examined = self.examine(candidate)?;
        Catalog::load_examined(candidate, wanted, examined)
    }

    /// The same for a library that has been examined.
    ///
    /// # Errors
    /// [`PluginError::Refused`].
    pub fn load_examined(
        candidate: &Candidate,
        wanted: &str,
        examined: Examined,
    ) -> Result<Plugin, PluginError> {
        let loaded = load::open(&discover::library_file(&candidate.name), &examined.image)
            .and_then(|loaded| agrees(&loaded, candidate, wanted).map(|()| loaded))
            .map_err(|reason| refused(candidate, reason))?;
        Plugin::attach(loaded, examined, &candidate.path)
    }
}

/// Reads a library and looks for everything but trust.
pub(super) fn sound(candidate: &Candidate) -> Result<Image, String> {
    if let Some(problem) = &candidate.problem {
        return Err(problem.clone());
    }
    if let Some(manifest) = &candidate.manifest {
        check_promise(manifest)?;
    }
    let image = verify::read(&candidate.path)?;
    check_library(&image.bytes, &image.sha256, candidate.manifest.as_ref())?;
    Ok(image)
}

/// Whether what a manifest says of its library fits this host and this machine.
///
/// # Errors
/// That it does not.
pub(super) fn check_promise(manifest: &Manifest) -> Result<(), String> {
    load::check_api(&manifest.api.version)?;
    load::check_glibc(manifest.build.glibc.as_deref().and_then(manifest::api_version))
}

/// Looks at a library's headers, and holds it against its manifest.
///
/// # Errors
/// Why the dynamic linker must not see it.
pub(super) fn check_library(bytes: &[u8], sha256: &str, manifest: Option<&Manifest>) -> Result<(), String> {
    // A cut or foreign file first: "truncated" says more than another hash.
    let headers = if cfg!(target_os = "linux") { Some(elf::read(bytes)?) } else { None };
    if headers.as_ref().is_some_and(|headers| !headers.plugin) {
        return Err(String::from(
            "a shared library, but not a coin-host plugin: it does not export one\nhint: a plugin has `export_plugin!` in its lib.rs; is this another library under a plugin's name?",
        ));
    }
    if let Some(file) = manifest.and_then(Manifest::library) {
        verify::compare(bytes.len(), sha256, file.size, &file.sha256, "its manifest")
            .map_err(|reason| format!("{reason}\nhint: get the package again from where it came"))?;
    }
    load::check_glibc(headers.and_then(|headers| headers.glibc))
}

fn refused(candidate: &Candidate, reason: String) -> PluginError {
    let label = label(&candidate.name, candidate.version.as_deref());
    PluginError::refused(label, at(&candidate.path, reason))
}

/// Puts the path behind the first line, before hints.
fn at(path: &Path, reason: String) -> String {
    let path = manifest::shown(&path.display().to_string());
    match reason.split_once('\n') {
        Some((first, rest)) => format!("{first} ({path})\n{rest}"),
        None => format!("{reason} ({path})"),
    }
}

/// Whether what a library says of itself is what it was taken for.
fn agrees(loaded: &Loaded, candidate: &Candidate, wanted: &str) -> Result<(), String> {
    let description = &loaded.description;
    if description.name != candidate.name {
        let name = &description.name;
        return Err(format!(
            "it calls itself `{name}`\nhint: name the file {} and write `{name}` in the configuration",
            discover::library_file(name)
        ));
    }
    if let (_, Some(version)) = discover::reference(wanted)
        && description.version != version
    {
        let (name, own) = (&description.name, &description.version);
        return Err(format!("it is version {own}, not {version}\nhint: `{name}@{own}` is this one"));
    }
    match &candidate.manifest {
        Some(manifest) => same(manifest, description),
        None => Ok(()),
    }
}

/// Whether a manifest and a library's description of itself agree.
///
/// # Errors
/// The first thing that they give differently.
pub fn same(manifest: &Manifest, description: &Description) -> Result<(), String> {
    let (about, manifest_api) = (&manifest.plugin, &manifest.api);
    let differs = |what: &str, manifest: &str, itself: &str| {
        Err(format!(
            "its manifest gives {what} as {manifest}, the library itself as {itself}\nhint: its author writes the same into plugin.toml and the code, and builds again; anyone else gets both anew"
        ))
    };
    if about.version != description.version {
        return differs("the version", &about.version, &description.version);
    }
    let api = |text: &str| manifest::api_version(text);
    if api(&manifest_api.version) != api(&description.api) {
        return differs("the api version", &manifest_api.version, &description.api);
    }
    let kinds = |method: bool, dataset: bool| {
        let kinds = [(method, Kind::Method), (dataset, Kind::Dataset)];
        let names: Vec<&str> = kinds.iter().filter(|(has, _)| *has).map(|(_, kind)| kind.name()).collect();
        format!("[{}]", names.join(", "))
    };
    let listed = kinds(about.kind.contains(&Kind::Method), about.kind.contains(&Kind::Dataset));
    let itself = kinds(description.method, !description.datasets.is_empty());
    if listed != itself {
        return differs("the kinds", &listed, &itself);
    }
    let needs = |needs: &[coin_plugin_api::Need]| {
        let mut names: Vec<&str> = needs.iter().map(|need| need.name()).collect();
        names.sort_unstable();
        format!("[{}]", names.join(", "))
    };
    let (listed, itself) = (needs(&about.needs), needs(&description.needs));
    if listed != itself {
        return differs("the needs", &listed, &itself);
    }
    Ok(())
}
