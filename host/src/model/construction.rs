//! Folders that appear whole or not at all.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
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

/// How the name of a kept folder begins. The mark that follows has no `@`, so what stands before its last one is the place's name.
fn beginning(out: &Path) -> String {
    format!(".unfinished-{}@", out.file_name().unwrap_or_default().to_string_lossy())
}

/// Whether another process is at a folder.
fn is_held(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
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
        Construction::take(out, place(out)?, mark)
    }

    /// [`Construction::resume`] once the place is found to be vacant.
    fn take<'a>(out: &'a Path, parent: &Path, mark: &str) -> Result<Construction<'a>> {
        let mark = mark.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
        let path = parent.join(beginning(out) + &mark);
        std::fs::create_dir_all(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        let lock = File::open(&path).with_context(|| format!("{} cannot be opened", path.display()))?;
        ensure!(
            !matches!(lock.try_lock(), Err(TryLockError::WouldBlock)),
            "another process is making {}\nhint: wait for it, or name another folder with --out",
            out.display()
        );
        // Before it was locked, another process that was at it may have given the folder its name or removed it, also before it was made here.
        let is_mine = files::is_at(&lock, &path);
        if !is_mine || check_vacant(out).is_err() {
            if is_mine {
                // Only one that is empty goes.
                let _ = std::fs::remove_dir(&path);
            }
            bail!(
                "another process was making {} and has just ended\nhint: run the command again, which goes on from there",
                out.display()
            );
        }
        Ok(Construction { folder: Folder::Kept { path, _lock: lock }, out })
    }

    /// Folders that [`Construction::resume`] began for the same place under other marks, and that no process is at.
    pub(crate) fn others(&self) -> Result<Vec<PathBuf>> {
        let beginning = beginning(self.out);
        let place = self.path().parent().unwrap_or(Path::new("."));
        let mut found = Vec::new();
        for entry in
            std::fs::read_dir(place).with_context(|| format!("{} cannot be read", place.display()))?
        {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // With an `@` in it, the rest belongs to a place with a longer name.
            let is_mark = name.strip_prefix(&beginning).is_some_and(|mark| !mark.contains('@'));
            if is_mark && path != self.path() && path.is_dir() && !is_held(&path) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_process_has_just_put_there_is_seen_before_the_work() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("tiny");
        let parent = place(&out).unwrap();
        std::fs::create_dir(&out).unwrap();
        std::fs::write(out.join("config.json"), "{}").unwrap();
        let message = Construction::take(&out, parent, "abc").err().unwrap().to_string();
        assert!(message.contains("has just ended") && message.contains("hint:"), "{message}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn others_are_those_of_this_place_that_nobody_is_at() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("tiny");
        let begun = |out: &Path, mark: &str| Construction::resume(out, mark).unwrap().path().to_owned();
        let left = [begun(&out, "0ld"), begun(&out, "refs/pr/1")];
        for (out, mark) in [("tiny-refs", "pr/1"), ("tiny@0ld", "abc"), ("tinyer", "0ld"), ("tin", "y")] {
            begun(&folder.path().join(out), mark);
        }
        std::fs::write(folder.path().join(".unfinished-tiny@file"), "").unwrap();
        let busy = Construction::resume(&out, "busy").unwrap();
        let this = Construction::resume(&out, "abc").unwrap();
        assert_eq!(this.others().unwrap(), left);
        drop(busy);
        assert_eq!(this.others().unwrap().len(), 3);
    }
}
