//! What was released stays: version 1.0 of the interface, as source in tests/frozen. A plugin that was built for it works in this host, a plugin
//! of today works in a host that speaks it, and what compiled against it compiles.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use abi_stable::library::lib_header_from_path;
use coin_host::plugin::discover::library_file;
use coin_host::plugin::verify::sha256;
use coin_plugin_api::API_VERSION;
use coin_plugin_api::abi::load::{self, Age};

use crate::builds::frozen;
use crate::built;
use crate::runs::{SMALL, assert_same, compare, succeed, workspace};

const HINT: &str = "hint: docs/abi-policy.md says how the interface may grow; what stands in it already keeps its place and type";

/// sha256 over the paths and contents of the frozen source.
const RELEASED: &str = "0952c35b570b11d11d1e74f433bf606f7f1e8737a2a51bedda7722ee66455d16";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("frozen")
}

/// The files below a folder, by path.
fn files(folder: &Path, root: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, root, found);
        } else {
            let name = path.strip_prefix(root).expect("below it").display().to_string();
            found.insert(name, fs::read(&path).expect("readable"));
        }
    }
}

#[test]
fn what_was_released_is_not_touched() {
    let mut found = BTreeMap::new();
    for part in ["plugin-api-1.0", "plugin"] {
        files(&folder().join(part), &folder(), &mut found);
    }
    let listed: String = found.iter().map(|(path, bytes)| format!("{path} {}\n", sha256(bytes))).collect();
    assert_eq!(
        sha256(listed.as_bytes()),
        RELEASED,
        "tests/frozen holds what was released, and was changed\nhint: change plugin-api in its place"
    );
}

#[test]
fn its_dependencies_are_those_of_the_workspace() {
    let packages = |path: PathBuf| -> Vec<(String, String)> {
        let lock: toml::Table = fs::read_to_string(path).expect("Cargo.lock").parse().expect("TOML");
        let text = |package: &toml::Value, key: &str| package[key].as_str().unwrap_or_default().to_owned();
        let packages = lock["package"].as_array().expect("packages").iter();
        let fetched = packages.filter(|package| package.get("source").is_some());
        fetched.map(|package| (text(package, "name"), text(package, "version"))).collect()
    };
    let known = packages(folder().join("../../Cargo.lock"));
    for package in packages(folder().join("Cargo.lock")) {
        let hint = "hint: cp Cargo.lock tests/frozen/; cargo metadata --offline --manifest-path tests/frozen/Cargo.toml";
        assert!(known.contains(&package), "{package:?} is not in the workspace's Cargo.lock\n{hint}");
    }
}

#[test]
fn a_plugin_of_version_1_0_works_as_it_did() {
    let libraries = frozen();
    let header = lib_header_from_path(&libraries.join(library_file("frozen"))).expect("a plugin");
    let (_, age) = load::check(header).unwrap_or_else(|error| {
        panic!("plugins of version 1.0 no longer load; what they were built with and what is here now:\n{error}\n{HINT}")
    });
    let grown = if age == Age::Older { "has more than version 1.0" } else { "is version 1.0" };
    assert_eq!(
        age == Age::Older,
        API_VERSION.minor != 0,
        "the interface {grown}, but API_VERSION says {API_VERSION}\nhint: what is added raises the minor version, once for each release"
    );

    // Built for version 1.0, and from the same source for today's: both train the same.
    let config =
        SMALL.split("[methods.").next().expect("a part before the methods").replace("[\"joint\"]", "[]");
    let config = format!("{config}[methods.frozen]\nstack = [{{ plugin = \"frozen\", r = 2 }}]\n");
    let run = |library: &str| {
        let workspace = workspace(&config);
        let plugins = workspace.path().join("plugins");
        fs::create_dir(&plugins).expect("a folder");
        fs::copy(libraries.join(library_file(library)), plugins.join(library_file("frozen")))
            .expect("a copy");
        succeed(compare(&workspace, &["--set", "plugins.trust=any", "--plugin-dir", "plugins"]));
        workspace
    };
    let (then, now) = (run("frozen"), run("today"));
    assert_same(&then.path().join("out"), &now.path().join("out"), "frozen");
}

#[test]
fn a_plugin_of_today_works_in_a_host_of_version_1_0() {
    let libraries = frozen();
    let shipped = ["lora", "moelora", "ewc", "replay", "stress", "coin-datasets"];
    let shipped = shipped.map(|name| (name, built::plugin(name)));
    let own = ["frozen", "today"].map(|name| (name, libraries.join(library_file(name))));
    for (name, library) in shipped.into_iter().chain(own) {
        let config = if name == "replay" { "rows_per_batch = 1" } else { "" };
        let output = Command::new(libraries.join("frozen-host"))
            .arg(&library)
            .arg(config)
            .output()
            .expect("the host of version 1.0 starts");
        let (text, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{name} is refused by hosts of version 1.0: {errors}\n{HINT}");
        assert!(text.contains(": SameOrNewer\n") && text.starts_with("host 1.0, plugin "), "{name}: {text}");
        assert!(!text.contains(": error:"), "{name}: {text}");
        let hooks: &[&str] = match name {
            "coin-datasets" => &[],
            "lora" | "moelora" => &["adapt: well", "merged_delta: well"],
            "ewc" | "replay" => &["compose_batch: 4 rows", "after_stage: well", "load: well"],
            _ => &[
                "adapt: well",
                "merged_delta: well",
                "compose_batch: 4 rows",
                "after_stage: well",
                "load: well",
            ],
        };
        for hook in hooks {
            assert!(text.contains(hook), "{name}: {hook} is not in {text}");
        }
    }
}
