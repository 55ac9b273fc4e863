//! Secret keys as files: written for their owner alone and never over another file, protected by a password unless that is refused.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use minisign::{KeyPair, SecretKey, SecretKeyBox};

use super::signature::Key;
use super::verify;
use crate::config::ConfigError;

const LARGEST: u64 = 4 << 10;

/// Makes a key pair: `path` has the secret key, `path` with the ending `.pub` the public one.
///
/// # Errors
/// [`ConfigError`] for a file of either name that is there already; a folder that cannot be written.
pub fn generate(path: &Path, password: Option<String>) -> Result<(Key, PathBuf)> {
    let public = path.with_extension("pub");
    for file in [path, &public] {
        if std::fs::symlink_metadata(file).is_ok() {
            let reason = format!("{} is there already, and keys are not written over", file.display());
            return Err(ConfigError::new(reason).hint("name another file with --out").into());
        }
    }
    let pair = match password {
        Some(password) => KeyPair::generate_encrypted_keypair(Some(password))?,
        None => KeyPair::generate_unencrypted_keypair()?,
    };
    let comment = match pair.sk.is_encrypted() {
        true => "minisign encrypted secret key",
        false => "minisign secret key, without a password",
    };
    // The public key is where the secret one can be read from: an encrypted one does not tell.
    let key = Key::parse(&pair.pk.to_base64()).map_err(anyhow::Error::msg)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    }
    write(path, &pair.sk.to_box(Some(comment))?.into_string(), 0o600)?;
    if let Err(error) = write(&public, &key.file(), 0o644) {
        // A secret key alone is of no use.
        let _stays = std::fs::remove_file(path);
        return Err(error);
    }
    Ok((key, public))
}

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.with_context(|| format!("{} cannot be written", path.display()))
}

/// Reads a secret key; `password` is asked for one where the key has one.
///
/// # Errors
/// [`ConfigError`] for a file that holds no key, and for a wrong password.
pub fn read(path: &Path, password: impl FnOnce() -> Result<String>) -> Result<SecretKey> {
    let bytes = verify::read_up_to(path, LARGEST, "a key")
        .map_err(|error| ConfigError::new(format!("the secret key {}: {error}", path.display())))?;
    let text = String::from_utf8(bytes).unwrap_or_default();
    let held = || SecretKeyBox::from_string(&text);
    if let Ok(secret) = held()?.into_unencrypted_secret_key() {
        return Ok(secret);
    }
    // Before a password is asked for: is it a key at all?
    let line = text.lines().nth(1).unwrap_or_default();
    if !text.starts_with("untrusted comment:") || line.len() != 212 {
        let reason = format!("{} holds no secret key of minisign", path.display());
        return Err(ConfigError::new(reason).hint("`coin-host plugin keygen` makes one").into());
    }
    let password = Some(password()?);
    Ok(held()?.into_secret_key(password).map_err(|error| {
        ConfigError::new(format!("the secret key {} cannot be used: {error}", path.display()))
            .hint("the password is that of `coin-host plugin keygen`")
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::signature::{Signature, sign};

    #[test]
    fn keys_are_kept_for_their_owner_and_never_written_over() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("lab/signing.key");
        let (key, public) = generate(&path, None).expect("made");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(&path).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let written = std::fs::read_to_string(&public).expect("there");
        assert_eq!(Key::parse(&written), Ok(key.clone()));
        let secret = read(&path, || panic!("it has no password")).expect("a key");
        let signature = Signature::parse(&sign(&secret, b"x", "y").expect("signed")).expect("sound");
        assert!(signature.verifies(&key, b"x"));

        let before = std::fs::read(&path).expect("there");
        let again = generate(&path, None).expect_err("there already").to_string();
        assert!(again.contains("not written over\nhint: "), "{again}");
        std::fs::remove_file(&path).expect("removed");
        assert!(generate(&path, None).is_err(), "the public key is there");
        std::fs::write(&path, &before).expect("written");
        std::fs::write(&path, "text").expect("written");
        let text = read(&path, || Ok(String::new())).expect_err("no key").to_string();
        assert!(text.contains("holds no secret key"), "{text}");
    }

    #[test]
    fn a_password_is_asked_for_and_must_be_right() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("signing.key");
        let (key, _) = generate(&path, Some("secret".into())).expect("made");
        let secret = read(&path, || Ok("secret".into())).expect("the right one");
        assert_eq!(Key::of(&secret), Ok(key));
        let wrong = read(&path, || Ok("other".into())).map(|_| ()).expect_err("another one").to_string();
        assert!(wrong.contains("cannot be used") && wrong.contains("\nhint: "), "{wrong}");
    }
}
