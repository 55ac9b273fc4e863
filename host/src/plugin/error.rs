//! What goes wrong with a plugin, by what the caller does about it.

use coin_plugin_api::ErrorCode;
use thiserror::Error;

/// An error that names its plugin. The command line maps the kinds to exit codes.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum PluginError {
    /// No folder has a plugin of this name and version.
    #[error("{message}")]
    NotFound { plugin: String, message: String },
    /// It was found, but must not be used: damaged, changed, not trusted, incompatible, or in need of what is not granted.
    #[error("plugin {plugin} refused: {reason}")]
    Refused {
        /// `` `lora` 1.2.0 ``, or the name alone.
        plugin: String,
        reason: String,
    },
    /// It does not accept its configuration.
    #[error("plugin {plugin}: {reason}")]
    Config { plugin: String, reason: String },
    /// A call of one of its hooks failed.
    #[error("plugin {plugin}, {hook}: {reason}")]
    Failed {
        plugin: String,
        /// The hook, and for adapters the site: `adapt at language_model.model.layers.0.self_attn.q_proj`.
        hook: String,
        reason: String,
        /// What the plugin called it; none where the host found fault with what the hook did.
        code: Option<ErrorCode>,
    },
}

impl PluginError {
    pub(crate) fn refused(plugin: impl Into<String>, reason: impl Into<String>) -> Self {
        PluginError::Refused { plugin: plugin.into(), reason: reason.into() }
    }

    /// The plugin's error among the causes of another one.
    pub fn within(error: &anyhow::Error) -> Option<&PluginError> {
        error.chain().find_map(|cause| cause.downcast_ref())
    }

    /// What a hook called its error.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            PluginError::Failed { code, .. } => *code,
            PluginError::Config { .. } => Some(ErrorCode::CONFIG),
            PluginError::NotFound { .. } | PluginError::Refused { .. } => None,
        }
    }

    /// Whether the plugin's code panicked.
    pub fn is_panic(&self) -> bool {
        self.code() == Some(ErrorCode::PANIC)
    }

    /// The exit code of a process that stops because of it: 1 run failed, 2 bad configuration, 3 plugin refused.
    pub fn exit_code(&self) -> u8 {
        match self {
            PluginError::Failed { .. } => 1,
            PluginError::Config { .. } => 2,
            PluginError::NotFound { .. } | PluginError::Refused { .. } => 3,
        }
    }
}

/// A plugin as messages name it: `` `lora` 1.2.0 ``.
pub(super) fn label(name: &str, version: Option<&str>) -> String {
    match version {
        Some(version) => format!("`{name}` {version}"),
        None => format!("`{name}`"),
    }
}
