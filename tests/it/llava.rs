//! A checkpoint that transformers wrote, with what transformers computes for it (`tests/peer/fixtures.py`): tokens, logits and greedy
//! answers must be the same, in every layout; and each fault of such a folder must be told.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use coin_host::data::conversation::Conversation;
use coin_host::data::image::Aspect;
use coin_host::eval::logits::{Inputs, Loaded};
use coin_host::model::{
    Beginning, Frozen, GenerationConfig, LinearHook, Pass, Phase, Prompt, Site, generate, weights,
};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::support::{Workspace, settings};

type Tensors = BTreeMap<String, Tensor>;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/llava").join(name)
}

/// The fixture's folder under a name of its own, to be changed.
fn copied() -> Workspace {
    let workspace = Workspace::new();
    let to = workspace.path();
    for folder in ["model", "images"] {
        std::fs::create_dir(to.join(folder)).expect("made");
        for entry in std::fs::read_dir(fixture(folder)).expect("there") {
            let from = entry.expect("an entry").path();
            std::fs::copy(&from, to.join(folder).join(from.file_name().expect("a name"))).expect("copied");
        }
    }
    std::fs::copy(fixture("data.json"), to.join("data.json")).expect("copied");
    workspace
}

const LOGITS: &[&str] = &[
    "model",
    "logits",
    "--model",
    "model",
    "--data",
    "data.json",
    "--images",
    "images",
    "--out",
    "out.safetensors",
];

fn logits(workspace: &Workspace, more: &[&str]) -> Tensors {
    let shown = workspace.run(&[&["--quiet"], LOGITS, more].concat());
    assert!(shown.starts_with("exit: 0\n"), "{shown}");
    weights::load_all(&workspace.path().join("out.safetensors")).expect("written")
}

/// Largest distance from the expected logits, over all records.
fn distance(found: &Tensors, aspect: &str) -> f64 {
    let expected = weights::load_all(&fixture("expected.safetensors")).expect("the fixture");
    let mut largest = 0.0f64;
    let mut records = 0;
    for (name, ids) in expected.iter().filter(|(name, _)| name.ends_with(".input_ids")) {
        let id = name.trim_end_matches(".input_ids");
        assert_eq!(&found[name], ids, "{name}");
        let expected = &expected[&format!("{aspect}.{id}.logits")];
        let (tokens, vocabulary) = found[&format!("{id}.logits")].size2().expect("two dimensions");
        assert_eq!((tokens, vocabulary), (ids.size()[0], expected.size()[1]));
        let last = found[&format!("{id}.logits")].narrow(0, tokens - expected.size()[0], expected.size()[0]);
        largest = largest.max((last - expected).abs().max().double_value(&[]));
        records += 1;
    }
    assert_eq!((records, found.len()), (7, 14));
    largest
}

#[test]
fn logits_are_those_of_transformers() {
    let workspace = copied();
    let alone = logits(&workspace, &[]);
    assert!(distance(&alone, "crop") < 1e-5, "{}", distance(&alone, "crop"));
    let padded = logits(&workspace, &["--image-aspect", "pad"]);
    assert!(distance(&padded, "pad") < 1e-5, "{}", distance(&padded, "pad"));
    assert!(distance(&padded, "crop") > 0.1, "the border does not show");
    let together = logits(&workspace, &["--batch-size", "4"]);
    assert!(distance(&together, "crop") < 1e-5, "{}", distance(&together, "crop"));
}

/// As far from float32 as transformers' own, on average.
#[test]
fn logits_in_bfloat16_are_as_good_as_those_of_transformers() {
    let workspace = copied();
    let found = logits(&workspace, &["--dtype", "bfloat16"]);
    let load = |name: &str| weights::load_all(&fixture(name)).expect("the fixture");
    let (expected, theirs) = (load("expected.safetensors"), load("expected-bfloat16.safetensors"));
    let mut distances = [0.0f64; 2];
    for (name, theirs) in &theirs {
        let expected = &expected[&format!("crop.{name}")];
        let count = expected.size()[0];
        let ours = found[name].narrow(0, found[name].size()[0] - count, count);
        for (sum, logits) in distances.iter_mut().zip([&ours, theirs]) {
            *sum += (logits.to_kind(Kind::Float) - expected).abs().mean(Kind::Double).double_value(&[]);
        }
    }
    let [ours, theirs] = distances;
    assert!(theirs > 0.0 && ours < 1.2 * theirs, "{ours}, of transformers {theirs}");
}

fn loaded(aspect: Aspect) -> Loaded {
    let (model, data, images) = (fixture("model"), fixture("data.json"), fixture("images"));
    let inputs = Inputs {
        model: &model,
        vision_tower: None,
        data: &data,
        images: &images,
        aspect: Some(aspect),
        kind: Kind::Float,
        device: Device::Cpu,
    };
    inputs.load().expect("the fixture")
}

#[test]
fn greedy_answers_are_those_of_transformers() {
    let expected: Value =
        serde_json::from_str(&std::fs::read_to_string(fixture("answers.json")).expect("there"))
            .expect("JSON");
    for (name, aspect) in [("crop", Aspect::Crop), ("pad", Aspect::Pad)] {
        let loaded = loaded(aspect);
        let prompter = loaded.prompter().expect("fits");
        let prompt = |conversation: &Conversation| Prompt {
            input_ids: prompter
                .prompt(&conversation.rounds[0].0, conversation.image.is_some())
                .expect("encodes"),
            image_features: loaded.features(conversation).expect("seen"),
        };
        let prompts: Vec<Prompt> = loaded.conversations.iter().map(prompt).collect();
        for batch_size in [1, 3, 7] {
            let config = GenerationConfig {
                max_new_tokens: 8,
                batch_size,
                end_token: prompter.end_token(),
                strict: false,
            };
            let answers = generate(
                &loaded.backbone,
                &Frozen,
                &prompts,
                &config,
                &mut Beginning::default(),
                &mut |_| (),
            )
            .expect("answers");
            for (conversation, answer) in loaded.conversations.iter().zip(answers) {
                assert_eq!(json!(answer), expected[name][&conversation.id], "{name} {}", conversation.id);
            }
        }
    }
}

/// Notes down the rows of every pass and the columns of those over prompts, and is otherwise the frozen model.
#[derive(Default)]
struct Passes(RefCell<Vec<(Phase, usize, i64)>>);

impl LinearHook for Passes {
    fn linear(&self, site: &Site, weight: &Tensor, bias: Option<&Tensor>, input: &Tensor) -> Result<Tensor> {
        Frozen.linear(site, weight, bias, input)
    }

    fn begin(&self, pass: &Pass) -> Result<()> {
        let columns = pass.input.input_ids.size2()?.1;
        self.0.borrow_mut().push((pass.phase, pass.input.rows.len(), columns));
        Ok(())
    }

    fn is_token_local(&self) -> bool {
        true
    }
}

#[test]
fn strict_answers_are_given_one_by_one_to_whole_prompts() {
    let loaded = loaded(Aspect::Crop);
    let prompter = loaded.prompter().expect("fits");
    let prompt = |conversation: &Conversation| Prompt {
        input_ids: prompter.prompt(&conversation.rounds[0].0, conversation.image.is_some()).expect("encodes"),
        image_features: loaded.features(conversation).expect("seen"),
    };
    let prompts: Vec<Prompt> = loaded.conversations.iter().map(prompt).collect();
    let answers = |strict: bool| {
        let hook = Passes::default();
        let end_token = prompter.end_token();
        let config = GenerationConfig { max_new_tokens: 8, batch_size: 7, end_token, strict };
        let answers =
            generate(&loaded.backbone, &hook, &prompts, &config, &mut Beginning::default(), &mut |_| ())
                .expect("answers");
        (answers, hook.0.into_inner())
    };
    let ((strictly, passes), (together, batches)) = (answers(true), answers(false));
    assert_eq!(strictly, together);
    assert!(passes.iter().all(|(_, rows, _)| *rows == 1), "{passes:?}");
    assert!(batches.iter().any(|(_, rows, _)| *rows > 1), "{batches:?}");
    // A pass may be announced more than once.
    let read: BTreeSet<i64> =
        passes.iter().filter(|pass| pass.0 == Phase::Prefill).map(|pass| pass.2).collect();
    let lengths: BTreeSet<i64> = prompts.iter().map(|prompt| prompt.input_ids.len() as i64).collect();
    assert_eq!(read, lengths);
}

/// Rewrites the weights of a copy under other names, and in several files where `shards` says so.
fn rewritten(rename: impl Fn(&str) -> String, shards: bool) -> Workspace {
    let workspace = copied();
    let path = workspace.path().join("model/model.safetensors");
    let tensors: Tensors = weights::load_all(&path)
        .expect("the fixture")
        .into_iter()
        .map(|(name, tensor)| (rename(&name), tensor))
        .collect();
    if !shards {
        weights::save(&path, &tensors, None).expect("saved");
        return workspace;
    }
    std::fs::remove_file(&path).expect("removed");
    let mut map = serde_json::Map::new();
    let mut parts = [Tensors::new(), Tensors::new()];
    for (place, (name, tensor)) in tensors.into_iter().enumerate() {
        map.insert(name.clone(), format!("model-0000{}-of-00002.safetensors", place % 2 + 1).into());
        parts[place % 2].insert(name, tensor);
    }
    for (place, part) in parts.iter().enumerate() {
        let name = format!("model/model-0000{}-of-00002.safetensors", place + 1);
        weights::save(&workspace.path().join(name), part, None).expect("saved");
    }
    let index = json!({"metadata": {"total_size": 0}, "weight_map": map}).to_string();
    workspace.file("model/model.safetensors.index.json", &index)
}

/// As transformers 4 writes them; version 5 leaves `vision_model` out.
fn of_version_4(name: &str) -> String {
    match name.strip_prefix("vision_tower.") {
        Some(rest) if !rest.starts_with("vision_model.") => format!("vision_tower.vision_model.{rest}"),
        _ => name.to_owned(),
    }
}

#[test]
fn every_family_of_names_and_any_number_of_files_is_the_same_model() {
    let in_memory = |name: &str| match name.strip_prefix("language_model.") {
        Some(rest) if rest.starts_with("lm_head") => rest.to_owned(),
        Some(rest) => format!("model.language_model.{}", rest.trim_start_matches("model.")),
        None => format!("model.{name}"),
    };
    for workspace in [rewritten(of_version_4, true), rewritten(in_memory, false)] {
        assert!(distance(&logits(&workspace, &[]), "crop") < 1e-5);
    }
}

/// Changes a JSON file of a copy.
fn changed(workspace: Workspace, name: &str, change: impl FnOnce(&mut Value)) -> Workspace {
    let text = std::fs::read_to_string(workspace.path().join(name)).expect("there");
    let mut value = serde_json::from_str(&text).expect("JSON");
    change(&mut value);
    workspace.file(name, &value.to_string())
}

#[test]
fn keys_of_transformers_4_are_the_same_configuration() {
    let workspace = changed(copied(), "model/config.json", |config| {
        let keys = config.as_object_mut().expect("an object");
        for written_by_5 in ["tie_word_embeddings", "multimodal_projector_bias", "dtype", "image_seq_length"]
        {
            keys.remove(written_by_5);
        }
        let image = keys.remove("image_token_index").expect("there");
        keys.insert("image_token_id".to_owned(), image);
        let text = keys["text_config"].as_object_mut().expect("an object");
        text.remove("rope_parameters");
        text.remove("head_dim");
        text.insert("rope_theta".to_owned(), 10_000.0.into());
        text.insert("rope_scaling".to_owned(), Value::Null);
    });
    let processor =
        std::fs::read_to_string(workspace.path().join("model/processor_config.json")).expect("there");
    let processor: Value = serde_json::from_str(&processor).expect("JSON");
    std::fs::remove_file(workspace.path().join("model/processor_config.json")).expect("removed");
    let workspace =
        workspace.file("model/preprocessor_config.json", &processor["image_processor"].to_string());
    assert!(distance(&logits(&workspace, &[]), "crop") < 1e-5);
}

/// Changes the weights of a copy.
fn with_weights(change: impl FnOnce(&mut Tensors)) -> Workspace {
    let workspace = copied();
    let path = workspace.path().join("model/model.safetensors");
    let mut tensors = weights::load_all(&path).expect("the fixture");
    change(&mut tensors);
    weights::save(&path, &tensors, None).expect("saved");
    workspace
}

/// A macro, because a snapshot is named by the function it stands in.
macro_rules! refused {
    ($workspace:expr) => {{
        let workspace = $workspace;
        let shown = workspace.run(LOGITS);
        assert!(!workspace.path().join("out.safetensors").exists(), "something was written:\n{shown}");
        settings().bind(|| insta::assert_snapshot!(shown));
    }};
}

#[test]
fn tensors_that_do_not_fit_are_listed() {
    refused!(with_weights(|tensors| {
        tensors.remove("language_model.model.norm.weight");
        tensors.remove("vision_tower.encoder.layers.0.mlp.fc1.bias");
        let options = (Kind::Float, Device::Cpu);
        tensors.insert(
            "language_model.model.layers.7.mlp.up_proj.weight".to_owned(),
            Tensor::zeros([2], options),
        );
        tensors.insert("multi_modal_projector.linear_1.weight".to_owned(), Tensor::zeros([32, 23], options));
    }));
}

#[test]
fn a_truncated_shard() {
    let workspace = rewritten(str::to_owned, true);
    let path = workspace.path().join("model/model-00002-of-00002.safetensors");
    let bytes = std::fs::read(&path).expect("there");
    std::fs::write(&path, &bytes[..bytes.len() - 1000]).expect("written");
    refused!(workspace);
}

#[test]
fn a_shard_that_is_missing() {
    let workspace = rewritten(str::to_owned, true);
    std::fs::remove_file(workspace.path().join("model/model-00001-of-00002.safetensors")).expect("removed");
    refused!(workspace);
}

#[test]
fn a_tokenizer_without_the_image_token() {
    refused!(changed(copied(), "model/tokenizer.json", |tokenizer| {
        tokenizer["added_tokens"]
            .as_array_mut()
            .expect("a list")
            .retain(|token| token["content"] != "<image>");
    }));
}

#[test]
fn a_tokenizer_of_a_larger_vocabulary() {
    refused!(changed(copied(), "model/tokenizer.json", |tokenizer| {
        tokenizer["added_tokens"]
            .as_array_mut()
            .expect("a list")
            .push(json!({"id": 500, "content": "<more>",
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}));
        tokenizer["model"]["vocab"]
            .as_object_mut()
            .expect("an object")
            .insert("<more>".to_owned(), 500.into());
    }));
}

#[test]
fn an_unknown_architecture() {
    refused!(changed(copied(), "model/config.json", |config| config["model_type"] = "qwen2_5_vl".into()));
}

/// A workspace whose first record is changed.
fn with_record(change: impl FnOnce(&mut Value)) -> Workspace {
    changed(copied(), "data.json", |records| change(&mut records[0]))
}

#[test]
fn a_picture_like_a_thread() {
    let workspace = with_record(|record| record["image"] = "thread.png".into());
    let path = workspace.path().join("images/thread.png");
    image::RgbImage::new(1, 10_000).save(path).expect("written");
    refused!(workspace);
}

#[test]
fn a_picture_that_is_missing() {
    refused!(with_record(|record| record["image"] = "nowhere/a.png".into()));
}

#[test]
fn a_prompt_beyond_the_context() {
    refused!(with_record(|record| record["conversations"][1]["value"] = "why ".repeat(600).into()));
}

#[test]
fn an_id_that_stands_twice() {
    refused!(with_record(|record| record["id"] = "r3".into()));
}

#[test]
fn no_preprocessor() {
    let workspace = copied();
    std::fs::remove_file(workspace.path().join("model/processor_config.json")).expect("removed");
    refused!(workspace);
}
