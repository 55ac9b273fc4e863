//! One process at a time: what is read, changed and written again must not be changed by another one in between.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Does some work on a file while no other process does: each takes the lock of a file beside it first, which is there only meanwhile.
///
/// # Errors
/// A folder that cannot be written to; what the work gives.
pub(super) fn alone<T>(path: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let failed =
        || format!("{} cannot be locked\nhint: look at its folder and the permissions", path.display());
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(failed)?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let guard = path.with_file_name(format!(".{name}.guard"));
    let held = loop {
        let file =
            File::options().create(true).truncate(false).write(true).open(&guard).with_context(failed)?;
        match file.lock() {
            // Where there are no locks, this is as good as can be.
            Err(error) if error.kind() != ErrorKind::Unsupported => return Err(error).with_context(failed),
            _ if is_named(&file, &guard) => break file,
            // Whoever had it before has removed it.
            _ => {}
        }
    };
    let done = work();
    let _gone = std::fs::remove_file(&guard);
    drop(held);
    done
}

/// Whether an open file is the one of this name.
fn is_named(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let (Ok(open), Ok(named)) = (file.metadata(), std::fs::metadata(path)) else { return false };
        (open.dev(), open.ino()) == (named.dev(), named.ino())
    }
    #[cfg(not(unix))]
    path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_what_others_write_is_lost() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("deep/count");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let counted = alone(&path, || {
                            let count: u32 =
                                std::fs::read_to_string(&path).map_or(Ok(0), |text| text.parse())?;
                            std::thread::yield_now();
                            Ok(std::fs::write(&path, (count + 1).to_string())?)
                        });
                        counted.expect("written");
                    }
                });
            }
        });
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "400");
        let left: Vec<_> = std::fs::read_dir(folder.path().join("deep")).expect("there").flatten().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}
