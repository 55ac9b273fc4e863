//! The configuration, with PEFT's names.

use serde::{Deserialize, Serialize};

/// Keys of a `lora` stack entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Rank of the update.
    pub(crate) r: i64,
    /// The update is scaled by `lora_alpha / r`.
    pub(crate) lora_alpha: f64,
    /// Dropout on the update's input while training.
    pub(crate) lora_dropout: f64,
    /// Module names of the linears of the language model, or `["all-linear"]`.
    pub(crate) target_modules: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            r: 16,
            lora_alpha: 32.0,
            lora_dropout: 0.0,
            target_modules: vec![String::from("all-linear")],
        }
    }
}
