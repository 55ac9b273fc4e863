//! Plugins as others build them: without optimisation, with optimisation across crates. They load, and train the same to the bit.

use std::path::PathBuf;
use std::process::Command;

use coin_host::plugin::discover::library_file;
use coin_host::plugin::verify::sha256;

use crate::built;
use crate::runs::{SMALL, compare, metrics, reference, succeed, workspace};

/// Builds LoRA under another profile, into a folder that the next run finds again; gives the folder of the library.
fn lora_of(profile: &str, folder: &str, settings: &[&str]) -> PathBuf {
    let target = built::folder().join("../builds");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["build", "--locked", "--offline", "--lib", "-p", "coin-plugin-lora", "--profile", profile])
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

/// Trains with the library of this folder, and holds every step against the shipped library's.
fn trains_the_same(folder: PathBuf) {
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
    let plain = ["profile.dev.opt-level=0", "profile.dev.debug=1", "profile.dev.package.\"*\".opt-level=0"];
    trains_the_same(lora_of("dev", "debug", &plain));
}

#[test]
fn a_plugin_built_with_optimisation_across_crates_trains_the_same() {
    let whole =
        ["profile.lto.inherits=\"release\"", "profile.lto.lto=\"fat\"", "profile.lto.codegen-units=1"];
    trains_the_same(lora_of("lto", "lto", &whole));
}
