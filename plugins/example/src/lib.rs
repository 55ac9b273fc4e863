//! A method plugin to start from: LoRA (Hu et al. 2021, arXiv 2106.09685), a trained low-rank update beside each frozen linear.

#[cfg(test)]
mod tests;

use coin_plugin_api::{Adapter, Error, Method, Registry, Result, Step, Tensor, export_plugin, nn};
use serde::{Deserialize, Serialize};

/// Keys of this plugin's entry in a method's stack. Their defaults are part of what the plugin says of itself.
#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Rank of the update.
    r: i64,
    /// The update is scaled by `lora_alpha / r`.
    lora_alpha: f64,
    /// Module names of the linears of the language model, or `["all-linear"]`.
    target_modules: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config { r: 8, lora_alpha: 16.0, target_modules: vec![String::from("all-linear")] }
    }
}

struct Example {
    scaling: f64,
}

/// Called once for each cell of a comparison: checks the configuration and registers every tensor that lasts.
fn build(config: Config, registry: &Registry) -> Result<Method> {
    if config.r <= 0 {
        return Err(Error::config(format!("r = {} is not a rank\nhint: a positive integer", config.r)));
    }
    for site in registry.target_sites(&config.target_modules)? {
        nn::register_low_rank(registry, &site, config.r)?;
    }
    Ok(Method::adapter(Example { scaling: config.lora_alpha / config.r as f64 }))
}

impl Adapter for Example {
    /// The new output of a site. `parameters` are those registered for it, in the order of their registration.
    fn adapt(
        &self,
        _site: usize,
        input: &Tensor,
        output: &Tensor,
        parameters: &[Tensor],
        _step: &Step,
    ) -> Result<Tensor> {
        // A site that is not a target has no tensors.
        let [a, b] = parameters else { return Ok(output.clone()) };
        output.add(&nn::low_rank(input, a, b, self.scaling)?)
    }

    /// Where the update is a matrix, the host may fold it into the weight while answering.
    fn merged_delta(&self, _site: usize, parameters: &[Tensor]) -> Result<Option<Tensor>> {
        let [a, b] = parameters else { return Ok(None) };
        Ok(Some(nn::low_rank_delta(a, b, self.scaling)?))
    }

    /// Nothing here looks at other tokens, so rows that share a picture can share its prefix.
    fn token_local(&self) -> bool {
        true
    }
}

export_plugin! { name: "example", method: build, needs: [] }
