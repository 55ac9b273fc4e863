//! Picture features kept on disk (`backbone.feature_cache`): no figure depends on them, and what is damaged is computed again.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::runs::{SMALL, assert_same, compare, finish, succeed, text, workspace};
use crate::support::Workspace;

const OPTIONS: [&str; 2] = ["--methods", "lora"];

fn short(more: &str) -> Workspace {
    let config = SMALL.replace("steps = 6", "steps = 2").replace("references = [\"joint\"]\n", "");
    workspace(&config.replace("device = \"cpu\"\n", &format!("device = \"cpu\"\n{more}")))
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("there") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(entries(&path)),
            false if path.file_name().is_some_and(|name| name != "CACHEDIR.TAG") => found.push(path),
            false => {}
        }
    }
    found.sort();
    found
}

#[test]
fn no_figure_depends_on_what_is_kept() {
    let plain = short("");
    succeed(compare(&plain, &OPTIONS));
    let expected = plain.path().join("out");
    let cached = short("feature_cache = \"features\"\n");
    let folder = cached.path().join("features");
    let out = cached.path().join("out");
    let output = finish(compare(&cached, &OPTIONS));
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    // 16 tokens of 4 x 96 numbers.
    assert!(stderr.contains("picture features: ") && stderr.contains(" pictures of 24.0 KiB, "), "{stderr}");
    assert_same(&expected, &out, "lora");
    let kept = entries(&folder);
    assert!(kept.len() > 10, "{kept:?}");
    let written = fs::metadata(&kept[0]).expect("there").modified().expect("known");
    // From the cache, with one entry cut, one changed and one gone.
    let whole = fs::read(&kept[1]).expect("there");
    fs::write(&kept[1], &whole[..whole.len() / 2]).expect("written");
    let mut changed = fs::read(&kept[2]).expect("there");
    let middle = changed.len() / 2;
    changed[middle] ^= 64;
    fs::write(&kept[2], changed).expect("written");
    fs::remove_file(&kept[3]).expect("removed");
    fs::remove_dir_all(&out).expect("removed");
    succeed(compare(&cached, &OPTIONS));
    assert_same(&expected, &out, "lora");
    assert_eq!(entries(&folder), kept);
    assert_eq!(fs::read(&kept[1]).expect("there"), whole);
    assert_eq!(fs::metadata(&kept[0]).expect("there").modified().expect("known"), written);
    // The same run with another cache, or with none.
    let text = fs::read_to_string(cached.path().join("run.toml")).expect("there");
    fs::write(cached.path().join("run.toml"), text.replace("feature_cache = \"features\"\n", ""))
        .expect("written");
    succeed(compare(&cached, &OPTIONS));
}

#[test]
fn its_size_is_told_before_it_is_made_and_kept_to() {
    let workspace = short("feature_cache = \"features\"\nfeature_cache_gib = 0.0001\n");
    let output = finish(compare(&workspace, &["--methods", "lora", "--dry-run"]));
    let stderr = text(&output.stderr);
    assert!(output.status.code() == Some(0) && stderr.contains("may grow to 105 KiB"), "{stderr}");
    assert!(stderr.contains("the rest is computed in each run"), "{stderr}");
    assert!(!workspace.path().join("features").exists());
    // Each worker counts what it finds and what it writes.
    succeed(compare(&workspace, &["--methods", "lora", "--jobs", "1"]));
    let folder = workspace.path().join("features");
    assert_eq!(entries(&folder).len(), 4);
    // What another version left is told, and left where it is.
    fs::create_dir_all(folder.join("0123456789abcdef/ab")).expect("made");
    fs::write(folder.join("0123456789abcdef/ab/entry"), [0; 3072]).expect("written");
    let output = finish(compare(&workspace, &["--methods", "lora", "--dry-run"]));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("; 3.0 KiB of it are of other versions"), "{stderr}");
    let own = fs::read_dir(&folder).expect("there").map(|entry| entry.expect("an entry").file_name());
    let own = own
        .map(|name| name.display().to_string())
        .find(|name| name.len() == 16 && name != "0123456789abcdef");
    assert!(stderr.contains(&format!("all but {} may be removed", own.expect("a folder"))), "{stderr}");
    assert_eq!(entries(&folder).len(), 5);
}

#[test]
fn a_folder_that_cannot_be_one_is_refused_before_anything_is_written() {
    let workspace = short("feature_cache = \"run.toml\"\n");
    let output = finish(compare(&workspace, &["--methods", "lora"]));
    let stderr = text(&output.stderr);
    assert!(output.status.code() == Some(2) && stderr.contains("cannot hold picture features"), "{stderr}");
    assert!(!workspace.path().join("out").exists());
}

#[test]
fn an_outlook_reckons_with_it() {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/coin-llava-7b.toml");
    let workspace = Workspace::new();
    let mut command = workspace.command(&[
        "compare",
        config,
        "--dry-run",
        "--json",
        "--set",
        "backbone.feature_cache=\"features\"",
    ]);
    let output = command.output().expect("coin-host starts");
    let plan: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    // 576 tokens of 1,024 numbers of 2 bytes.
    assert_eq!(plan["outlook"]["feature_bytes"].as_f64(), Some(1_179_648.0));
    assert!(plan["outlook"]["all_feature_bytes"].as_f64().expect("a number") > 1e11, "{plan}");
    assert!(!workspace.path().join("features").exists());
}
