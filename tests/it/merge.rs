//! `coin-host model merge`: what the merged checkpoint computes is what the base with its adapter computes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use coin_host::model::input::Row;
use coin_host::model::{Backbone, Frozen, LinearHook, ModelInput, Padding, Site, weights};
use serde_json::Value;
use tch::{Device, Kind, Tensor, no_grad};

use crate::runs::reference;
use crate::support::{Workspace, settings};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/llava").join(name)
}

/// LoRA as its definition has it, beside frozen weights, and a projector of its own.
struct Unmerged {
    tensors: BTreeMap<String, Tensor>,
    scaling: f64,
    /// The name of a site's tensor.
    name: fn(&Site, &str) -> String,
    /// What the checkpoint is stored in: the sum is rounded to that.
    stored: Kind,
}

impl LinearHook for Unmerged {
    fn linear(&self, site: &Site, weight: &Tensor, bias: Option<&Tensor>, input: &Tensor) -> Result<Tensor> {
        let own = |part: &str| self.tensors.get(&(self.name)(site, part));
        let pair = own("lora_A.weight").zip(own("lora_B.weight"));
        if self.stored != Kind::Float {
            let rounded = |tensor: &Tensor| tensor.f_to_kind(self.stored)?.f_to_kind(Kind::Float);
            let bias = own("bias").map(rounded).transpose()?;
            let mut weight = own("weight").unwrap_or(weight).shallow_clone();
            if let Some((a, b)) = pair {
                weight = weight.f_add(&b.f_matmul(a)?.f_mul_scalar(self.scaling)?)?;
            }
            return Ok(input.f_linear(&rounded(&weight)?, bias.as_ref())?);
        }
        let output = input.f_linear(own("weight").unwrap_or(weight), own("bias").or(bias))?;
        let Some((a, b)) = pair else { return Ok(output) };
        let update = input.f_linear(a, None::<&Tensor>)?.f_linear(b, None::<&Tensor>)?;
        Ok(output.f_add(&update.f_mul_scalar(self.scaling)?)?)
    }
}

/// Logits `[T, V]` of a picture, the same for every caller, and some words.
fn logits(backbone: &Backbone, hook: &dyn LinearHook) -> Tensor {
    let config = backbone.config();
    let side = config.vision_config.image_size;
    let count = 3 * side * side;
    let pixels: Vec<f32> = (0..count).map(|place| ((place * 37 % 101) as f32 - 50.0) / 40.0).collect();
    let pixels = Tensor::from_slice(&pixels).view([1, 3, side, side]);
    let features = backbone.image_features(&pixels).expect("seen").get(0);
    let mut ids = vec![1i64];
    ids.extend(vec![config.image_token_index; config.image_tokens() as usize]);
    ids.extend((0..12).map(|place| 20 + place * 23 % 280));
    let row = Row { input_ids: &ids, image_features: Some(&features) };
    let input = ModelInput::batch(&[row], Padding::Right, config.image_token_index, 0, Device::Cpu);
    let hidden = no_grad(|| backbone.hidden(&input.expect("one row"), hook, None)).expect("computed");
    no_grad(|| backbone.logits(&hidden.get(0))).expect("computed")
}

fn load(folder: &Path) -> Backbone {
    Backbone::load(folder, Device::Cpu, Kind::Float).expect("a checkpoint")
}

fn apart(one: &Tensor, other: &Tensor) -> f64 {
    (one - other).abs().max().double_value(&[])
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).expect("there")).expect("JSON")
}

fn merge(workspace: &Workspace, arguments: &[&str]) -> String {
    workspace.run(&[&["--quiet", "model", "merge", "--out", "merged"], arguments].concat())
}

fn path(folder: &Path) -> &str {
    folder.to_str().expect("text")
}

#[test]
fn a_merged_adapter_computes_what_the_adapter_does() {
    let workspace = Workspace::new();
    let (model, adapter) = (fixture("model"), fixture("adapter"));
    let arguments = ["--model", path(&model), "--adapter", path(&adapter)];
    let shown = merge(&workspace, &arguments);
    assert!(shown.starts_with("exit: 0\n"), "{shown}");
    let merged = workspace.path().join("merged");
    let hook = Unmerged {
        tensors: weights::load_all(&adapter.join("adapter_model.safetensors")).expect("there"),
        scaling: 2.0,
        name: |site, part| {
            let module = site.path.replace("language_model.model.", "language_model.");
            format!("base_model.model.model.{module}.{part}")
        },
        stored: Kind::Float,
    };
    let base = load(&model);
    let (expected, found) = (logits(&base, &hook), logits(&load(&merged), &Frozen));
    assert!(apart(&expected, &found) < 1e-4, "{}", apart(&expected, &found));
    assert!(apart(&logits(&base, &Frozen), &found) > 0.05, "the adapter does not show");
    for name in ["config.json", "tokenizer.json", "processor_config.json"] {
        assert_eq!(fs::read(merged.join(name)).expect("copied"), fs::read(model.join(name)).expect("there"));
    }
    let origin = json(&merged.join("merged.json"));
    assert_eq!(
        (origin["adapter"]["r"].as_i64(), origin["adapter"]["lora_alpha"].as_f64()),
        (Some(4), Some(8.0))
    );
    let again = merge(&workspace, &arguments);
    assert!(again.starts_with("exit: 2\n") && again.contains("merged is there already"), "{again}");
}

#[test]
fn a_cell_of_a_run_merges_after_any_of_its_stages() {
    let workspace = Workspace::new();
    let (run, _) = reference();
    for (stage, more) in [(0, &["--after", "imagenet"][..]), (1, &[])] {
        let shown = merge(&workspace, &[&["--run", path(run), "--cell", "lora/written/0"], more].concat());
        assert!(shown.starts_with("exit: 0\n"), "{shown}");
        let merged = workspace.path().join("merged");
        let stages = run.join("cells/lora/written/0/stages");
        let hook = Unmerged {
            tensors: weights::load_all(&stages.join(stage.to_string()).join("parameters.safetensors"))
                .expect("there"),
            scaling: 8.0,
            name: |site, part| {
                let owner = if part.starts_with("lora") { "lora" } else { "host" };
                format!("{owner}.{}.{part}", site.path)
            },
            stored: Kind::Half,
        };
        let (base, _) = Backbone::builtin_tiny(Device::Cpu, Kind::Float).expect("built in");
        let (expected, found) = (logits(&base, &hook), logits(&load(&merged), &Frozen));
        assert!(apart(&expected, &found) < 1e-4, "{stage}: {}", apart(&expected, &found));
        assert!(apart(&logits(&base, &Frozen), &found) > 0.01, "{stage}: training does not show");
        let adapter = &json(&merged.join("merged.json"))["adapter"];
        assert_eq!(
            (adapter["stage"].as_u64(), adapter["cell"].as_str()),
            (Some(stage), Some("lora/written/0"))
        );
        fs::remove_dir_all(merged).expect("removed");
    }
    // The joint reference too.
    let shown = merge(&workspace, &["--run", path(run), "--cell", "joint/0"]);
    assert!(shown.starts_with("exit: 0\n"), "{shown}");
    let merged = workspace.path().join("merged");
    let hook = Unmerged {
        tensors: weights::load_all(&run.join("references/joint/0/stages/0/parameters.safetensors"))
            .expect("there"),
        scaling: 8.0,
        name: |site, part| {
            let owner = if part.starts_with("lora") { "lora" } else { "host" };
            format!("{owner}.{}.{part}", site.path)
        },
        stored: Kind::Half,
    };
    let (base, _) = Backbone::builtin_tiny(Device::Cpu, Kind::Float).expect("built in");
    let (expected, found) = (logits(&base, &hook), logits(&load(&merged), &Frozen));
    assert!(apart(&expected, &found) < 1e-4, "joint: {}", apart(&expected, &found));
    assert!(apart(&logits(&base, &Frozen), &found) > 0.01, "joint training does not show");
    fs::remove_dir_all(merged).expect("removed");
    // The folder is a model like any other.
    let shown = merge(&workspace, &["--run", path(run), "--cell", "lora-ewc/written/0"]);
    assert!(shown.starts_with("exit: 0\n"), "{shown}");
    let data = r#"[{"id": "a", "conversations": [{"from": "human", "value": "is it red"}, {"from": "gpt", "value": "yes"}]}]"#;
    let workspace = workspace.file("data.json", data);
    let shown = workspace.run(&[
        "model",
        "logits",
        "--model",
        "merged",
        "--data",
        "data.json",
        "--images",
        ".",
        "--out",
        "out.safetensors",
    ]);
    assert!(shown.starts_with("exit: 0\n"), "{shown}");
}

/// A macro, because a snapshot is named by the function it stands in.
macro_rules! refused {
    ($arguments:expr) => {{
        let workspace = Workspace::new();
        let shown = merge(&workspace, $arguments);
        assert_eq!(
            fs::read_dir(workspace.path()).expect("there").count(),
            0,
            "something was written:\n{shown}"
        );
        let run = path(&reference().0).to_owned();
        let shown = shown.replace(&run, "[RUN]").replace(path(&fixture("")), "[FIXTURE]/");
        settings().bind(|| insta::assert_snapshot!(shown));
    }};
}

#[test]
fn a_router_is_no_weight() {
    refused!(&["--run", path(&reference().0), "--cell", "moelora/written/0"]);
}

#[test]
fn a_cell_that_is_not_there() {
    refused!(&["--run", path(&reference().0), "--cell", "lora/written/1"]);
}

#[test]
fn a_task_that_is_not_there() {
    refused!(&["--run", path(&reference().0), "--cell", "lora/written/0", "--after", "imagenets"]);
}

#[test]
fn an_adapter_of_another_model() {
    let tiny = Workspace::new();
    Backbone::write_builtin_tiny(tiny.path()).expect("written");
    refused!(&["--model", path(tiny.path()), "--adapter", path(&fixture("adapter"))]);
}

#[test]
fn a_merge_of_two_things() {
    refused!(&["--model", "a", "--adapter", "b", "--run", "c", "--cell", "d"]);
}
