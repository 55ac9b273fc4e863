//! Faults of methods.

use std::collections::BTreeSet;

use super::{assert_all_faults, assert_found, assert_passes};
use crate::built;

/// A fault of the method, where it is, the checks that fail, and what the first of them says.
type Case = (&'static str, &'static str, &'static [&'static str], &'static str);

const CASES: &[Case] = &[
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
    ("detached", "adapt", &["gradients"], "is trained, and no loss of a step depends on it"),
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
    ("panic", "save", &["resume", "errors", "stack", "values"], "save: panicked at "),
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
    ("static", "after_stage", &["resume"], "after being stopped"),
    ("print", "load", &["silence"], "it prints to stdout: \"stress was here\""),
    ("gullible", "save", &["errors"], "`load` takes a state cut in half for its own"),
    ("half", "adapt", &["gradients"], "lora_A.weight` is trained, and no loss of a step depends on it"),
    ("tired", "adapt", &["gradients"], "is trained, and no loss of a step depends on it"),
    ("half-tired", "adapt", &["gradients"], "lora_A.weight` is trained, and no loss of a step depends on it"),
    ("services", "adapt", &["batch-mates", "cache"], "in a batch of 5 and alone"),
    ("weary", "loss", &["errors"], "drop of plugin stress 0.1.0: panicked at "),
    ("panic", "drop", &["errors"], "drop of plugin stress 0.1.0: panicked at "),
    ("segfault", "drop", &["defaults"], "segmentation fault) in drop of plugin stress"),
];

/// Those that need more than their place.
const MORE: &[(Case, &[&str])] = &[
    (("brittle", "build", &["values"], "`after = 0`: "), &["--set", "after=5"]),
    (
        (
            "brittle",
            "after_stage",
            &["values"],
            "`after = 0`: plugin stress 0.1.0, after_stage: panicked at ",
        ),
        &["--set", "after=5"],
    ),
    (("option", "save", &["values"], "`divisor = 0`: plugin stress 0.1.0, save: panicked at "), &[]),
    (
        ("hang", "after_update", &["trains"], "no answer for 20 s in after_update of plugin stress"),
        &["--timeout", "20"],
    ),
    (
        ("gorge", "loss", &["trains"], "it took more than 1024 MiB of memory in loss of plugin stress"),
        &["--memory", "1024"],
    ),
];

fn assert_case((fault, hook, expected, says): &Case, more: &[&str]) {
    // In quotes: `nan` alone is a number.
    let (fault, hook) = (format!("fault=\"{fault}\""), format!("hook={hook}"));
    let arguments = [&["--set", &fault, "--set", &hook][..], more].concat();
    assert_found(&built::plugin("stress"), &arguments, expected, says);
}

#[test]
fn faults_of_a_method_are_found_by_their_check() {
    let (one, other) = CASES.split_at(CASES.len() / 2);
    let assert_each = |cases: &[Case]| cases.iter().for_each(|case| assert_case(case, &[]));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| assert_each(one));
        assert_each(other);
        first.join().expect("the first half");
    });
}

#[test]
fn odd_values_hangs_and_all_memory_are_found() {
    for (case, more) in MORE {
        assert_case(case, more);
    }
}

#[test]
fn what_is_no_fault_passes() {
    for (behaviour, hook) in [("phases", "before_stage"), ("alarm", "loss"), ("alarm", "drop")] {
        let (behaviour, hook) = (format!("fault={behaviour}"), format!("hook={hook}"));
        assert_passes(&built::plugin("stress"), &["--set", &behaviour, "--set", &hook, "--kind", "method"]);
    }
}

#[test]
fn every_fault_of_a_method_is_tried() {
    let more = MORE.iter().map(|(case, _)| case);
    let table: BTreeSet<&str> = CASES.iter().chain(more).map(|case| case.0).collect();
    // `later` is of builds for the tests of the border's growth.
    assert_all_faults(&table, &["none", "phases", "alarm", "later"], "method", &[]);
}
