//! A strict protocol: what a method did not hand to the host is gone with its process, and is noticed.

use std::path::PathBuf;

use coin_host::report::results::{CellResult, Results, Status};
use coin_host::report::{html, markdown, tables};

use crate::runs::{
    METHODS, SMALL, assert_same, compare, figures, finish, reference, succeed, text, workspace,
};
use crate::support::Workspace;

fn cells(out: &std::path::Path) -> Vec<CellResult> {
    Results::read(out).expect("results.json").cells
}

#[test]
fn honest_methods_give_the_same_to_the_bit() {
    let workspace = workspace(SMALL);
    let printed = succeed(compare(&workspace, &["--strict-protocol", "--jobs", "2"]));
    let out = workspace.path().join("out");
    for method in METHODS.iter().chain(&["joint"]) {
        assert_same(&reference().0, &out, method);
    }
    for cell in cells(&out) {
        let [handover] = &cell.handovers[..] else {
            panic!("{}: two stages, one handover: {:?}", cell.method, cell.handovers)
        };
        assert_eq!((handover.stage, handover.alike), (1, Some(true)), "{}", cell.method);
        // Another way to the same figure: what is stored at the end of stage 0 is what stage 1 began with.
        assert!(handover.bytes() <= cell.cost.stored_bytes, "{}: {handover:?}", cell.method);
        assert_eq!(handover.replay_bytes > 0, cell.method == "lora-replay", "{handover:?}");
        let state: Vec<&str> = handover.state_bytes.keys().map(String::as_str).collect();
        let expected: &[&str] = match cell.method.as_str() {
            "lora-replay" => &["replay"],
            "lora-ewc" => &["ewc"],
            _ => &[],
        };
        assert_eq!(state, expected, "{}", cell.method);
        let line = format!(
            "strict protocol: {}, order written, seed 0: each stage began in a new process",
            cell.method
        );
        assert!(printed.contains(&line), "{printed}");
    }
    assert!(!printed.contains("otherwise"), "{printed}");
}

/// One task after the other with the stress plugin, by its keys.
fn stress(keys: &str) -> Workspace {
    let config =
        SMALL.split("[methods.").next().expect("a part before the methods").replace("[\"joint\"]", "[]");
    workspace(&format!("{config}[methods.stress]\nstack = [{{ plugin = \"stress\"{keys} }}]\n"))
}

fn run(keys: &str, arguments: &[&str]) -> (Workspace, PathBuf) {
    let workspace = stress(keys);
    succeed(compare(&workspace, &[&["--jobs", "1"], arguments].concat()));
    let out = workspace.path().join("out");
    (workspace, out)
}

#[test]
fn what_a_plugin_hoards_does_not_outlive_a_stage_and_is_told() {
    let (_kept, honest) = run("", &[]);
    for hook in ["loss", "adapt"] {
        let keys = format!(", fault = \"hoard\", hook = \"{hook}\"");
        let (_kept, loose) = run(&keys, &[]);
        assert!(
            figures(&loose, "stress") != figures(&honest, "stress"),
            "{hook}: hoarding changes what is trained"
        );
        assert!(cells(&loose)[0].handovers.is_empty());
        let (_kept, strict) = run(&keys, &["--strict-protocol"]);
        assert_same(&honest, &strict, "stress");
        let cell = &cells(&strict)[0];
        assert_eq!(cell.status, Status::Done);
        assert_eq!(cell.handovers[0].alike, Some(false), "{hook}: {:?}", cell.handovers);
        let results = Results::read(&strict).expect("results.json");
        for report in [tables::text(&results), html::page(&results), markdown::text(&results)] {
            let report = report.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(
                report.contains("it would have begun otherwise: stage 2. The scores are those without"),
                "{report}"
            );
        }
    }
}

#[test]
fn a_rehearsal_that_fails_says_nothing_of_what_is_remembered() {
    // The object that trained the first stage fails in the second; the fresh one does not.
    let workspace = stress(", fault = \"error\", hook = \"before_stage\", after = 1");
    let output = finish(compare(&workspace, &["--jobs", "1", "--strict-protocol"]));
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{message}");
    assert!(message.contains("is not compared with a process that remembers more"), "{message}");
    assert!(message.contains("stress was told to fail"), "{message}");
    let printed = text(&output.stdout);
    assert!(printed.contains("not compared") && !printed.contains("otherwise"), "{printed}");
    let cell = &cells(&workspace.path().join("out"))[0];
    assert_eq!((cell.status, cell.handovers[0].alike), (Status::Done, None));
}

#[test]
fn a_strict_run_is_another_run_than_a_loose_one() {
    let workspace = stress("");
    succeed(compare(&workspace, &["--limit", "1"]));
    let output = finish(compare(&workspace, &["--limit", "1", "--strict-protocol"]));
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("protocol.strict"), "{message}");
}
