//! The file that describes a pre-training run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::config::Device;

/// All of `configs/pretrain-tiny.toml` or `configs/pretrain-smollm2.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainConfig {
    pub seed: u64,
    pub threads: usize,
    /// As `backbone.device` of a comparison.
    #[serde(default = "auto")]
    pub device: Device,
    /// Folder with `config.json` and `tokenizer.json`; relative to the file.
    pub model: PathBuf,
    /// Name of a prompt template.
    pub template: String,
    /// The weights of `model` are loaded and stay as they are, but for the projector's: LLaVA's first stage. Else all begin at random.
    #[serde(default)]
    pub projector_only: bool,
    /// Samples kept for measuring.
    pub held_out: usize,
    pub evaluate_every: usize,
    pub checkpoint_every: usize,
    /// Left out where only the projector is trained.
    pub vision: Option<Stage>,
    pub alignment: Stage,
}

fn auto() -> Device {
    Device::Auto
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    pub steps: usize,
    pub batch_size: usize,
    pub learning_rate: f64,
    /// The vision tower's learning rate, as a part of `learning_rate`.
    pub tower_scale: f64,
    pub weight_decay: f64,
    pub warmup_ratio: f64,
    pub clip_norm: f64,
}

impl PretrainConfig {
    /// Reads the file, with values of the form `alignment.steps=100` written over it.
    pub fn read(path: &Path, set: &[String]) -> Result<PretrainConfig> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let mut table: toml::Table = toml::from_str(&text).with_context(|| path.display().to_string())?;
        for assignment in set {
            let change: toml::Table = toml::from_str(assignment)
                .with_context(|| format!("--set {assignment}\nhint: write it as KEY=VALUE in TOML"))?;
            merge(&mut table, change);
        }
        let mut config: PretrainConfig =
            toml::Value::Table(table).try_into().with_context(|| path.display().to_string())?;
        ensure!(
            config.evaluate_every > 0 && config.checkpoint_every > 0 && config.held_out > 0,
            "{}: evaluate_every, checkpoint_every and held_out must be positive",
            path.display()
        );
        ensure!(
            config.projector_only == config.vision.is_none(),
            "{}: a stage [vision] is for models that begin at random\nhint: leave out [vision], or projector_only",
            path.display()
        );
        if let Some(folder) = path.parent() {
            config.model = folder.join(&config.model);
        }
        Ok(config)
    }
}

fn merge(table: &mut toml::Table, change: toml::Table) {
    for (key, value) in change {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => merge(old, new),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/pretrain-tiny.toml")
    }

    #[test]
    fn the_shipped_file_is_read_and_values_are_written_over_it() {
        let config = PretrainConfig::read(&shipped(), &["alignment.steps=7".to_owned()]).expect("sound");
        assert_eq!(config.alignment.steps, 7);
        assert!(config.model.join("config.json").is_file());
    }

    #[test]
    fn only_a_model_that_begins_at_random_trains_its_tower() {
        let error =
            PretrainConfig::read(&shipped(), &["projector_only=true".to_owned()]).expect_err("refused");
        assert!(format!("{error:#}").contains("hint: leave out [vision]"), "{error:#}");
        let smollm2 = shipped().with_file_name("pretrain-smollm2.toml");
        assert!(PretrainConfig::read(&smollm2, &[]).expect("sound").projector_only);
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let error = PretrainConfig::read(&shipped(), &["vision.step=7".to_owned()]).expect_err("refused");
        assert!(format!("{error:#}").contains("step"), "{error:#}");
    }
}
