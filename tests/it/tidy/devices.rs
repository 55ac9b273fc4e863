//! A tensor is made where the model is: on a machine without a GPU nothing else tells.

use super::Faults;
use super::source::{Source, rust_sources};

/// The code that runs on a GPU.
const PLACES: &[&str] = &[
    "host/src/model",
    "host/src/train",
    "host/src/eval",
    "host/src/data",
    "host/src/ops",
    "host/src/compare",
    "host/src/bench",
];

/// Files whose tensors belong on the CPU, each with its reason.
const CPU: &[(&str, &str)] = &[
    ("host/src/model/fetch/", "what is fetched becomes files"),
    (
        "host/src/model/backbone.rs",
        "random weights are made on the CPU; pictures are moved by `image_features`",
    ),
    ("host/src/model/weights.rs", "what is saved becomes bytes"),
    ("host/src/data/task.rs", "a picture's pixels are moved by `image_features`"),
    (
        "host/src/eval/logits.rs",
        "a picture's pixels are moved by `image_features`, and what is saved becomes bytes",
    ),
    ("host/src/ops/create.rs", "where plugins' tensors go until a model is loaded"),
    ("host/src/ops/core_entry.rs", "plugins read values on the CPU"),
    ("host/src/ops/entry.rs", "asks where a tensor is"),
    ("host/src/model/floats.rs", "the processor's own numbers and threads; asks where a tensor is"),
    ("host/src/ops/random.rs", "asks where a tensor is, and draws there"),
    ("host/src/train/checkpoint.rs", "a checkpoint's bytes"),
    ("host/src/train/optimizer.rs", "what is saved becomes bytes"),
    ("host/src/train/tape.rs", "asks where a tensor is"),
    ("host/src/train/pretrain.rs", "what is saved becomes bytes"),
    ("host/src/compare/environment.rs", "a configuration's device"),
    ("host/src/compare/merged.rs", "checkpoints are merged on the CPU"),
    ("host/src/compare/content.rs", "a configuration's device"),
    ("host/src/compare/product.rs", "the processor itself is measured"),
    ("host/src/compare/world.rs", "a configuration's device"),
];

#[test]
fn tensors_are_made_where_the_model_is() {
    let mut faults = Faults::default();
    for source in rust_sources() {
        let is_on_cpu = CPU.iter().any(|(place, _)| source.path.starts_with(place));
        if PLACES.iter().any(|place| source.path.starts_with(place)) && !is_on_cpu {
            check(&source, &mut faults);
        }
    }
    faults.expect_none(
        "take the device of the backbone, or of a tensor that the new one meets; a file whose tensors belong on the CPU goes on the list CPU in tests/it/tidy/devices.rs with the reason",
    );
}

fn check(source: &Source, faults: &mut Faults) {
    let lines: Vec<(usize, &str)> = source.lines_outside_tests().collect();
    for (place, (line, code)) in lines.iter().enumerate() {
        if code.contains("Device::Cpu") {
            faults.add(&source.path, *line, "`Device::Cpu`");
        }
        // From values that lie in the CPU's memory.
        let end = lines[place..].iter().position(|(_, code)| code.ends_with([';', ',', '}'])).unwrap_or(0);
        let statement = lines[place..=place + end].iter();
        if code.contains("Tensor::f_from_") && !statement.clone().any(|(_, code)| code.contains("device")) {
            faults.add(&source.path, *line, "a tensor that stays on the CPU");
        }
    }
}

#[test]
fn the_rule_finds_what_it_forbids() {
    let count = |text: &str| {
        let mut faults = Faults::default();
        check(&Source::new("host/src/train/a.rs", text), &mut faults);
        faults.0.len()
    };
    assert_eq!(count("let a = Tensor::f_from_slice(&b)?;\nlet device = c;\n"), 1);
    assert_eq!(count("let a = Tensor::f_from_slice(&b)?\n    .f_to_device(device)?;\n"), 0);
    assert_eq!(count("let a = (Kind::Float, Device::Cpu);\n"), 1);
    assert_eq!(count("#[cfg(test)]\nmod tests {\n    const A: Device = Device::Cpu;\n}\n"), 0);
}
