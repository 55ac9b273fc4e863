//! Files that are written whole or not at all, and their content by its hash.

use std::fs::{File, Metadata};
use std::io::{Read as _, Write as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

/// Bytes that are read at once.
pub(crate) const BLOCK: usize = 1 << 18;

/// The size and sha256 of a file, read block by block.
///
/// # Errors
/// That it cannot be read.
pub fn sha256(path: &Path) -> std::io::Result<(u64, Sha256)> {
    let (mut file, mut block, mut hash) = (File::open(path)?, vec![0; BLOCK], Sha256::new());
    let mut bytes = 0;
    loop {
        match file.read(&mut block)? {
            0 => return Ok((bytes, hash)),
            count => {
                hash.update(&block[..count]);
                bytes += count as u64;
            }
        }
    }
}

/// How the name of a file begins that is not whole yet.
const UNFINISHED: &str = ".unfinished-";

/// Whether a file is one that is not whole yet, or never will be.
pub(crate) fn is_unfinished(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(UNFINISHED))
}

/// Whether an open file is the one at this path.
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |metadata: std::io::Result<Metadata>| metadata.ok().map(|it| (it.dev(), it.ino()));
    let open = identity(file.metadata());
    open.is_some() && open == identity(std::fs::metadata(path))
}

/// Removes what a process that was killed left unfinished in a folder and below it.
///
/// # Errors
/// That a folder cannot be read or a file not be removed.
pub fn forget_unfinished(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            forget_unfinished(&entry.path())?;
        } else if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// A temporary file in a folder, which others may read as the user's file mask allows once it has its name.
///
/// # Errors
/// That it cannot be made.
pub fn temporary(folder: &Path) -> std::io::Result<NamedTempFile> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut builder = tempfile::Builder::new();
    builder.prefix(UNFINISHED);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

/// Puts bytes in the place of a file in one move, flushed to disk: a reader sees the old ones or the new ones.
///
/// # Errors
/// That it cannot be written.
pub fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = temporary(path.parent().unwrap_or(Path::new(".")))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_finished_goes_and_the_rest_stays() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let below = folder.path().join("stages/0");
        std::fs::create_dir_all(&below).expect("made");
        std::fs::write(below.join("kept"), "x").expect("written");
        let (_file, left) = temporary(&below).expect("made").keep().expect("left behind");
        assert!(left.exists());
        forget_unfinished(folder.path()).expect("readable");
        assert!(!left.exists() && below.join("kept").exists());
    }

    #[cfg(unix)]
    #[test]
    fn what_is_replaced_can_be_read_by_others() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (plain, path) = (folder.path().join("plain"), folder.path().join("replaced"));
        std::fs::write(&plain, "x").expect("written");
        replace(&path, b"old").expect("written");
        replace(&path, b"new").expect("written");
        assert_eq!(std::fs::read(&path).expect("there"), b"new");
        let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode();
        assert_eq!(mode(&path), mode(&plain));
    }
}
