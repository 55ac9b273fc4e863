//! `coin-host plugin check`: each planted fault is found by its check and by no other, and the shipped plugins have none.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use coin_host::plugin::discover::library_file;
use serde_json::Value;

use crate::built;
use crate::support::Workspace;

fn check(workspace: &Workspace, plugin: &Path, arguments: &[&str]) -> (Output, Value) {
    let plugin = plugin.to_string_lossy().into_owned();
    let all = [&["plugin", "check", &plugin, "--json"][..], arguments].concat();
    let output = workspace.command(&all).output().expect("coin-host starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let report = serde_json::from_str(&stdout)
        .unwrap_or_else(|error| panic!("{error}: {stdout}{}", String::from_utf8_lossy(&output.stderr)));
    (output, report)
}

/// The names of checks with this status, and their reasons.
fn having(report: &Value, status: &str) -> Vec<(String, String)> {
    let checks = report["checks"].as_array().expect("checks");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = checks.iter().filter(|outcome| outcome["status"] == status);
    all.map(|outcome| (text(&outcome["check"]), text(&outcome["reason"]))).collect()
}

/// Asserts that exactly these checks fail, and that the first one's reason says this.
fn assert_found(plugin: &Path, arguments: &[&str], expected: &[&str], says: &str) {
    let workspace = Workspace::new();
    let (output, report) = check(&workspace, plugin, arguments);
    let failed = having(&report, "fail");
    let names: BTreeSet<&str> = failed.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, expected.iter().copied().collect(), "{arguments:?}: {failed:#?}");
    let reason = &failed.iter().find(|(name, _)| name == expected[0]).expect("it failed").1;
    assert!(reason.contains(says), "{arguments:?}: {reason}");
    assert_eq!(output.status.code(), Some(3), "{arguments:?}");
    assert_eq!(report["passed"], false);
}

/// A fault of the method, where it is, the checks that fail, and what the first of them says.
const METHOD: &[(&str, &str, &[&str], &str)] = &[
    ("error", "build", &["defaults"], "stress was told to fail"),
    ("segfault", "build", &["defaults"], "segmentation fault) in build of plugin stress"),
    ("lax", "build", &["unknown-keys"], "the key `no-such-key` is accepted"),
    ("panic", "compose_batch", &["errors"], "compose_batch: panicked at "),
    ("error", "after_eval", &["trains"], "after_eval: stress was told to fail"),
    ("operation", "before_stage", &["trains"], "before_stage: matmul: "),
    ("wrong-shape", "adapt", &["trains"], "the output of the site is"),
    ("service", "adapt", &["trains"], "`task_loss` is not available in adapt"),
    ("nan", "adapt", &["finite"], "adapt of stress made outputs that are not finite"),
    ("nan", "loss", &["finite"], "term `stress` is NaN"),
    ("nan", "after_backward", &["finite"], "the gradient is not finite"),
    ("nan", "merged_delta", &["finite"], "it gives values that are not finite"),
    ("gradients", "before_stage", &["gradients"], "it left gradients switched off"),
    ("detached", "adapt", &["gradients"], "trained tensors gets a gradient"),
    ("leak", "adapt", &["handles"], "it kept 1 tensor handles"),
    ("leak", "after_stage", &["handles"], "it kept 1 tensor handles"),
    ("hidden", "before_stage", &["capabilities"], "neither of this stage nor in the replay buffer"),
    ("hidden", "compose_batch", &["capabilities"], "neither of this stage nor in the replay buffer"),
    ("undeclared", "loss", &["capabilities"], "it asks for `replay`, which it does not declare"),
    ("forge", "adapt", &["silence"], "it prints to stdout: "),
    (
        "unsteady",
        "after_backward",
        &["seed", "resume", "checkpointing", "stack"],
        "two runs with one seed differ",
    ),
    ("forgetful", "after_backward", &["resume", "stack"], "after being stopped"),
    ("panic", "save", &["resume", "errors", "stack"], "save: panicked at "),
    ("error", "load", &["resume", "stack"], "load: stress was told to fail"),
    ("unwrap", "loss", &["errors"], "where `step` fails in loss of plugin `stress`: "),
    ("swell", "loss", &["memory"], "MiB more memory after 150 steps"),
    ("float32", "adapt", &["bfloat16"], "it gives Float"),
    ("neighbour", "adapt", &["batch-mates", "merged"], "in a batch of 5 and alone"),
    (
        "tokens",
        "adapt",
        &["token-local", "batch-mates", "cache", "merged"],
        "the output of a token depends on the others",
    ),
    ("decoding", "adapt", &["cache", "merged"], "with the cache and without"),
    ("wrong", "merged_delta", &["merged"], "from folded weights and from the adapter"),
    ("alone", "before_stage", &["stack"], "in a stack with `ewc`: "),
    ("hoard", "loss", &["resume", "stack"], "after being stopped"),
    ("hoard", "adapt", &["seed", "resume", "checkpointing", "stack"], "two runs with one seed differ"),
    ("reach", "before_stage", &["capabilities"], "neither of this stage nor in the replay buffer"),
    (
        "memory",
        "adapt",
        &["checkpointing", "resume", "cache", "batch-mates", "merged", "stack"],
        "another output",
    ),
    ("segfault", "loss", &["trains"], "segmentation fault) in loss of plugin stress"),
    ("segfault", "load", &["resume", "errors", "stack"], "segmentation fault) in load of plugin stress"),
    ("exhaust", "loss", &["trains"], "in loss of plugin stress 0.1.0: memory allocation of"),
];

fn assert_each(cases: &[(&str, &str, &[&str], &str)]) {
    for (fault, hook, expected, says) in cases {
        // In quotes: `nan` alone is a number.
        let (fault, hook) = (format!("fault=\"{fault}\""), format!("hook={hook}"));
        assert_found(&built::plugin("stress"), &["--set", &fault, "--set", &hook], expected, says);
    }
}

#[test]
fn faults_of_a_method_are_found_by_their_check() {
    let (one, other) = METHOD.split_at(METHOD.len() / 2);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| assert_each(one));
        assert_each(other);
        first.join().expect("the first half");
    });
}

#[test]
fn odd_values_that_panic_are_found() {
    let arguments = ["--set", "fault=brittle", "--set", "hook=build", "--set", "after=5"];
    assert_found(&built::plugin("stress"), &arguments, &["values"], "`after = 0`: ");
}

#[test]
fn a_plugin_that_hangs_or_takes_all_memory_is_ended() {
    let stress = built::plugin("stress");
    let hang = ["--set", "fault=hang", "--set", "hook=after_update", "--timeout", "20"];
    assert_found(&stress, &hang, &["trains"], "no answer for 20 s in after_update of plugin stress");
    let gorge = ["--set", "fault=gorge", "--set", "hook=loss", "--memory", "1024"];
    assert_found(
        &stress,
        &gorge,
        &["trains"],
        "it took more than 1024 MiB of memory in loss of plugin stress",
    );
}

/// A fault of the dataset, and the check that fails.
const DATASET: &[(&str, &str, &str)] = &[
    ("metric", "opens", "no-such-metric"),
    ("files", "opens", "`files` names answers.txt"),
    ("twins", "records", "has the id `0` of an earlier one"),
    ("speechless", "records", "has no question"),
    ("picture", "records", "there is no picture none.png"),
    ("escape", "records", "leaves the root"),
    ("beyond", "records", "has 3 records and gives 3..4"),
    ("slice", "records", "panicked at "),
    ("segfault", "records", "segmentation fault) in records of plugin stress"),
    ("unordered", "order", "are others than within 0..3"),
    ("score", "score", "it gives 2"),
    ("score-panic", "score", "panicked at "),
    ("lax", "keys", "the key `no-such-key` is accepted"),
    ("missing", "missing-files", "an empty folder: "),
    ("damaged", "damaged-files", "questions.txt "),
];

#[test]
fn faults_of_a_dataset_are_found_by_their_check() {
    let root = Workspace::new().file("questions.txt", "what is a\tb\nwhat is c\td\nwhat is e\tf\n");
    let root_path = root.path().to_string_lossy().into_owned();
    for (fault, expected, says) in DATASET {
        let (workspace, fault) = (Workspace::new(), format!("fault={fault}"));
        let arguments = ["--root", &root_path, "--set", &fault, "--kind", "dataset"];
        let (output, report) = check(&workspace, &built::plugin("stress"), &arguments);
        let failed = having(&report, "fail");
        let reason = failed.iter().find(|(name, _)| name == expected);
        assert!(reason.is_some_and(|(_, reason)| reason.contains(says)), "{fault}: {failed:#?}");
        // A crash takes every check with it in which the dataset is asked for records.
        assert!(
            failed.len() == 1 || fault == "fault=segfault" || fault == "fault=slice",
            "{fault}: {failed:#?}"
        );
        assert_eq!(output.status.code(), Some(3), "{fault}");
    }
}

#[test]
fn a_manifest_that_says_something_else_is_found() {
    let manifest = "[plugin]\nname = \"stress\"\nversion = \"0.1.0\"\nkind = [\"method\", \"dataset\"]\nlicense = \"MIT\"\nneeds = [\"replay\"]\n[api]\nversion = \"1.0\"\n";
    let folder = Workspace::new().file("plugin.toml", manifest);
    let library = folder.path().join(built::plugin("stress").file_name().expect("a file"));
    fs::copy(built::plugin("stress"), &library).expect("copied");
    let (output, report) = check(&folder, &library, &["--kind", "dataset"]);
    let failed = having(&report, "fail");
    assert_eq!(failed.len(), 1, "{failed:#?}");
    assert!(failed[0].0 == "manifest" && failed[0].1.contains("gives the needs as [replay]"), "{failed:#?}");
    assert_eq!(output.status.code(), Some(3));
}

fn assert_passes(plugin: &Path, arguments: &[&str]) -> Value {
    let workspace = Workspace::new();
    let (output, report) = check(&workspace, plugin, arguments);
    assert_eq!(output.status.code(), Some(0), "{}: {:#?}", plugin.display(), having(&report, "fail"));
    report
}

#[test]
fn shipped_methods_pass() {
    std::thread::scope(|scope| {
        let strategies = scope.spawn(|| {
            for name in ["replay", "ewc"] {
                let report = assert_passes(&built::plugin(name), &[]);
                assert_eq!(having(&report, "skip").len(), 1, "no adapter of its own: {report:#}");
            }
        });
        for name in ["lora", "moelora", "example", "stress"] {
            assert_passes(&built::plugin(name), &["--kind", "method"]);
        }
        strategies.join().expect("both pass");
    });
}

#[test]
fn shipped_datasets_pass() {
    let names = "scienceqa,textvqa,imagenet,gqa,vizwiz,grounding,vqav2,ocrvqa";
    let report = assert_passes(
        &built::plugin("coin-datasets"),
        &["--root", "builtin:quickstart", "--datasets", names],
    );
    assert!(having(&report, "skip").is_empty(), "{report:#}");
    let root = Workspace::new()
        .file("train.tsv", "a\t\tWhat is one and one?\ttwo\nb\t\tWhat is two and two?\tfour\n")
        .file("test.tsv", "c\t\tWhat is two and one?\tthree\n");
    let root = root.path().to_string_lossy().into_owned();
    let report = assert_passes(&built::plugin("example-dataset"), &["--root", &root]);
    assert!(having(&report, "skip").iter().all(|(name, _)| name == "manifest"), "{report:#}");
}

/// Writes the crate of a new plugin and builds it where the next run finds what it depends on.
fn scaffolded(workspace: &Workspace, kind: &str, name: &str) -> PathBuf {
    let output = workspace.command(&["plugin", "new", kind, name]).output().expect("coin-host starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let folder = workspace.path().join(name);
    // The versions that are there.
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock"), folder.join("Cargo.lock"))
        .expect("copied");
    let target = built::folder().join("../scaffold");
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(&folder)
        .args(["build", "--release", "--offline", "--target-dir"])
        .arg(&target)
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let library = PathBuf::from(library_file(name));
    fs::create_dir_all(folder.join("target/release")).expect("a folder");
    fs::copy(target.join("release").join(&library), folder.join("target/release").join(library))
        .expect("copied");
    folder
}

#[test]
fn new_plugins_pass_as_they_were_written() {
    let workspace = Workspace::new();
    let method = assert_passes(&scaffolded(&workspace, "method", "fresh-method"), &[]);
    assert!(having(&method, "skip").is_empty(), "{method:#}");
    let data = workspace
        .file("data/train.tsv", "a\t\tWhat is one and one?\ttwo\nb\t\tWhat is two and two?\tfour\n")
        .file("data/test.tsv", "c\t\tWhat is two and one?\tthree\n");
    let root = data.path().join("data").to_string_lossy().into_owned();
    let dataset = assert_passes(&scaffolded(&data, "dataset", "fresh-data"), &["--root", &root]);
    assert!(having(&dataset, "skip").is_empty(), "{dataset:#}");
}

#[test]
fn what_cannot_be_a_plugin_is_a_usage_error() {
    let workspace = Workspace::new().file("notes.txt", "x").file("empty/readme", "x");
    for (path, part) in [
        ("none", "there is no `none`"),
        ("notes.txt", "is not named as a plugin's library"),
        ("empty", "there is no empty/plugin.toml"),
    ] {
        let output = workspace.command(&["plugin", "check", path]).output().expect("coin-host starts");
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(message.contains(part) && message.contains("hint: "), "{message}");
        assert_eq!(output.status.code(), Some(2), "{message}");
    }
}
