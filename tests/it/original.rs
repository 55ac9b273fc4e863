//! LLaVA's own layout: weights of `torch.save`, no image token, and the vision tower in a folder of its own (`tests/peer/original.py`).
//! It must be the same model as the same weights in the Hugging Face layout.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use coin_host::model::weights;
use serde_json::{Value, json};
use tch::Tensor;

use crate::runs::{SMALL, compare, finish, succeed, text, workspace};
use crate::support::{Workspace, settings};

type Tensors = BTreeMap<String, Tensor>;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/llava").join(name)
}

fn json_of(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).expect("there")).expect("JSON")
}

/// The checkpoint in `llava`, a tower in `clip`, pictures and conversations; `whole`: the tower as a whole CLIP model has it.
fn original(workspace: Workspace, whole: bool) -> Workspace {
    let (llava, clip) = (workspace.path().join("llava"), workspace.path().join("clip"));
    for folder in [&llava, &clip] {
        fs::create_dir(folder).expect("made");
    }
    for entry in fs::read_dir(fixture("original")).expect("there") {
        let from = entry.expect("an entry").path();
        fs::copy(&from, llava.join(from.file_name().expect("a name"))).expect("copied");
    }
    let mut tokenizer = json_of(&fixture("model/tokenizer.json"));
    let is_new = |token: &Value| ["<image>", "<pad>"].contains(&token["content"].as_str().expect("text"));
    tokenizer["added_tokens"].as_array_mut().expect("a list").retain(|token| !is_new(token));
    fs::write(llava.join("tokenizer.json"), tokenizer.to_string()).expect("written");
    let vision = json_of(&fixture("model/config.json"))["vision_config"].take();
    let config = if whole {
        json!({"model_type": "clip", "text_config": {}, "vision_config": vision})
    } else {
        vision
    };
    fs::write(clip.join("config.json"), config.to_string()).expect("written");
    let processor = json_of(&fixture("model/processor_config.json"))["image_processor"].take();
    fs::write(clip.join("preprocessor_config.json"), processor.to_string()).expect("written");
    let mut tensors = Tensors::new();
    for (name, tensor) in weights::load_all(&fixture("model/model.safetensors")).expect("the fixture") {
        let Some(name) = name.strip_prefix("vision_tower.") else { continue };
        let prefix = if whole { "vision_model." } else { "" };
        tensors.insert(format!("{prefix}{name}"), tensor);
    }
    if whole {
        let one = Tensor::from_slice(&[1.0f32]);
        tensors.insert("logit_scale".to_owned(), one.shallow_clone());
        tensors.insert("text_model.final_layer_norm.weight".to_owned(), one);
    }
    weights::save(&clip.join("model.safetensors"), &tensors, None).expect("saved");
    workspace
}

fn logits(workspace: &Workspace, model: &str, more: &[&str]) -> String {
    let (data, images) = (fixture("data.json"), fixture("images"));
    let given = ["--quiet", "model", "logits", "--out", "out.safetensors", "--model", model];
    let data = ["--data", data.to_str().expect("text"), "--images", images.to_str().expect("text")];
    workspace.run(&[&given, &data[..], more].concat())
}

/// Largest distance from what transformers computes in the Hugging Face layout, without the columns of tokens that are not here.
fn distance(workspace: &Workspace, aspect: &str) -> f64 {
    let found = weights::load_all(&workspace.path().join("out.safetensors")).expect("written");
    let expected = weights::load_all(&fixture("expected.safetensors")).expect("the fixture");
    let (mut largest, mut records) = (0.0f64, 0);
    for (name, ids) in expected.iter().filter(|(name, _)| name.ends_with(".input_ids")) {
        let id = name.trim_end_matches(".input_ids");
        assert_eq!(&found[name], ids, "{name}");
        let (found, expected) =
            (&found[&format!("{id}.logits")], &expected[&format!("{aspect}.{id}.logits")]);
        let (rows, columns) = (expected.size()[0], 418);
        assert_eq!(found.size()[1], columns);
        let apart = found.narrow(0, found.size()[0] - rows, rows) - expected.narrow(1, 0, columns);
        largest = largest.max(apart.abs().max().double_value(&[]));
        records += 1;
    }
    assert_eq!(records, 7);
    largest
}

#[test]
fn logits_are_those_of_the_hugging_face_layout() {
    for whole in [false, true] {
        let workspace = original(Workspace::new(), whole);
        // config.json says `pad`.
        let shown = logits(&workspace, "llava", &["--vision-tower", "clip"]);
        assert!(shown.starts_with("exit: 0\n"), "{shown}");
        assert!(distance(&workspace, "pad") < 1e-5, "{}", distance(&workspace, "pad"));
        let more = ["--vision-tower", "clip", "--image-aspect", "crop", "--batch-size", "4"];
        let shown = logits(&workspace, "llava", &more);
        assert!(shown.starts_with("exit: 0\n"), "{shown}");
        assert!(distance(&workspace, "crop") < 1e-5, "{}", distance(&workspace, "crop"));
    }
}

#[test]
fn a_tower_that_config_json_names_needs_no_option_and_a_merge_is_safetensors() {
    let workspace = original(Workspace::new(), false);
    let path = workspace.path().join("llava/config.json");
    let mut config = json_of(&path);
    config["mm_vision_tower"] = "../clip".into();
    fs::write(&path, config.to_string()).expect("written");
    let adapter = fixture("adapter");
    let merge = ["--quiet", "model", "merge", "--model", "llava", "--out", "merged", "--adapter"];
    let shown = workspace.run(&[&merge[..], &[adapter.to_str().expect("text")]].concat());
    assert!(shown.starts_with("exit: 0\n"), "{shown}");
    let shown = logits(&workspace, "merged", &[]);
    assert!(shown.starts_with("exit: 0\n"), "{shown}");
    assert!(distance(&workspace, "pad") > 0.05, "the adapter does not show");
    let hugging_face = fixture("model");
    let merge =
        ["--quiet", "model", "merge", "--out", "other", "--model", hugging_face.to_str().expect("text")];
    workspace.run(&[&merge[..], &["--adapter", adapter.to_str().expect("text")]].concat());
    let own = weights::load_all(&workspace.path().join("out.safetensors")).expect("written");
    logits(&workspace, "other", &["--image-aspect", "pad"]);
    let other = weights::load_all(&workspace.path().join("out.safetensors")).expect("written");
    for (name, logits) in own.iter().filter(|(name, _)| name.ends_with(".logits")) {
        let apart = (logits - other[name].narrow(1, 0, 418)).abs().max().double_value(&[]);
        assert!(apart < 1e-5, "{name}: {apart}");
    }
}

/// The parts that are published of LLaVA before its instruction tuning: the language model, the tower, and the projector in a file of its
/// own.
fn parts() -> Workspace {
    let workspace = original(Workspace::new(), true);
    let llava = workspace.path().join("llava");
    let mut language = Tensors::new();
    for number in 1..=2 {
        let shard = llava.join(format!("pytorch_model-0000{number}-of-00002.bin"));
        language.extend(weights::load_all(&shard).expect("a shard"));
        fs::remove_file(shard).expect("removed");
    }
    fs::remove_file(llava.join("pytorch_model.bin.index.json")).expect("removed");
    language.retain(|name, _| !name.contains("mm_projector"));
    weights::save(&llava.join("model.safetensors"), &language, None).expect("saved");
    fs::copy(fixture("mm_projector.bin"), llava.join("mm_projector.bin")).expect("copied");
    workspace
}

#[test]
fn llava_before_its_tuning_is_read_from_its_published_parts() {
    let workspace = parts();
    let tower = ["--vision-tower", "clip"];
    let shown = logits(&workspace, "llava", &tower);
    assert!(shown.starts_with("exit: 0\n"), "{shown}");
    assert!(distance(&workspace, "pad") < 1e-5, "{}", distance(&workspace, "pad"));

    // A merge keeps the parts, as safetensors.
    let adapter = fixture("adapter");
    let merge = ["--quiet", "model", "merge", "--model", "llava", "--out", "merged", "--adapter"];
    let merge = [&merge[..], &[adapter.to_str().expect("text")], &tower].concat();
    let shown = workspace.run(&merge);
    assert!(shown.starts_with("exit: 0\n"), "{shown}");
    assert!(workspace.path().join("merged/mm_projector.safetensors").is_file());
    let shown = logits(&workspace, "merged", &tower);
    assert!(shown.starts_with("exit: 0\n"), "{shown}");
    assert!(distance(&workspace, "pad") > 0.05, "the adapter does not show");

    // What is missing is named.
    fs::remove_file(workspace.path().join("llava/mm_projector.bin")).expect("removed");
    let shown = logits(&workspace, "llava", &tower);
    assert!(
        shown.starts_with("exit: 2\n") && shown.contains("missing: multi_modal_projector.linear_1.weight"),
        "{shown}"
    );
    let config = json!({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 418});
    fs::write(workspace.path().join("llava/config.json"), config.to_string()).expect("written");
    let shown = logits(&workspace, "llava", &tower);
    assert!(shown.starts_with("exit: 2\n") && shown.contains("language model alone"), "{shown}");
    assert!(shown.contains("hint: docs/models.md"), "{shown}");
}

/// `liuhaotian/llava-v1.5-7b` still has the file of its pre-training beside the projector that was tuned.
#[test]
fn a_projector_that_was_tuned_counts_and_not_the_file_beside_it() {
    let workspace = original(Workspace::new(), true);
    let other: Tensors = weights::load_all(&fixture("mm_projector.bin"))
        .expect("the fixture")
        .into_iter()
        .map(|(name, tensor)| (name, tensor * 0.0))
        .collect();
    weights::save(&workspace.path().join("llava/mm_projector.safetensors"), &other, None).expect("saved");
    let shown = logits(&workspace, "llava", &["--vision-tower", "clip"]);
    assert!(shown.starts_with("exit: 0\n"), "{shown}");
    assert!(distance(&workspace, "pad") < 1e-5, "{}", distance(&workspace, "pad"));
}

#[test]
fn a_comparison_takes_the_tower_from_its_configuration_and_keeps_its_hash() {
    let config = SMALL
        .replace("path = \"builtin:tiny\"", "path = \"llava\"\nvision_tower = \"clip\"")
        .replace("steps = 6", "steps = 1")
        .replace("limit = 6", "limit = 2");
    let workspace = original(workspace(&config), true);
    succeed(compare(&workspace, &["--methods", "lora", "--tasks", "grounding"]));
    let manifest = json_of(&workspace.path().join("out/manifest.json"));
    let content = manifest["content"].to_string();
    assert!(
        content.contains("clip/model.safetensors") && content.contains("00002-of-00002.bin"),
        "{content}"
    );
    let other =
        fs::read_to_string(workspace.path().join("clip/preprocessor_config.json")).expect("there") + " ";
    fs::write(workspace.path().join("clip/preprocessor_config.json"), other).expect("written");
    let output = finish(compare(&workspace, &["--methods", "lora", "--tasks", "grounding"]));
    let stderr = text(&output.stderr);
    assert!(output.status.code() == Some(2) && stderr.contains("clip/preprocessor_config.json"), "{stderr}");
}

/// A macro, because a snapshot is named by the function it stands in.
macro_rules! refused {
    ($workspace:expr, $more:expr) => {{
        let workspace = $workspace;
        let shown = logits(&workspace, "llava", $more);
        assert!(!workspace.path().join("out.safetensors").exists(), "something was written:\n{shown}");
        settings().bind(|| insta::assert_snapshot!(shown));
    }};
}

#[test]
fn a_tower_that_is_not_named() {
    refused!(original(Workspace::new(), true), &[]);
}

#[test]
fn only_sentencepieces_model() {
    let workspace = original(Workspace::new(), true).file("llava/tokenizer.model", "x");
    fs::remove_file(workspace.path().join("llava/tokenizer.json")).expect("removed");
    refused!(workspace, &["--vision-tower", "clip"]);
}

#[test]
fn a_shard_that_was_cut() {
    let workspace = original(Workspace::new(), true);
    let path = workspace.path().join("llava/pytorch_model-00001-of-00002.bin");
    let bytes = fs::read(&path).expect("there");
    fs::write(&path, &bytes[..bytes.len() / 2]).expect("written");
    refused!(workspace, &["--vision-tower", "clip"]);
}

#[test]
fn a_tower_with_a_tensor_too_few() {
    let workspace = original(Workspace::new(), true);
    let path = workspace.path().join("clip/model.safetensors");
    let mut tensors = weights::load_all(&path).expect("there");
    tensors.remove("vision_model.encoder.layers.1.mlp.fc1.bias");
    weights::save(&path, &tensors, None).expect("saved");
    refused!(workspace, &["--vision-tower", "clip"]);
}
