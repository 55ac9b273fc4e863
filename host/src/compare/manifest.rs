//! `manifest.json`: what a run is made of. A run that goes on must agree with it.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::compare::protocol::{Inputs, Refusal};
use crate::config::RunConfig;
use crate::files;
use crate::report::results::{Environment, PluginUse};

pub const FILE_NAME: &str = "manifest.json";

/// The run's configuration, resolved, as `compare` reads it.
pub const CONFIG_FILE: &str = "config.toml";

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
    #[serde(flatten)]
    pub inputs: Inputs,
    /// What the last comparison in this folder ran on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
}

impl Manifest {
    pub fn new(
        config: &RunConfig,
        refused: &[Refusal],
        plugins: Vec<(String, Vec<PluginUse>)>,
        inputs: Inputs,
    ) -> Manifest {
        Manifest {
            schema: 1,
            host_version: env!("CARGO_PKG_VERSION").to_string(),
            config_sha256: config.content_hash(),
            config: config.clone(),
            refused: refused.to_vec(),
            plugins,
            inputs,
            environment: None,
        }
    }

    /// The manifest of the run that began in a folder, if one did.
    pub fn read(out: &Path) -> Result<Option<Manifest>> {
        let path = out.join(FILE_NAME);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| {
                    format!("{} cannot be read\nhint: it says which run is in this folder", path.display())
                });
            }
        };
        let manifest = serde_json::from_str(&text);
        Ok(Some(manifest.with_context(|| format!("{} cannot be read", path.display()))?))
    }

    /// Takes over what an earlier one says of methods that this one does not name.
    pub fn keep(&mut self, before: &Manifest) {
        let named = |method: &str| self.plugins.iter().any(|(name, _)| name == method);
        let plugins: Vec<_> = before.plugins.iter().filter(|(name, _)| !named(name)).cloned().collect();
        let refused = before.refused.iter().filter(|refusal| {
            let method = refusal.method.as_deref().unwrap_or_default();
            !named(method) && self.refused.iter().all(|known| known.method != refusal.method)
        });
        let refused: Vec<_> = refused.cloned().collect();
        self.plugins.extend(plugins);
        self.refused.extend(refused);
        let known = |name: &str| self.inputs.content.iter().any(|known| known.name == name);
        let of_methods = before.inputs.content.iter().filter(|one| one.is_of_method() && !known(&one.name));
        let of_methods: Vec<_> = of_methods.cloned().collect();
        self.inputs.content.extend(of_methods);
    }

    /// Writes it into a run's folder, with the configuration as a file of its own.
    pub fn write(&self, out: &Path) -> Result<()> {
        let config = toml::to_string(&self.config)?;
        let config = format!("# The configuration of the run in this folder, resolved.\n{config}");
        replace(&out.join(CONFIG_FILE), config.as_bytes())?;
        let mut manifest = serde_json::to_vec_pretty(self)?;
        manifest.push(b'\n');
        replace(&out.join(FILE_NAME), &manifest)
    }
}

fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    files::replace(path, bytes).with_context(|| format!("{} cannot be written", path.display()))
}

/// The file that a comparison in a folder holds locked.
pub const LOCK: &str = ".lock";

/// Keeps a second comparison out of a run's folder while the lock lives.
pub fn lock(out: &Path) -> Result<File> {
    let path = out.join(LOCK);
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
