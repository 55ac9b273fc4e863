//! A user's own plugins: packages and libraries in one folder, vouched for by the lock beside it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use super::catalog::check_library;
use super::discover::{self, Candidate, Origin, Surroundings};
use super::index::{self, Place};
use super::keyring::{self, Keyring, Lab, Signer, Standing};
use super::lock::{self, Lock, Locked};
use super::package::{self, Contents};
use super::signature::Key;
use super::verify::{self, Image};
use super::{Catalog, PluginError, archive, fetch, load, shipped};
use crate::files;

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
    /// Web addresses need not be encrypted.
    pub insecure_http: bool,
}

/// What was added.
#[derive(Debug)]
pub struct Added {
    pub locked: Locked,
    pub signer: Option<Signer>,
    /// Keys that the lab's index says are revoked, now noted in the keyring; as messages name them.
    pub revoked: Vec<String>,
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
        Ok(Shelf { folder: user.join("plugins"), lock: user.join(lock::FILE), keys: surroundings.keys() })
    }

    /// Takes in a package (its archive, folder or web address, or `LAB:NAME[@VERSION]`) or a bare library, and locks it. No code of it
    /// runs, and nothing changes unless it is sound.
    ///
    /// # Errors
    /// [`PluginError::Refused`], also for the name of a shipped plugin; a file that cannot be had; a folder that cannot be written.
    pub fn add(&self, source: &str, permissions: Permissions) -> Result<Added> {
        let mut keyring = self.keyring()?;
        let path = Path::new(source);
        if fetch::is_address(source) {
            let bytes = fetch::get(source, archive::LARGEST, permissions.insecure_http)?;
            return self.add_package(&package::open(&bytes, source)?, source, &keyring, None, permissions);
        }
        if path.is_dir() {
            return self.add_package(&Contents::read(path)?, source, &keyring, None, permissions);
        }
        if source.ends_with(".tar.zst") && path.exists() {
            let contents = package::open(&index::read_archive(path)?, source)?;
            return self.add_package(&contents, source, &keyring, None, permissions);
        }
        if !path.exists()
            && let Some((lab, wanted)) = of_lab(source)
        {
            return self.add_from_lab(lab, wanted, &mut keyring, permissions);
        }
        self.add_library(path, permissions)
    }

    /// Takes the newest package of a lab, which must be signed by a key of this very lab.
    fn add_from_lab(
        &self,
        lab: &str,
        wanted: &str,
        keyring: &mut Keyring,
        permissions: Permissions,
    ) -> Result<Added> {
        let (name, version) = discover::reference(wanted);
        let labs: Vec<Lab> = keyring
            .labs
            .iter()
            .filter(|known| known.name == lab || lab == keyring::ANY_LAB)
            .cloned()
            .collect();
        let known: Vec<&str> = keyring.labs.iter().map(|lab| lab.name.as_str()).collect();
        ensure!(
            !labs.is_empty(),
            "no lab is known as `{lab}`{}\nhint: `coin-host plugin trust add {lab} --key RW.. --index ADDRESS`, with the key from the lab itself",
            if known.is_empty() { String::new() } else { format!(", only {}", known.join(", ")) }
        );
        let (mut revoked, mut why) = (Vec::new(), Vec::new());
        for lab in &labs {
            let Some(place) = lab.index.as_deref().map(Place::parse) else {
                why.push(format!(
                    "lab {}: no place is known\nhint: `coin-host plugin trust add {} --index ADDRESS`",
                    lab.name, lab.name
                ));
                continue;
            };
            let index = place.index(permissions.insecure_http)?;
            revoked.extend(self.take_over(&index.revoked, lab, keyring)?);
            match index.choose(name, version) {
                Ok(listed) => {
                    let contents = place.package(listed, permissions.insecure_http)?;
                    let source = format!(
                        "{place}{}{}",
                        if place.to_string().ends_with('/') { "" } else { "/" },
                        listed.file
                    );
                    let added = self.add_package(&contents, &source, keyring, Some(lab), permissions)?;
                    return Ok(Added { revoked, ..added });
                }
                Err(reason) => why.push(format!("lab {} ({place}): {reason}", lab.name)),
            }
        }
        Err(PluginError::refused(format!("`{name}`"), why.join("\n")).into())
    }

    /// Notes down keys of a lab that its own index says are revoked. It cannot revoke another's.
    fn take_over(&self, revoked: &[String], lab: &Lab, keyring: &mut Keyring) -> Result<Vec<String>> {
        let keys = revoked.iter().filter_map(|line| Key::parse(line).ok());
        let own: Vec<Key> = keys.filter(|key| lab.has(&key.fingerprint())).collect();
        for key in &own {
            keyring.revoke(key, Some(String::from("by the lab's index")));
        }
        if let (Some(path), false) = (&self.keys, own.is_empty()) {
            keyring.write(path)?;
        }
        Ok(own.iter().map(|key| format!("{} of lab {}", key.id(), lab.name)).collect())
    }

    fn add_package(
        &self,
        contents: &Contents,
        source: &str,
        keyring: &Keyring,
        lab: Option<&Lab>,
        permissions: Permissions,
    ) -> Result<Added> {
        let about = &contents.manifest.plugin;
        let refused = |reason: String| -> anyhow::Error {
            PluginError::refused(format!("`{}` {}", about.name, about.version), reason).into()
        };
        not_shipped(&about.name, permissions)?;
        load::check_api(&contents.manifest.api.version).map_err(refused)?;
        let file = discover::library(&contents.manifest).map_err(refused)?;
        let bytes = contents.file(&file.path).unwrap_or_default().to_vec();
        let image = Image { sha256: verify::sha256(&bytes), bytes };
        check_library(&image, Some(&contents.manifest)).map_err(refused)?;
        let signer = admitted(contents, keyring, lab).map_err(refused)?;
        let path = || -> Result<PathBuf> {
            std::fs::create_dir_all(&self.folder)
                .with_context(|| format!("{} cannot be made", self.folder.display()))?;
            Ok(contents.write_folder(&self.folder)?.join(&file.path))
        };
        let commit = contents.manifest.build.commit.clone();
        let origin = Locked {
            version: Some(about.version.clone()),
            source: Some(source.to_string()),
            key: signer.as_ref().map(|signer| signer.fingerprint.clone()),
            commit,
            ..Locked::default()
        };
        let locked = self.lock(about.name.clone(), &image, origin, path)?;
        Ok(Added { locked, signer, revoked: Vec::new() })
    }

    fn add_library(&self, source: &Path, permissions: Permissions) -> Result<Added> {
        ensure!(
            source.exists(),
            "there is no {}\nhint: give the path or web address of a package, the path of a library, or LAB:NAME",
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
        not_shipped(&candidate.name, permissions)?;
        let image = Catalog::empty().read(&candidate)?;
        let path = || -> Result<PathBuf> {
            std::fs::create_dir_all(&self.folder)
                .with_context(|| format!("{} cannot be made", self.folder.display()))?;
            let path = self.folder.join(discover::library_file(&candidate.name));
            files::replace(&path, &image.bytes)
                .with_context(|| format!("{} cannot be written", path.display()))?;
            Ok(path)
        };
        let origin = Locked { source: Some(source.display().to_string()), ..Locked::default() };
        let locked = self.lock(candidate.name.clone(), &image, origin, path)?;
        Ok(Added { locked, signer: None, revoked: Vec::new() })
    }

    /// Puts a plugin in its place and vouches for it. A lock that cannot be read is found before.
    fn lock(
        &self,
        name: String,
        image: &Image,
        origin: Locked,
        place: impl FnOnce() -> Result<PathBuf>,
    ) -> Result<Locked> {
        let mut lock = self.locked()?;
        let path = place()?;
        let root = self.lock.parent().unwrap_or(Path::new(""));
        let entry = Locked {
            name,
            sha256: image.sha256.clone(),
            size: image.bytes.len() as u64,
            path: path.strip_prefix(root).unwrap_or(&path).display().to_string(),
            ..origin
        };
        lock.plugins.retain(|known| known.path != entry.path);
        lock.plugins.push(entry.clone());
        lock.plugins.sort_by(|a, b| (&a.name, &a.version, &a.path).cmp(&(&b.name, &b.version, &b.path)));
        lock.write(&self.lock)?;
        Ok(entry)
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

    fn keyring(&self) -> Result<Keyring> {
        let keyring = self.keys.as_deref().map(Keyring::read).transpose();
        Ok(keyring.map_err(anyhow::Error::msg)?.unwrap_or_default())
    }
}

/// `LAB:NAME[@VERSION]`.
fn of_lab(text: &str) -> Option<(&str, &str)> {
    let (lab, wanted) = text.split_once(':')?;
    let named = super::manifest::is_name(lab) && super::manifest::is_name(discover::reference(wanted).0);
    named.then_some((lab, wanted))
}

/// Whether a package's signature lets it in, and whose it is. One without a signature is let in on the user's word alone, unless it
/// was asked of a lab.
fn admitted(contents: &Contents, keyring: &Keyring, lab: Option<&Lab>) -> Result<Option<Signer>, String> {
    const TRUST: &str = "hint: `coin-host plugin trust add LAB --key RW..` trusts it; get the key from the lab itself, not from where the package was";
    let Some(signature) = &contents.signature else {
        return match lab {
            None => Ok(None),
            Some(lab) => Err(format!(
                "lab {} did not sign it\nhint: tell the lab; `coin-host plugin pack --sign KEY`",
                lab.name
            )),
        };
    };
    match keyring.standing(contents.text.as_bytes(), signature, keyring::today()) {
        Standing::Trusted(signer) => match lab.filter(|lab| lab.name != signer.lab) {
            None => Ok(Some(signer)),
            Some(lab) => Err(format!(
                "it is signed by lab {}, not by lab {}\nhint: ask for it there",
                signer.lab, lab.name
            )),
        },
        Standing::Expired(signer, until) => Err(format!(
            "its signature is by a key of lab {} that was trusted until {until}\nhint: ask the lab for a package signed with its new key",
            signer.lab
        )),
        Standing::Unknown(id) => {
            Err(format!("its signature is by the key {id}, which is not trusted\n{TRUST}"))
        }
        Standing::Revoked(why) => {
            Err(format!("{why}\nhint: ask the lab for a package signed with its new key"))
        }
        Standing::Broken(why) => Err(format!("its signature does not hold: {why}")),
    }
}

/// A plugin of a shipped one's name would take its place in every later run.
fn not_shipped(name: &str, permissions: Permissions) -> Result<()> {
    if permissions.replace_shipped || shipped::manifest(name).is_none() {
        return Ok(());
    }
    let reason = "a shipped plugin has this name, and runs would use this one in its place\nhint: give yours another name, or add it with --replace-shipped";
    Err(PluginError::refused(format!("`{name}`"), reason).into())
}
