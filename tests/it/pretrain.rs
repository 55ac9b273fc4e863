//! `coin-host model pretrain`: a signal ends it in order, and the same command goes on. That it goes on to the same weights is tested
//! where the library is.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::Workspace;

/// So many that no machine takes them before a signal comes.
const ENDLESS: usize = 1_000_000;

fn pretrain(workspace: &Workspace, out: &str, steps: usize) -> Command {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/pretrain-tiny.toml");
    let steps = format!("alignment.steps={steps}");
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

/// Sends a signal once the stage `alignment` begins; what was said until then, and the step that it stopped at.
fn stop(mut command: Command) -> (Vec<String>, usize) {
    let mut child = command.stderr(Stdio::piped()).spawn().expect("coin-host starts");
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
    let last = lines.last().expect("a line after the signal");
    assert_eq!(child.wait().expect("it ends").code(), Some(130), "{seen:?} {last}");
    let step = last.strip_prefix("stopped at step ").and_then(|rest| {
        rest.strip_suffix(&format!(" of {ENDLESS} of the stage alignment; the same command goes on"))
    });
    let step = step.and_then(|step| step.parse().ok()).unwrap_or_else(|| panic!("{last}"));
    (seen, step)
}

#[test]
fn a_signal_ends_it_in_order() {
    let workspace = Workspace::new();
    let (seen, step) = stop(pretrain(&workspace, "stopped", ENDLESS));
    assert_eq!(seen[0], "vision: 2 steps of 2 samples each");
    assert_eq!(seen.last(), Some(&format!("alignment: {ENDLESS} steps of 2 samples each")));
    let (seen, later) = stop(pretrain(&workspace, "stopped", ENDLESS));
    assert_eq!(seen, [format!("alignment: goes on from step {step} of {ENDLESS}")]);
    assert!(later >= step, "{step} {later}");
    let out = workspace.path().join("stopped");
    assert!(out.join("checkpoint").is_dir() && !out.join("model.safetensors").exists());
}

#[test]
fn it_says_how_far_it_is() {
    let workspace = Workspace::new();
    let notes = finish(pretrain(&workspace, "whole", 4));
    assert!(notes.starts_with("vision: 2 steps of 2 samples each\n"), "{notes}");
    let told = notes.lines().find(|line| line.starts_with("alignment: step 2 of 4, ")).unwrap_or_default();
    assert!(told.contains(" loss ") && told.ends_with(" of this stage left"), "{notes}");
    assert!(notes.ends_with("model: whole\n"), "{notes}");
    assert!(workspace.path().join("whole/model.safetensors").exists());
    let mut quiet = pretrain(&workspace, "whole", 4);
    quiet.arg("--quiet");
    assert_eq!(finish(quiet), "");
}
