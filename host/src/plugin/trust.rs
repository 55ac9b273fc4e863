//! Which libraries may be loaded. A lock says "these very bytes", not "safe": a plugin is native code with the user's rights.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;
use toml::value::Date;

use super::discover::{self, Candidate, Origin, Surroundings};
use super::keyring::{self, Keyring, Signer, Standing};
use super::lock::{self, Lock, Locked};
use super::manifest;
use super::verify::{self, Image};
use crate::config::Trust;

/// On what ground a library was accepted. Reports show everything but `Locked`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// Its sha256 stands in a lock.
    Locked,
    /// One's own build: listed in `[plugins] dev`, or just built by cargo beside the program.
    Dev,
    /// `trust = "signed"`, and a trusted key signed its package.
    Signed,
    /// `trust = "any"`.
    Unverified,
}

/// On what ground a library was accepted, and what is known of where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ground {
    pub mark: Mark,
    /// The lab that signed its package, and with which key.
    pub signer: Option<Signer>,
    /// Fingerprint of the key that signed its package: the signer's, else that of when it was locked.
    pub key: Option<String>,
    /// The commit that it was built from.
    pub commit: Option<String>,
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Mark::Locked => "locked",
            Mark::Dev => "dev",
            Mark::Signed => "signed",
            Mark::Unverified => "unverified",
        })
    }
}

/// Why a sound library is not loaded, with a hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Distrust {
    /// Nobody vouched for it.
    Unlocked(String),
    /// It is not the one that was locked, or the policy takes none.
    Refused(String),
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Distrust::Unlocked(reason) | Distrust::Refused(reason)) = self;
        f.write_str(reason)
    }
}

/// What is trusted in a run.
#[derive(Debug, Clone)]
pub struct Policy {
    trust: Trust,
    dev: Vec<PathBuf>,
    locks: Vec<(PathBuf, Lock)>,
    keyring: Keyring,
    today: Date,
    /// A lock or a keyring that cannot be read: nothing is loaded until it can.
    unreadable: Option<String>,
}

impl Policy {
    /// The policy of a configuration, with the locks of the project (`./plugins.lock`), of the user
    /// (`$XDG_DATA_HOME/coin-host/plugins.lock`) and of the installation (next to the program). Locks in plugin folders do not count:
    /// whoever brings a library must not vouch for it. A lock that cannot be read refuses every plugin.
    pub fn new(trust: Trust, dev: &[PathBuf], surroundings: &Surroundings) -> Policy {
        let folders = [Some(surroundings.current.clone()), surroundings.user(), surroundings.installation()];
        let (mut locks, mut unreadable): (Vec<(PathBuf, Lock)>, _) = (Vec::new(), None);
        for path in folders.into_iter().flatten().map(|folder| folder.join(lock::FILE)) {
            if locks.iter().any(|(known, _)| *known == path) {
                continue;
            }
            match Lock::read(&path) {
                Ok(lock) => locks.push((path, lock)),
                Err(error) => unreadable = Some(error),
            }
        }
        let keyring = surroundings.keys().map(|path| Keyring::read(&path)).transpose();
        let keyring = keyring.unwrap_or_else(|error| {
            unreadable = Some(error);
            None
        });
        let dev = dev.iter().map(|path| canonical(path)).collect();
        let (keyring, today) = (keyring.unwrap_or_default(), keyring::today());
        Policy { trust, dev, locks, keyring, today, unreadable }
    }

    /// What the signature beside a candidate's manifest is worth; `None` without one.
    pub fn standing(&self, candidate: &Candidate) -> Option<Standing> {
        let signed = candidate.signed.as_ref()?;
        Some(self.keyring.standing(signed.manifest.as_bytes(), &signed.signature, self.today))
    }

    /// Whether these bytes may be loaded, and on what ground.
    ///
    /// # Errors
    /// Why not, with a hint.
    pub fn judge(&self, candidate: &Candidate, image: &Image) -> Result<Ground, Distrust> {
        let name = candidate.name.as_str();
        if let Some(error) = &self.unreadable {
            return Err(Distrust::Refused(error.clone()));
        }
        let entries = self.entries(name, image);
        let locked = entries.first().copied();
        let standing = self.not_revoked(candidate, image)?;
        let signer = match &standing {
            Some(Standing::Trusted(signer) | Standing::Expired(signer, _)) => Some(signer.clone()),
            _ => None,
        };
        let of_lock = |of: fn(&Locked) -> &Option<String>| locked.and_then(|locked| of(locked).clone());
        let key = signer.as_ref().map(|signer| signer.fingerprint.clone());
        let built = candidate.manifest.as_ref().and_then(|manifest| manifest.build.commit.clone());
        let ground = |mark| Ground {
            mark,
            signer: signer.clone(),
            key: key.or_else(|| of_lock(|locked| &locked.key)),
            commit: built.or_else(|| of_lock(|locked| &locked.commit)),
        };
        match self.mark(candidate, locked.is_some(), standing.as_ref()) {
            Some(mark) => Ok(ground(mark)),
            None => Err(self.distrust(candidate, image, standing.as_ref())),
        }
    }

    /// What is known of where these bytes come from, by the locks and the package: source, commit, key of the signature.
    ///
    /// # Errors
    /// That they must not be vouched for: a revoked key signed them, or their signature does not hold.
    pub fn origin(&self, candidate: &Candidate, image: &Image) -> Result<Locked, Distrust> {
        let entries = self.entries(&candidate.name, image);
        let key = match self.not_revoked(candidate, image)? {
            Some(Standing::Trusted(signer) | Standing::Expired(signer, _)) => Some(signer.fingerprint),
            _ => None,
        };
        let known = |of: fn(&Locked) -> &Option<String>| entries.iter().find_map(|entry| of(entry).clone());
        let built = candidate.manifest.as_ref().and_then(|manifest| manifest.build.commit.clone());
        Ok(Locked {
            source: known(|entry| &entry.source),
            key: key.or_else(|| known(|entry| &entry.key)),
            commit: built.or_else(|| known(|entry| &entry.commit)),
            ..Locked::default()
        })
    }

    /// The keys that are trusted and revoked.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    fn entries(&self, name: &str, image: &Image) -> Vec<&Locked> {
        let same = |entry: &&Locked| entry.sha256 == image.sha256;
        self.locks.iter().flat_map(|(_, lock)| lock.named(name)).filter(same).collect()
    }

    /// What the signature is worth, where neither its key nor one that a lock knows is revoked.
    fn not_revoked(&self, candidate: &Candidate, image: &Image) -> Result<Option<Standing>, Distrust> {
        let standing = self.standing(candidate);
        self.no_revoked_key(standing.as_ref(), None)?;
        // Any lock may be the one that knows the key, under whatever name.
        let mut keys = self.locks.iter().flat_map(|(_, lock)| lock.keys_of(&image.sha256));
        keys.try_for_each(|key| self.no_revoked_key(standing.as_ref(), Some(key)))?;
        Ok(standing)
    }

    /// Whatever else vouches for it: nothing by a key that is revoked, and no manifest that is not the one that was signed.
    fn no_revoked_key(&self, standing: Option<&Standing>, key: Option<&str>) -> Result<(), Distrust> {
        let hint =
            "hint: `coin-host plugin remove` it, and ask the lab for a package signed with its new key";
        let of_lock = key.and_then(|key| self.keyring.revoked(key));
        match standing {
            Some(Standing::Revoked(why)) => Err(Distrust::Refused(format!("{why}\n{hint}"))),
            Some(Standing::Broken(why)) => {
                Err(Distrust::Refused(format!("its signature does not hold: {why}")))
            }
            // Signed anew by a key that is good, these very bytes are good again.
            Some(Standing::Trusted(_)) => Ok(()),
            _ => match of_lock {
                Some(revoked) => Err(Distrust::Refused(format!("{}\n{hint}", revoked.words()))),
                None => Ok(()),
            },
        }
    }

    fn mark(&self, candidate: &Candidate, is_locked: bool, standing: Option<&Standing>) -> Option<Mark> {
        if is_locked {
            return Some(Mark::Locked);
        }
        let library = canonical(&candidate.path);
        if self.dev.iter().any(|path| library.starts_with(path)) {
            return Some(Mark::Dev);
        }
        // The lock beside the program, whatever other locks say of the name.
        let beside = |path: &Path| path.parent().is_some_and(|folder| candidate.path.starts_with(folder));
        let installed = self
            .locks
            .iter()
            .find(|(path, lock)| beside(path) && lock.named(&candidate.name).next().is_some())
            .map(|(path, _)| path.as_path());
        if candidate.origin == Origin::Program && built_by_cargo(candidate, installed) {
            return Some(Mark::Dev);
        }
        match self.trust {
            Trust::Any => Some(Mark::Unverified),
            Trust::Signed if matches!(standing, Some(Standing::Trusted(_))) => Some(Mark::Signed),
            Trust::Signed | Trust::Locked => None,
        }
    }

    /// Why nothing vouches for it.
    fn distrust(&self, candidate: &Candidate, image: &Image, standing: Option<&Standing>) -> Distrust {
        let path = manifest::shown(&candidate.path.display().to_string());
        let dev = format!("`[plugins] dev = [\"{path}\"]` accepts your own build");
        if self.trust == Trust::Signed {
            return Distrust::Unlocked(match standing {
                Some(Standing::Unknown(id)) => format!(
                    "its signature is by the key {id}, which is not trusted, and it stands in no plugins.lock\nhint: `coin-host plugin trust add LAB --key RW..` trusts the key; get it from the lab itself"
                ),
                Some(Standing::Expired(signer, until)) => format!(
                    "its signature is by a key of lab {} that was trusted until {until}, and it stands in no plugins.lock\nhint: ask the lab for a package signed with its new key",
                    signer.lab
                ),
                _ => format!(
                    "it is not signed, and stands in no plugins.lock (sha256 {})\nhint: `coin-host plugin lock {path}` vouches for it; {dev}",
                    image.sha256
                ),
            });
        }
        let name = candidate.name.as_str();
        let locked = self.locks.iter().find_map(|(path, lock)| Some((path, lock.named(name).last()?)));
        match locked {
            Some((lock, locked)) => {
                let by = lock.display().to_string();
                let changed =
                    verify::compare(image.bytes.len(), &image.sha256, locked.size, &locked.sha256, &by);
                let reason = changed.err().unwrap_or_default();
                Distrust::Refused(format!(
                    "{reason}\nhint: `coin-host plugin lock {path}` locks this file if it is meant; {dev}"
                ))
            }
            None => Distrust::Unlocked(format!(
                "it stands in no plugins.lock (sha256 {})\nhint: `coin-host plugin lock {path}` vouches for it; {dev}",
                image.sha256
            )),
        }
    }
}

/// Whether cargo built a library beside the program, and after the lock there was written where that one names it: `cargo build`
/// writes none, `make build` does.
fn built_by_cargo(candidate: &Candidate, lock: Option<&Path>) -> bool {
    let folders = candidate.path.ancestors().skip(1).take(2);
    let Some(profile) = folders.into_iter().find(|folder| discover::is_cargo_profile(folder)) else {
        return false;
    };
    let modified = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    match lock.and_then(modified) {
        Some(locked) => last_built(profile, &candidate.name).is_some_and(|built| built > locked),
        None => last_built(profile, &candidate.name).is_some(),
    }
}

/// When cargo last finished a library, by its own record: the file's own date also changes when somebody writes into it.
fn last_built(profile: &Path, name: &str) -> Option<SystemTime> {
    let record = format!("dep-lib-{}", name.replace('-', "_"));
    let packages = std::fs::read_dir(profile.join(".fingerprint")).ok()?;
    packages
        .flatten()
        .filter_map(|package| {
            std::fs::metadata(package.path().join(&record)).and_then(|record| record.modified()).ok()
        })
        .max()
}

fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        root: tempfile::TempDir,
        image: Image,
    }

    impl World {
        fn new() -> World {
            let root = tempfile::tempdir().expect("a temporary folder");
            for folder in
                ["project", "target/release/deps", "target/release/.fingerprint/coin-plugin-lora-1", "other"]
            {
                std::fs::create_dir_all(root.path().join(folder)).expect("created");
            }
            let bytes = b"code".to_vec();
            World { root, image: Image { sha256: verify::sha256(&bytes), bytes } }
        }

        fn lock(&self, folder: &str, sha256: &str) -> PathBuf {
            let path = self.root.path().join(folder).join(lock::FILE);
            let entry = |sha256: &str| Locked {
                name: "lora".into(),
                version: None,
                sha256: sha256.into(),
                size: 4,
                path: "x".into(),
                ..Locked::default()
            };
            Lock { plugins: vec![entry(sha256)], ..Lock::default() }.write(&path).expect("written");
            path
        }

        fn judge(&self, trust: Trust, dev: &[&str], folder: &str, origin: Origin) -> Result<Mark, String> {
            let surroundings = Surroundings {
                current: self.root.path().join("project"),
                program: Some(self.root.path().join("target/release")),
                ..Surroundings::default()
            };
            let dev: Vec<PathBuf> = dev.iter().map(|path| self.root.path().join(path)).collect();
            let path = self.root.path().join(folder).join("liblora.so");
            std::fs::write(&path, &self.image.bytes).expect("written");
            let candidate = Candidate { origin, ..Candidate::named("lora".into(), &path) };
            Policy::new(trust, &dev, &surroundings)
                .judge(&candidate, &self.image)
                .map(|ground| ground.mark)
                .map_err(|distrust| distrust.to_string())
        }
    }

    #[test]
    fn locked_bytes_are_accepted_anywhere_and_others_nowhere() {
        let world = World::new();
        let other = |world: &World| world.judge(Trust::Locked, &[], "other", Origin::Configuration);
        assert!(other(&world).expect_err("not locked").contains("stands in no plugins.lock"));
        // A lock that comes with the library vouches for nothing.
        world.lock("other", &world.image.sha256);
        assert!(other(&world).is_err());
        world.lock("project", &"0".repeat(64));
        assert!(other(&world).expect_err("another lock").contains("the file was changed"));
        world.lock("project", &world.image.sha256);
        assert_eq!(other(&world), Ok(Mark::Locked));
        std::fs::write(world.root.path().join("project").join(lock::FILE), "[").expect("written");
        assert!(other(&world).expect_err("an unreadable lock").contains(lock::FILE));
    }

    #[test]
    fn ones_own_builds_and_any_are_marked() {
        let world = World::new();
        assert_eq!(world.judge(Trust::Locked, &["other"], "other", Origin::Configuration), Ok(Mark::Dev));
        assert_eq!(world.judge(Trust::Locked, &["other/liblora.so"], "other", Origin::User), Ok(Mark::Dev));
        assert!(world.judge(Trust::Locked, &["othe"], "other", Origin::User).is_err());
        assert_eq!(world.judge(Trust::Any, &[], "other", Origin::User), Ok(Mark::Unverified));
        let signed = world.judge(Trust::Signed, &[], "other", Origin::User).expect_err("a bare library");
        assert!(signed.contains("it is not signed, and stands in no plugins.lock"), "{signed}");
        world.lock("project", &world.image.sha256);
        assert_eq!(world.judge(Trust::Signed, &[], "other", Origin::User), Ok(Mark::Locked));
    }

    #[test]
    fn beside_the_program_a_lock_holds_until_cargo_builds_again() {
        let world = World::new();
        let shipped = |world: &World| world.judge(Trust::Locked, &[], "target/release", Origin::Program);
        let record = world.root.path().join("target/release/.fingerprint/coin-plugin-lora-1/dep-lib-lora");
        std::fs::write(&record, "").expect("written");
        assert_eq!(shipped(&world), Ok(Mark::Dev));
        let lock = world.lock("target/release", &"0".repeat(64));
        let date = |path: &Path, seconds: u64| {
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            let file = std::fs::File::options().write(true).open(path).expect("it is there");
            file.set_modified(time).expect("dates can be set");
        };
        date(&record, 1_000);
        date(&lock, 2_000);
        assert!(shipped(&world).expect_err("changed after the lock").contains("was changed"));
        date(&record, 3_000);
        assert_eq!(shipped(&world), Ok(Mark::Dev));
        world.lock("target/release", &world.image.sha256);
        assert_eq!(shipped(&world), Ok(Mark::Locked));
    }
}
