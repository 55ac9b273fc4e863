//! `device = "auto"`: on a GPU the figures of the CPU but for rounding, without one the very same.

use coin_host::report::results::Results;
use serde_json::Value;

use crate::runs::{METHODS, SMALL, assert_same, compare, metrics, reference, succeed, workspace};

/// How far apart losses may be, relative to the larger: cuDNN rounds what goes into a convolution to TF32.
const APART: f64 = 1e-2;

#[test]
fn auto_computes_what_the_cpu_computes() {
    // One more method that asks for everything there is.
    let asking =
        "[methods.asking]\nstack = [{ plugin = \"stress\", fault = \"services\", hook = \"adapt\" }]\n";
    let workspace = workspace(&format!("{}\n{asking}", SMALL.replace("\"cpu\"", "\"auto\"")));
    succeed(compare(&workspace, &["--set", "training.gradient_checkpointing=true"]));
    let (out, (on_cpu, _)) = (workspace.path().join("out"), reference());
    let device = Results::read(&out).expect("results.json").environment.expect("what it ran on").device;
    assert!(device == "cpu" || device.starts_with("cuda:0"), "{device}");
    for method in METHODS {
        if device == "cpu" {
            assert_same(on_cpu, &out, method);
            continue;
        }
        let (expected, found) = (metrics(on_cpu, method), metrics(&out, method));
        assert_eq!(expected.len(), found.len(), "{method}");
        let mut compared = 0;
        for (expected, found) in expected.iter().zip(&found) {
            let loss = |line: &Value| line["task_loss"].as_f64();
            let Some((expected, found)) = loss(expected).zip(loss(found)) else { continue };
            let apart = (expected - found).abs() / expected.abs().max(found.abs()).max(1e-3);
            assert!(apart < APART, "{method} on {device}: {found}, and {expected} on the CPU");
            compared += 1;
        }
        assert_eq!(compared, 12, "{method}");
    }
}
