//! The same seed gives the same figures, whoever runs beside it. `runs::reference` ran all methods in order with two workers.

use coin_host::report::results::Results;

use crate::runs::{METHODS, SMALL, assert_same, compare, metrics, reference, succeed, workspace};

/// [`SMALL`] with its methods in reverse.
fn reversed() -> String {
    let (head, methods) = SMALL.split_once("[methods.").expect("methods");
    let mut methods: Vec<&str> = methods.split("[methods.").collect();
    methods.reverse();
    methods.iter().fold(head.to_string(), |text, method| format!("{text}\n[methods.{method}"))
}

#[test]
fn a_cell_does_not_know_its_neighbours() {
    let workspace = workspace(&reversed());
    succeed(compare(&workspace, &["--jobs", "1"]));
    let out = workspace.path().join("out");
    let methods = Results::read(&out).expect("results.json");
    assert_eq!(methods.methods(), ["lora-ewc", "lora-replay", "moelora", "lora"]);
    for method in METHODS {
        assert_same(&reference().0, &out, method);
    }
    // Joint training follows the first method, which is another one here.
    let zero_shot = |out| Results::read(out).expect("results.json").references["official"].zero_shot.clone();
    assert_eq!(zero_shot(&reference().0), zero_shot(&out));
}

#[test]
fn one_cell_alone_and_again() {
    let workspace = workspace(SMALL);
    succeed(compare(&workspace, &["--methods", "lora-replay,lora", "--jobs", "1"]));
    let out = workspace.path().join("out");
    for method in ["lora", "lora-replay", "joint"] {
        assert_same(&reference().0, &out, method);
    }
}

#[test]
fn another_seed_gives_other_figures() {
    let workspace = workspace(SMALL);
    let other = ["--methods", "lora", "--seeds", "1", "--set", "training.steps=2", "--set", "references=[]"];
    succeed(compare(&workspace, &other));
    let path = workspace.path().join("out/cells/lora/written/1/metrics.jsonl");
    let first = std::fs::read_to_string(path).expect("metrics.jsonl");
    let first: serde_json::Value = serde_json::from_str(first.lines().next().expect("a line")).expect("JSON");
    assert_ne!(first["task_loss"], metrics(&reference().0, "lora")[0]["task_loss"]);
}
