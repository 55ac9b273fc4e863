//! Folders that appear whole or not at all.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::files;

/// A folder under construction beside the place it is meant for.
pub(crate) struct Construction<'a> {
    folder: Folder,
    out: &'a Path,
}

enum Folder {
    /// Removed unless it is finished.
    Temporary(TempDir),
    /// Kept, for whoever goes on with it; one process at a time does.
    Kept { path: PathBuf, _lock: File },
}

/// Refuses a place where something is already.
pub(crate) fn check_vacant(out: &Path) -> Result<()> {
    let is_empty = !out.exists() || std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
    ensure!(
        is_empty,
        "{} is there already and holds something else\nhint: remove it, or name another folder with --out",
        out.display()
    );
    Ok(())
}

/// The folder that `out` will stand in.
fn place(out: &Path) -> Result<&Path> {
    check_vacant(out)?;
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
    Ok(parent)
}

impl Construction<'_> {
    /// # Errors
    /// Something is at `out` already, or nothing can be written beside it.
    pub(crate) fn begin(out: &Path) -> Result<Construction<'_>> {
        let parent = place(out)?;
        let folder = tempfile::Builder::new().prefix(".unfinished-").tempdir_in(parent);
        let folder = folder.with_context(|| format!("no folder can be made in {}", parent.display()))?;
        Ok(Construction { folder: Folder::Temporary(folder), out })
    }

    /// The same in a folder that stays where the work is broken off, and is gone on with under the same `mark`.
    ///
    /// # Errors
    /// As [`Construction::begin`]; another process that is at it.
    pub(crate) fn resume<'a>(out: &'a Path, mark: &str) -> Result<Construction<'a>> {
        let parent = place(out)?;
        let name = out.file_name().unwrap_or_default().to_string_lossy();
        let mark = mark.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
        let path = parent.join(format!(".unfinished-{name}-{mark}"));
        std::fs::create_dir_all(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        let lock = File::open(&path).with_context(|| format!("{} cannot be opened", path.display()))?;
        ensure!(
            !matches!(lock.try_lock(), Err(TryLockError::WouldBlock)),
            "another process is making {}\nhint: wait for it, or name another folder with --out",
            out.display()
        );
        // Between opening and locking, the process that was at it may have given the folder its name.
        ensure!(
            files::is_at(&lock, &path),
            "another process has just made {}\nhint: run the command again to see it",
            out.display()
        );
        Ok(Construction { folder: Folder::Kept { path, _lock: lock }, out })
    }

    /// Folders that [`Construction::resume`] began for the same place under other marks.
    pub(crate) fn others(&self) -> Result<Vec<PathBuf>> {
        let name = self.out.file_name().unwrap_or_default().to_string_lossy();
        let beginning = format!(".unfinished-{name}-");
        let place = self.path().parent().unwrap_or(Path::new("."));
        let mut found = Vec::new();
        for entry in
            std::fs::read_dir(place).with_context(|| format!("{} cannot be read", place.display()))?
        {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // With a dash in it, it may belong to a place with a longer name.
            let is_mark = |mark: &str| mark.chars().all(|letter| letter.is_ascii_alphanumeric());
            if path != self.path() && name.strip_prefix(&beginning).is_some_and(is_mark) {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }

    /// Removes what was made.
    pub(crate) fn discard(self) -> Result<()> {
        let path = self.path();
        std::fs::remove_dir_all(path).with_context(|| format!("{} cannot be removed", path.display()))
    }

    pub(crate) fn path(&self) -> &Path {
        match &self.folder {
            Folder::Temporary(folder) => folder.path(),
            Folder::Kept { path, .. } => path,
        }
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path().join(name);
        files::replace(&path, bytes).with_context(|| format!("{} cannot be written", path.display()))
    }

    pub(crate) fn write_json(&self, name: &str, value: &Value) -> Result<()> {
        self.write(name, format!("{}\n", serde_json::to_string_pretty(value)?).as_bytes())
    }

    /// Gives the folder its name.
    pub(crate) fn finish(self) -> Result<()> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(self.path(), std::fs::Permissions::from_mode(0o755))?;
        }
        let out = self.out;
        std::fs::rename(self.path(), out)
            .with_context(|| format!("{} cannot be put in its place", out.display()))?;
        // Nothing is left to remove under the old name.
        if let Folder::Temporary(folder) = self.folder {
            let _ = folder.keep();
        }
        Ok(())
    }
}
