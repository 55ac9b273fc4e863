//! Where a pre-training run stands, so that it can go on.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::origin::{ORIGIN, Origin};
use crate::model::weights;

/// The next step to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub stage: usize,
    pub step: usize,
}

/// A checkpoint in memory.
pub struct Saved {
    pub progress: Progress,
    pub weights: BTreeMap<String, Tensor>,
    pub optimizer: BTreeMap<String, Tensor>,
}

/// Writes `out/checkpoint`, complete before it takes the place of the one before.
pub fn save(
    out: &Path,
    origin: &Origin,
    progress: Progress,
    weights: &BTreeMap<String, Tensor>,
    optimizer: &BTreeMap<String, Tensor>,
) -> Result<()> {
    let (folder, fresh) = (out.join("checkpoint"), out.join("checkpoint.new"));
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    fs::create_dir_all(&fresh).with_context(|| format!("folder {} cannot be made", fresh.display()))?;
    weights::save(&fresh.join("weights.safetensors"), weights, None)?;
    weights::save(&fresh.join("optimizer.safetensors"), optimizer, None)?;
    fs::write(fresh.join(ORIGIN), serde_json::to_string_pretty(origin)?)?;
    fs::write(fresh.join("progress.json"), serde_json::to_string(&progress)?)?;
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::rename(&fresh, &folder).with_context(|| format!("{} cannot be replaced", folder.display()))
}

/// The checkpoint in `out`, if there is one.
///
/// # Errors
/// One that began with another configuration or another model; `alignment.steps` alone may have grown.
pub fn load(out: &Path, origin: &Origin) -> Result<Option<Saved>> {
    // A run killed between removal and renaming has left only the complete new folder.
    let folder = [out.join("checkpoint"), out.join("checkpoint.new")]
        .into_iter()
        .find(|f| f.join("progress.json").is_file());
    let Some(folder) = folder else { return Ok(None) };
    origin.check(&folder)?;
    let text = fs::read_to_string(folder.join("progress.json"))?;
    Ok(Some(Saved {
        progress: serde_json::from_str(&text).with_context(|| folder.display().to_string())?,
        weights: weights::load_all(&folder.join("weights.safetensors"))?,
        optimizer: weights::load_all(&folder.join("optimizer.safetensors"))?,
    }))
}
