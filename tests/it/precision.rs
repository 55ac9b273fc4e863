//! bfloat16: frozen weights, training and answers in it, masters and optimizer in float32; and devices that are not there.

use std::fs;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use crate::runs::{METHODS, SMALL, assert_same, compare, metrics, reference, succeed, workspace};
use crate::support::Workspace;

const BFLOAT16: [&str; 4] = ["--set", "backbone.dtype=bfloat16", "--set", "references=[]"];

/// [`SMALL`] and a method that asks for all that a pass offers.
fn config() -> String {
    let asking =
        "[methods.asking]\nstack = [{ plugin = \"stress\", fault = \"services\", hook = \"adapt\" }]\n";
    format!("{SMALL}\n{asking}")
}

fn run(more: &[&str]) -> Workspace {
    let workspace = workspace(&config());
    succeed(compare(&workspace, &[&BFLOAT16, more].concat()));
    workspace
}

fn task_losses(out: &Path, method: &str) -> Vec<f64> {
    metrics(out, method).iter().filter_map(|line| line["task_loss"].as_f64()).collect()
}

#[test]
fn methods_train_in_bfloat16_with_masters_in_float32() {
    let whole = run(&["--jobs", "2"]);
    let out = whole.path().join("out");
    for method in METHODS {
        let (found, expected) = (task_losses(&out, method), task_losses(&reference().0, method));
        assert_eq!(found.len(), expected.len(), "{method}");
        assert_ne!(found, expected, "{method}");
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 0.1 * expected, "{method}: {found}, in float32 {expected}");
        }
    }
    for method in METHODS.iter().chain(&["asking"]) {
        let path = out.join("cells").join(method).join("written/0/stages/1/parameters.safetensors");
        let bytes = fs::read(path).expect("parameters");
        let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
        assert!(!tensors.is_empty());
        for (name, tensor) in tensors.tensors() {
            assert_eq!(tensor.dtype(), Dtype::F32, "{method}: {name}");
        }
    }
    let results = fs::read_to_string(out.join("results.json")).expect("results.json");
    assert!(results.contains("\"device\": \"cpu, in bfloat16\""), "{results}");
    let report = fs::read_to_string(out.join("report.html")).expect("report.html");
    assert!(report.contains("cpu, in bfloat16"));

    // Layers that are computed twice are the same in it, and so is a cell that was killed.
    let other = workspace(&config());
    let on = ["--methods", "lora-ewc,asking", "--set", "training.gradient_checkpointing=true"];
    let arguments = [&BFLOAT16, &on[..]].concat();
    let mut command = compare(&other, &arguments);
    command.env("COIN_HOST_CHECKPOINT_SECONDS", "0");
    let mut child = command.spawn().expect("coin-host starts");
    let folder = other.path().join("out/cells/lora-ewc/written/0/checkpoint.safetensors");
    while !folder.is_file() && child.try_wait().expect("a child").is_none() {
        std::thread::sleep(std::time::Duration::from_millis(3));
    }
    child.kill().expect("killed or over");
    child.wait().expect("it ends");
    succeed(compare(&other, &arguments));
    for method in ["lora-ewc", "asking"] {
        assert_same(&out, &other.path().join("out"), method);
    }
}

#[test]
fn a_gpu_that_is_not_there_is_refused_and_auto_does_without() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/llava");
    let path = |name: &str| fixtures.join(name).display().to_string();
    let (model, data, images) = (path("model"), path("single.json"), path("images"));
    let workspace = workspace(SMALL);
    let inputs = ["--model", &model, "--data", &data, "--images", &images, "--batch-size", "2"];
    let bench = [&["bench", "train", "--quiet", "--steps", "1"][..], &inputs].concat();
    let logits = [&["model", "logits", "--out", "logits.safetensors"][..], &inputs].concat();
    // No machine has as many.
    let gone = ["--device", "cuda:99"];
    for command in [&bench, &logits] {
        let shown = workspace.run(&[&command[..], &gone].concat());
        assert!(shown.starts_with("exit: 2\n"), "{shown}");
        assert!(shown.contains("there is no device cuda:99") && shown.contains("\nhint: "), "{shown}");
    }
    let shown = workspace.run(&[&logits[..], &["--device", "auto", "--dtype", "bfloat16"]].concat());
    assert!(shown.starts_with("exit: 0\n"), "{shown}");
}
