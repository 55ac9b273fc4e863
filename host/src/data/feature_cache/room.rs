//! The size of the folder, and how much in it only other versions of the program can read.

use std::fs;
use std::io::Result;
use std::path::Path;
use std::time::Duration;

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
            bytes += held(&entry.path())?;
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
