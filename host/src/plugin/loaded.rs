//! A plugin that is loaded and attached.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use coin_plugin_api::abi::{ApiVersion, PluginRef};
use coin_plugin_api::{Description, Need};

use super::caller::Caller;
use super::capability;
use super::catalog::Examined;
use super::dataset::Dataset;
use super::error::{PluginError, label};
use super::hook::Hook;
use super::load::Loaded;
use super::method::Method;
use super::trust::{Ground, Mark};
use crate::ops::{self, Services};

/// A plugin that may be called. Copies stand for the same library, which stays loaded as long as the process lives.
#[derive(Clone)]
pub struct Plugin {
    description: Description,
    api: ApiVersion,
    sha256: String,
    path: PathBuf,
    ground: Ground,
    module: PluginRef,
    caller: Caller,
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Plugin({} {}, {:?}, {})",
            self.name(),
            self.version(),
            self.ground.mark,
            self.path.display()
        )
    }
}

impl Plugin {
    pub(super) fn attach(loaded: Loaded, examined: Examined, path: &Path) -> Result<Plugin, PluginError> {
        let description = loaded.description;
        let caller = Caller::new(&description.name, &description.version);
        caller.watch(Hook::Attach, None, || loaded.module.attach()(ops::host())).map_err(|error| {
            let label = label(&description.name, Some(&description.version));
            PluginError::refused(label, format!("it does not take this host: {error}\nhint: build it again with this host's coin-plugin-api, or get a build for it"))
        })?;
        Ok(Plugin {
            description,
            api: loaded.api,
            sha256: examined.image.sha256,
            path: path.to_path_buf(),
            ground: examined.ground,
            module: loaded.module,
            caller,
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
        self.ground.mark
    }

    /// What is known of where it comes from.
    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    /// Whether it may run under a protocol; see [`capability::grants`].
    ///
    /// # Errors
    /// [`PluginError::Refused`] with what it needs and the key that grants it.
    pub fn check_needs(&self, grants: &BTreeSet<Need>) -> Result<(), PluginError> {
        capability::check(self.name(), self.version(), &self.description.needs, grants)
    }

    /// Builds its method for a cell from the keys of a stack entry.
    ///
    /// # Errors
    /// [`PluginError::Config`] where it does not accept them, else [`PluginError::Failed`].
    pub fn build(&self, config: &toml::Table, services: &dyn Services) -> Result<Method, PluginError> {
        let config = self.text(config)?;
        let raw = self.caller.call(Hook::Build, None, services, |context| {
            self.module.build_method()(config.as_str().into(), context)
        })?;
        Ok(Method::new(&self.caller, raw))
    }

    /// Opens one of its datasets: its name in the plugin, the folder with the files, the keys of the task's `config`.
    ///
    /// # Errors
    /// [`PluginError::Config`] where there is no such dataset or it does not accept the keys, else [`PluginError::Failed`].
    pub fn open_dataset(
        &self,
        name: &str,
        root: &Path,
        config: &toml::Table,
    ) -> Result<Dataset, PluginError> {
        let config = self.text(config)?;
        let Some(root) = root.to_str() else {
            return Err(self.caller.failed(
                Hook::OpenDataset,
                None,
                format!("{} is not UTF-8", root.display()),
            ));
        };
        let object = self.caller.watch(Hook::OpenDataset, None, || {
            self.module.open_dataset()(name.into(), root.into(), config.as_str().into())
        })?;
        Ok(Dataset::new(&self.caller, object))
    }

    fn text(&self, config: &toml::Table) -> Result<String, PluginError> {
        toml::to_string(config).map_err(|error| PluginError::Config {
            plugin: label(self.name(), Some(self.version())),
            reason: error.to_string(),
        })
    }
}
