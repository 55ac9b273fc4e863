//! A temporary folder to run the binary in, and its outcome as text.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::built;

/// A folder that is gone after the test.
pub(crate) struct Workspace(TempDir);

impl Workspace {
    pub(crate) fn new() -> Self {
        Workspace(tempfile::tempdir().expect("a temporary folder"))
    }

    /// Writes a file; its folders are made.
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// `coin-host` with arguments, started from inside the folder and without the user's settings.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = built::coin_host();
        command.current_dir(self.0.path()).args(arguments).env_remove("NO_COLOR").env("COLUMNS", "100");
        command
    }

    /// Runs it to its end and shows what came of it; the folder's own path is `[FOLDER]`, that of the cache `[CACHE]`.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let cache = crate::runs::cache();
        let output = self.command(arguments).env("XDG_CACHE_HOME", cache).output().expect("coin-host starts");
        let text = |bytes: &[u8]| {
            let folder = self.0.path().canonicalize().expect("the folder is there");
            let text = String::from_utf8_lossy(bytes).into_owned();
            text.replace(&*folder.to_string_lossy(), "[FOLDER]")
                .replace(&*self.0.path().to_string_lossy(), "[FOLDER]")
                .replace(&*cache.to_string_lossy(), "[CACHE]")
        };
        shown(output.status.code(), &text(&output.stdout), &text(&output.stderr))
    }
}

/// Hides what differs from run to run: hashes, how full the cache is, and the width of a column with paths in it.
pub(crate) fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter("[0-9a-f]{64}", "[HASH]");
    settings.add_filter(r"\([0-9a-f]{12}\)", "([HASH])");
    settings.add_filter(" +  # ", "  # ");
    settings.add_filter(r"which has [0-9.]+ [KMG]?i?B", "which has [SIZE]");
    settings.add_filter(r"; [^;]+ of other versions of this program, .* may be removed", "");
    settings
}

/// Exit code and both streams, as snapshots hold them.
pub(crate) fn shown(code: Option<i32>, stdout: &str, stderr: &str) -> String {
    let code = code.map_or("killed".to_string(), |code| code.to_string());
    format!("exit: {code}\n----- stdout -----\n{stdout}----- stderr -----\n{stderr}")
}
