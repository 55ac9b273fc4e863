//! The bytes of a library: read once, measured, and never read again. What is loaded later is what was measured here.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

/// No plugin is as large as this.
const LARGEST: u64 = 256 << 20;

/// A library in memory.
#[derive(Debug)]
pub struct Image {
    pub bytes: Vec<u8>,
    /// 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// Reads a library from one open file.
///
/// # Errors
/// Why it cannot be read, without the path, with a hint.
pub fn read(path: &Path) -> Result<Image, String> {
    let unreadable = |error: std::io::Error| {
        format!("it cannot be read: {error}\nhint: look at the file and its permissions")
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(String::from(
            "not a file\nhint: give the library itself, or a package's folder with its plugin.toml",
        ));
    }
    if metadata.len() > LARGEST {
        return Err(format!(
            "{} bytes are too much for a plugin, which has {LARGEST} at most\nhint: a plugin links no libtorch; build it with `--release`",
            metadata.len()
        ));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    // A file that grows meanwhile is not read without end.
    file.by_ref().take(LARGEST).read_to_end(&mut bytes).map_err(unreadable)?;
    let sha256 = sha256(&bytes);
    Ok(Image { bytes, sha256 })
}

/// The sha256 of some bytes as 64 lower-case hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares with what a manifest or a lock says; `by` names it.
///
/// # Errors
/// In what they differ, without a hint: what to do depends on who says it.
pub fn compare(image: &Image, size: u64, sha256: &str, by: &str) -> Result<(), String> {
    if image.bytes.len() as u64 != size {
        return Err(format!(
            "the file has {} bytes, {by} says {size}: it was cut or changed",
            image.bytes.len()
        ));
    }
    if image.sha256 != sha256 {
        return Err(format!("the file was changed: its sha256 is {}, {by} says {sha256}", image.sha256));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_sha256() {
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn what_is_no_file_or_missing_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folder_read = read(folder.path()).expect_err("a folder");
        assert!(folder_read.starts_with("not a file\nhint: "), "{folder_read}");
        let missing = read(&folder.path().join("none")).expect_err("nothing is there");
        assert!(missing.contains("cannot be read") && missing.contains("\nhint: "), "{missing}");
    }
}
