//! Plugins as others build them: without optimisation, with optimisation across crates. They load, and train the same to the bit.

use std::path::{Path, PathBuf};
use std::process::Command;

use coin_host::plugin::discover::library_file;
use coin_host::plugin::verify::sha256;

use crate::built;
use crate::runs::{SMALL, compare, metrics, reference, succeed, workspace};

/// What cargo's development profile is where nobody set it up.
const PLAIN: [&str; 3] =
    ["profile.dev.opt-level=0", "profile.dev.debug=1", "profile.dev.package.\"*\".opt-level=0"];

/// Builds with another profile, into a folder that the next run finds again; gives the folder of the libraries.
fn build(profile: &str, folder: &str, settings: &[&str], what: &[&str]) -> PathBuf {
    let target = built::folder().join("../builds");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["build", "--locked", "--offline", "--profile", profile])
        .args(what)
        .env("CARGO_INCREMENTAL", "0")
        .arg("--target-dir")
        .arg(&target);
    for setting in settings {
        cargo.args(["--config", setting]);
    }
    let output = cargo.output().expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join(folder).canonicalize().expect("it was built")
}

/// The workspace of what was released, built without optimisation.
pub(crate) fn frozen() -> PathBuf {
    build("dev", "debug", &PLAIN, &["--manifest-path", "tests/frozen/Cargo.toml"])
}

const LORA: [&str; 3] = ["--lib", "-p", "coin-plugin-lora"];

/// Trains with the library of this folder, and holds every step against the shipped library's.
fn trains_the_same(folder: &Path) {
    let workspace = workspace(SMALL);
    let library = folder.display().to_string();
    succeed(compare(
        &workspace,
        &[
            "--methods",
            "lora",
            "--set",
            "references=[]",
            "--set",
            "plugins.trust=any",
            "--plugin-dir",
            &library,
        ],
    ));
    let out = workspace.path().join("out");
    let manifest = std::fs::read_to_string(out.join("manifest.json")).expect("manifest.json");
    let bytes = std::fs::read(folder.join(library_file("lora"))).expect("the library");
    assert!(manifest.contains(&sha256(&bytes)), "another library was loaded: {manifest}");
    assert_eq!(metrics(&out, "lora"), metrics(&reference().0, "lora"));
}

#[test]
fn a_plugin_built_without_optimisation_trains_the_same() {
    trains_the_same(&build("dev", "debug", &PLAIN, &LORA));
}

#[test]
fn a_plugin_built_with_optimisation_across_crates_trains_the_same() {
    let whole =
        ["profile.lto.inherits=\"release\"", "profile.lto.lto=\"fat\"", "profile.lto.codegen-units=1"];
    trains_the_same(&build("lto", "lto", &whole, &LORA));
}
