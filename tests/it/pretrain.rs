//! `coin-host model pretrain`: a signal ends it in order, and the same command goes on to the same weights.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::Workspace;

const STEPS: usize = 150;

fn pretrain(workspace: &Workspace, out: &str) -> Command {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/pretrain-tiny.toml");
    let steps = format!("alignment.steps={STEPS}");
    let set = ["held_out=4", "vision.steps=2", "vision.batch_size=2", &steps, "alignment.batch_size=2"];
    let set = set.iter().flat_map(|set| ["--set", set]);
    let config = config.to_str().expect("text");
    let arguments: Vec<&str> =
        ["model", "pretrain", "--config", config, "--out", out].into_iter().chain(set).collect();
    workspace.command(&arguments)
}

fn finish(mut command: Command) -> String {
    let output = command.output().expect("coin-host starts");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(output.stdout.is_empty());
    stderr
}

#[test]
fn a_signal_ends_it_in_order() {
    let workspace = Workspace::new();
    let weights = |out: &str| workspace.path().join(out).join("model.safetensors");
    let mut child = pretrain(&workspace, "stopped").stderr(Stdio::piped()).spawn().expect("coin-host starts");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    let mut seen: Vec<String> = Vec::new();
    for line in lines.by_ref() {
        seen.push(line);
        if seen.last().is_some_and(|line| line.starts_with("alignment: ")) {
            break;
        }
    }
    let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill starts");
    assert!(sent.success());
    seen.extend(lines);
    assert_eq!(child.wait().expect("it ends").code(), Some(130), "{seen:?}");
    let last = seen.last().expect("a line");
    let step = last.strip_prefix("stopped at step ").and_then(|rest| {
        rest.strip_suffix(&format!(" of {STEPS} of the stage alignment; the same command goes on"))
    });
    let step: usize = step.and_then(|step| step.parse().ok()).unwrap_or_else(|| panic!("{last}"));
    assert!(step < STEPS && !weights("stopped").exists(), "{last}");
    let notes = finish(pretrain(&workspace, "stopped"));
    assert!(notes.starts_with(&format!("alignment: goes on from step {step} of {STEPS}\n")), "{notes}");
    let notes = finish(pretrain(&workspace, "whole"));
    assert!(notes.starts_with("vision: 2 steps of 2 samples each\n"), "{notes}");
    let told = notes.lines().find(|line| line.starts_with("alignment: step 2 of ")).unwrap_or_default();
    assert!(told.contains(", loss ") && told.ends_with(" of this stage left"), "{notes}");
    assert!(notes.ends_with("model: whole\n") && notes.lines().count() < 40, "{notes}");
    let read = |out| fs::read(weights(out)).expect("weights");
    assert!(read("whole") == read("stopped"), "other weights after a stop");
    let mut quiet = pretrain(&workspace, "whole");
    quiet.arg("--quiet");
    assert_eq!(finish(quiet), "");
}
