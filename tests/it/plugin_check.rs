//! `coin-host plugin check`: each planted fault is found by its check and by no other, and what is shipped, scaffolded or a sketch has
//! none.

mod datasets;
mod methods;
mod packages;
mod scaffold;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::built;
use crate::sketches::stream::folder;
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

fn assert_passes(plugin: &Path, arguments: &[&str]) -> Value {
    let workspace = Workspace::new();
    let (output, report) = check(&workspace, plugin, arguments);
    assert_eq!(output.status.code(), Some(0), "{}: {:#?}", plugin.display(), having(&report, "fail"));
    report
}

/// Asserts that a table has every fault that `stress` knows, but for some; it names them where it is told one that it does not know.
fn assert_all_faults(table: &BTreeSet<&str>, but: &[&str], kind: &str, arguments: &[&str]) {
    let all = [arguments, &["--set", "fault=no-such-fault", "--kind", kind]].concat();
    let (_output, report) = check(&Workspace::new(), &built::plugin("stress"), &all);
    let failed = having(&report, "fail");
    let (_, refusal) = failed.first().expect("an unknown fault is refused");
    let (_, known) = refusal.split_once("expected one of ").expect("the known ones are named");
    let known: BTreeSet<&str> = known.split('`').skip(1).step_by(2).collect();
    assert!(known.len() > 10, "{refusal}");
    let expected: BTreeSet<&str> = known.into_iter().filter(|fault| !but.contains(fault)).collect();
    assert_eq!(*table, expected, "a fault of stress that no check is tried on, or the other way round");
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

/// With LoRA, MoELoRA and EWC above the ten: each is stopped, killed, and goes on in a process that knows nothing of the one before.
#[test]
fn sketches_pass() {
    let libraries = ["smolora", "o_lora", "lwf", "der_plus_plus", "a_gem", "l2p", "eproj"];
    let (one, other) = libraries.split_at(3);
    let passes = |names: &[&str]| {
        for name in names {
            let file = format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
            let report = assert_passes(&folder().join(file), &[]);
            let passed = having(&report, "pass");
            for check in ["gradients", "resume", "errors", "stack", "silence"] {
                assert!(passed.iter().any(|(name, _)| name == check), "{name}: {report:#}");
            }
        }
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| passes(one));
        passes(other);
        first.join().expect("the first ones pass");
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
