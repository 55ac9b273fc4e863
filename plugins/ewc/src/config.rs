//! The configuration.

use coin_plugin_api::{Error, Result};
use serde::{Deserialize, Serialize};

/// What becomes of the penalties of earlier stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// One running Fisher information that fades, around the latest weights.
    Online,
    /// The sum of the penalties of all stages, each around its own weights.
    PerTask,
}

/// Keys of an `ewc` stack entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// What becomes of the penalties of earlier stages.
    pub(crate) mode: Mode,
    /// Weight of the penalty. The default is that of TRACE, the quickstart's 2000 is the one value tried there; neither was tuned.
    pub(crate) lambda: f64,
    /// Samples of a stage that its Fisher information is measured on.
    pub(crate) samples: usize,
    /// What is left of the running Fisher information after another stage (`online` only).
    pub(crate) gamma: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { mode: Mode::Online, lambda: 400.0, samples: 128, gamma: 1.0 }
    }
}

impl Config {
    pub(crate) fn check(&self) -> Result<()> {
        let Config { lambda, gamma, samples, .. } = *self;
        if !(lambda >= 0.0 && lambda.is_finite()) {
            return Err(Error::config(format!(
                "lambda = {lambda} is not a weight\nhint: it is zero or more, for example 400.0"
            )));
        }
        if !(0.0..=1.0).contains(&gamma) {
            return Err(Error::config(format!(
                "gamma = {gamma} is not in [0, 1]\nhint: 1.0 forgets no stage, 0.0 all but the last"
            )));
        }
        if samples == 0 {
            return Err(Error::config("samples = 0 measures nothing\nhint: 128 single samples are common"));
        }
        Ok(())
    }
}
