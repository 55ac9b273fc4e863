//! What is wrong with a configuration: where, which key, why, and what to do about it.

use std::fmt;

use crate::config::Origin;

/// A fault in the configuration or in an option that changes it. Shown as `where: key: why`, then a line with a hint.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigError {
    /// The file and line, or the option of the command line.
    pub origin: Option<Origin>,
    /// The key, dotted, as it would be given to `--set`.
    pub key: Option<String>,
    pub reason: String,
    pub hint: Option<String>,
}

impl ConfigError {
    pub fn new(reason: impl Into<String>) -> Self {
        ConfigError { origin: None, key: None, reason: reason.into(), hint: None }
    }

    #[must_use]
    pub fn at(mut self, origin: &Origin) -> Self {
        self.origin = Some(origin.clone());
        self
    }

    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = self.origin.as_ref().filter(|origin| **origin != Origin::Default) {
            write!(f, "{origin}: ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "`{key}`: ")?;
        }
        f.write_str(&self.reason)?;
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
