//! The configuration, with the names of PEFT and of CoIN.

use coin_plugin_api::{Error, Result};
use serde::{Deserialize, Serialize};

/// Keys of a `moelora` stack entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Rank of all experts together: each has `r / expert_num`.
    pub(crate) r: i64,
    /// The update is scaled by `lora_alpha / r`, with the rank of all experts together.
    pub(crate) lora_alpha: f64,
    /// Dropout on the experts' input while training. The router sees the input without it.
    pub(crate) lora_dropout: f64,
    /// Experts at each site.
    pub(crate) expert_num: i64,
    /// Module names of the linears of the language model, or `["all-linear"]`.
    pub(crate) target_modules: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            r: 16,
            lora_alpha: 32.0,
            lora_dropout: 0.0,
            expert_num: 8,
            target_modules: vec![String::from("all-linear")],
        }
    }
}

impl Config {
    pub(crate) fn check(&self) -> Result<()> {
        let Config { r, expert_num, lora_dropout, .. } = *self;
        if expert_num <= 0 || r <= 0 || r % expert_num != 0 {
            return Err(Error::config(format!(
                "r = {r} cannot be shared out evenly among expert_num = {expert_num}\nhint: r is the rank of all experts together, a positive multiple of expert_num, for example r = 16 with expert_num = 8"
            )));
        }
        if !(0.0..1.0).contains(&lora_dropout) {
            return Err(Error::config(format!(
                "lora_dropout = {lora_dropout} is not in [0, 1)\nhint: CoIN trains with 0.05"
            )));
        }
        Ok(())
    }
}
