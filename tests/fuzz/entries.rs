//! What is fed to the parsers of everything that comes from outside. `cargo fuzz` calls these functions, and so does `tests/it/fuzz.rs`
//! on the corpus and on mutations of it. Each must return, whatever the bytes; what is accepted must hold what the caller relies on.

use coin_host::plugin::index::Index;
use coin_host::plugin::keyring::Keyring;
use coin_host::plugin::lock::Lock;
use coin_host::plugin::manifest::{Manifest, is_name};
use coin_host::plugin::signature::{Key, Signature};
use coin_host::plugin::{archive, elf, package};

type Entry = (&'static str, fn(&[u8]));

/// A function for each target, by the name of its corpus.
pub(crate) const ENTRIES: [Entry; 9] = [
    ("manifest", manifest),
    ("package", package),
    ("sealed", sealed),
    ("tar", tar),
    ("lock", lock),
    ("index", index),
    ("keyring", keyring),
    ("signature", signature),
    ("library", library),
];

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

pub(crate) fn manifest(bytes: &[u8]) {
    let Some(Ok(manifest)) = text(bytes).map(Manifest::parse) else { return };
    assert!(is_name(&manifest.plugin.name));
    for file in &manifest.files {
        assert!(
            !file.path.starts_with('/') && file.path.split('/').all(|part| part != ".."),
            "{}",
            file.path
        );
    }
    // Its name becomes that of a folder.
    assert!(!package::folder_name(&manifest).contains('/'));
    let written = toml::to_string(&manifest).expect("what was read can be written");
    assert_eq!(Manifest::parse(&written).expect("and read again"), manifest);
}

/// Bytes as a file has them.
pub(crate) fn package(bytes: &[u8]) {
    if let Ok(contents) = archive::open(bytes) {
        let packed = archive::pack(&contents, "p").expect("what was opened can be packed");
        assert_eq!(archive::open(&packed).expect("and opened again"), contents);
        assert!(contents.files.iter().all(|(path, _)| !path.contains('/') && path != ".."));
    }
}

/// Compressed bytes, with the seal that somebody who means harm would put behind them.
pub(crate) fn sealed(bytes: &[u8]) {
    package(&archive::sealed(bytes.to_vec()));
}

/// The bytes of a tar archive, compressed and sealed.
pub(crate) fn tar(bytes: &[u8]) {
    sealed(&ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest));
}

pub(crate) fn lock(bytes: &[u8]) {
    if let Some(Ok(lock)) = text(bytes).map(Lock::parse) {
        let written = toml::to_string(&lock).expect("what was read can be written");
        assert_eq!(Lock::parse(&written), Ok(lock));
    }
}

pub(crate) fn index(bytes: &[u8]) {
    let Some(Ok(index)) = text(bytes).map(Index::parse) else { return };
    for listed in &index.packages {
        assert!(!listed.file.contains('/') && !listed.file.starts_with('.'), "{}", listed.file);
        let _chosen = index.choose(&listed.name, Some(&listed.version));
        let _newest = index.choose(&listed.name, None);
    }
    let written = toml::to_string(&index).expect("what was read can be written");
    assert_eq!(Index::parse(&written), Ok(index));
}

pub(crate) fn keyring(bytes: &[u8]) {
    let Some(Ok(mut keyring)) = text(bytes).map(Keyring::parse) else { return };
    let written = toml::to_string(&keyring).expect("what was read can be written");
    assert_eq!(Keyring::parse(&written), Ok(keyring.clone()));
    let key = keyring.labs.iter().flat_map(|lab| &lab.keys).next().map(|key| key.public.clone());
    if let Some(key) = key.and_then(|line| Key::parse(&line).ok()) {
        keyring.revoke(&key, None);
        assert!(keyring.revoked(&key.fingerprint()).is_some());
    }
}

pub(crate) fn signature(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let _key = Key::parse(text);
    if let Ok(signature) = Signature::parse(text) {
        let key = include_str!("../fixtures/minisign/minisign.pub");
        let key = Key::parse(key).expect("a key");
        // Nobody has the secret key any more: only the one signature that was made with it holds.
        let holds = signature.verifies(&key, include_bytes!("../fixtures/minisign/plugin.toml"));
        let made = include_str!("../fixtures/minisign/plugin.toml.minisig");
        // The first line is free, and blanks around the others do not count.
        let signed = |text: &str| text.lines().skip(1).flat_map(str::split_whitespace).collect::<String>();
        assert!(!holds || signed(text) == signed(made), "a forged signature");
    }
}

pub(crate) fn library(bytes: &[u8]) {
    let _headers = elf::read(bytes);
}
