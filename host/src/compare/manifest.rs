//! `manifest.json`: what a run is made of. A run that goes on must agree with it.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::compare::check::Refused;
use crate::compare::protocol::Refusal;
use crate::config::RunConfig;
use crate::report::results::PluginUse;

const FILE_NAME: &str = "manifest.json";

/// What a run is made of.
#[derive(Debug, Serialize, Deserialize)]
pub struct Manifest {
    pub schema: u32,
    pub host_version: String,
    /// sha256 over the keys of the configuration that make the run what it is.
    pub config_sha256: String,
    pub config: RunConfig,
    /// Methods left out, with the reason.
    #[serde(default)]
    pub refused: Vec<Refusal>,
    /// The plugins of each method, by the bytes that were loaded.
    #[serde(default)]
    pub plugins: Vec<(String, Vec<PluginUse>)>,
}

impl Manifest {
    pub fn new(config: &RunConfig, refused: &[Refusal], plugins: Vec<(String, Vec<PluginUse>)>) -> Manifest {
        Manifest {
            schema: 1,
            host_version: env!("CARGO_PKG_VERSION").to_string(),
            config_sha256: config.content_hash(),
            config: config.clone(),
            refused: refused.to_vec(),
            plugins,
        }
    }

    /// Writes it into a run's folder, whole or not at all.
    pub fn write(&self, out: &Path) -> Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(out)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.persist(out.join(FILE_NAME))
            .with_context(|| format!("{} cannot be written", out.join(FILE_NAME).display()))?;
        Ok(())
    }
}

/// Refuses a folder that holds another run, naming the keys that differ.
pub fn agree(out: &Path, config: &RunConfig) -> Result<()> {
    let path = out.join(FILE_NAME);
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(()) };
    let before: Manifest =
        serde_json::from_str(&text).with_context(|| format!("{} cannot be read", path.display()))?;
    let differences = before.config.differences(config);
    if differences.is_empty() {
        return Ok(());
    }
    let show = |value: &Option<String>| value.clone().unwrap_or_else(|| String::from("nothing"));
    let lines: Vec<String> = differences
        .iter()
        .map(|difference| {
            format!(
                "  {}: {} there, {} now",
                difference.key,
                show(&difference.before),
                show(&difference.after)
            )
        })
        .collect();
    let message = format!(
        "{} holds a run with another configuration:\n{}\nhint: name another folder with --out, or go on with the configuration in {}",
        out.display(),
        lines.join("\n"),
        path.display()
    );
    Err(Refused::configuration(message).into())
}

/// Refuses to go on with other plugins than the run began with: its figures would be of two programs.
pub fn agree_on_plugins(out: &Path, plugins: &[(String, Vec<PluginUse>)]) -> Result<()> {
    let path = out.join(FILE_NAME);
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(()) };
    let before: Manifest =
        serde_json::from_str(&text).with_context(|| format!("{} cannot be read", path.display()))?;
    for (method, used) in plugins {
        let Some((_, known)) = before.plugins.iter().find(|(name, _)| name == method) else { continue };
        for (now, then) in used.iter().zip(known) {
            if now.sha256 != then.sha256 {
                let message = format!(
                    "{} began with plugin `{}` {} ({}), which is now {} ({})\nhint: name another folder with --out, or bring the first one back",
                    out.display(),
                    then.name,
                    then.version,
                    then.sha256,
                    now.version,
                    now.sha256
                );
                return Err(Refused::configuration(message).into());
            }
        }
    }
    Ok(())
}

/// Keeps a second comparison out of a run's folder while the lock lives.
pub fn lock(out: &Path) -> Result<File> {
    let path = out.join(".lock");
    let file = File::create(&path).with_context(|| format!("{} cannot be made", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => bail!(
            "{} is in use by another comparison\nhint: wait for it, or name another folder with --out",
            out.display()
        ),
        Err(std::fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("{} cannot be locked", path.display()))
        }
    }
}
