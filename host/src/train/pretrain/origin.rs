//! What a pre-training run began with, by which it knows whether it may go on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::Digest as _;

use super::config::PretrainConfig;
use crate::files;

/// The file in a checkpoint's folder.
pub(super) const ORIGIN: &str = "origin.json";
/// Keys that change nothing about what is learnt.
const FREE: &[&str] = &["model", "threads", "device", "held_out", "evaluate_every", "checkpoint_every"];
/// The key that may grow.
const STEPS: &str = "alignment.steps";

/// Configuration, and the sha256 of the model's files by their names.
#[derive(Serialize, Deserialize)]
pub struct Origin {
    config: Value,
    content: BTreeMap<String, String>,
}

impl Origin {
    /// Reads the files once, to hash them.
    pub(super) fn new(config: &PretrainConfig, files: &[PathBuf]) -> Result<Origin> {
        let mut config = serde_json::to_value(config)?;
        if let Some(keys) = config.as_object_mut() {
            keys.retain(|key, _| !FREE.contains(&key.as_str()));
        }
        let hash = |path: &PathBuf| {
            let (_, hash) =
                files::sha256(path).with_context(|| format!("{} cannot be read", path.display()))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok((name, format!("{:x}", hash.finalize())))
        };
        Ok(Origin { config, content: files.iter().map(hash).collect::<Result<_>>()? })
    }

    /// Whether the checkpoint in `folder` began with the same.
    pub(super) fn check(&self, folder: &Path) -> Result<()> {
        let path = folder.join(ORIGIN);
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("{} cannot be read: the checkpoint does not say what it began with\nhint: name an empty folder with --out", path.display())
        })?;
        let then: Origin = serde_json::from_str(&text).with_context(|| {
            format!("{} is damaged\nhint: name an empty folder with --out", path.display())
        })?;
        let mut others = Vec::new();
        differences("", &then.config, &self.config, &mut others);
        let names =
            then.content.keys().chain(self.content.keys().filter(|name| !then.content.contains_key(*name)));
        let of = |name: &String| (then.content.get(name), self.content.get(name));
        others.extend(names.filter(|name| of(name).0 != of(name).1).map(|name| format!("another {name}")));
        if others.is_empty() {
            return Ok(());
        }
        bail!(
            "{} began with other values:\n  {}\nhint: bring the first ones back ({STEPS} may grow), or name an empty folder with --out",
            folder.display(),
            others.join("\n  ")
        )
    }
}

fn differences(place: &str, then: &Value, now: &Value, found: &mut Vec<String>) {
    if let (Value::Object(before), Value::Object(after)) = (then, now) {
        let keys = before.keys().chain(after.keys().filter(|key| !before.contains_key(*key)));
        for key in keys {
            let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
            let of = |keys: &serde_json::Map<String, Value>| keys.get(key).cloned().unwrap_or_default();
            differences(&place, &of(before), &of(after), found);
        }
        return;
    }
    let grows = place == STEPS && then.as_u64() <= now.as_u64();
    if then != now && !grows {
        found.push(format!("{place}: {then} then, {now} now"));
    }
}
