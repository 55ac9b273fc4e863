//! The adapter: `output + lora_alpha / r * B A dropout(input)`.

use coin_plugin_api::{Adapter, Error, Method, Registry, Result, Step, Tensor, nn};

use crate::config::Config;

struct Lora {
    scaling: f64,
    dropout: f64,
}

pub(crate) fn build(config: Config, registry: &Registry) -> Result<Method> {
    if config.r <= 0 {
        return Err(Error::config(format!("r = {} is not a rank\nhint: a rank is a positive integer, for example 16", config.r)));
    }
    if !(0.0..1.0).contains(&config.lora_dropout) {
        return Err(Error::config(format!("lora_dropout = {} is not in [0, 1)", config.lora_dropout)));
    }
    for site in registry.target_sites(&config.target_modules)? {
        nn::register_low_rank(registry, &site, config.r)?;
    }
    Ok(Method::adapter(Lora { scaling: config.lora_alpha / config.r as f64, dropout: config.lora_dropout }))
}

impl Adapter for Lora {
    fn adapt(&self, _site: usize, input: &Tensor, output: &Tensor, parameters: &[Tensor], step: &Step) -> Result<Tensor> {
        // A site that is not a target has no tensors.
        let [a, b] = parameters else { return Ok(output.clone()) };
        let update = nn::low_rank(&step.dropout(input, self.dropout)?, a, b, self.scaling)?;
        output.add(&update)
    }

    fn merged_delta(&self, _site: usize, parameters: &[Tensor]) -> Result<Option<Tensor>> {
        let [a, b] = parameters else { return Ok(None) };
        Ok(Some(nn::low_rank_delta(a, b, self.scaling)?))
    }

    fn token_local(&self) -> bool {
        true
    }
}
