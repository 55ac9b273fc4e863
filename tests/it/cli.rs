//! What a user sees of the command line: data, messages, exit codes.

use crate::support::{Workspace, settings, shown};

/// A run of two tasks and two methods. The second task has no files: its plan is printed, then why it would be refused.
const RUN: &str = "\
[backbone]
path = \"builtin:tiny\"

[training]
steps = 3

[tasks.gqa]
dataset = \"coin-datasets/gqa\"
root = \"builtin:quickstart\"

[tasks.vizwiz]
dataset = \"coin-datasets/vizwiz\"
root = \"data/vizwiz\"

[methods.lora]
stack = [{ plugin = \"lora\", r = 16 }]

[methods.lora-ewc]
stack = [
  { plugin = \"lora\", r = 16 },
  { plugin = \"ewc\", lambda = 0.5 },
]
";

fn run(arguments: &[&str]) -> String {
    Workspace::new().file("run.toml", RUN).run(arguments)
}

fn run_with(part: &str, replacement: &str) -> String {
    assert!(RUN.contains(part), "{part}");
    Workspace::new().file("run.toml", &RUN.replace(part, replacement)).run(&[
        "compare",
        "run.toml",
        "--dry-run",
    ])
}

/// A macro, because a snapshot is named by the function it stands in.
macro_rules! check {
    ($text:expr $(,)?) => {
        settings().bind(|| insta::assert_snapshot!($text))
    };
}

#[test]
fn help() {
    check!(run(&["--help"]));
}

#[test]
fn help_of_compare() {
    check!(run(&["compare", "--help"]));
}

#[test]
fn an_unknown_command_is_wrong_usage() {
    check!(run(&["compear"]));
}

#[test]
fn the_plan_of_the_quickstart() {
    check!(run(&["compare", "--dry-run"]));
}

#[test]
fn the_plan_of_a_selection() {
    let selection = ["--methods", "lora-ewc", "--seeds", "0,1", "--orders", "random:2"];
    check!(run(&[&["compare", "run.toml", "--dry-run"][..], &selection].concat()));
}

#[test]
fn the_plan_as_json() {
    check!(run(&["compare", "run.toml", "--dry-run", "--json"]));
}

#[test]
fn a_file_that_is_not_there() {
    check!(run(&["compare", "runs.toml"]));
}

#[test]
fn an_unknown_key() {
    check!(run_with("steps = 3", "step = 3"));
}

#[test]
fn a_wrong_type() {
    check!(run_with("steps = 3", "steps = \"three\""));
}

#[test]
fn a_stack_entry_without_a_plugin() {
    check!(run_with("plugin = \"ewc\", ", ""));
}

#[test]
fn an_unknown_method() {
    check!(run(&["compare", "run.toml", "--methods", "lora,lora-ewx"]));
}

#[test]
fn a_plugin_is_no_method() {
    check!(run(&["compare", "run.toml", "--methods", "replay"]));
}

#[test]
fn a_method_file_that_is_not_there() {
    check!(run(&["compare", "run.toml", "--methods", "nosuch.toml"]));
}

#[test]
fn a_key_of_a_plugin_set_on_its_method() {
    check!(run(&["compare", "run.toml", "--set", "methods.lora-ewc.lambda=2"]));
}

#[test]
fn a_list_with_a_blank() {
    check!(run(&["compare", "run.toml", "--tasks", "gqa,", "vizwiz"]));
}

#[test]
fn seeds_as_a_range() {
    check!(run(&["compare", "run.toml", "--seeds", "0-2"]));
}

#[test]
fn an_unknown_task() {
    check!(run(&["compare", "run.toml", "--tasks", "vqa"]));
}

#[test]
fn an_unknown_task_in_an_order() {
    check!(run_with("[backbone]", "orders = [\n  \"written\",\n  [\"gqa\", \"viswiz\"],\n]\n[backbone]"));
}

#[test]
fn an_unknown_order() {
    check!(run(&["compare", "run.toml", "--orders", "alphabetic"]));
}

#[test]
fn a_set_without_a_value() {
    check!(run(&["compare", "run.toml", "--set", "training.steps"]));
}

#[test]
fn a_set_of_an_unknown_key() {
    check!(run(&["compare", "run.toml", "--set", "training.lr=0.1"]));
}

#[test]
fn a_set_of_a_wrong_type() {
    check!(run(&["compare", "run.toml", "--set", "training.batch_size=many"]));
}

#[test]
fn origins_of_values() {
    let set = ["--set", "training.epochs=2", "--set", "methods.lora-ewc.stack.ewc.lambda=3"];
    check!(run(&[&["config", "explain", "run.toml"][..], &set].concat()));
}

#[test]
fn origins_as_json() {
    check!(run(&["config", "explain", "run.toml", "--key", "training.s", "--json"]));
}

#[test]
fn the_page_about_the_configuration_is_current() {
    let page = run(&["config", "schema", "--markdown"]);
    let written = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/config.md")).unwrap();
    let expected = shown(Some(0), &written, "");
    assert!(
        page == expected,
        "docs/config.md is out of date\nhint: coin-host config schema --markdown > docs/config.md"
    );
}

#[test]
fn colors_come_when_asked_for_only() {
    let faulty = Workspace::new();
    assert!(!faulty.run(&["compare", "none.toml"]).contains('\u{1b}'));
    assert!(faulty.run(&["compare", "none.toml", "--color", "always"]).contains("\u{1b}[1;31merror:"));
}

#[test]
fn a_reader_that_closes_the_pipe_is_no_error() {
    let folder = Workspace::new();
    let mut child = folder
        .command(&["config", "schema"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}
