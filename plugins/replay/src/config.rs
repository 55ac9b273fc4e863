//! The configuration.

use coin_plugin_api::{Error, Result};
use serde::{Deserialize, Serialize};

/// Which samples the buffer keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Policy {
    /// A uniform choice among all samples seen.
    Reservoir,
    /// The same number from each stage, drawn at random.
    Random,
}

/// Keys of a `replay` stack entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Which samples the buffer keeps.
    pub(crate) policy: Policy,
    /// Rows of each training batch that are replayed, from the second stage on.
    pub(crate) rows_per_batch: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config { policy: Policy::Random, rows_per_batch: 8 }
    }
}

impl Config {
    pub(crate) fn check(&self) -> Result<()> {
        if self.rows_per_batch == 0 {
            return Err(Error::config(
                "rows_per_batch = 0 replays nothing\nhint: set it to a part of batch_size, or leave the plugin out",
            ));
        }
        Ok(())
    }
}
