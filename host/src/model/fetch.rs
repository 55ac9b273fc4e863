//! Models, fetched from where they are published and written as folders that this program loads.
//!
//! A folder appears whole or not at all, and one that is there already is left as it is.

mod bpe;
mod http;
mod hub;
mod lite0;
mod llama;
mod package;
mod smollm2;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

pub use hub::{Repository, hub};
pub use smollm2::smollm2;

/// What a folder was made from, as JSON; written last.
const MARKER: &str = "fetched.json";

/// A folder under construction beside the place it is meant for.
struct Construction<'a> {
    folder: TempDir,
    out: &'a Path,
}

impl Construction<'_> {
    /// Nothing, where `out` is there already and was made from the same.
    fn begin<'a>(out: &'a Path, origin: &Value) -> Result<Option<Construction<'a>>> {
        let marker = out.join(MARKER);
        let found = std::fs::read(&marker).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
        if found.as_ref() == Some(origin) {
            return Ok(None);
        }
        let is_empty =
            !out.exists() || std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
        ensure!(
            is_empty,
            "{} is there already and holds something else\nhint: remove it, or name another folder with --out",
            out.display()
        );
        let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
        let folder = tempfile::Builder::new().prefix(".fetch-").tempdir_in(parent);
        let folder = folder.with_context(|| format!("no folder can be made in {}", parent.display()))?;
        Ok(Some(Construction { folder, out }))
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path().join(name);
        std::fs::write(&path, bytes).with_context(|| format!("{} cannot be written", path.display()))
    }

    fn write_json(&self, name: &str, value: &Value) -> Result<()> {
        self.write(name, format!("{}\n", serde_json::to_string_pretty(value)?).as_bytes())
    }

    /// Gives the folder its name.
    fn finish(self, origin: &Value) -> Result<()> {
        self.write_json(MARKER, origin)?;
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

#[cfg(test)]
mod tests;
