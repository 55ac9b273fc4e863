//! Plugins as `coin-host plugin new` writes them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use coin_host::plugin::discover::library_file;
use coin_host::report::results::{Results, Status};

use super::{assert_passes, having};
use crate::built;
use crate::runs::{SMALL, compare, succeed, text, workspace};
use crate::support::Workspace;

/// Writes the crate of a new plugin, builds it and runs its tests where the next run finds what it depends on.
fn scaffolded(workspace: &Workspace, kind: &str, name: &str) -> PathBuf {
    let output = workspace.command(&["plugin", "new", kind, name]).output().expect("coin-host starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let folder = workspace.path().join(name);
    // The versions that are there.
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock"), folder.join("Cargo.lock"))
        .expect("copied");
    let target = built::folder().join("../scaffold");
    for what in ["build", "test"] {
        let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .current_dir(&folder)
            .args([what, "--release", "--offline", "--target-dir"])
            .arg(&target)
            .output()
            .expect("cargo starts");
        assert!(output.status.success(), "cargo {what}: {}", text(&output.stderr));
        // Its own tests, not none.
        let tested = text(&output.stdout);
        assert!(what == "build" || tested.contains("test result: ok. 2 passed"), "{tested}");
    }
    let library = PathBuf::from(library_file(name));
    fs::create_dir_all(folder.join("target/release")).expect("a folder");
    fs::copy(target.join("release").join(&library), folder.join("target/release").join(library))
        .expect("copied");
    folder
}

/// The lines of its README, from `plugin new` to the table.
#[test]
fn new_plugins_pass_as_they_were_written_and_run_in_compare() {
    let workspace = workspace(SMALL);
    let folder = scaffolded(&workspace, "method", "fresh-method");
    let method = assert_passes(&folder, &[]);
    assert!(having(&method, "skip").is_empty(), "{method:#}");
    let library = folder.join("target/release").join(library_file("fresh-method"));
    let mut add = workspace.command(&["plugin", "add", &library.to_string_lossy()]);
    let added = add.env("XDG_DATA_HOME", workspace.path().join("share")).output().expect("it starts");
    assert!(added.status.success(), "{}", text(&added.stderr));
    let own = folder.join("fresh-method.toml").to_string_lossy().into_owned();
    let printed = succeed(compare(&workspace, &["--methods", &format!("lora,{own}"), "--limit", "2"]));
    assert!(printed.contains("fresh-method"), "{printed}");
    let results = Results::read(&workspace.path().join("out")).expect("results.json");
    let cell = results.cells.iter().find(|cell| cell.method == "fresh-method").expect("its cell");
    assert_eq!((cell.status, cell.error.as_deref()), (Status::Done, None));

    let data = workspace
        .file("data/train.tsv", "a\t\tWhat is one and one?\ttwo\nb\t\tWhat is two and two?\tfour\n")
        .file("data/test.tsv", "c\t\tWhat is two and one?\tthree\n");
    let root = data.path().join("data").to_string_lossy().into_owned();
    let dataset = assert_passes(&scaffolded(&data, "dataset", "fresh-data"), &["--root", &root]);
    assert!(having(&dataset, "skip").is_empty(), "{dataset:#}");
}
