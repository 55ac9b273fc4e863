//! Who may come in, and in whose place.

use super::Permissions;
use crate::plugin::keyring::{self, Keyring, Lab, Signer, Standing};
use crate::plugin::lock::Lock;
use crate::plugin::package::Contents;
use crate::plugin::{PluginError, shipped};

/// Whether a package's signature lets it in, and whose it is. One without a signature is let in on the user's word alone, unless it
/// was asked of a lab.
pub(super) fn admitted(
    contents: &Contents,
    keyring: &Keyring,
    lab: Option<&Lab>,
) -> Result<Option<Signer>, String> {
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
pub(super) fn not_shipped(name: &str, permissions: Permissions) -> Result<(), PluginError> {
    if permissions.replace_shipped || shipped::manifest(name).is_none() {
        return Ok(());
    }
    let reason = "a shipped plugin has this name, and runs would use this one in its place\nhint: give yours another name, or add it with --replace-shipped";
    Err(PluginError::refused(format!("`{name}`"), reason))
}

/// Whether a library may take the place of those of its name that are locked here: what a lab signed gives way to the same lab alone,
/// and bytes that a revoked key signed do not come back unless another one signed them anew.
pub(super) fn replaces(
    lock: &Lock,
    keyring: &Keyring,
    (name, sha256): (&str, &str),
    signer: Option<&Signer>,
    permissions: Permissions,
) -> Result<(), String> {
    let signed = || lock.plugins.iter().filter_map(|known| Some((known, known.key.as_deref()?)));
    let revoked = lock.keys_of(sha256).find_map(|key| keyring.revoked(key));
    if let (None, Some(revoked)) = (signer, revoked) {
        return Err(format!(
            "{}, and it signed these very bytes\nhint: ask the lab for a package signed with its new key",
            revoked.words()
        ));
    }
    let same = |key: &str| {
        signer.is_some_and(|signer| signer.fingerprint == key || keyring.lab_of(key) == Some(&signer.lab))
    };
    let mut others = signed().filter(|(known, key)| known.name == name && !same(key));
    match others.next().filter(|_| !permissions.replace_signed) {
        None => Ok(()),
        Some((known, key)) => {
            let lab = keyring
                .lab_of(key)
                .map_or(String::from("a lab that is not trusted now"), |lab| format!("lab {lab}"));
            let itself = signer
                .map_or(String::from("is not signed"), |signer| format!("is signed by lab {}", signer.lab));
            Err(format!(
                "the one that is here ({}) is signed by {lab}, this one {itself} and would take its place\nhint: get it from {lab}, or add it with --replace-signed",
                known.version.as_deref().unwrap_or("of unknown version"),
            ))
        }
    }
}
