//! `coin-host verify-run`: a finished run as it is, and with one thing changed after the other.

use std::fs;
use std::path::Path;

use coin_host::plugin::discover::library_file;
use coin_host::plugin::lock::{self, Lock, Locked};
use coin_host::plugin::verify::sha256;
use serde_json::{Value, json};

use crate::built;
use crate::runs;
use crate::support::Workspace;

/// A copy of a finished run.
fn finished() -> Workspace {
    let workspace = Workspace::new();
    runs::copy(&runs::reference().0, &workspace.path().join("out"));
    workspace
}

/// Exit code and what is said, part by part.
fn verify(workspace: &Workspace) -> (Option<i32>, Value) {
    verify_with(workspace, &[])
}

fn verify_with(workspace: &Workspace, arguments: &[&str]) -> (Option<i32>, Value) {
    let mut command = workspace.command(&[&["verify-run", "out", "--json"][..], arguments].concat());
    command.env("XDG_CACHE_HOME", runs::cache()).env("XDG_DATA_HOME", workspace.path().join("share"));
    let output = command.env_remove("COIN_PLUGIN_PATH").output().expect("coin-host starts");
    let found = serde_json::from_slice(&output.stdout);
    (output.status.code(), found.unwrap_or_else(|error| panic!("{error}: {}", runs::text(&output.stderr))))
}

fn faults<'v>(found: &'v Value, part: &str) -> Vec<&'v str> {
    let parts = found["parts"].as_array().expect("a list");
    let part =
        parts.iter().find(|known| known["name"] == part).unwrap_or_else(|| panic!("no {part}: {found}"));
    part["faults"].as_array().expect("a list").iter().filter_map(Value::as_str).collect()
}

fn change(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(text.contains(from), "{from} is not in {}", path.display());
    fs::write(path, text.replacen(from, to, 1)).expect("written");
}

#[test]
fn a_finished_run_matches_and_carries_where_it_comes_from() {
    let workspace = finished();
    let (code, found) = verify(&workspace);
    assert_eq!((code, &found["matches"]), (Some(0), &true.into()), "{found}");
    for part in ["files", "configuration", "plugins", "weights", "data", "answers"] {
        let known = found["parts"].as_array().expect("a list").iter().find(|known| known["name"] == part);
        assert!(known.is_some_and(|part| part["checked"].as_u64() > Some(0)), "{part}: {found}");
    }
    assert_eq!(found["remarks"].as_array().map(Vec::len), Some(0), "{found}");

    let read = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(workspace.path().join("out").join(name)).expect("there"))
            .expect("JSON")
    };
    let manifest = read("manifest.json");
    for sum in ["host_sha256", "libtorch_sha256"] {
        assert_eq!(manifest["environment"][sum].as_str().map(str::len), Some(64), "{manifest}");
    }
    let results = read("results.json");
    let replay =
        results["cells"].as_array().expect("cells").iter().find(|cell| cell["method"] == "lora-replay");
    let plugin = &replay.expect("a method")["plugins"][1];
    assert_eq!((&plugin["name"], &plugin["api"]), (&"replay".into(), &"1.0".into()), "{plugin}");
    let capabilities = plugin["capabilities"].as_array().expect("a list");
    assert!(capabilities.contains(&"replay".into()), "{plugin}");

    // `sha256sum -c` reads the list as well.
    let checked = std::process::Command::new("sha256sum")
        .args(["--check", "--quiet", "SHA256SUMS"])
        .current_dir(workspace.path().join("out"))
        .status();
    assert!(checked.is_ok_and(|status| status.success()), "sha256sum is there and agrees");
}

#[test]
fn what_was_changed_afterwards_is_named() {
    let workspace = finished();
    let out = workspace.path().join("out");
    let answers = "cells/lora/written/0/predictions/1/imagenet.jsonl";
    let line = fs::read_to_string(out.join(answers)).expect("answers");
    let wrong = line.lines().find(|line| line.contains("\"official\":0")).expect("a wrong answer");
    let answer: Value = serde_json::from_str(wrong).expect("JSON");
    // An answer that was wrong is put right, with the label that the data has for it.
    let label = label(&answer["question_id"]);
    let mut right = answer.clone();
    right["text"] = label.into();
    change(&out.join(answers), wrong, &right.to_string());
    let (code, found) = verify(&workspace);
    assert_eq!(code, Some(1), "{found}");
    assert!(faults(&found, "files")[0].starts_with(&format!("{answers} was changed")), "{found}");
    assert!(
        faults(&found, "answers")
            .iter()
            .any(|fault| fault
                .contains("cell lora/written/0: official of the answers to task 0 after stage 1")),
        "{found}"
    );
    assert!(faults(&found, "plugins").is_empty() && faults(&found, "data").is_empty(), "{found}");
    change(&out.join(answers), &right.to_string(), wrong);
    assert_eq!(verify(&workspace).0, Some(0), "it is as it was");

    // A plugin that is not here, a figure that was raised, a configuration that was touched, a file too few and one too many.
    let manifest: Value =
        serde_json::from_slice(&fs::read(out.join("manifest.json")).expect("there")).expect("JSON");
    let lora = manifest["plugins"][0][1][0]["sha256"].as_str().expect("a sha256").to_owned();
    change(&out.join("manifest.json"), &lora, &"0".repeat(64));
    change(&out.join("manifest.json"), "\"steps\": 6", "\"steps\": 7");
    change(&out.join("results.json"), "\"ap\": ", "\"ap\": 1");
    let mut results: Value =
        serde_json::from_slice(&fs::read(out.join("results.json")).expect("there")).expect("JSON");
    results["references"]["official"]["blind"][0] = 99.5.into();
    fs::write(out.join("results.json"), results.to_string()).expect("written");
    std::os::unix::fs::symlink("/dev/zero", out.join("cells/endless")).expect("a link");
    fs::remove_file(out.join("cells/lora/written/0/metrics.jsonl")).expect("removed");
    fs::write(out.join("cells/more.jsonl"), "").expect("written");
    let (code, found) = verify(&workspace);
    assert_eq!(code, Some(1), "{found}");
    let files = faults(&found, "files").join("\n");
    for part in [
        "manifest.json was changed",
        "results.json was changed",
        "metrics.jsonl is gone",
        "cells/more.jsonl was not there",
    ] {
        assert!(files.contains(part), "{part}: {files}");
    }
    assert!(faults(&found, "configuration")[0].contains("its configuration has sha256"), "{found}");
    assert!(faults(&found, "plugins")[0].starts_with("plugin `lora` 0.1.0 is another one"), "{found}");
    for part in ["do not follow from its matrix", "of the kept answers is not what the results say"] {
        assert!(faults(&found, "answers").iter().any(|fault| fault.contains(part)), "{part}: {found}");
    }

    let none = workspace.run(&["verify-run", "nothing"]);
    assert!(none.starts_with("exit: 2") && none.contains("hint: name the folder of a run"), "{none}");
}

#[test]
fn a_run_does_not_say_what_is_loaded_to_verify_it() {
    let workspace = finished();
    let (out, mark) = (workspace.path().join("out"), workspace.path().join("mark"));
    let theirs = out.join("p");
    fs::create_dir(&theirs).expect("created");
    let library = theirs.join(library_file("evil"));
    fs::write(&library, built::marked(&mark)).expect("written");
    let path = out.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).expect("there")).expect("JSON");
    let config = &mut manifest["config"];
    config["plugins"] = json!({ "dirs": ["out/p"], "dev": ["out/p"], "trust": "any" });
    config["backbone"]["feature_cache"] = "out/features".into();
    config["backbone"]["feature_cache_gib"] = 1.0.into();
    config["tasks"]["grounding"]["dataset"] = "evil/questions".into();
    let used = json!({ "name": "evil", "version": "0.1.0", "sha256": "0".repeat(64), "trust": "locked", "api": "1.0" });
    manifest["datasets"].as_array_mut().expect("a list").push(used);
    fs::write(&path, manifest.to_string()).expect("written");

    let (code, found) = verify(&workspace);
    assert!(!mark.exists(), "code of the run's own folder ran");
    assert_eq!(code, Some(1), "{found}");
    assert!(faults(&found, "data")[0].contains("no plugin `evil`"), "{found}");
    assert!(faults(&found, "plugins")[0].contains("plugin `evil` 0.1.0 is not here"), "{found}");
    assert!(!out.join("features").exists(), "something was written where the run says");
    // Nor does a folder that the user names make it trusted; that is a word of its own.
    let (code, found) = verify_with(&workspace, &["--plugin-dir", "out/p"]);
    assert_eq!((code, mark.exists()), (Some(1), false), "{found}");
    assert!(faults(&found, "data")[0].contains("it stands in no plugins.lock"), "{found}");
    verify_with(&workspace, &["--plugin-dir", "out/p", "--trust", "any"]);
    assert!(mark.exists(), "without it, this test would show nothing");
}

#[test]
fn a_run_is_not_looked_at_from_inside_its_folder() {
    let workspace = finished();
    let (out, mark) = (workspace.path().join("out"), workspace.path().join("mark"));
    // The run brings a plugin and, where it is the current folder, the lock that vouches for it.
    let library = out.join("plugins/dist").join(library_file("evil"));
    fs::create_dir_all(out.join("plugins/dist")).expect("created");
    let bytes = built::marked(&mark);
    fs::write(&library, &bytes).expect("written");
    let entry = Locked {
        name: "evil".into(),
        sha256: sha256(&bytes),
        size: bytes.len() as u64,
        path: "x".into(),
        ..Locked::default()
    };
    Lock { plugins: vec![entry], ..Lock::default() }.write(&out.join(lock::FILE)).expect("written");
    let path = out.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).expect("there")).expect("JSON");
    manifest["config"]["tasks"]["grounding"]["dataset"] = "evil/questions".into();
    fs::write(&path, manifest.to_string()).expect("written");
    std::os::unix::fs::symlink(&out, workspace.path().join("link")).expect("a link");

    let from = |folder: &str, run: &str| {
        let mut command = workspace.command(&["verify-run", run, "--json"]);
        command.env("XDG_CACHE_HOME", runs::cache()).env("XDG_DATA_HOME", workspace.path().join("share"));
        command.env_remove("COIN_PLUGIN_PATH").current_dir(workspace.path().join(folder));
        command.output().expect("coin-host starts")
    };
    for (folder, run) in [("out", "."), ("out/cells", ".."), ("out", "../link"), ("link", "../out")] {
        let output = from(folder, run);
        let message = runs::text(&output.stderr);
        assert!(!mark.exists(), "{run} in {folder}: code of the run's own folder ran");
        assert_eq!(output.status.code(), Some(2), "{run} in {folder}: {message}");
        assert!(message.contains("hint: start it from outside: `coin-host verify-run /"), "{message}");
    }
    let output = from(".", "out");
    assert!(!mark.exists() && output.status.code() == Some(1), "{}", runs::text(&output.stderr));
    fs::rename(out.join(lock::FILE), workspace.path().join(lock::FILE)).expect("moved");
    fs::rename(out.join("plugins"), workspace.path().join("plugins")).expect("moved");
    from(".", "out");
    assert!(mark.exists(), "without it, this test would show nothing");
}

/// The label of a record of the quickstart's ImageNet, whatever its file is called.
fn label(id: &Value) -> String {
    let mut folders = vec![runs::data()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with("ImageNet/test.json") {
                let records: Value = serde_json::from_slice(&fs::read(path).expect("there")).expect("JSON");
                let records = records.as_array().expect("a list");
                let record = records.iter().find(|record| record["question_id"] == *id).expect("the record");
                return record["answer"].as_str().expect("a label").to_owned();
            }
        }
    }
    panic!("no test.json of ImageNet");
}
