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
    let bytes = read_up_to(path, LARGEST, "a plugin, which links no libtorch")?;
    let sha256 = sha256(&bytes);
    Ok(Image { bytes, sha256 })
}

/// Reads a plain file of at most so many bytes, through one descriptor. `what` says what it would be too large for.
///
/// # Errors
/// As [`read`].
pub fn read_up_to(path: &Path, most: u64, what: &str) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| {
        format!("it cannot be read: {error}\nhint: look at the file and its permissions")
    };
    let mut options = File::options();
    options.read(true);
    // A pipe in a file's place must not keep the host waiting for a writer.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let mut file = options.open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(String::from(
            "not a file\nhint: give the library itself, or a package's folder with its plugin.toml",
        ));
    }
    let large = |size: u64| {
        format!(
            "{size} bytes are too much for {what}: {most} at most\nhint: get it again, and from whom you trust"
        )
    };
    if metadata.len() > most {
        return Err(large(metadata.len()));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    // A file that grows meanwhile is not read without end.
    file.by_ref().take(most + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > most {
        return Err(large(bytes.len() as u64));
    }
    Ok(bytes)
}

/// The sha256 of some bytes as 64 lower-case hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// Compares what a file has, its length and sha256, with what a manifest or a lock says; `by` names it.
///
/// # Errors
/// In what they differ, without a hint: what to do depends on who says it.
pub fn compare(length: usize, has: &str, size: u64, sha256: &str, by: &str) -> Result<(), String> {
    if length as u64 != size {
        return Err(format!("the file has {length} bytes, {by} says {size}: it was cut or changed"));
    }
    if has != sha256 {
        return Err(format!("the file was changed: its sha256 is {has}, {by} says {sha256}"));
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
