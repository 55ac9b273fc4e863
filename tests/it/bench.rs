//! `coin-host bench` on a checkpoint that transformers wrote: the figures are there, training follows transformers and peft
//! (`tests/peer/training.py`), adapters go out and come in.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::Workspace;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/llava").join(name)
}

/// `coin-host bench` with the fixture's checkpoint and records: exit code, stdout, stderr.
fn bench(workspace: &Workspace, what: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let mut command = workspace.command(&["--quiet", "bench", what, "--threads", "1"]);
    for (option, name) in [("--model", "model"), ("--data", "single.json"), ("--images", "images")] {
        command.arg(option).arg(fixture(name));
    }
    let output = command.args(more).output().expect("coin-host starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn report(workspace: &Workspace, what: &str, more: &[&str]) -> Value {
    let (code, stdout, stderr) = bench(workspace, what, more);
    assert_eq!(code, Some(0), "{stderr}");
    serde_json::from_str(&stdout).expect("one JSON object")
}

fn losses(report: &Value) -> Vec<f64> {
    report["losses"].as_array().expect("a list").iter().map(|loss| loss.as_f64().expect("a number")).collect()
}

#[test]
fn training_follows_transformers_and_peft() {
    let workspace = Workspace::new();
    let adapter = fixture("adapter");
    let adapter = adapter.to_str().expect("text");
    let arguments = ["--method", "lora", "--steps", "20", "--batch-size", "4", "--learning-rate", "1e-3"];
    let more = [&arguments[..], &["--adapter", adapter, "--out", "trained"]].concat();
    let found = losses(&report(&workspace, "train", &more));
    let text = std::fs::read_to_string(fixture("losses.json")).expect("the fixture");
    let expected: Vec<f64> = serde_json::from_str(&text).expect("numbers");
    assert_eq!(found.len(), expected.len());
    for (step, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert!((found - expected).abs() < 1e-4, "step {step}: {found}, transformers {expected}");
    }
    // What was written goes on where it ended.
    let trained = workspace.path().join("trained");
    let trained = trained.to_str().expect("text");
    let more = ["--steps", "1", "--batch-size", "4", "--adapter", trained];
    let next = losses(&report(&workspace, "train", &more))[0];
    assert!(next < expected[18], "{next}");
    // What answers is LoRA with the adapter's own rank and modules.
    let plain = report(&workspace, "generate", &["--batch-size", "3"]);
    let adapted = report(&workspace, "generate", &["--batch-size", "3", "--adapter", trained]);
    assert_eq!((&plain["method"], &adapted["method"]), (&Value::Null, &Value::from("lora")));
    assert_ne!(plain["answers"], adapted["answers"]);
}

#[test]
fn nothing_is_trained_in_float16_and_answers_are_given_in_it() {
    let workspace = Workspace::new();
    let half = ["--dtype", "float16", "--batch-size", "2"];
    let (code, _, stderr) = bench(&workspace, "train", &[&half[..], &["--method", "lora"]].concat());
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("nothing is trained in float16") && stderr.contains("bfloat16"), "{stderr}");
    let answered = report(&workspace, "generate", &[&half[..], &["--max-new-tokens", "2"]].concat());
    assert_eq!(answered["dtype"], "float16");
}

#[test]
fn figures_of_a_training() {
    let workspace = Workspace::new();
    let more = [
        "--method",
        "moelora",
        "--set",
        "r=8",
        "--set",
        "lora_alpha=16",
        "--steps",
        "4",
        "--batch-size",
        "3",
    ];
    let report = report(&workspace, "train", &more);
    for key in [
        "seconds_per_step",
        "samples_per_second",
        "tokens_per_second",
        "peak_memory_bytes",
        "flops_per_second",
        "gemm_flops_per_second",
        "gemm_share",
        "trainable_parameters",
    ] {
        assert!(report[key].as_f64().is_some_and(|value| value > 0.0), "{key}: {report}");
    }
    assert_eq!(losses(&report).len(), 4);
    assert_eq!((report["method"].as_str(), report["batch_size"].as_u64()), (Some("moelora"), Some(3)));
}

#[test]
fn answers_are_those_of_the_checkpoint() {
    let workspace = Workspace::new();
    let plain = report(&workspace, "generate", &["--batch-size", "4", "--max-new-tokens", "8"]);
    assert!(plain["answers_per_second"].as_f64().is_some_and(|rate| rate > 0.0), "{plain}");
    let text = std::fs::read_to_string(fixture("answers.json")).expect("the fixture");
    let expected: Value = serde_json::from_str(&text).expect("JSON");
    let answers = plain["answers"].as_array().expect("a list");
    assert_eq!(answers.len(), 6);
    for answer in answers {
        assert_eq!(answer["tokens"], expected["crop"][answer["id"].as_str().expect("an id")], "{answer}");
    }
    // LoRA begins where the checkpoint is.
    let adapted =
        report(&workspace, "generate", &["--max-new-tokens", "8", "--batch-size", "3", "--method", "lora"]);
    assert_eq!(adapted["answers"], plain["answers"]);
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let workspace = Workspace::new();
    let adapter = fixture("adapter");
    let adapter = adapter.to_str().expect("text");
    let rounds = fixture("data.json");
    let rounds = rounds.to_str().expect("text");
    let place = workspace.path().to_str().expect("text").to_owned();
    std::fs::write(workspace.path().join("kept"), "x").expect("written");
    let cases: [(&[&str], i32, &str); 8] = [
        (&["--adapter", adapter, "--batch-size", "2", "--set", "r=16"], 2, "the adapter has r = 4"),
        (&["--batch-size", "2", "--out", &place], 2, "is there already and holds something else"),
        (
            &["--batch-size", "2", "--method", "moelora", "--out", "none"],
            2,
            "no LoRA, and PEFT's format has no place for it",
        ),
        (&["--batch-size", "9"], 2, "has 6 records for batches of 9"),
        (&["--batch-size", "2", "--data", rounds], 2, "has 2 rounds"),
        (&["--method", "nowhere", "--batch-size", "2"], 3, "nowhere"),
        (&["--set", "r"], 2, "expected KEY=VALUE"),
        (&["--set", "rank=4", "--batch-size", "2"], 2, "rank"),
    ];
    for (more, code, said) in cases {
        let mut command = workspace.command(&["--quiet", "bench", "train", "--threads", "1"]);
        command.arg("--model").arg(fixture("model")).arg("--images").arg(fixture("images"));
        if !more.contains(&"--data") {
            command.arg("--data").arg(fixture("single.json"));
        }
        let output = command.args(more).output().expect("coin-host starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{more:?}: {stderr}");
        assert!(stderr.contains(said), "{more:?}: {stderr}");
    }
}
