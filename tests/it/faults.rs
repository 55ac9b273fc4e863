//! A plugin that misbehaves fails its own cell, is named with the hook it failed in, and takes nobody with it.

use coin_host::report::results::{Results, Status};

use crate::runs::{compare, finish, text, workspace};
use crate::support::Workspace;

/// What goes wrong, where, and what the cell's error says.
type Case = (&'static str, &'static str, &'static str);

const CASES: &[Case] = &[
    ("panic", "adapt", "plugin stress 0.1.0, adapt at language_model.model.layers.0"),
    ("panic", "before_stage", "plugin stress 0.1.0, before_stage: panicked at "),
    ("panic", "after_stage", "plugin stress 0.1.0, after_stage: panicked at "),
    ("panic", "compose_batch", "plugin stress 0.1.0, compose_batch: panicked at "),
    ("panic", "loss", "plugin stress 0.1.0, loss: panicked at "),
    ("panic", "after_backward", "plugin stress 0.1.0, after_backward: panicked at "),
    ("panic", "after_update", "plugin stress 0.1.0, after_update: panicked at "),
    ("panic", "before_eval", "plugin stress 0.1.0, before_eval: panicked at "),
    ("panic", "after_eval", "plugin stress 0.1.0, after_eval: panicked at "),
    ("panic", "save", "plugin stress 0.1.0, save: panicked at "),
    ("panic", "prefix", "plugin stress 0.1.0, prefix: panicked at "),
    ("wrong-shape", "prefix", "soft tokens of shape [2, 1, 1, 1], but [4, P, "),
    ("leak", "prefix", "plugin stress 0.1.0, prefix: it kept 1 tensor handles"),
    ("segfault", "prefix", "crashed (signal 11, segmentation fault) in prefix of plugin stress 0.1.0"),
    ("error", "adapt", "stress was told to fail\nhint: it is a test"),
    ("error", "loss", "plugin stress 0.1.0, loss: stress was told to fail"),
    ("error", "after_update", "plugin stress 0.1.0, after_update: stress was told to fail"),
    ("operation", "before_stage", "plugin stress 0.1.0, before_stage: "),
    ("nan", "adapt", "adapt of stress made outputs that are not finite"),
    ("nan", "loss", "loss of plugin `stress`: term `stress` is NaN"),
    (
        "nan",
        "after_backward",
        "after_backward of plugin `stress`: set_grad `host.multi_modal_projector.linear_1.weight`: the gradient is not finite",
    ),
    ("wrong-shape", "adapt", "the output of the site is"),
    ("wrong-shape", "loss", "plugin stress 0.1.0, loss: term `stress`: a term is a scalar"),
    (
        "wrong-shape",
        "compose_batch",
        "plugin stress 0.1.0, compose_batch: it gives 3 samples for a batch of 4",
    ),
    ("leak", "adapt", "it kept 1 tensor handles"),
    ("leak", "before_stage", "plugin stress 0.1.0, before_stage: it kept 1 tensor handles"),
    ("leak", "loss", "plugin stress 0.1.0, loss: it kept 1 tensor handles"),
    ("leak", "merged_delta", "plugin stress 0.1.0, merged_delta at language_model.model.layers.0"),
    ("leak", "save", "plugin stress 0.1.0, save: it kept 1 tensor handles"),
    ("leak", "after_eval", "plugin stress 0.1.0, after_eval: it kept 1 tensor handles"),
    ("gradients", "before_stage", "plugin stress 0.1.0, before_stage: it left gradients switched off"),
    ("segfault", "adapt", "crashed (signal 11, segmentation fault) in adapt of plugin stress 0.1.0"),
    (
        "segfault",
        "after_stage",
        "crashed (signal 11, segmentation fault) in after_stage of plugin stress 0.1.0",
    ),
    ("exhaust", "loss", " in loss of plugin stress 0.1.0"),
];

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
        if cell.status != Status::Failed || !message.contains(case.2) {
            wrong.push(format!("{}: {:?}: {message}", name(case), cell.status));
        }
    }
    let lora = results.cells.last().expect("cells");
    assert_eq!((lora.method.as_str(), lora.status), ("lora", Status::Done), "{:?}", lora.error);
    assert!(wrong.is_empty(), "\n{}\n{stderr}", wrong.join("\n"));
}

#[test]
fn each_fault_fails_its_own_cell() {
    let workspace = run_of(CASES);
    let output = finish(compare(&workspace, &["--jobs", "2"]));
    assert_contained(&workspace, CASES, &text(&output.stderr));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_hook_that_hangs_is_ended() {
    let cases = [("hang", "after_stage", "no progress for 8 s in after_stage of plugin stress 0.1.0")];
    let workspace = run_of(&cases);
    let mut command = compare(&workspace, &["--jobs", "2"]);
    command.env("COIN_HOST_HANG_SECONDS", "8");
    let output = finish(command);
    assert_contained(&workspace, &cases, &text(&output.stderr));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn what_a_plugin_prints_is_no_reply() {
    let forge = ("forge", "adapt", "");
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
        let workspace = run_of(&[(fault, "build", part)]);
        let output = finish(compare(&workspace, &[]));
        let message = text(&output.stderr);
        assert!(message.contains(part), "{fault}: {message}");
        assert_eq!(output.status.code(), Some(code), "{fault}: {message}");
        assert!(!workspace.path().join("out").exists(), "{fault}: something was written");
    }
}
