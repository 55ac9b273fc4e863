//! The size of the folder, and room in it where other versions of the program left features that only they can read.

use std::fs;
use std::io::Result;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::files;

/// Hexadecimal digits of a program's sha256 that name its folder.
pub(super) const NAMED: usize = 16;
/// A file that is being written is younger.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// Bytes below a folder. What a process that was killed left unfinished is removed.
pub(super) fn held(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    if !folder.exists() {
        return Ok(bytes);
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Another process may have moved it meanwhile.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            bytes += held(&entry.path()).unwrap_or(0);
        } else if files::is_unfinished(&entry.path())
            && metadata.modified().is_ok_and(|then| then.elapsed().is_ok_and(|age| age > FORGOTTEN))
        {
            let _gone_already = fs::remove_file(entry.path());
        } else {
            bytes += metadata.len();
        }
    }
    Ok(bytes)
}

/// Says that a version uses its features now.
pub(super) fn used(own: &Path) {
    // Where the time cannot be set, the version counts as used when its folder was made.
    let _kept = fs::File::open(own).and_then(|folder| folder.set_modified(SystemTime::now()));
}

/// Removes the features of the version that was used longest ago, unless there is none but `own`: whether there was one.
pub(super) fn give_way(folder: &Path, own: &str) -> Result<bool> {
    let mut oldest: Option<(SystemTime, PathBuf)> = None;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_version = name.len() == NAMED && name.bytes().all(|byte| b"0123456789abcdef".contains(&byte));
        let Ok(metadata) = entry.metadata() else { continue };
        if name == own || !is_version || !metadata.is_dir() {
            continue;
        }
        let used = metadata.modified()?;
        if oldest.as_ref().is_none_or(|(before, _)| used < *before) {
            oldest = Some((used, entry.path()));
        }
    }
    let Some((_, path)) = oldest else { return Ok(false) };
    fs::remove_dir_all(path)?;
    Ok(true)
}
