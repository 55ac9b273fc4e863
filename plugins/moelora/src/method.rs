//! The adapter: `output + sum over experts of gate_i(input) * lora_alpha / r * B_i A_i dropout(input)`, with
//! `gate = softmax(W input)` over all experts.
//!
//! The experts lie side by side in one `A [r, in]` and one `B [out, r]`, so that the sum is one product down, a gated middle and one
//! product up, at about the price of LoRA. CoIN draws a dropout mask for each expert; here all experts share one, which is the same in
//! expectation and without dropout the same number.

use coin_plugin_api::{Adapter, Init, Method, Registration, Registry, Result, Site, Step, Tensor, nn};

use crate::config::Config;

/// CoIN's code fills `A` by `normal_(mean=0.0, std=0.01)`. So "N(0, 0.01)" in descriptions of it names the standard deviation, not the
/// variance.
const A_STD: f64 = 0.01;

struct MoeLora {
    scaling: f64,
    dropout: f64,
}

pub(crate) fn build(config: Config, registry: &Registry) -> Result<Method> {
    config.check()?;
    for site in registry.target_sites(&config.target_modules)? {
        register(registry, &site, &config)?;
    }
    Ok(Method::adapter(MoeLora {
        scaling: config.lora_alpha / config.r as f64,
        dropout: config.lora_dropout,
    }))
}

fn register(registry: &Registry, site: &Site, config: &Config) -> Result<()> {
    let (a, b) = ([config.r, site.in_features], [site.out_features, config.r]);
    registry.register(Registration::parameter("lora_A.weight", &a, Init::Normal { std: A_STD }).at(site))?;
    registry.register(Registration::parameter("lora_B.weight", &b, Init::ZEROS).at(site))?;
    nn::register_router(registry, site, config.expert_num)?;
    Ok(())
}

impl Adapter for MoeLora {
    fn adapt(
        &self,
        _site: usize,
        input: &Tensor,
        output: &Tensor,
        parameters: &[Tensor],
        step: &Step,
    ) -> Result<Tensor> {
        // A site that is not a target has no tensors.
        let [a, b, router] = parameters else { return Ok(output.clone()) };
        let gate = nn::route(input, router)?;
        let update = nn::gated_low_rank(&step.dropout(input, self.dropout)?, a, b, &gate, self.scaling)?;
        output.add(&update)
    }

    fn token_local(&self) -> bool {
        true
    }
}
