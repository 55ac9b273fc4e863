//! A plugin that misbehaves fails its own cell, is named with the hook it failed in, and takes nobody with it.

use std::time::Instant;

use coin_host::report::results::{Results, Status};

use crate::runs::{compare, finish, succeed, text, workspace};
use crate::support::Workspace;

/// What goes wrong, where, and what the cell's error says.
type Case = (&'static str, &'static str, String);

/// Every hook of a run from its start to its end.
const HOOKS: [&str; 12] = [
    "adapt",
    "prefix",
    "merged_delta",
    "before_stage",
    "after_stage",
    "compose_batch",
    "loss",
    "after_backward",
    "after_update",
    "before_eval",
    "after_eval",
    "save",
];

/// Faults that every hook can have.
fn everywhere() -> Vec<Case> {
    let mut cases = Vec::new();
    for hook in HOOKS {
        let site =
            if matches!(hook, "adapt" | "merged_delta") { " at language_model.model.layers.0" } else { ":" };
        let called = format!("plugin stress 0.1.0, {hook}{site}");
        cases.extend(["panic", "error", "leak"].map(|fault| (fault, hook, called.clone())));
        let crashed = format!("crashed (signal 11, segmentation fault) in {hook} of plugin stress 0.1.0");
        cases.push(("segfault", hook, crashed));
    }
    cases
}

/// Faults that need something that only some hooks have.
fn particular() -> Vec<Case> {
    let case = |fault, hook, part: &str| (fault, hook, part.to_owned());
    vec![
        case("wrong-shape", "prefix", "soft tokens of shape [2, 1, 1, 1], but [4, P, "),
        case("wrong-shape", "adapt", "the output of the site is"),
        case("wrong-shape", "merged_delta", "the weight of the site is"),
        case("wrong-shape", "loss", "plugin stress 0.1.0, loss: term `stress`: a term is a scalar"),
        case("wrong-shape", "compose_batch", "compose_batch: it gives 3 samples for a batch of 4"),
        case("nan", "adapt", "adapt of stress made outputs that are not finite"),
        case("nan", "merged_delta", "it gives values that are not finite"),
        case("nan", "loss", "loss of plugin `stress`: term `stress` is NaN"),
        case(
            "nan",
            "after_backward",
            "after_backward of plugin `stress`: set_grad `host.multi_modal_projector.linear_1.weight`: the gradient is not finite",
        ),
        case(
            "hidden",
            "before_stage",
            "before_stage of plugin `stress` made a phase on sample 72057594037927935, which",
        ),
        case(
            "hidden",
            "compose_batch",
            "compose_batch of plugin `stress` chose sample 72057594037927935, which",
        ),
        case("operation", "before_stage", "plugin stress 0.1.0, before_stage: matmul: "),
        case("gradients", "before_stage", "before_stage: it left gradients switched off"),
        case("exhaust", "loss", " in loss of plugin stress 0.1.0"),
    ]
}

/// What the error says of the fault itself, wherever it happened.
fn says(fault: &str) -> &'static str {
    match fault {
        "panic" => "panicked at ",
        "error" => "stress was told to fail",
        "leak" => "it kept 1 tensor handles",
        _ => "",
    }
}

fn name((fault, hook, _): &Case) -> String {
    format!("{fault}-{hook}")
}

/// A run of LoRA after these faults, so that one of them could have spoiled its worker.
fn run_of(cases: &[Case]) -> Workspace {
    let mut config = String::from(
        "[backbone]\npath = \"builtin:tiny\"\ndevice = \"cpu\"\n\
         [training]\nbatch_size = 4\nsteps = 1\n[evaluation]\nlimit = 2\nmax_new_tokens = 4\n\
         [tasks.imagenet]\ndataset = \"coin-datasets/imagenet\"\nroot = \"builtin:quickstart\"\n",
    );
    for case in cases {
        let (fault, hook, _) = case;
        config.push_str(&format!(
            "[methods.{}]\nstack = [{{ plugin = \"stress\", fault = \"{fault}\", hook = \"{hook}\" }}]\n",
            name(case)
        ));
    }
    config.push_str("[methods.lora]\nstack = [{ plugin = \"lora\", r = 2 }]\n");
    workspace(&config)
}

/// Asserts that each fault failed its cell with its message and that LoRA was trained.
fn assert_contained(workspace: &Workspace, cases: &[Case], stderr: &str) {
    let results = Results::read(&workspace.path().join("out")).expect("results.json");
    let mut wrong = Vec::new();
    for case in cases {
        let cell = results.cells.iter().find(|cell| cell.method == name(case)).expect("a cell");
        let message = cell.error.clone().unwrap_or_default();
        if cell.status != Status::Failed || !message.contains(&case.2) || !message.contains(says(case.0)) {
            wrong.push(format!("{}: {:?}: {message}", name(case), cell.status));
        }
    }
    let lora = results.cells.last().expect("cells");
    assert_eq!((lora.method.as_str(), lora.status), ("lora", Status::Done), "{:?}", lora.error);
    assert!(wrong.is_empty(), "\n{}\n{stderr}", wrong.join("\n"));
}

#[test]
fn each_fault_fails_its_own_cell() {
    let cases = [everywhere(), particular()].concat();
    let workspace = run_of(&cases);
    let output = finish(compare(&workspace, &["--jobs", "2"]));
    assert_contained(&workspace, &cases, &text(&output.stderr));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn each_hook_that_hangs_is_ended() {
    // A healthy cell is never silent for as long as a whole run takes, however busy this machine is.
    let clock = Instant::now();
    succeed(compare(&run_of(&[]), &[]));
    let limit = 8 + 3 * clock.elapsed().as_secs().min(20);
    let message = |hook| format!("no progress for {limit} s in {hook} of plugin stress 0.1.0");
    let cases = HOOKS.map(|hook| ("hang", hook, message(hook)));
    let workspace = run_of(&cases);
    let mut command = compare(&workspace, &["--jobs", "2"]);
    command.env("COIN_HOST_HANG_SECONDS", limit.to_string());
    let output = finish(command);
    assert_contained(&workspace, &cases, &text(&output.stderr));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn what_a_plugin_prints_is_no_reply() {
    let forge = ("forge", "adapt", String::new());
    let workspace = run_of(&[forge]);
    let output = finish(compare(&workspace, &["--jobs", "1"]));
    let printed = text(&output.stderr);
    let results = Results::read(&workspace.path().join("out")).expect("results.json");
    for cell in &results.cells {
        assert_eq!((cell.status, cell.error.as_deref()), (Status::Done, None), "{}", cell.method);
    }
    assert!(printed.contains(r#"{"reply":"failed","message":"forged"}"#), "a person can read it: {printed}");
    assert_eq!(output.status.code(), Some(0), "{printed}");
}

#[test]
fn what_fails_while_it_is_built_is_found_before_the_first_cell() {
    for (fault, code, part) in [
        ("panic", 2, "method panic-build: plugin stress 0.1.0, build: panicked at "),
        ("error", 2, "method error-build: plugin stress 0.1.0, build: stress was told to fail"),
        ("leak", 2, "method leak-build: plugin stress 0.1.0, build: it kept 1 tensor handles"),
        ("nan", 2, "cannot happen in Build"),
        ("segfault", 3, "segmentation fault) in build of plugin stress 0.1.0"),
        ("exhaust", 3, " in build of plugin stress 0.1.0"),
    ] {
        let workspace = run_of(&[(fault, "build", part.to_owned())]);
        let output = finish(compare(&workspace, &[]));
        let message = text(&output.stderr);
        assert!(message.contains(part), "{fault}: {message}");
        assert_eq!(output.status.code(), Some(code), "{fault}: {message}");
        assert!(!workspace.path().join("out").exists(), "{fault}: something was written");
    }
}
