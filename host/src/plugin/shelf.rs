//! A user's own plugins: packages and libraries in one folder, vouched for by the lock beside it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::catalog::{check_library, check_promise};
use super::discover::{self, Candidate, Origin, Surroundings};
use super::error::label;
use super::index::{self, Listed, Place};
use super::keyring::{self, Keyring, Lab, Signer};
use super::lock::{self, Lock, Locked};
use super::package::{self, Contents};
use super::signature::Key;
use super::verify;
use super::{Catalog, PluginError, archive, fetch};
use crate::config::ConfigError;
use crate::files;

mod admission;

/// The folder, its lock, and whose signatures count.
#[derive(Debug)]
pub struct Shelf {
    folder: PathBuf,
    lock: PathBuf,
    keys: Option<PathBuf>,
}

/// What adding leaves to the user.
#[derive(Debug, Clone, Copy, Default)]
pub struct Permissions {
    /// A shipped plugin's place may be taken.
    pub replace_shipped: bool,
    /// That of one which another lab signed, too.
    pub replace_signed: bool,
    /// Web addresses need not be encrypted.
    pub insecure_http: bool,
}

/// What was added.
#[derive(Debug)]
pub struct Added {
    pub locked: Locked,
    pub signer: Option<Signer>,
}

impl Shelf {
    /// That of the user.
    ///
    /// # Errors
    /// A user without a home.
    pub fn open(surroundings: &Surroundings) -> Result<Shelf, ConfigError> {
        let user = surroundings.home()?;
        Ok(Shelf { folder: user.join("plugins"), lock: user.join(lock::FILE), keys: surroundings.keys() })
    }

    /// Takes in a package (its archive, folder or web address, or `LAB:NAME[@VERSION]`) or a bare library, and locks it. No code of it
    /// runs, and nothing changes unless it is sound; but keys that a lab's index gives as revoked are noted down in any case. `told`
    /// gets what the user should know, also where nothing is added.
    ///
    /// # Errors
    /// [`PluginError::Refused`], also for the name of a shipped plugin; [`ConfigError`] for what is no place to add from; a file that
    /// cannot be had; a folder that cannot be written.
    pub fn add(&self, source: &str, permissions: Permissions, told: &mut Vec<String>) -> Result<Added> {
        let path = Path::new(source);
        if fetch::is_address(source) {
            let bytes = fetch::get(source, archive::LARGEST, permissions.insecure_http)?;
            return self.add_package(package::open(&bytes, source)?, source, None, permissions);
        }
        if path.is_dir() {
            return self.add_package(Contents::read(path)?, source, None, permissions);
        }
        if source.ends_with(".tar.zst") && path.exists() {
            let contents = package::open(&index::read_archive(path)?, source)?;
            return self.add_package(contents, source, None, permissions);
        }
        if !path.exists()
            && let Some((lab, wanted)) = of_lab(source)
        {
            return self.add_from_lab(lab, wanted, permissions, told);
        }
        self.add_library(path, permissions)
    }

    /// Takes the newest package of a lab, which must be signed by a key of this very lab. A lab that cannot be reached, or whose
    /// package is refused, is left out.
    fn add_from_lab(
        &self,
        lab: &str,
        wanted: &str,
        permissions: Permissions,
        told: &mut Vec<String>,
    ) -> Result<Added> {
        let keyring = self.keyring()?;
        let is_asked = |known: &&Lab| known.name == lab || lab == keyring::ANY_LAB;
        let labs: Vec<&Lab> = keyring.labs.iter().filter(is_asked).collect();
        if labs.is_empty() {
            let known: Vec<&str> = keyring.labs.iter().map(|lab| lab.name.as_str()).collect();
            let only = if known.is_empty() { String::new() } else { format!(", only {}", known.join(", ")) };
            let add = format!(
                "`coin-host plugin trust add {lab} --key RW.. --index ADDRESS`, with the key from the lab itself"
            );
            return Err(ConfigError::new(format!("no lab is known as `{lab}`{only}")).hint(add).into());
        }
        let (mut why, mut is_there, is_only) = (Vec::new(), false, labs.len() == 1);
        for lab in labs {
            match self.offer(lab, wanted, permissions, told) {
                Ok(Ok((contents, source))) => {
                    let added = match self.add_package(contents, &source, Some(lab), permissions) {
                        Ok(added) => added,
                        Err(error) if error.is::<PluginError>() && !is_only => {
                            is_there = true;
                            why.push(format!("lab {}: {error:#}", lab.name));
                            continue;
                        }
                        Err(error) => return Err(error),
                    };
                    told.extend(
                        why.iter().map(|reason: &String| format!("left out: {}", first_line(reason))),
                    );
                    return Ok(added);
                }
                Ok(Err(reason)) => {
                    is_there = true;
                    why.push(format!("lab {}: {reason}", lab.name));
                }
                Err(error) => {
                    is_there |= error.is::<PluginError>();
                    why.push(format!("lab {}: {error:#}", lab.name));
                }
            }
        }
        let (name, _) = discover::reference(wanted);
        match is_there {
            true => Err(PluginError::refused(format!("`{name}`"), why.join("\n")).into()),
            false => bail!("plugin `{name}` cannot be had: {}", why.join("\n")),
        }
    }

    /// What a lab has of a plugin, read whole. The keys that its index gives as revoked are noted down first.
    fn offer(
        &self,
        lab: &Lab,
        wanted: &str,
        permissions: Permissions,
        told: &mut Vec<String>,
    ) -> Result<Offer> {
        let (name, version) = discover::reference(wanted);
        let Some(place) = lab.index.as_deref().map(Place::parse) else {
            return Ok(Err(format!(
                "no place is known\nhint: `coin-host plugin trust add {} --index ADDRESS`",
                lab.name
            )));
        };
        let index = place.index(permissions.insecure_http)?;
        for key in self.take_over(&index.revoked, &lab.name)? {
            told.push(format!("the key {key} is revoked by the lab; it is noted down"));
        }
        let listed: &Listed = match index.choose(name, version) {
            Ok(listed) => listed,
            Err(reason) => return Ok(Err(format!("{reason} ({place})"))),
        };
        let contents = place.package(listed, permissions.insecure_http)?;
        let separator = if place.to_string().ends_with('/') { "" } else { "/" };
        Ok(Ok((contents, format!("{place}{separator}{}", listed.file))))
    }

    /// Notes down keys of a lab that its own index says are revoked. It cannot revoke another's.
    fn take_over(&self, revoked: &[String], lab: &str) -> Result<Vec<String>> {
        let Some(path) = self.keys.as_deref().filter(|_| !revoked.is_empty()) else { return Ok(Vec::new()) };
        let own = |keyring: &Keyring| -> Vec<Key> {
            let keys = revoked.iter().filter_map(|line| Key::parse(line).ok());
            keys.filter(|key| keyring.lab(lab).is_some_and(|lab| lab.has(&key.fingerprint()))).collect()
        };
        // Where nothing is to be noted down, the keyring need not be one that can be written.
        if own(&self.keyring()?).is_empty() {
            return Ok(Vec::new());
        }
        Keyring::change(path, |keyring| {
            let own = own(keyring);
            for key in &own {
                keyring.revoke(key, Some(String::from("by the lab's index")));
            }
            Ok(own.iter().map(|key| format!("{} of lab {lab}", key.id())).collect())
        })
    }

    fn add_package(
        &self,
        contents: Contents,
        source: &str,
        lab: Option<&Lab>,
        permissions: Permissions,
    ) -> Result<Added> {
        let about = contents.manifest.plugin.clone();
        let refused = |reason: String| -> anyhow::Error {
            PluginError::refused(format!("`{}` {}", about.name, about.version), reason).into()
        };
        admission::not_shipped(&about.name, permissions)?;
        check_promise(&contents.manifest).map_err(refused)?;
        let file = discover::library(&contents.manifest).map_err(refused)?;
        let bytes = contents.file(&file.path).unwrap_or_default();
        let sha256 = verify::sha256(bytes);
        check_library(bytes, &sha256, Some(&contents.manifest)).map_err(refused)?;
        // Read only now: fetching takes its time, and a key may be revoked meanwhile.
        let keyring = self.keyring()?;
        let signer = admission::admitted(&contents, &keyring, lab).map_err(refused)?;
        let entry = Locked {
            name: about.name.clone(),
            version: Some(about.version.clone()),
            sha256,
            size: bytes.len() as u64,
            source: Some(source.to_string()),
            key: signer.as_ref().map(|signer| signer.fingerprint.clone()),
            commit: contents.manifest.build.commit.clone(),
            ..Locked::default()
        };
        let locked = self.take_in(entry, &keyring, signer.as_ref(), permissions, || {
            Ok(contents.write_folder(&self.folder)?.join(&file.path))
        })?;
        Ok(Added { locked, signer })
    }

    fn add_library(&self, source: &Path, permissions: Permissions) -> Result<Added> {
        if !source.exists() {
            let hint = "give the path or web address of a package, the path of a library, or LAB:NAME";
            return Err(ConfigError::new(format!("there is no {}", source.display())).hint(hint).into());
        }
        let Some(candidate) = Candidate::at(source) else {
            let reason = format!(
                "neither a package nor named as a plugin's library\nhint: a package ends with .{}, the library of `a-b` is {}",
                package::ARCHIVE,
                discover::library_file("a-b")
            );
            return Err(PluginError::refused(source.display().to_string(), reason).into());
        };
        admission::not_shipped(&candidate.name, permissions)?;
        let image = Catalog::empty().read(&candidate)?;
        let entry = Locked {
            name: candidate.name.clone(),
            sha256: image.sha256.clone(),
            size: image.bytes.len() as u64,
            source: Some(source.display().to_string()),
            ..Locked::default()
        };
        let locked = self.take_in(entry, &self.keyring()?, None, permissions, || {
            std::fs::create_dir_all(&self.folder).with_context(|| package::unmade(&self.folder))?;
            let path = self.folder.join(discover::library_file(&candidate.name));
            files::replace(&path, &image.bytes)
                .with_context(|| format!("{} cannot be written", path.display()))?;
            Ok(path)
        })?;
        Ok(Added { locked, signer: None })
    }

    /// Puts a plugin in its place and vouches for it. A lock that cannot be read, and who must not be replaced, is found before.
    fn take_in(
        &self,
        entry: Locked,
        keyring: &Keyring,
        signer: Option<&Signer>,
        permissions: Permissions,
        place: impl FnOnce() -> Result<PathBuf>,
    ) -> Result<Locked> {
        Lock::change(&self.lock, |lock| {
            let bytes = (entry.name.as_str(), entry.sha256.as_str());
            admission::replaces(lock, keyring, bytes, signer, permissions).map_err(|reason| {
                PluginError::refused(label(&entry.name, entry.version.as_deref()), reason)
            })?;
            let path = place()?;
            let root = self.lock.parent().unwrap_or(Path::new(""));
            let path = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            let entry = Locked { path, ..entry };
            lock.forget(keyring, |known| known.path == entry.path);
            if signer.is_some() {
                lock.signed_anew(keyring, &entry.sha256);
            }
            lock.put(entry.clone());
            Ok(entry)
        })
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
        let keyring = self.keyring()?;
        Lock::change(&self.lock, |lock| {
            let mut removed = Vec::new();
            for candidate in found {
                let place = self.top(&candidate.path)?;
                lock.forget(&keyring, |known| self.place(known).starts_with(&place));
                if place.is_dir() { std::fs::remove_dir_all(&place) } else { std::fs::remove_file(&place) }
                    .with_context(|| format!("{} cannot be removed", place.display()))?;
                removed.push(place);
            }
            Ok(removed)
        })
    }

    /// What stands directly in the folder: the package that a library is part of, or the library.
    fn top(&self, library: &Path) -> Result<PathBuf> {
        let Ok(below) = library.strip_prefix(&self.folder) else {
            bail!("{} is not in {}", library.display(), self.folder.display())
        };
        Ok(self.folder.join(below.components().next().context("an empty path")?))
    }

    fn keyring(&self) -> Result<Keyring, ConfigError> {
        let keyring = self.keys.as_deref().map(Keyring::read).transpose();
        Ok(keyring.map_err(ConfigError::new)?.unwrap_or_default())
    }
}

/// A package that a lab has to give and where it was, or why there is none.
type Offer = Result<(Contents, String), String>;

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// `LAB:NAME[@VERSION]`.
fn of_lab(text: &str) -> Option<(&str, &str)> {
    let (lab, wanted) = text.split_once(':')?;
    let named = super::manifest::is_name(lab) && super::manifest::is_name(discover::reference(wanted).0);
    named.then_some((lab, wanted))
}
