//! `plugins.lock`: the libraries that a user, a project or the build has vouched for, by their sha256.

use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::keyring::Keyring;
use super::manifest::{fault, is_printed};
use super::{guard, verify};
use crate::config::ConfigError;
use crate::files;

/// Name of a lock's file.
pub const FILE: &str = "plugins.lock";
const LARGEST: u64 = 16 << 20;
const HEAD: &str = "# Libraries that may be loaded, by their sha256. Written by `coin-host plugin lock`.\n\n";

/// The content of a `plugins.lock`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    #[serde(default, rename = "plugin")]
    pub plugins: Vec<Locked>,
    /// Signed libraries that were taken out. They vouch for nothing: should their key be revoked later, its bytes are still known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<Removed>,
}

/// A library that was taken out, and the fingerprint of the key that signed its package.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removed {
    pub name: String,
    pub sha256: String,
    pub key: String,
}

/// One library.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    pub name: String,
    /// Not known of a bare library.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    pub sha256: String,
    pub size: u64,
    /// Where it was locked, for people: a copy elsewhere is as good.
    pub path: String,
    /// The file, address or lab that it was added from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Fingerprint of the key that signed its package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The commit that it was built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

impl Locked {
    /// Whether the key is revoked that signed its package.
    pub fn is_revoked(&self, keyring: &Keyring) -> bool {
        self.key.as_deref().is_some_and(|key| keyring.revoked(key).is_some())
    }
}

impl Lock {
    /// Reads a lock; without a file it is empty.
    ///
    /// # Errors
    /// What is wrong with the file, with a hint.
    pub fn read(path: &Path) -> Result<Lock, String> {
        let unsound = |why: &dyn std::fmt::Display| {
            format!(
                "{}: {why}\nhint: delete it, and lock again what you trust: `coin-host plugin lock`",
                path.display()
            )
        };
        if matches!(std::fs::metadata(path), Err(error) if error.kind() == std::io::ErrorKind::NotFound) {
            return Ok(Lock::default());
        }
        let bytes = verify::read_up_to(path, LARGEST, "a lock")
            .map_err(|error| unsound(&error.lines().next().unwrap_or_default()))?;
        let text = String::from_utf8(bytes).map_err(|_| unsound(&"not UTF-8"))?;
        Lock::parse(&text).map_err(|error| unsound(&error))
    }

    /// Parses the text of a lock.
    ///
    /// # Errors
    /// What is wrong with it, without a hint.
    pub fn parse(text: &str) -> Result<Lock, String> {
        let lock: Lock = toml::from_str(text).map_err(|error| fault(text, &error))?;
        let known = lock.plugins.iter().flat_map(|known| {
            let texts = [Some(&known.name), known.version.as_ref(), Some(&known.sha256), Some(&known.path)];
            texts
                .into_iter()
                .chain([known.source.as_ref(), known.key.as_ref(), known.commit.as_ref()])
                .flatten()
        });
        let gone = lock.removed.iter().flat_map(|gone| [&gone.name, &gone.sha256, &gone.key]);
        if let Some(text) = known.chain(gone).find(|text| !is_printed(text)) {
            return Err(format!("{text:?} has characters that are not printed"));
        }
        Ok(lock)
    }

    /// Writes a lock in one move: a reader sees the old one or the new one.
    ///
    /// # Errors
    /// That it cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = format!("{HEAD}{}", toml::to_string(self)?);
        files::replace(path, text.as_bytes()).with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Reads a lock, changes it and writes it, while no other process does.
    ///
    /// # Errors
    /// [`ConfigError`] for a lock that is not sound; that it cannot be written; what the change gives, and then nothing is written.
    pub fn change<T>(path: &Path, change: impl FnOnce(&mut Lock) -> anyhow::Result<T>) -> anyhow::Result<T> {
        guard::alone(path, || {
            let mut lock = Lock::read(path).map_err(ConfigError::new)?;
            let done = change(&mut lock)?;
            lock.write(path)?;
            Ok(done)
        })
    }

    /// Adds an entry in its place.
    pub fn put(&mut self, entry: Locked) {
        self.removed.retain(|gone| gone.sha256 != entry.sha256 || Some(&gone.key) != entry.key.as_ref());
        self.plugins.push(entry);
        self.plugins.sort_by(|a, b| (&a.name, &a.version, &a.path).cmp(&(&b.name, &b.version, &b.path)));
    }

    /// Takes out entries, but not those of a revoked key: by them its bytes are known wherever they come from. Of others whose package
    /// was signed, bytes and key stay noted down.
    pub fn forget(&mut self, keyring: &Keyring, which: impl Fn(&Locked) -> bool) {
        let goes = |known: &Locked| which(known) && !known.is_revoked(keyring);
        for known in self.plugins.iter().filter(|known| goes(known)) {
            let Some(key) = known.key.clone() else { continue };
            let gone = Removed { name: known.name.clone(), sha256: known.sha256.clone(), key };
            if !self.removed.contains(&gone) {
                self.removed.push(gone);
            }
        }
        self.plugins.retain(|known| !goes(known));
    }

    /// Whatever is known of these very bytes is known no more: they were signed anew, and are good again.
    pub fn signed_anew(&mut self, keyring: &Keyring, sha256: &str) {
        self.plugins.retain(|known| known.sha256 != sha256 || !known.is_revoked(keyring));
        self.removed.retain(|gone| gone.sha256 != sha256);
    }

    /// The keys that are known to have signed these very bytes.
    pub fn keys_of<'l>(&'l self, sha256: &'l str) -> impl Iterator<Item = &'l str> {
        let known = self.plugins.iter().filter(move |known| known.sha256 == sha256);
        let gone = self.removed.iter().filter(move |gone| gone.sha256 == sha256);
        known.filter_map(|known| known.key.as_deref()).chain(gone.map(|gone| gone.key.as_str()))
    }

    /// The entry of these very bytes.
    pub fn of(&self, name: &str, sha256: &str) -> Option<&Locked> {
        self.plugins.iter().find(|plugin| plugin.name == name && plugin.sha256 == sha256)
    }

    /// The entries of this name.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Locked> {
        self.plugins.iter().filter(move |plugin| plugin.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_survives_being_written_and_a_missing_one_is_empty() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(FILE);
        assert_eq!(Lock::read(&path), Ok(Lock::default()));
        let lock = Lock {
            plugins: vec![Locked {
                name: "lora".into(),
                version: Some("0.1.0".into()),
                sha256: "ab".into(),
                size: 2,
                path: "liblora.so".into(),
                source: Some("https://plugins.example/lora".into()),
                key: Some("cd".into()),
                commit: None,
            }],
            removed: vec![Removed { name: "lora".into(), sha256: "ab".into(), key: "ef".into() }],
        };
        lock.write(&path).expect("written");
        let read = Lock::read(&path).expect("sound");
        assert_eq!(read, lock);
        assert!(
            read.of("lora", "ab").is_some()
                && read.of("lora", "cd").is_none()
                && read.of("ewc", "ab").is_none()
        );
        assert_eq!(read.keys_of("ab").collect::<Vec<_>>(), ["cd", "ef"]);
        std::fs::write(&path, "[[plugin]]\nname = 1\n").expect("written");
        let error = Lock::read(&path).expect_err("not sound");
        assert!(error.contains(FILE) && error.contains("\nhint: "), "{error}");
    }
}
