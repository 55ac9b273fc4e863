//! Where plugins are looked for. No code is loaded here.
//!
//! In this order: the folders of the configuration (`--plugin-dir` before the file's), `COIN_PLUGIN_PATH`, `./plugins/dist`,
//! `$XDG_DATA_HOME/coin-host/plugins`, the folder of the program. A plugin found earlier hides one of the same name found later.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::error::PluginError;
use super::manifest::{self, Manifest};
use super::{keyring, shipped};
use crate::config::{ConfigError, nearest};

/// The variable with more folders, separated as in `PATH`.
pub const PATH_VARIABLE: &str = "COIN_PLUGIN_PATH";

/// A folder to look in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Folder {
    pub path: PathBuf,
    pub origin: Origin,
}

/// Why a folder is looked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// `--plugin-dir` or `[plugins] dirs`.
    Configuration,
    /// `COIN_PLUGIN_PATH`.
    Environment,
    /// `./plugins/dist`.
    Project,
    /// `$XDG_DATA_HOME/coin-host/plugins`.
    User,
    /// Next to the program.
    Program,
}

/// What the search depends on besides the configuration.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    pub plugin_path: Option<OsString>,
    /// `$XDG_DATA_HOME`, or `~/.local/share`.
    pub data_home: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME`, or `~/.config`.
    pub config_home: Option<PathBuf>,
    pub current: PathBuf,
    /// The folder of the program.
    pub program: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Surroundings {
        let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let below_home = |folder: &str| given("HOME").map(|home| PathBuf::from(home).join(folder));
        let base = |name: &str, folder: &str| given(name).map(PathBuf::from).or_else(|| below_home(folder));
        Surroundings {
            plugin_path: given(PATH_VARIABLE),
            data_home: base("XDG_DATA_HOME", ".local/share"),
            config_home: base("XDG_CONFIG_HOME", ".config"),
            current: std::env::current_dir().unwrap_or_default(),
            program: std::env::current_exe().ok().and_then(|program| program.parent().map(Path::to_path_buf)),
        }
    }

    /// The folder that holds the user's own plugins and lock.
    pub fn user(&self) -> Option<PathBuf> {
        Some(self.data_home.as_ref()?.join("coin-host"))
    }

    /// The same, where there must be one.
    ///
    /// # Errors
    /// A user without a home.
    pub fn home(&self) -> Result<PathBuf, ConfigError> {
        let nowhere = ConfigError::new("the user has no folder for plugins");
        self.user().ok_or_else(|| nowhere.hint("set XDG_DATA_HOME or HOME"))
    }

    /// The keyring. There is no other: what a checkout or a package brings must not say whom to trust.
    pub fn keys(&self) -> Option<PathBuf> {
        Some(self.config_home.as_ref()?.join("coin-host").join(keyring::FILE))
    }

    /// The folder with the shipped plugins: that of the program, or of the profile where the program is a test in its `deps`.
    pub fn installation(&self) -> Option<PathBuf> {
        let folder = self.program.as_ref()?;
        let test = folder.file_name().is_some_and(|name| name == "deps");
        match folder.parent() {
            Some(profile) if test && is_cargo_profile(profile) => Some(profile.to_path_buf()),
            _ => Some(folder.clone()),
        }
    }

    /// The folders in search order, whether they exist or not.
    pub fn folders(&self, configured: &[PathBuf]) -> Vec<Folder> {
        let mut found: Vec<Folder> = Vec::new();
        let mut add = |path: PathBuf, origin| {
            if !path.as_os_str().is_empty() && !found.iter().any(|folder| folder.path == path) {
                found.push(Folder { path, origin });
            }
        };
        for path in configured {
            add(path.clone(), Origin::Configuration);
        }
        for path in self.plugin_path.iter().flat_map(std::env::split_paths) {
            add(path, Origin::Environment);
        }
        add(self.current.join("plugins/dist"), Origin::Project);
        if let Some(user) = self.user() {
            add(user.join("plugins"), Origin::User);
        }
        if let Some(path) = self.installation() {
            add(path, Origin::Program);
        }
        found
    }
}

/// Whether cargo builds into this folder: `target/release` and the like.
pub fn is_cargo_profile(folder: &Path) -> bool {
    folder.join(".fingerprint").is_dir() && folder.join("deps").is_dir()
}

/// A library, or a package's folder, that may be a plugin.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    pub name: String,
    /// Known where there is a manifest.
    pub version: Option<String>,
    /// The library; for a package without one for this platform, its folder.
    pub path: PathBuf,
    pub origin: Origin,
    pub manifest: Option<Manifest>,
    /// The manifest's text and the signature over it, where its package has one.
    pub signed: Option<Signed>,
    /// Why it cannot be used, as far as can be seen without reading the library.
    pub problem: Option<String>,
}

/// A manifest as it was read, and the signature that stood beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signed {
    pub manifest: String,
    pub signature: String,
}

impl Candidate {
    /// A bare library of this plugin, whatever its file is called.
    pub fn named(name: String, path: &Path) -> Candidate {
        bare(name, path.to_path_buf(), Origin::Configuration)
    }

    /// The folder of the package that it is part of.
    pub fn package(&self) -> Option<&Path> {
        let file = self.manifest.as_ref()?.library()?;
        self.path.ancestors().nth(Path::new(&file.path).components().count())
    }

    /// A bare library, wherever it is; `None` where it is not named as one.
    pub fn at(path: &Path) -> Option<Candidate> {
        library_name(path).map(|name| bare(name, path.to_path_buf(), Origin::Configuration))
    }
}

/// Everything in the folders that may be a plugin, in search order; within a folder by name, the newest version
/// first.
pub fn search(folders: &[Folder]) -> Vec<Candidate> {
    let mut found = Vec::new();
    for folder in folders {
        let mut here = scan(&folder.path, folder.origin);
        if folder.origin == Origin::Program && is_cargo_profile(&folder.path) {
            merge_newer(&mut here, scan(&folder.path.join("deps"), folder.origin));
        }
        here.sort_by_cached_key(|candidate| {
            let version = candidate.version.as_deref().map(manifest::version_order);
            (candidate.name.clone(), std::cmp::Reverse(version), candidate.path.clone())
        });
        found.extend(here);
    }
    found
}

fn scan(folder: &Path, origin: Origin) -> Vec<Candidate> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            // Something on its way to its name.
            if entry.file_name().to_string_lossy().starts_with('.') {
                return None;
            }
            if path.join(manifest::FILE).is_file() {
                Some(package(&path, origin))
            } else {
                library_name(&path).filter(|_| path.is_file()).map(|name| bare(name, path, origin))
            }
        })
        .collect()
}

/// Tests are built without a fresh copy of the plugins in the profile's folder: there the newer of the two is the one that was asked for.
fn merge_newer(here: &mut Vec<Candidate>, built: Vec<Candidate>) {
    let modified = |candidate: &Candidate| {
        std::fs::metadata(&candidate.path)
            .and_then(|metadata| metadata.modified())
            .unwrap_or(SystemTime::UNIX_EPOCH)
    };
    for candidate in built {
        match here.iter_mut().find(|known| known.name == candidate.name) {
            Some(known) if modified(known) < modified(&candidate) => *known = candidate,
            Some(_) => {}
            None => here.push(candidate),
        }
    }
}

/// `liblora.so` is `lora`, `libcoin_datasets.so` is `coin-datasets`. Hyphens are cargo's mark of other libraries.
fn library_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let stem = name.strip_prefix(std::env::consts::DLL_PREFIX)?.strip_suffix(std::env::consts::DLL_SUFFIX)?;
    let name = stem.replace('_', "-");
    (!stem.contains('-') && manifest::is_name(&name)).then_some(name)
}

/// The file name of a plugin's library.
pub fn library_file(name: &str) -> String {
    format!("{}{}{}", std::env::consts::DLL_PREFIX, name.replace('-', "_"), std::env::consts::DLL_SUFFIX)
}

/// The library of a plugin as cargo leaves it: in the crate's own target folder, or in that of the workspace it belongs to.
pub fn built_library(folder: &Path, name: &str) -> PathBuf {
    let file = Path::new("target/release").join(library_file(name));
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    let found = absolute.ancestors().map(|ancestor| ancestor.join(&file)).find(|path| path.is_file());
    found.unwrap_or_else(|| folder.join(&file))
}

fn bare(name: String, path: PathBuf, origin: Origin) -> Candidate {
    // The manifest of a shipped plugin is part of the program; a library of that name elsewhere may be another one.
    let manifest = (origin == Origin::Program).then(|| shipped::manifest(&name).cloned()).flatten();
    let version = manifest.as_ref().map(|manifest| manifest.plugin.version.clone());
    Candidate { name, version, path, origin, manifest, signed: None, problem: None }
}

/// A package's folder.
fn package(folder: &Path, origin: Origin) -> Candidate {
    let failed = |problem: String| Candidate {
        name: folder.file_name().map(|name| manifest::shown(&name.to_string_lossy())).unwrap_or_default(),
        version: None,
        path: folder.to_path_buf(),
        origin,
        manifest: None,
        signed: None,
        problem: Some(problem),
    };
    let read = manifest::text(&folder.join(manifest::FILE))
        .and_then(|text| Manifest::parse(&text).map(|manifest| (text, manifest)));
    let (text, manifest) = match read {
        Ok(read) => read,
        Err(error) => return failed(format!("{}: {error}", manifest::FILE)),
    };
    let signature = folder.join(manifest::SIGNATURE);
    let signed = match signature.exists().then(|| super::package::signature_text(&signature)).transpose() {
        Ok(signature) => signature.map(|signature| Signed { manifest: text, signature }),
        Err(error) => return failed(error),
    };
    let (path, problem) = match library(&manifest) {
        Ok(file) => (folder.join(&file.path), None),
        Err(problem) => (folder.to_path_buf(), Some(problem)),
    };
    let about = &manifest.plugin;
    let (name, version) = (about.name.clone(), Some(about.version.clone()));
    Candidate { name, version, path, origin, manifest: Some(manifest), signed, problem }
}

/// The library of a package for this platform.
///
/// # Errors
/// That it has none, with a hint.
pub(super) fn library(manifest: &Manifest) -> Result<&manifest::File, String> {
    let targets: Vec<&str> = manifest.files.iter().filter_map(|file| file.target.as_deref()).collect();
    match manifest.library() {
        Some(file) => Ok(file),
        None if manifest.files.is_empty() => Err(String::from(
            "its folder holds the source, not a built plugin\nhint: build it, and name the folder that its library is built into",
        )),
        None => Err(format!(
            "the package has no library for {}, {}\nhint: ask its author for one, or build it from its source",
            manifest::target(),
            if targets.is_empty() {
                String::from("nor for another platform")
            } else {
                format!("only for {}", targets.join(" and "))
            }
        )),
    }
}

/// Whether a candidate answers to `name` or `name@version`; a library without a manifest may have any version until it is loaded.
fn answers(candidate: &Candidate, name: &str, version: Option<&str>) -> bool {
    candidate.name == name
        && version.is_none_or(|wanted| candidate.version.as_deref().is_none_or(|known| known == wanted))
}

/// Splits `name@version`.
pub fn reference(text: &str) -> (&str, Option<&str>) {
    match text.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (text, None),
    }
}

/// The first candidate of this name (`lora`, or `lora@1.2.0`), and those it hides.
///
/// # Errors
/// [`PluginError::NotFound`] with the folders that were looked in; for a shipped plugin, with the command that builds it.
pub fn find<'a>(
    candidates: &'a [Candidate],
    folders: &[Folder],
    wanted: &str,
) -> Result<(&'a Candidate, Vec<&'a Candidate>), PluginError> {
    let (name, version) = reference(wanted);
    let mut found = candidates.iter().filter(|candidate| answers(candidate, name, version));
    match found.next() {
        Some(first) => Ok((first, found.collect())),
        None => Err(PluginError::NotFound {
            plugin: wanted.to_string(),
            message: not_found(candidates, folders, name, version),
        }),
    }
}

fn not_found(candidates: &[Candidate], folders: &[Folder], name: &str, version: Option<&str>) -> String {
    let others: Vec<&str> = candidates
        .iter()
        .filter(|candidate| candidate.name == name)
        .filter_map(|candidate| candidate.version.as_deref())
        .collect();
    if let Some(version) = version
        && !others.is_empty()
    {
        return format!(
            "no plugin `{name}` {version}, only {}\nhint: `{name}` takes the first that is found, `coin-host plugin list` shows all",
            others.join(", ")
        );
    }
    let looked: Vec<String> = folders
        .iter()
        .map(|folder| {
            let missing = if folder.path.is_dir() { "" } else { " (does not exist)" };
            format!("  {}{missing}", folder.path.display())
        })
        .collect();
    let looked = looked.join("\n");
    if shipped::manifest(name).is_some() {
        return format!(
            "plugin `{name}` is not built: no {} in\n{looked}\nhint: `cargo build --release --workspace`, or `make build`",
            library_file(name)
        );
    }
    let shipped = shipped::manifests().iter().map(|manifest| manifest.plugin.name.as_str());
    let known: Vec<&str> =
        candidates.iter().map(|candidate| candidate.name.as_str()).chain(shipped).collect();
    let hint = match nearest::nearest(name, known.iter().copied()) {
        Some(close) => format!("did you mean `{close}`? `coin-host plugin list` shows all"),
        None => String::from(
            "`coin-host plugin list` shows those that are there; `--plugin-dir` names another folder",
        ),
    };
    format!("no plugin `{name}` in\n{looked}\nhint: {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(path: &Path) {
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("created");
        std::fs::write(path, "x").expect("written");
    }

    fn surroundings(root: &Path) -> Surroundings {
        Surroundings {
            plugin_path: Some(std::env::join_paths([root.join("b"), root.join("c")]).expect("plain names")),
            data_home: Some(root.join("data")),
            config_home: None,
            current: root.join("project"),
            program: Some(root.join("bin")),
        }
    }

    #[test]
    fn folders_come_in_the_documented_order_and_once() {
        let root = Path::new("r");
        let folders = surroundings(root).folders(&[root.join("a"), root.join("b")]);
        let paths: Vec<_> =
            folders.iter().map(|folder| folder.path.strip_prefix("r").expect("below r")).collect();
        let expected = ["a", "b", "c", "project/plugins/dist", "data/coin-host/plugins", "bin"];
        assert_eq!(paths, expected.map(Path::new));
        assert_eq!(folders[1].origin, Origin::Configuration);
    }

    #[test]
    fn the_first_folder_wins_and_the_others_are_reported() {
        let root = tempfile::tempdir().expect("a temporary folder");
        for folder in ["b", "project/plugins/dist", "bin"] {
            touch(&root.path().join(folder).join(library_file("lora")));
        }
        touch(&root.path().join("b/libserde_derive-0123.so"));
        touch(&root.path().join("b/notes.txt"));
        let folders = surroundings(root.path()).folders(&[]);
        let candidates = search(&folders);
        let (first, shadowed) = find(&candidates, &folders, "lora").expect("there are three");
        assert!(first.path.starts_with(root.path().join("b")) && first.version.is_none());
        assert_eq!(shadowed.len(), 2);
        assert_eq!(shadowed[1].version.as_deref(), Some("0.1.0"));
        assert_eq!(candidates.len(), 3);
    }

    #[test]
    fn a_missing_plugin_is_named_with_what_to_do() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let folders = surroundings(root.path()).folders(&[]);
        let message = |wanted: &str| find(&[], &folders, wanted).expect_err("nothing is there").to_string();
        assert!(message("moelora").contains("`cargo build --release --workspace`"), "{}", message("moelora"));
        assert!(message("lorra").contains("did you mean `lora`?"), "{}", message("lorra"));
        assert!(message("zzz").contains("(does not exist)") && message("zzz").contains("hint: "));
    }

    #[test]
    fn of_several_packages_the_newest_comes_first_and_a_version_can_be_asked_for() {
        let root = tempfile::tempdir().expect("a temporary folder");
        for version in ["1.2.0", "1.10.0", "1.3.0"] {
            let folder = root.path().join("b").join(format!("lora-{version}"));
            std::fs::create_dir_all(&folder).expect("created");
            let text = format!(
                "[plugin]\nname = \"lora\"\nversion = \"{version}\"\nkind = [\"method\"]\nlicense = \"MIT\"\n[api]\nversion = \"1.0\"\n\
                 [[file]]\npath = \"liblora.so\"\nsize = 1\nsha256 = \"{}\"\ntarget = \"{}\"\n",
                "0".repeat(64),
                manifest::target()
            );
            std::fs::write(folder.join(manifest::FILE), text).expect("written");
        }
        let folders = surroundings(root.path()).folders(&[]);
        let candidates = search(&folders);
        let version = |wanted: &str| find(&candidates, &folders, wanted).map(|found| found.0.version.clone());
        assert_eq!(version("lora").expect("found").as_deref(), Some("1.10.0"));
        assert_eq!(version("lora@1.2.0").expect("found").as_deref(), Some("1.2.0"));
        let missing = version("lora@2.0.0").expect_err("not there").to_string();
        assert!(missing.contains("1.10.0") && missing.contains("1.2.0"), "{missing}");
    }

    #[test]
    fn a_package_that_cannot_be_used_says_why() {
        let root = tempfile::tempdir().expect("a temporary folder");
        touch(&root.path().join("b/broken/plugin.toml"));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/lora/plugin.toml");
        std::fs::create_dir_all(root.path().join("b/lora")).expect("created");
        std::fs::copy(source, root.path().join("b/lora/plugin.toml")).expect("copied");
        let candidates = search(&surroundings(root.path()).folders(&[]));
        let problems: Vec<_> =
            candidates.iter().map(|found| found.problem.as_deref().expect("unusable")).collect();
        assert!(
            problems[0].contains("plugin.toml") && problems[1].contains("holds the source"),
            "{problems:?}"
        );
    }
}
