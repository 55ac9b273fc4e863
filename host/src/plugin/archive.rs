//! A package as one file: a tar archive of plain files in one folder, the manifest first, compressed with zstd, and at the end a
//! skippable frame of zstd with the sha256 of all that stands before it. So any damage shows before anything is decompressed, and
//! `tar --zstd -xf` unpacks it all the same.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Component;

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest, Sha256};

use super::manifest::{self, Manifest, shown};
use super::package::Contents;
use super::signature;

/// No package is larger than this, packed or unpacked.
pub const LARGEST: u64 = 256 << 20;
/// Nor has one more files.
const MOST_FILES: usize = 1_000;
/// Magic number and length of the last frame, whose content is a sha256.
const SEAL: [u8; 8] = [0x50, 0x2a, 0x4d, 0x18, 32, 0, 0, 0];
const SEAL_LENGTH: usize = SEAL.len() + 32;

/// The archive of a package's files, `folder` the name of the folder that they unpack into. The same contents give the same bytes:
/// names in order, no dates, no owners.
///
/// # Errors
/// A name that is too long for a tar header.
pub fn pack(contents: &Contents, folder: &str) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, bytes) in contents.all() {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::Regular);
        archive.append_data(&mut header, format!("{folder}/{path}"), bytes)?;
    }
    let bytes = archive.into_inner()?;
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    Ok(sealed(ruzstd::encoding::compress_to_vec(&bytes[..], level)))
}

/// Puts the frame with the sha256 behind a compressed archive.
pub fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let digest = Sha256::digest(&bytes);
    bytes.extend_from_slice(&SEAL);
    bytes.extend_from_slice(&digest);
    bytes
}

/// Reads a package from its bytes, in memory: sizes are held against the manifest before anything is taken in.
///
/// # Errors
/// An archive that is damaged or too large, that holds anything but the manifest's plain files in one folder, or the same name twice.
pub fn open(bytes: &[u8]) -> Result<Contents> {
    ensure!(
        bytes.len() as u64 <= LARGEST,
        "{} bytes are too much for a package: {LARGEST} at most",
        bytes.len()
    );
    let end = bytes.len().checked_sub(SEAL_LENGTH).context("it is too short for a package")?;
    let (packed, seal) = bytes.split_at(end);
    ensure!(seal.starts_with(&SEAL), "it does not end as a package does: it was cut, or is something else");
    ensure!(
        seal[SEAL.len()..] == Sha256::digest(packed)[..],
        "it was changed: the sha256 at its end is that of other bytes"
    );
    let decoder =
        ruzstd::decoding::StreamingDecoder::new(packed).map_err(|error| anyhow::anyhow!("{error}"))?;
    unpack(decoder)
}

fn unpack(reader: impl Read) -> Result<Contents> {
    // Headers and padding of the files come on top.
    let mut archive = tar::Archive::new(reader.take(LARGEST + LARGEST / 8));
    let mut taken = Taken::default();
    // Raw, so that extensions are entries like others, and refused.
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let shown = shown(&path.display().to_string());
        ensure!(
            entry.header().entry_type() == tar::EntryType::Regular,
            "`{shown}` is no plain file: packages hold no links, folders or devices"
        );
        let parts: Vec<Component> = path.components().collect();
        let [Component::Normal(folder), Component::Normal(file)] = parts[..] else {
            bail!("`{shown}` does not stand in the package's own folder");
        };
        let (Some(folder), Some(file)) = (folder.to_str(), file.to_str()) else {
            bail!("`{shown}` is not UTF-8");
        };
        let size = entry.size();
        taken.expect(folder, file, size)?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        ensure!(bytes.len() as u64 == size, "`{shown}` ends early");
        taken.take(file, bytes)?;
    }
    taken.finish()
}

/// Whether what a manifest lists is not too much for a package.
///
/// # Errors
/// That it is.
pub fn fits(manifest: &Manifest) -> Result<()> {
    let size = manifest.files.iter().fold(0u64, |sum, file| sum.saturating_add(file.size));
    ensure!(size <= LARGEST, "{size} bytes of files are too much for a package: {LARGEST} at most");
    let count = manifest.files.len();
    ensure!(count <= MOST_FILES, "{count} files are too many for a package: {MOST_FILES} at most");
    Ok(())
}

/// What was read so far.
#[derive(Default)]
struct Taken {
    folder: String,
    manifest: Option<(String, Manifest)>,
    signature: Option<String>,
    files: BTreeMap<String, Vec<u8>>,
}

impl Taken {
    /// Whether the manifest has room for a file, before it is read.
    fn expect(&mut self, folder: &str, file: &str, size: u64) -> Result<()> {
        let Some((_, manifest)) = &self.manifest else {
            ensure!(file == manifest::FILE, "its first file is `{}`, not {}", shown(file), manifest::FILE);
            ensure!(
                size <= manifest::LARGEST,
                "{size} bytes are too much for {}: {} at most",
                manifest::FILE,
                manifest::LARGEST
            );
            folder.clone_into(&mut self.folder);
            return Ok(());
        };
        let shown = shown(file);
        ensure!(folder == self.folder, "`{shown}` does not stand in the package's own folder");
        let is_signature = file == manifest::SIGNATURE;
        let twice = file == manifest::FILE
            || is_signature && self.signature.is_some()
            || self.files.contains_key(file);
        ensure!(!twice, "`{shown}` is there twice");
        if is_signature {
            ensure!(size <= signature::LARGEST, "{size} bytes are too much for a signature");
            return Ok(());
        }
        let listed = manifest.files.iter().find(|listed| listed.path == file);
        let listed = listed.with_context(|| format!("`{shown}` is not in the manifest"))?;
        ensure!(
            size == listed.size,
            "`{shown}` has {size} bytes, the manifest says {}: it was cut or changed",
            listed.size
        );
        Ok(())
    }

    fn take(&mut self, file: &str, bytes: Vec<u8>) -> Result<()> {
        let text = |bytes| String::from_utf8(bytes).map_err(|_| anyhow::anyhow!("`{file}` is not UTF-8"));
        if self.manifest.is_none() {
            let text = text(bytes)?;
            let manifest =
                Manifest::parse(&text).map_err(|error| anyhow::anyhow!("{}: {error}", manifest::FILE))?;
            fits(&manifest)?;
            self.manifest = Some((text, manifest));
        } else if file == manifest::SIGNATURE {
            self.signature = Some(text(bytes)?);
        } else {
            self.files.insert(file.to_owned(), bytes);
        }
        Ok(())
    }

    fn finish(self) -> Result<Contents> {
        let (text, manifest) = self.manifest.with_context(|| format!("it has no {}", manifest::FILE))?;
        let contents =
            Contents { manifest, text, signature: self.signature, files: self.files.into_iter().collect() };
        contents.check()?;
        Ok(contents)
    }
}
