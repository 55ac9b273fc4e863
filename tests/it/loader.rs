//! Finding, verifying and loading plugins: what is damaged, changed, foreign or incompatible is refused before any of its code runs.

mod border;
mod commands;
mod faults;
mod frozen;
mod hostile;
mod labs;
mod linked;
mod packages;
mod sandbox;
mod sharing;

use std::fs;
use std::path::Path;

use coin_host::config::Trust;
use coin_host::plugin::discover::{Surroundings, library_file};
use coin_host::plugin::trust::Mark;
use coin_host::plugin::{Catalog, PluginError, capability, elf, shipped};
use sandbox::{Sandbox, plugins};

use crate::built;

/// Whether a library of this file name is in the memory of this process.
fn mapped(file: &str) -> bool {
    let maps = fs::read_to_string("/proc/self/maps").expect("a process can see its own memory map");
    maps.contains(&format!("/memfd:{file}"))
}

fn refusal(error: &PluginError) -> String {
    assert_eq!(error.exit_code(), 3, "{error}");
    assert!(matches!(error, PluginError::Refused { .. }), "{error}");
    let message = error.to_string();
    assert!(message.lines().last().is_some_and(|line| line.starts_with("hint: ")), "no hint: {message}");
    message
}

#[test]
fn shipped_plugins_load_and_are_what_their_manifests_say() {
    let catalog = Catalog::open(&plugins(Vec::new(), Trust::Locked));
    for manifest in shipped::manifests() {
        let about = &manifest.plugin;
        let plugin = catalog.load(&about.name).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((plugin.name(), plugin.version()), (about.name.as_str(), about.version.as_str()));
        assert!(matches!(plugin.mark(), Mark::Locked | Mark::Dev), "{:?}", plugin.mark());
        assert!(plugin.path().starts_with(built::folder()), "{}", plugin.path().display());
        assert!(mapped(&library_file(&about.name)), "{} was not loaded from verified memory", about.name);
    }
}

#[test]
fn plugins_are_small_and_link_nothing_but_the_system() {
    let mut sizes = Vec::new();
    for name in ["lora", "moelora", "replay", "ewc", "coin-datasets", "stress"] {
        let bytes = fs::read(built::plugin(name)).expect("readable");
        let library = elf::read(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(library.plugin, "{name} exports no plugin");
        for needed in &library.linked.needed {
            let system = ["libc.", "libgcc_s.", "libm.", "libpthread.", "libdl.", "ld-linux"];
            assert!(system.iter().any(|start| needed.starts_with(start)), "{name} links {needed}");
        }
        // The plugin of planted faults is a method and a dataset, and nobody gets it.
        if name != "stress" {
            sizes.push((name, bytes.len()));
        }
    }
    assert!(sizes.iter().all(|(_, size)| *size < 1_000_000), "{sizes:?}");
}

#[test]
fn damaged_and_foreign_files_are_refused_before_they_run() {
    let sound = fs::read(built::plugin("lora")).expect("readable");
    let foreign = foreign_library();
    let cut = |length: usize| sound[..length].to_vec();
    let with = |at: usize, value: u8| {
        let mut bytes = sound.clone();
        bytes[at] = value;
        bytes
    };
    let cases: &[(&str, Vec<u8>, &str)] = &[
        ("empty", Vec::new(), "the file is empty"),
        ("one-byte", cut(1), "not a shared library"),
        ("no-header", cut(40), "truncated"),
        ("header", cut(64), "truncated"),
        ("page", cut(4096), "truncated"),
        ("half", cut(sound.len() / 2), "truncated"),
        ("last-byte", cut(sound.len() - 1), "truncated"),
        ("text", b"#!/bin/sh\necho plugin\n".to_vec(), "a text file, not a shared library"),
        ("bits", with(4, 1), "32-bit"),
        ("order", with(5, 2), "byte order"),
        ("machine", with(18, 40), "built for arm"),
        ("program", with(16, 2), "not a shared library"),
        ("foreign", foreign, "not a coin-host plugin"),
    ];
    for (name, bytes, part) in cases {
        let sandbox = Sandbox::new();
        sandbox.put(name, bytes);
        // Not even a lock on these very bytes makes them a plugin.
        sandbox.lock(&[(name, bytes)]);
        let message = refusal(&sandbox.load(name, Trust::Locked).expect_err(name));
        assert!(message.contains(part) && message.contains(&format!("plugin `{name}` refused")), "{message}");
        assert!(!mapped(&library_file(name)), "{name} was loaded");
    }
}

/// A library that is sound but no plugin: the C library of this process.
fn foreign_library() -> Vec<u8> {
    let maps = fs::read_to_string("/proc/self/maps").expect("a process can see its own memory map");
    let path =
        maps.lines().filter_map(|line| line.split_whitespace().nth(5)).find(|path| path.contains("/libc.so"));
    fs::read(path.expect("a process maps its C library")).expect("readable")
}

#[test]
fn a_flipped_bit_under_a_lock_is_found_wherever_it_is() {
    let sound = fs::read(built::plugin("lora")).expect("readable");
    for (place, name) in [(3usize, "start"), (1, "middle"), (0, "end")] {
        let mut bytes = sound.clone();
        let at = (sound.len() - 1) / 4 * (4 - place);
        bytes[at.min(sound.len() - 1)] ^= 0x10;
        let sandbox = Sandbox::new();
        sandbox.put("lora", &bytes);
        sandbox.lock(&[("lora", &sound)]);
        let message = refusal(&sandbox.load("lora", Trust::Locked).expect_err(name));
        assert!(
            ["the file was changed", "truncated", "damaged"].iter().any(|part| message.contains(part)),
            "{name}: {message}"
        );
    }
}

#[test]
fn trust_decides_and_the_report_can_tell() {
    let sound = fs::read(built::plugin("lora")).expect("readable");
    let sandbox = Sandbox::new();
    let path = sandbox.put("lora", &sound);
    let message = refusal(&sandbox.load("lora", Trust::Locked).expect_err("no lock"));
    assert!(message.contains("stands in no plugins.lock") && message.contains("hint: "), "{message}");
    assert_eq!(sandbox.load("lora", Trust::Any).expect("any").mark(), Mark::Unverified);
    let message = refusal(&sandbox.load("lora", Trust::Signed).expect_err("no signature"));
    assert!(message.contains("it is not signed, and stands in no plugins.lock"), "{message}");

    let mut dev = plugins(vec![sandbox.plugins()], Trust::Locked);
    dev.dev = vec![path.clone()];
    let catalog = Catalog::open_in(&dev, &sandbox.surroundings());
    assert_eq!(catalog.load("lora").expect("one's own").mark(), Mark::Dev);

    sandbox.lock(&[("lora", &sound)]);
    let plugin = sandbox.load("lora", Trust::Locked).expect("locked");
    assert_eq!((plugin.mark(), plugin.path()), (Mark::Locked, path.as_path()));
}

#[test]
fn what_is_missing_is_named_with_the_command_that_builds_it() {
    let sandbox = Sandbox::new();
    let error = sandbox.load("moelora", Trust::Locked).expect_err("nothing is there");
    assert!(matches!(error, PluginError::NotFound { .. }) && error.exit_code() == 3, "{error}");
    let message = error.to_string();
    assert!(
        message.contains("`moelora` is not built") && message.contains("hint: `cargo build --release"),
        "{message}"
    );
    let message = sandbox.load("no-such", Trust::Locked).expect_err("nothing is there").to_string();
    assert!(message.contains("no plugin `no-such`"), "{message}");
}

/// The bytes of `lora` with another text of the same length wherever the first one stands.
fn patched(from: &str, to: &str) -> Vec<u8> {
    let mut bytes = fs::read(built::plugin("lora")).expect("readable");
    let places: Vec<usize> =
        (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from.as_bytes())).collect();
    assert!(!places.is_empty() && from.len() == to.len());
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

#[test]
fn two_versions_live_side_by_side() {
    let (old, new) = (fs::read(built::plugin("lora")).expect("readable"), patched("0.1.0", "0.2.0"));
    let sandbox = Sandbox::new();
    sandbox.put("lora", &old);
    sandbox.package("lora", "0.2.0", "1.0", &new);
    sandbox.lock(&[("lora", &old), ("lora", &new)]);
    let load = |wanted: &str| sandbox.load(wanted, Trust::Locked).unwrap_or_else(|error| panic!("{error}"));
    let plugins = [load("lora@0.2.0"), load("lora@0.1.0"), load("lora")];
    assert_eq!(plugins.each_ref().map(|plugin| plugin.version()), ["0.2.0", "0.1.0", "0.2.0"]);
    for plugin in &plugins {
        sandbox::build(plugin, "r = 2").unwrap_or_else(|error| panic!("{}: {error}", plugin.version()));
    }
    let message = refusal(&sandbox.load("lora@0.3.0", Trust::Locked).err().map_or_else(
        || panic!("there is no such version"),
        |error| match error {
            // The library without a manifest might have been it.
            PluginError::Refused { .. } => error,
            other => panic!("{other}"),
        },
    ));
    assert!(message.contains("it is version 0.1.0, not 0.3.0"), "{message}");
}

#[test]
fn an_incompatible_api_is_refused_with_both_versions() {
    let sound = fs::read(built::plugin("lora")).expect("readable");
    let sandbox = Sandbox::new();
    sandbox.package("lora", "1.2.0", "2.0.0", &sound);
    sandbox.lock(&[("lora", &sound)]);
    let message = refusal(&sandbox.load("lora", Trust::Locked).expect_err("another api"));
    let line = "plugin `lora` 1.2.0 refused: built for api 2.0.0, this host speaks 1.0 (";
    assert!(message.starts_with(line) && message.lines().count() == 2, "{message}");

    // Without a manifest, the library itself tells.
    let later = patched("1.1.0", "2.0.0");
    let sandbox = Sandbox::new();
    sandbox.put("lora", &later);
    sandbox.lock(&[("lora", &later)]);
    let message = refusal(&sandbox.load("lora", Trust::Locked).expect_err("another api"));
    assert!(message.contains("built for api 2.0.0, this host speaks 1.0"), "{message}");
}

#[test]
fn a_library_that_is_not_what_its_manifest_says_is_refused() {
    let sound = fs::read(built::plugin("lora")).expect("readable");
    let sandbox = Sandbox::new();
    sandbox.package("lora", "0.3.0", "1.0", &sound);
    sandbox.lock(&[("lora", &sound)]);
    let message = refusal(&sandbox.load("lora", Trust::Locked).expect_err("another version"));
    assert!(
        message.contains("its manifest gives the version as 0.3.0, the library itself as 0.1.0"),
        "{message}"
    );

    let sandbox = Sandbox::new();
    sandbox.put("lorra", &sound);
    sandbox.lock(&[("lorra", &sound)]);
    let message = refusal(&sandbox.load("lorra", Trust::Locked).expect_err("another name"));
    assert!(message.contains("it calls itself `lora`"), "{message}");

    // The manifest's own hash counts under every policy.
    let sandbox = Sandbox::new();
    let folder = sandbox.package("lora", "0.1.0", "1.0", &sound);
    let mut changed = sound.clone();
    let last = changed.len() / 2;
    changed[last] ^= 1;
    fs::write(folder.join(library_file("lora")), &changed).expect("written");
    let message = refusal(&sandbox.load("lora", Trust::Any).expect_err("another hash"));
    assert!(message.contains("the file was changed") && message.contains("its manifest says"), "{message}");
}

#[test]
fn needs_beyond_the_protocol_are_refused_with_the_key_that_grants_them() {
    let catalog = Catalog::open(&plugins(Vec::new(), Trust::Locked));
    let replay = catalog.load("replay").unwrap_or_else(|error| panic!("{error}"));
    let mut protocol = sandbox::protocol();
    let message = refusal(&replay.check_needs(&capability::grants(&protocol)).expect_err("no replay"));
    assert!(
        message.contains("samples of earlier tasks") && message.contains("replay_samples_per_task"),
        "{message}"
    );
    protocol.replay_samples_per_task = 8;
    assert_eq!(replay.check_needs(&capability::grants(&protocol)), Ok(()));
}

#[test]
fn the_folder_of_the_program_is_found_from_a_test() {
    let found = Surroundings::of_process().installation().expect("a test lies in a folder");
    assert_eq!(found, built::folder());
    assert!(Path::new(&found).join("deps").is_dir());
}
