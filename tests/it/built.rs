//! What the build left beside this test: the binary and the shipped plugins.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the profile, `target/release` for the one that is used throughout.
pub(crate) fn folder() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own file");
    test.ancestors().nth(2).expect("a test lies in target/<profile>/deps").to_path_buf()
}

/// A file there, by name.
pub(crate) fn file(name: &str) -> PathBuf {
    let path = folder().join(name);
    assert!(
        path.exists(),
        "{} is missing\nhint: `cargo build --release --workspace`, or `make test`",
        path.display()
    );
    path
}

/// The shared library of a plugin, by the plugin's name.
pub(crate) fn plugin(name: &str) -> PathBuf {
    file(&format!(
        "{}{}{}",
        std::env::consts::DLL_PREFIX,
        name.replace('-', "_"),
        std::env::consts::DLL_SUFFIX
    ))
}

/// `stress` with a constructor that makes this file: it is there as soon as any code of the library ran.
pub(crate) fn marked(mark: &Path) -> Vec<u8> {
    const TAG: &[u8] = b"COIN-STRESS-CONSTRUCTOR:";
    let mut bytes = std::fs::read(plugin("stress")).expect("readable");
    let at = bytes.windows(TAG.len()).position(|window| window == TAG).expect("stress has the tag");
    let path = mark.as_os_str().as_encoded_bytes();
    assert!(path.len() < 200, "a path that fits");
    bytes[at + TAG.len()..at + TAG.len() + path.len()].copy_from_slice(path);
    bytes
}

/// The built binary, started as a user would: without the library path that cargo sets.
pub(crate) fn coin_host() -> Command {
    let mut command = Command::new(file("coin-host"));
    command.env_remove("LD_LIBRARY_PATH");
    command
}
