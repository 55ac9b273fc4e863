//! Rules on `Cargo.toml` files: which package may depend on which.

use toml::Table;

use super::Faults;
use super::source::{files, read};

/// Packages that plugins and their API never depend on.
const HOST_ONLY: &[&str] =
    &["tch", "torch-sys", "libloading", "clap", "rayon", "tokenizers", "safetensors", "image"];

#[test]
fn dependencies_point_one_way() {
    let mut faults = Faults::default();
    for (path, manifest) in manifests() {
        check_dependencies(&path, &manifest, &mut faults);
    }
    faults.expect_none(
        "abi_stable <- plugin-api <- plugins, plugin-api <- host <- tests: take the dependency out, or move the code",
    );
}

fn check_dependencies(path: &str, manifest: &Table, faults: &mut Faults) {
    for name in dependencies(manifest) {
        let ours = name.starts_with("coin-");
        let because = if path.starts_with("plugin-api/") && ours {
            "plugin-api is the bottom: it depends on no other package of the workspace"
        } else if path.starts_with("plugins/") && ours && name != "coin-plugin-api" {
            "a plugin depends on `coin-plugin-api` and on no other package of the workspace"
        } else if path.starts_with("host/kernels/") {
            "the kernels know slices alone"
        } else if path.starts_with("host/")
            && ours
            && !matches!(name.as_str(), "coin-plugin-api" | "coin-kernels")
        {
            "the host knows no plugin; it loads them"
        } else if path.starts_with("plugin") && HOST_ONLY.contains(&name.as_str()) {
            "plugins and their API are independent of libtorch and of the host's libraries"
        } else {
            continue;
        };
        faults.add(path, 0, format!("depends on `{name}`: {because}"));
    }
}

fn dependencies(manifest: &Table) -> Vec<String> {
    let mut found = Vec::new();
    for (key, value) in manifest {
        let Some(table) = value.as_table() else { continue };
        if key.ends_with("dependencies") {
            for (name, value) in table {
                let renamed = value.get("package").and_then(|package| package.as_str());
                found.push(renamed.unwrap_or(name).to_owned());
            }
        } else if key == "target" {
            found.extend(table.values().filter_map(|target| target.as_table()).flat_map(dependencies));
        }
    }
    found
}

#[test]
fn plugins_are_libraries_that_the_host_finds_by_name() {
    let mut faults = Faults::default();
    for (path, manifest) in manifests().into_iter().filter(|(path, _)| path.starts_with("plugins/")) {
        let folder = path.split('/').nth(1).unwrap_or_default();
        let library = manifest.get("lib");
        let name = library.and_then(|table| table.get("name")).and_then(|name| name.as_str());
        if name != Some(&folder.replace('-', "_")) {
            faults.add(
                &path,
                0,
                format!("`lib.name` must be `{}`, the folder's name", folder.replace('-', "_")),
            );
        }
        let kinds = library.and_then(|table| table.get("crate-type")).map(ToString::to_string);
        if kinds.as_deref() != Some(r#"["cdylib", "rlib"]"#) {
            faults.add(
                &path,
                0,
                r#"`lib.crate-type` must be ["cdylib", "rlib"]: one to load, one for tests"#,
            );
        }
    }
    faults.expect_none("write the [lib] table as plugins/lora has it");
}

/// Nobody but the tests is to find it.
const FOR_TESTS: &str = "plugins/stress";

#[test]
fn plugins_tell_of_themselves() {
    let mut faults = Faults::default();
    let here = files();
    for (path, cargo) in manifests().into_iter().filter(|(path, _)| path.starts_with("plugins/")) {
        let folder = path.trim_end_matches("/Cargo.toml");
        if folder == FOR_TESTS {
            continue;
        }
        let text_of = |name: &str| {
            let path = format!("{folder}/{name}");
            here.contains(&path).then(|| read(&path)).flatten()
        };
        if text_of("README.md").is_none() {
            faults.add(folder, 0, "has no README.md: what it does, its paper, its keys");
        }
        match text_of("plugin.toml") {
            Some(about) => check_about(folder, &cargo, &about, &mut faults),
            None => faults.add(folder, 0, "has no plugin.toml: what it is before it is loaded"),
        }
    }
    faults.expect_none("write the two files as plugins/lora has them");
}

fn check_about(folder: &str, cargo: &Table, about: &str, faults: &mut Faults) {
    let path = format!("{folder}/plugin.toml");
    let about: Table = match about.parse() {
        Ok(about) => about,
        Err(error) => return faults.add(&path, 0, error),
    };
    let of = |table: &Table, part: &str, key: &str| {
        table.get(part).and_then(|part| part.get(key)).and_then(|value| value.as_str()).map(String::from)
    };
    if of(&about, "plugin", "name").as_deref() != folder.strip_prefix("plugins/") {
        faults.add(&path, 0, "`plugin.name` is not the folder's name");
    }
    if of(&about, "plugin", "version") != of(cargo, "package", "version") {
        faults.add(&path, 0, "`plugin.version` is not that of Cargo.toml");
    }
}

#[test]
fn a_manifest_of_another_plugin_is_found() {
    let cargo: Table = "[package]\nversion = \"0.2.0\"".parse().expect("TOML");
    for (about, count) in [
        ("[plugin]\nname = \"ewc\"\nversion = \"0.2.0\"", 0),
        ("[plugin]\nname = \"lora\"\nversion = \"0.1.0\"", 2),
        ("[plugin]", 2),
        ("[", 1),
    ] {
        let mut faults = Faults::default();
        check_about("plugins/ewc", &cargo, about, &mut faults);
        assert_eq!(faults.0.len(), count, "{about}: {:?}", faults.0);
    }
}

#[test]
fn every_package_takes_the_lints_of_the_workspace() {
    let mut faults = Faults::default();
    for (path, manifest) in manifests() {
        if manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(|on| on.as_bool())
            != Some(true)
        {
            faults.add(&path, 0, "has no `[lints] workspace = true`");
        }
    }
    faults.expect_none("add the two lines `[lints]` and `workspace = true`");
}

/// The manifests of the workspace's members.
fn manifests() -> Vec<(String, Table)> {
    let paths =
        files().into_iter().filter(|path| path.ends_with("/Cargo.toml") && path.matches('/').count() <= 2);
    let found: Vec<_> = paths
        .map(|path| {
            let text = read(&path).unwrap_or_else(|| panic!("{path}: not UTF-8"));
            let table: Table = text.parse().unwrap_or_else(|error| panic!("{path}: {error}"));
            (path, table)
        })
        .collect();
    assert!(found.len() > 3, "{found:?}");
    // What is a workspace of its own can take nothing from this one.
    found.into_iter().filter(|(_, manifest)| !manifest.contains_key("workspace")).collect()
}

#[test]
fn a_wrong_dependency_is_found_in_every_table() {
    for (path, text, count) in [
        ("plugins/ewc/Cargo.toml", "[dependencies]\ncoin-plugin-lora.workspace = true", 1),
        ("plugins/ewc/Cargo.toml", "[dev-dependencies]\nx = { package = \"tch\", version = \"1\" }", 1),
        ("plugin-api/Cargo.toml", "[target.'cfg(unix)'.build-dependencies]\ncoin-host = \"1\"", 1),
        ("plugins/ewc/Cargo.toml", "[dependencies]\ncoin-plugin-api = \"1\"\nserde = \"1\"", 0),
        ("tests/Cargo.toml", "[dev-dependencies]\ntch = \"1\"\ncoin-host = \"1\"", 0),
    ] {
        let mut faults = Faults::default();
        check_dependencies(path, &text.parse().expect("the sample is TOML"), &mut faults);
        assert_eq!(faults.0.len(), count, "{path}: {text}: {:?}", faults.0);
    }
}
