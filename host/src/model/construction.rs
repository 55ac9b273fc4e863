//! Folders that appear whole or not at all.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::files;

/// A folder under construction beside the place it is meant for.
pub(crate) struct Construction<'a> {
    folder: TempDir,
    out: &'a Path,
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

impl Construction<'_> {
    /// # Errors
    /// Something is at `out` already, or nothing can be written beside it.
    pub(crate) fn begin(out: &Path) -> Result<Construction<'_>> {
        check_vacant(out)?;
        let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
        let folder = tempfile::Builder::new().prefix(".unfinished-").tempdir_in(parent);
        let folder = folder.with_context(|| format!("no folder can be made in {}", parent.display()))?;
        Ok(Construction { folder, out })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
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
        let _ = self.folder.keep();
        Ok(())
    }
}
