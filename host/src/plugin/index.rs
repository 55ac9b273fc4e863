//! `index.toml`: what a lab has to give, as one file beside its packages, in a folder or a static web directory.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::manifest::{self, version_order};
use super::package::{self, Contents};
use super::signature::Key;
use super::{PluginError, archive, fetch, load, verify};
use crate::config::ConfigError;
use crate::files;

/// Name of an index' file.
pub const FILE: &str = "index.toml";
const LARGEST: u64 = 4 << 20;
const HEAD: &str = "# Packages of this folder. Written by `coin-host plugin index`.\n\n";

/// The content of an `index.toml`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// Public keys of the lab that must not be trusted any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked: Vec<String>,
    #[serde(default, rename = "package")]
    pub packages: Vec<Listed>,
}

/// `[[package]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    pub name: String,
    pub version: String,
    /// The archive's file, beside the index.
    pub file: String,
    pub size: u64,
    pub sha256: String,
    /// The version of the border it was built with.
    pub api: String,
    /// The platforms that it has libraries for.
    pub target: Vec<String>,
    /// The id of the key that signed it, as minisign shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl Index {
    /// Parses and checks the text of an index.
    ///
    /// # Errors
    /// What is wrong with it, with a hint.
    pub fn parse(text: &str) -> Result<Index, String> {
        const AGAIN: &str = "hint: tell the lab; `coin-host plugin index` writes a sound one";
        let index: Index = toml::from_str(text)
            .map_err(|error| format!("{FILE}: {}\n{AGAIN}", manifest::fault(text, &error)))?;
        for listed in &index.packages {
            let wrong = |what: &str| Err(format!("{FILE}: {what}\n{AGAIN}"));
            if !manifest::is_name(&listed.name) || !manifest::is_version(&listed.version) {
                return wrong(&format!(
                    "`{}` {} is no name and version",
                    manifest::shown(&listed.name),
                    manifest::shown(&listed.version)
                ));
            }
            if !is_file_name(&listed.file) {
                return wrong(&format!(
                    "`{}` is not the name of a package's file",
                    manifest::shown(&listed.file)
                ));
            }
            let plain = |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
            let about = [&listed.api].into_iter().chain(&listed.target).chain(&listed.key);
            if manifest::api_version(&listed.api).is_none() || !about.into_iter().all(plain) {
                return wrong(&format!("api, target or key of `{}` are none", listed.file));
            }
            if !manifest::is_sha256(&listed.sha256) {
                return wrong(&format!("the sha256 of `{}` is none", listed.file));
            }
        }
        for key in &index.revoked {
            Key::parse(key).map_err(|error| format!("{FILE}: revoked: `{key}` is {error}"))?;
        }
        Ok(index)
    }

    /// The newest package of this name that runs here: a release, unless there are none or a version is asked for.
    ///
    /// # Errors
    /// That there is none, and what there is.
    pub fn choose(&self, name: &str, version: Option<&str>) -> Result<&Listed, String> {
        let here = manifest::target();
        let named = || self.packages.iter().filter(|listed| listed.name == name);
        let wanted = |listed: &&Listed| version.is_none_or(|version| listed.version == version);
        let runs = |listed: &&Listed| listed.target.contains(&here) && load::check_api(&listed.api).is_ok();
        // A release comes before everything that leads to one.
        let order = |listed: &&Listed| (!listed.version.contains('-'), version_order(&listed.version));
        if let Some(newest) = named().filter(wanted).filter(runs).max_by_key(order) {
            return Ok(newest);
        }
        let there: Vec<String> = named()
            .map(|listed| format!("{} (api {}, {})", listed.version, listed.api, listed.target.join(" and ")))
            .collect();
        if there.is_empty() {
            let mut names: Vec<&str> = self.packages.iter().map(|listed| listed.name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            return Err(format!(
                "it has no plugin `{name}`\nhint: it has {}",
                if names.is_empty() { String::from("none") } else { names.join(", ") }
            ));
        }
        let asked = version.map(|version| format!(" {version}")).unwrap_or_default();
        Err(format!(
            "it has no `{name}`{asked} that runs here (api {}, {here}), only {}\nhint: ask the lab for one",
            load::spoken(),
            there.join(", ")
        ))
    }

    /// Writes it in one move.
    ///
    /// # Errors
    /// That it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = format!("{HEAD}{}", toml::to_string(self)?);
        files::replace(path, text.as_bytes()).with_context(|| format!("{} cannot be written", path.display()))
    }
}

fn is_file_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+' | b'_');
    text.len() <= 255 && text.ends_with(package::ARCHIVE) && !text.starts_with('.') && text.bytes().all(plain)
}

/// Lists every package of a folder, and the keys that the folder's index already gives as revoked.
///
/// # Errors
/// A package that is not sound; an index that is not.
pub fn of_folder(folder: &Path, revoked: &[Key]) -> Result<Index> {
    let path = folder.join(FILE);
    let mut index = match path.is_file() {
        true => Place::Folder(folder.to_path_buf()).index(false)?,
        false => Index::default(),
    };
    for key in revoked.iter().map(Key::line) {
        if !index.revoked.contains(&key) {
            index.revoked.push(key);
        }
    }
    index.packages.clear();
    let entries = std::fs::read_dir(folder).map_err(|error| {
        let hint = "name the folder that `coin-host plugin pack --out` wrote to";
        ConfigError::new(format!("{} cannot be read: {error}", folder.display())).hint(hint)
    })?;
    for entry in entries {
        let path = entry?.path();
        let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if is_file_name(&file) {
            let bytes = read_archive(&path)?;
            let contents = package::open(&bytes, &path.display().to_string())?;
            index.packages.push(listed(&contents, file, &bytes)?);
        }
    }
    let order = |listed: &Listed| (listed.name.clone(), version_order(&listed.version), listed.file.clone());
    index.packages.sort_by_cached_key(order);
    Ok(index)
}

/// The bytes of a package's archive, through one descriptor.
///
/// # Errors
/// That it cannot be read, or is too large.
pub fn read_archive(path: &Path) -> Result<Vec<u8>, PluginError> {
    verify::read_up_to(path, archive::LARGEST, "a package")
        .map_err(|error| PluginError::refused(path.display().to_string(), error))
}

fn listed(contents: &Contents, file: String, bytes: &[u8]) -> Result<Listed> {
    let signature = contents.signature.as_deref().map(super::signature::Signature::parse).transpose();
    let (about, files) = (&contents.manifest.plugin, &contents.manifest.files);
    Ok(Listed {
        name: about.name.clone(),
        version: about.version.clone(),
        file,
        size: bytes.len() as u64,
        sha256: verify::sha256(bytes),
        api: contents.manifest.api.version.clone(),
        target: files.iter().filter_map(|file| file.target.clone()).collect(),
        key: signature.map_err(anyhow::Error::msg)?.map(|signature| signature.id()),
    })
}

/// Where an index and its packages are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Folder(PathBuf),
    /// Ends with `/`.
    Web(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Folder(folder) => write!(f, "{}", folder.display()),
            Place::Web(address) => f.write_str(address),
        }
    }
}

impl Place {
    /// A folder or a web address; that of the index itself is understood too.
    pub fn parse(text: &str) -> Place {
        let text = text.strip_suffix(FILE).unwrap_or(text);
        match fetch::is_address(text) {
            true => Place::Web(format!("{}/", text.trim_end_matches('/'))),
            false => Place::Folder(PathBuf::from(text)),
        }
    }

    fn read(&self, file: &str, most: u64, insecure: bool) -> Result<Vec<u8>> {
        match self {
            Place::Folder(folder) => verify::read_up_to(&folder.join(file), most, "what it should be")
                .map_err(|error| anyhow::anyhow!("{}: {error}", folder.join(file).display())),
            Place::Web(address) => fetch::get(&format!("{address}{file}"), most, insecure),
        }
    }

    /// Its index.
    ///
    /// # Errors
    /// That it cannot be had; [`PluginError::Refused`] with what is wrong with it.
    pub fn index(&self, insecure: bool) -> Result<Index> {
        let bytes = self.read(FILE, LARGEST, insecure)?;
        let text = String::from_utf8(bytes).map_err(|_| format!("{FILE} is not UTF-8\nhint: tell the lab"));
        let index = text.and_then(|text| Index::parse(&text));
        Ok(index.map_err(|error| PluginError::refused(format!("index of {self}"), error))?)
    }

    /// A package that its index lists, read whole and held against it.
    ///
    /// # Errors
    /// That it cannot be had; [`PluginError::Refused`] where it is another one.
    pub fn package(&self, listed: &Listed, insecure: bool) -> Result<Contents> {
        let name = match self {
            Place::Folder(folder) => folder.join(&listed.file).display().to_string(),
            Place::Web(address) => format!("{address}{}", listed.file),
        };
        let most = match self {
            Place::Folder(_) => archive::LARGEST,
            Place::Web(_) => archive::LARGEST.min(listed.size),
        };
        let bytes = self.read(&listed.file, most, insecure)?;
        let refused = |reason: String| PluginError::refused(name.clone(), reason);
        let by = "the index";
        verify::compare(bytes.len(), &verify::sha256(&bytes), listed.size, &listed.sha256, by).map_err(
            |error| {
                refused(format!("{error}\nhint: tell the lab; its index and its files are not of one state"))
            },
        )?;
        let contents = package::open(&bytes, &name)?;
        let about = &contents.manifest.plugin;
        if (&about.name, &about.version) != (&listed.name, &listed.version) {
            let reason = format!(
                "it is {} {}, not {} {} as the index says\nhint: tell the lab",
                about.name, about.version, listed.name, listed.version
            );
            return Err(refused(reason).into());
        }
        Ok(contents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(version: &str, api: &str, target: &str) -> Listed {
        Listed {
            name: "lora".into(),
            version: version.into(),
            file: format!("lora-{version}.{}", package::ARCHIVE),
            size: 1,
            sha256: "a".repeat(64),
            api: api.into(),
            target: vec![target.into()],
            key: None,
        }
    }

    #[test]
    fn the_newest_that_runs_here_is_chosen() {
        let here = manifest::target();
        let packages = vec![
            listed("1.9.0", "1.0", &here),
            listed("1.10.0", "1.0", &here),
            listed("1.11.0-rc.1", "1.0", &here),
            listed("1.12.0", "2.0", &here),
            listed("1.13.0", "1.0", "pdp11-unix"),
        ];
        let index = Index { packages, revoked: Vec::new() };
        let version = |name: &str, version| index.choose(name, version).map(|listed| listed.version.as_str());
        assert_eq!(version("lora", None), Ok("1.10.0"));
        assert_eq!(version("lora", Some("1.9.0")), Ok("1.9.0"));
        assert_eq!(version("lora", Some("1.11.0-rc.1")), Ok("1.11.0-rc.1"));
        let foreign = version("lora", Some("1.13.0")).expect_err("not for this machine");
        assert!(
            foreign.contains("no `lora` 1.13.0 that runs here") && foreign.contains("pdp11-unix"),
            "{foreign}"
        );
        assert!(version("ewc", None).expect_err("not there").contains("hint: it has lora"));
    }

    #[test]
    fn an_index_is_checked() {
        let sound =
            toml::to_string(&Index { packages: vec![listed("1.0.0", "1.0", "x")], revoked: Vec::new() })
                .expect("TOML");
        assert!(Index::parse(&sound).is_ok());
        for (from, to, part) in [
            ("lora-1.0.0", "../lora-1.0.0", "is not the name of a package's file"),
            ("lora-1.0.0", "https://x/lora", "is not the name of a package's file"),
            ("name = \"lora\"", "name = \"../x\"", "is no name and version"),
            ("\"1.0.0\"", "\"1/0\"", "is no name and version"),
            ("aaaa", "AAAA", "sha256"),
            ("size", "sise", "sise"),
            ("api = \"1.0\"", "api = \"1.0\\nhint: x\"", "api, target or key"),
            ("target = [\"x\"", "target = [\"\\u001b[2J\"", "api, target or key"),
        ] {
            let error = Index::parse(&sound.replacen(from, to, 1)).expect_err(to);
            assert!(error.contains(part) && error.contains("\nhint: "), "{error}");
        }
        assert!(Index::parse("revoked = [\"x\"]\n").expect_err("no key").contains("not a public key"));
    }

    #[test]
    fn a_place_is_a_folder_or_an_address() {
        for text in ["https://a.example/b", "https://a.example/b/", "https://a.example/b/index.toml"] {
            assert_eq!(Place::parse(text), Place::Web("https://a.example/b/".into()));
        }
        assert_eq!(Place::parse("shelf/index.toml"), Place::Folder("shelf/".into()));
    }
}
