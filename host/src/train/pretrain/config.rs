//! The file that describes a pre-training run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, Device, Origin, nearest};

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
        check_keys(&table, &|key| Origin::File { file: path.display().to_string(), line: line(&text, key) })?;
        for assignment in set {
            let change: toml::Table = toml::from_str(assignment)
                .with_context(|| format!("--set {assignment}\nhint: write it as KEY=VALUE in TOML"))?;
            check_keys(&change, &|_| Origin::option(format!("--set {assignment}")))?;
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

const KEYS: [&str; 11] = [
    "seed",
    "threads",
    "device",
    "model",
    "template",
    "projector_only",
    "held_out",
    "evaluate_every",
    "checkpoint_every",
    "vision",
    "alignment",
];

const STAGE_KEYS: [&str; 7] =
    ["steps", "batch_size", "learning_rate", "tower_scale", "weight_decay", "warmup_ratio", "clip_norm"];

/// The first key that there is not, with its place, which `origin` knows, and the one that was meant.
fn check_keys(table: &toml::Table, origin: &dyn Fn(&[&str]) -> Origin) -> Result<(), ConfigError> {
    for (key, value) in table {
        if !KEYS.contains(&key.as_str()) {
            return Err(unknown(key, key, &KEYS, &origin(&[key])));
        }
        for inner in value.as_table().into_iter().flat_map(toml::Table::keys) {
            if !STAGE_KEYS.contains(&inner.as_str()) {
                return Err(unknown(&format!("{key}.{inner}"), inner, &STAGE_KEYS, &origin(&[key, inner])));
            }
        }
    }
    Ok(())
}

fn unknown(place: &str, key: &str, known: &[&str], origin: &Origin) -> ConfigError {
    let hint = nearest::hint(key, known.iter().copied());
    ConfigError::new("unknown key").at(origin).key(place).hint(hint)
}

/// The line, counted from 1, of a key of the file, given with the table that it stands in.
fn line(text: &str, path: &[&str]) -> usize {
    let mut table = None;
    for (number, line) in text.lines().enumerate() {
        if let Some(name) = line.trim().strip_prefix('[') {
            table = name.split(']').next();
        }
        let is_it = match path {
            [key] => {
                table == Some(key)
                    || table.is_none() && after(line, key).is_some_and(|rest| rest.starts_with(['=', '.']))
            }
            [of, key] => {
                table == Some(of) && after(line, key).is_some_and(|rest| rest.starts_with('='))
                    || table.is_none() && after(line, of).is_some_and(|rest| rest.contains(key))
            }
            _ => false,
        };
        if is_it {
            return number + 1;
        }
    }
    1
}

fn after<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.trim_start().strip_prefix(key).map(str::trim_start)
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
        assert_eq!(
            error.to_string(),
            "--set vision.step=7: `vision.step`: unknown key\nhint: did you mean `steps`?"
        );
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.toml");
        let text = std::fs::read_to_string(shipped()).expect("there");
        for (from, to, said) in [
            ("\nseed = 0", "\nsead = 0", "`sead`: unknown key\nhint: did you mean `seed`?"),
            (
                "[alignment]\nsteps",
                "[alignment]\nstepz",
                "`alignment.stepz`: unknown key\nhint: did you mean `steps`?",
            ),
            ("[alignment]", "[allignment]", "`allignment`: unknown key\nhint: did you mean `alignment`?"),
        ] {
            let at = text.find(from).expect("there") + from.rfind('\n').map_or(0, |end| end + 1);
            let number = text[..at].matches('\n').count() + 1;
            std::fs::write(&file, text.replacen(from, to, 1)).expect("written");
            let error = PretrainConfig::read(&file, &[]).expect_err(to).to_string();
            assert_eq!(error, format!("{}:{}: {said}", file.display(), number));
        }
    }

    #[test]
    fn the_keys_that_are_known_are_those_that_are_read() {
        let config = PretrainConfig::read(&shipped(), &[]).expect("sound");
        let written = serde_json::to_value(&config).expect("JSON");
        let keys = |value: &serde_json::Value| -> Vec<String> {
            value.as_object().expect("a table").keys().cloned().collect()
        };
        let sorted = |known: &[&str]| {
            let mut known: Vec<String> = known.iter().map(|&key| key.to_owned()).collect();
            known.sort();
            known
        };
        let (mut top, mut stage) = (keys(&written), keys(&written["alignment"]));
        top.sort();
        stage.sort();
        assert_eq!((top, stage), (sorted(&KEYS), sorted(&STAGE_KEYS)));
    }
}
