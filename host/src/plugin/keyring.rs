//! `keys.toml`: the labs whose signatures a user trusts, their keys, and keys that nobody may trust any more.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use toml::value::{Date, Datetime};

use super::signature::{Key, Signature};
use super::{guard, manifest, verify};
use crate::config::ConfigError;
use crate::files;

/// Name of a keyring's file.
pub const FILE: &str = "keys.toml";
/// The name that stands for every lab.
pub const ANY_LAB: &str = "lab";
const LARGEST: u64 = 1 << 20;
const HEAD: &str = "# Labs whose signatures are trusted. Written by `coin-host plugin trust`.\n\n";

/// The content of a `keys.toml`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keyring {
    #[serde(default, rename = "lab", skip_serializing_if = "Vec::is_empty")]
    pub labs: Vec<Lab>,
    /// Refused whatever else vouches for what they signed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked: Vec<Revoked>,
}

/// `[[lab]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lab {
    pub name: String,
    /// Folder or web address with the lab's `index.toml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// Several while one takes the place of another.
    #[serde(default, rename = "key")]
    pub keys: Vec<LabKey>,
}

/// `[[lab.key]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabKey {
    pub public: String,
    /// The last day on which it is trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Datetime>,
}

/// `[[revoked]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    pub public: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lab: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Who made a sound signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signer {
    pub lab: String,
    pub fingerprint: String,
}

/// What a signature is worth.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// By a key of a lab that is trusted today.
    Trusted(Signer),
    /// By a key of a lab whose time is over.
    Expired(Signer, Date),
    /// By a key that is not known; its id.
    Unknown(String),
    /// By a key that must not be trusted; why.
    Revoked(String),
    /// Not over these bytes, or no signature at all; why.
    Broken(String),
}

impl Keyring {
    /// Reads a keyring; without a file it is empty.
    ///
    /// # Errors
    /// What is wrong with the file, with a hint.
    pub fn read(path: &Path) -> Result<Keyring, String> {
        let unsound = |why: String| {
            let (reason, hint) = why.split_once("\nhint: ").unwrap_or((
                &why,
                "mend it, or delete it and trust again whom you trust: `coin-host plugin trust add`",
            ));
            format!("{}: {reason}\nhint: {hint}", path.display())
        };
        if matches!(std::fs::metadata(path), Err(error) if error.kind() == std::io::ErrorKind::NotFound) {
            return Ok(Keyring::default());
        }
        let bytes = verify::read_up_to(path, LARGEST, "a keyring").map_err(unsound)?;
        let text = String::from_utf8(bytes).map_err(|_| unsound("not UTF-8".into()))?;
        Keyring::parse(&text).map_err(unsound)
    }

    /// Parses and checks the text of a keyring.
    ///
    /// # Errors
    /// As [`Self::read`], without the path.
    pub fn parse(text: &str) -> Result<Keyring, String> {
        let keyring: Keyring = toml::from_str(text).map_err(|error| manifest::fault(text, &error))?;
        for lab in &keyring.labs {
            check_name(&lab.name)?;
            for key in &lab.keys {
                Key::parse(&key.public)
                    .map_err(|error| format!("lab {}: `{}` is {error}", lab.name, key.public))?;
                if key.until.is_some_and(|until| until.date.is_none()) {
                    return Err(format!(
                        "lab {}: `until` is not a day\nhint: as in `until = 2027-12-31`",
                        lab.name
                    ));
                }
            }
        }
        for revoked in &keyring.revoked {
            Key::parse(&revoked.public)
                .map_err(|error| format!("revoked: `{}` is {error}", revoked.public))?;
        }
        Ok(keyring)
    }

    /// Writes it in one move.
    ///
    /// # Errors
    /// That it cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("{} cannot be made", folder.display()))?;
        }
        let text = format!("{HEAD}{}", toml::to_string(self)?);
        files::replace(path, text.as_bytes()).with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Reads a keyring, changes it and writes it, while no other process does: a revocation must not be lost to one that read before it.
    ///
    /// # Errors
    /// [`ConfigError`] for a keyring that is not sound; that it cannot be written; what the change gives, and then nothing is written.
    pub fn change<T>(
        path: &Path,
        change: impl FnOnce(&mut Keyring) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        guard::alone(path, || {
            let before = Keyring::read(path).map_err(ConfigError::new)?;
            let mut keyring = before.clone();
            let done = change(&mut keyring)?;
            if keyring != before {
                keyring.write(path)?;
            }
            Ok(done)
        })
    }

    /// What a signature over a manifest is worth on a day.
    pub fn standing(&self, manifest: &[u8], signature: &str, today: Date) -> Standing {
        let signature = match Signature::parse(signature) {
            Ok(signature) => signature,
            Err(error) => return Standing::Broken(error),
        };
        let (id, mut is_known) = (signature.id(), false);
        let mut made_by = |public: &str| {
            let Ok(key) = Key::parse(public) else { return None };
            is_known |= key.id() == id;
            signature.verifies(&key, manifest).then_some(key)
        };
        for revoked in &self.revoked {
            if made_by(&revoked.public).is_some() {
                return Standing::Revoked(revoked.words());
            }
        }
        for lab in &self.labs {
            for known in &lab.keys {
                let Some(key) = made_by(&known.public) else { continue };
                if let Some(revoked) = self.revoked(&key.fingerprint()) {
                    return Standing::Revoked(revoked.words());
                }
                let signer = Signer { lab: lab.name.clone(), fingerprint: key.fingerprint() };
                return match known.last_day().filter(|last| later(today, *last)) {
                    Some(last) => Standing::Expired(signer, last),
                    None => Standing::Trusted(signer),
                };
            }
        }
        match is_known {
            true => Standing::Broken(String::from(
                "the manifest is not the one that was signed\nhint: get the package again, and from whom you trust",
            )),
            false => Standing::Unknown(id),
        }
    }

    /// The revocation of a key, by its fingerprint.
    pub fn revoked(&self, fingerprint: &str) -> Option<&Revoked> {
        self.revoked.iter().find(|revoked| fingerprint_of(&revoked.public).as_deref() == Some(fingerprint))
    }

    /// The lab of this name.
    pub fn lab(&self, name: &str) -> Option<&Lab> {
        self.labs.iter().find(|lab| lab.name == name)
    }

    /// The name of the lab that a key is or was of.
    pub fn lab_of(&self, fingerprint: &str) -> Option<&String> {
        let known = self.labs.iter().find(|lab| lab.has(fingerprint)).map(|lab| &lab.name);
        known.or_else(|| self.revoked(fingerprint)?.lab.as_ref())
    }

    /// Forgets a lab with its keys, or one of its keys.
    ///
    /// # Errors
    /// A lab that is not known; a key that is another's or nobody's.
    pub fn forget(&mut self, lab: &str, key: Option<&Key>) -> Result<(), String> {
        const LIST: &str = "hint: `coin-host plugin trust list` shows all";
        let Some(place) = self.labs.iter().position(|known| known.name == lab) else {
            return Err(format!("no lab is known as `{lab}`\n{LIST}"));
        };
        let Some(key) = key else {
            self.labs.remove(place);
            return Ok(());
        };
        let fingerprint = key.fingerprint();
        if !self.labs[place].has(&fingerprint) {
            return Err(match self.lab_of(&fingerprint) {
                _ if self.revoked(&fingerprint).is_some() => {
                    format!("the key {} is revoked, and stays so\n{LIST}", key.id())
                }
                Some(other) => format!(
                    "the key {} is that of lab `{other}`, not of `{lab}`\nhint: `coin-host plugin trust remove {other} --key {}`",
                    key.id(),
                    key.id()
                ),
                None => format!("lab `{lab}` has no key {}\n{LIST}", key.id()),
            });
        }
        self.labs[place].keys.retain(|known| fingerprint_of(&known.public).as_ref() != Some(&fingerprint));
        Ok(())
    }

    /// Trusts a key of a lab, or gives a known one another last day; `index` where it is given.
    ///
    /// # Errors
    /// A name that is none; a key that is revoked or of another lab.
    pub fn trust(
        &mut self,
        lab: &str,
        key: Option<&Key>,
        until: Option<Datetime>,
        index: Option<String>,
    ) -> Result<(), String> {
        check_name(lab)?;
        if let Some(key) = key {
            let fingerprint = key.fingerprint();
            if let Some(revoked) = self.revoked(&fingerprint) {
                return Err(format!("{}\nhint: ask the lab for its new key", revoked.words()));
            }
            let other = self.labs.iter().find(|known| known.name != lab && known.has(&fingerprint));
            if let Some(other) = other {
                return Err(format!(
                    "the key is that of lab `{0}`\nhint: `coin-host plugin trust remove {0}` first, if that was wrong",
                    other.name
                ));
            }
        }
        if self.lab(lab).is_none() {
            self.labs.push(Lab { name: lab.to_string(), index: None, keys: Vec::new() });
            self.labs.sort_by(|a, b| a.name.cmp(&b.name));
        }
        for known in self.labs.iter_mut().filter(|known| known.name == lab) {
            if let Some(key) = key {
                known.keys.retain(|known| fingerprint_of(&known.public) != Some(key.fingerprint()));
                known.keys.push(LabKey { public: key.line(), until });
            }
            known.index = index.clone().or(known.index.take());
        }
        Ok(())
    }

    /// Never again accepts what a key signed.
    pub fn revoke(&mut self, key: &Key, reason: Option<String>) {
        let fingerprint = key.fingerprint();
        if self.revoked(&fingerprint).is_some() {
            return;
        }
        let lab = self.labs.iter_mut().find(|lab| lab.has(&fingerprint));
        let name = lab.map(|lab| {
            lab.keys.retain(|known| fingerprint_of(&known.public).as_ref() != Some(&fingerprint));
            lab.name.clone()
        });
        self.revoked.push(Revoked { public: key.line(), lab: name, reason });
    }

    /// A key by its line, its fingerprint, the beginning of that, or the id that minisign shows.
    ///
    /// # Errors
    /// None or several that are meant.
    pub fn key(&self, text: &str) -> Result<Key, String> {
        if let Ok(key) = Key::parse(text) {
            return Ok(key);
        }
        let known = self.labs.iter().flat_map(|lab| &lab.keys).filter_map(|key| Key::parse(&key.public).ok());
        let wanted = text.to_ascii_lowercase();
        let meant = |key: &Key| {
            wanted.len() >= 8
                && (key.fingerprint().starts_with(&wanted) || key.id().to_ascii_lowercase() == wanted)
        };
        let mut found: Vec<Key> = known.filter(meant).collect();
        found.dedup();
        match (found.pop(), found.is_empty()) {
            (Some(key), true) => Ok(key),
            (None, _) => Err(format!(
                "no key is known as `{text}`\nhint: `coin-host plugin trust list` shows all; a public key itself (RW..) is understood too"
            )),
            (Some(_), false) => {
                Err(format!("several keys are known as `{text}`\nhint: give the public key itself (RW..)"))
            }
        }
    }
}

impl Lab {
    /// Whether a key is one of its own.
    pub fn has(&self, fingerprint: &str) -> bool {
        self.keys.iter().any(|key| fingerprint_of(&key.public).as_deref() == Some(fingerprint))
    }
}

impl LabKey {
    /// The last day on which it is trusted.
    pub fn last_day(&self) -> Option<Date> {
        self.until.and_then(|until| until.date)
    }
}

impl Revoked {
    /// As a refusal says it.
    pub fn words(&self) -> String {
        let of = self.lab.as_ref().map(|lab| format!(" of lab `{lab}`")).unwrap_or_default();
        let why = self
            .reason
            .as_ref()
            .map(|reason| format!(": {}", reason.lines().next().unwrap_or_default()))
            .unwrap_or_default();
        let id = Key::parse(&self.public).map(|key| key.id()).unwrap_or_default();
        format!("the key {id}{of} is revoked{why}")
    }
}

/// The fingerprint of a public key's line.
pub fn fingerprint_of(public: &str) -> Option<String> {
    Key::parse(public).ok().map(|key| key.fingerprint())
}

fn check_name(name: &str) -> Result<(), String> {
    let reserved = [ANY_LAB, "http", "https", "file"];
    if manifest::is_name(name) && !reserved.contains(&name) {
        return Ok(());
    }
    Err(format!(
        "`{name}` cannot be the name of a lab\nhint: lower-case letters, digits and hyphens, the first a letter; not {}",
        reserved.join(", ")
    ))
}

/// Whether a day comes after another.
pub fn later(day: Date, other: Date) -> bool {
    (day.year, day.month, day.day) > (other.year, other.month, other.day)
}

/// This day in UTC.
pub fn today() -> Date {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    date(seconds / 86_400)
}

/// Days since 1970 as a date of the Gregorian calendar (Howard Hinnant, `civil_from_days`).
fn date(days: u64) -> Date {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    Date { year: year.min(9_999) as u16, month: month as u8, day: day as u8 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::signature::sign;
    use minisign::{KeyPair, SecretKey};

    const DAY: Date = Date { year: 2026, month: 11, day: 22 };

    fn pair() -> (SecretKey, Key) {
        let pair = KeyPair::generate_unencrypted_keypair().expect("a key");
        (pair.sk, Key::parse(&pair.pk.to_base64()).expect("a key"))
    }

    fn until(text: &str) -> Option<Datetime> {
        Some(text.parse().expect("a date"))
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (20_779, "2026-11-22"),
            (24_836, "2037-12-31"),
        ] {
            assert_eq!(date(days).to_string(), expected);
        }
    }

    #[test]
    fn keys_rotate_expire_and_are_revoked() {
        let ((old_secret, old), (new_secret, new), (stranger, _)) = (pair(), pair(), pair());
        let mut keyring = Keyring::default();
        keyring
            .trust("vislab", Some(&old), until("2026-11-22"), Some("https://a.example/".into()))
            .expect("trusted");
        keyring.trust("vislab", Some(&new), None, None).expect("trusted");
        let lab = keyring.lab("vislab").expect("there");
        assert_eq!((lab.keys.len(), lab.index.as_deref()), (2, Some("https://a.example/")));
        let by = |secret: &SecretKey| sign(secret, b"manifest", "x").expect("signed");
        let signer = |key: &Key| Signer { lab: "vislab".into(), fingerprint: key.fingerprint() };
        let standing =
            |keyring: &Keyring, secret: &SecretKey, day| keyring.standing(b"manifest", &by(secret), day);
        assert_eq!(standing(&keyring, &old_secret, DAY), Standing::Trusted(signer(&old)));
        let next = Date { day: 23, ..DAY };
        assert_eq!(standing(&keyring, &old_secret, next), Standing::Expired(signer(&old), DAY));
        assert_eq!(standing(&keyring, &new_secret, next), Standing::Trusted(signer(&new)));
        assert!(matches!(standing(&keyring, &stranger, DAY), Standing::Unknown(_)));
        assert!(matches!(keyring.standing(b"another", &by(&new_secret), DAY), Standing::Broken(_)));

        keyring.revoke(&new, Some("the laptop was stolen".into()));
        let Standing::Revoked(why) = standing(&keyring, &new_secret, DAY) else { panic!("revoked") };
        assert!(why.contains("of lab `vislab` is revoked: the laptop was stolen"), "{why}");
        assert!(keyring.trust("vislab", Some(&new), None, None).expect_err("revoked").contains("is revoked"));
        assert!(
            keyring
                .trust("other", Some(&old), None, None)
                .expect_err("another lab's")
                .contains("that of lab `vislab`")
        );
    }

    #[test]
    fn a_keyring_survives_being_written_and_says_what_is_wrong() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("config/keys.toml");
        assert_eq!(Keyring::read(&path), Ok(Keyring::default()));
        let ((_, one), (_, two)) = (pair(), pair());
        let mut keyring = Keyring::default();
        keyring.trust("vislab", Some(&one), until("2027-12-31"), None).expect("trusted");
        keyring.revoke(&two, None);
        keyring.write(&path).expect("written");
        assert_eq!(Keyring::read(&path), Ok(keyring.clone()));
        assert_eq!(keyring.key(&one.fingerprint()[..12]), Ok(one.clone()));
        assert_eq!(keyring.key(&one.id()), Ok(one.clone()));
        assert!(keyring.key("0123").expect_err("unknown").contains("no key is known"));
        let key = one.line();
        for (text, part) in [
            (String::from("[[lab]]\nname = \"a b\"\n"), "cannot be the name of a lab"),
            (String::from("[[lab]]\nname = \"lab\"\n"), "cannot be the name of a lab"),
            (String::from("[[lab]]\nname = \"a\"\nkeys = 1\n"), "keys"),
            (String::from("[[lab]]\nname = \"a\"\n[[lab.key]]\npublic = \"RW\"\n"), "not a public key"),
            (
                format!("[[lab]]\nname = \"a\"\n[[lab.key]]\npublic = \"{key}\"\nuntil = 10:00:00\n"),
                "is not a day",
            ),
            (String::from("[[revoked]]\npublic = \"x\"\n"), "not a public key"),
        ] {
            std::fs::write(&path, &text).expect("written");
            let error = Keyring::read(&path).expect_err(&text);
            assert!(error.contains(part) && error.contains("\nhint: ") && error.contains(FILE), "{error}");
        }
    }
}
