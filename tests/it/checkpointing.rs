//! Gradient checkpointing changes what is kept and what is computed twice, and nothing else.

use serde_json::Value;

use crate::runs::{
    METHODS, SMALL, assert_same, compare, finish, metrics, reference, succeed, text, workspace,
};
use crate::support::Workspace;

const ON: [&str; 2] = ["--set", "training.gradient_checkpointing=true"];

/// [`SMALL`] with dropout, the method that asks for everything, and one that keeps a state it must not have.
fn config() -> String {
    let dropped = SMALL.replace("r = 4", "r = 4, lora_dropout = 0.2");
    assert_ne!(dropped, SMALL);
    let stress = |name: &str, fault: &str| {
        format!(
            "[methods.{name}]\nstack = [{{ plugin = \"stress\", fault = \"{fault}\", hook = \"adapt\" }}]\n"
        )
    };
    format!("{dropped}\n{}\n{}", stress("asking", "services"), stress("memory", "memory"))
}

/// A run of some methods and the arguments that differ.
fn run(methods: &str, more: &[&str]) -> Workspace {
    let workspace = workspace(&config());
    let arguments = [&["--methods", methods, "--set", "references=[]"][..], more].concat();
    succeed(compare(&workspace, &arguments));
    workspace
}

#[test]
fn a_comparison_has_the_same_figures_to_the_last_bit() {
    let methods = METHODS.join(",");
    let (off, on) = (run(&methods, &[]), run(&methods, &ON));
    for method in METHODS {
        assert_same(&off.path().join("out"), &on.path().join("out"), method);
    }
}

/// Numbers of a line by dotted name.
fn numbers(prefix: &str, value: &Value, found: &mut Vec<(String, f64)>) {
    match value {
        Value::Number(number) => found.push((prefix.to_string(), number.as_f64().expect("a number"))),
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| numbers(&format!("{prefix}.{name}"), value, found));
        }
        _ => {}
    }
}

#[test]
fn terms_counts_draws_and_sequences_take_effect_once() {
    // With two micro-batches a sum is rounded in another order.
    let more = ["--set", "training.accumulate=2", "--set", "training.steps=4"];
    let (off, on) = (run("asking", &more), run("asking", &[&more[..], &ON].concat()));
    let (off, on) = (metrics(&off.path().join("out"), "asking"), metrics(&on.path().join("out"), "asking"));
    assert_eq!(off.len(), on.len());
    let mut seen = 0;
    for (off, on) in off.iter().zip(&on) {
        let (mut expected, mut found) = (Vec::new(), Vec::new());
        numbers("", off, &mut expected);
        numbers("", on, &mut found);
        assert_eq!(expected.len(), found.len(), "{off}\n{on}");
        for ((name, expected), (known, found)) in expected.into_iter().zip(found) {
            assert_eq!(name, known);
            if name.contains("seconds") {
                continue;
            }
            assert!((expected - found).abs() <= 1e-6 * expected.abs() + 1e-9, "{name}: {expected}, {found}");
            seen += usize::from(name.contains("stress."));
        }
    }
    assert!(seen > 20, "{seen} numbers of the plugin");
}

#[test]
fn a_killed_run_goes_on_the_same() {
    let on = run("lora", &ON);
    let whole = on.path().join("out");
    // The reference has no dropout, so that this is about the checkpoint alone.
    assert_ne!(metrics(&whole, "lora"), metrics(&reference().0, "lora"));
    let other = workspace(&config());
    let arguments = [&["--methods", "lora", "--set", "references=[]"][..], &ON].concat();
    let mut command = compare(&other, &arguments);
    command.env("COIN_HOST_CHECKPOINT_SECONDS", "0");
    let mut child = command.spawn().expect("coin-host starts");
    let folder = other.path().join("out/cells/lora/written/0/checkpoint.safetensors");
    while !folder.is_file() && child.try_wait().expect("a child").is_none() {
        std::thread::sleep(std::time::Duration::from_millis(3));
    }
    child.kill().expect("killed or over");
    child.wait().expect("it ends");
    succeed(compare(&other, &arguments));
    assert_same(&whole, &other.path().join("out"), "lora");
}

#[test]
fn an_adapter_with_a_memory_is_found_out() {
    run("memory", &[]);
    let workspace = workspace(&config());
    let selection = ["--methods", "memory", "--set", "references=[]"];
    let output = finish(compare(&workspace, &[&selection[..], &ON].concat()));
    let notes = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{notes}");
    assert!(notes.contains("adapt of stress gave another output when it was computed again"), "{notes}");
}
