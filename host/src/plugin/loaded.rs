//! A plugin that is loaded and attached.

use std::path::{Path, PathBuf};

use coin_plugin_api::Description;
use coin_plugin_api::abi::{ApiVersion, HostRef, PluginRef};

use super::PluginError;
use super::catalog::Examined;
use super::error::label;
use super::load::Loaded;
use super::trust::Mark;

/// A plugin that may be called. Copies stand for the same library, which stays loaded as long as the process lives.
#[derive(Clone)]
pub struct Plugin {
    description: Description,
    api: ApiVersion,
    sha256: String,
    path: PathBuf,
    mark: Mark,
    #[expect(dead_code, reason = "its hooks are called next")]
    module: PluginRef,
}

impl Plugin {
    pub(super) fn attach(
        loaded: Loaded,
        examined: Examined,
        path: &Path,
        host: HostRef,
    ) -> Result<Plugin, PluginError> {
        let description = loaded.description;
        loaded.module.attach()(host).into_result().map_err(|error| {
            let label = label(&description.name, Some(&description.version));
            PluginError::refused(label, format!("it does not take this host: {}", error.message))
        })?;
        Ok(Plugin {
            description,
            api: loaded.api,
            sha256: examined.image.sha256,
            path: path.to_path_buf(),
            mark: examined.mark,
            module: loaded.module,
        })
    }

    /// What it says of itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    pub fn name(&self) -> &str {
        &self.description.name
    }

    pub fn version(&self) -> &str {
        &self.description.version
    }

    /// The version of the border it was built with.
    pub fn api(&self) -> ApiVersion {
        self.api
    }

    /// Of the bytes that were loaded.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Where those bytes were read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// On what ground it was accepted.
    pub fn mark(&self) -> Mark {
        self.mark
    }
}
