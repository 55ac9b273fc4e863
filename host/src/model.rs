//! Backbones: vision tower, projector, language model; weights, tokenizer, sites, generation.

pub mod backbone;
pub mod cache;
pub mod checkpoint;
pub mod config;
pub(crate) mod construction;
pub mod decoder;
pub mod efficientnet;
pub mod fetch;
mod few_rows;
mod finite;
mod floats;
pub mod generation;
pub mod gguf;
pub mod input;
pub mod layout;
pub mod merge;
mod original;
pub mod parameter;
pub mod prefix;
pub mod projector;
pub mod segments;
pub mod site;
pub mod tokenizer;
pub mod torch_file;
pub mod vision;
pub mod weights;

#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tch::{Device, Kind};
use tempfile::TempDir;

pub use backbone::Backbone;
pub use cache::KeyValueCache;
pub use checkpoint::Checkpoint;
pub use config::ModelConfig;
pub use finite::ensure_finite;
pub use floats::filled;
pub use generation::{Beginning, GenerationConfig, Prompt, generate};
pub use input::{Images, ModelInput, Padding};
pub use prefix::{Prefix, Shift};
pub use segments::Segments;
pub use site::{Frozen, LinearHook, Part, Pass, Phase, Site, product};
pub use tokenizer::Tokenizer;

/// The model and the tokenizer of a checkpoint's folder.
///
/// # Errors
/// As [`Backbone::load`]; a tokenizer that is not the model's.
pub fn load(folder: &Path, device: Device, kind: Kind) -> Result<(Backbone, Tokenizer)> {
    Checkpoint::open(folder, None)?.load(device, kind)
}

/// A folder with the backbone that is built in, where `model` names that in place of a folder: `builtin:tiny`.
///
/// # Errors
/// A name that there is not; a folder that cannot be made.
pub fn builtin(model: &Path) -> Result<Option<TempDir>> {
    let Some(name) = model.to_str().and_then(|text| text.strip_prefix("builtin:")) else { return Ok(None) };
    ensure!(
        name == "tiny",
        "no built-in backbone is named `{name}`\nhint: use builtin:tiny, or the folder of a checkpoint"
    );
    let folder = tempfile::tempdir().context("no temporary folder can be made")?;
    Backbone::write_builtin_tiny(folder.path())?;
    Ok(Some(folder))
}
