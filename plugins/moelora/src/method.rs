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

#[cfg(test)]
mod tests {
    use coin_plugin_api::PassPhase;
    use coin_plugin_api::testing::{Recording, adapter};

    use super::*;

    fn config() -> Config {
        Config { r: 4, expert_num: 2, ..Config::default() }
    }

    #[test]
    fn the_experts_are_one_product_down_and_one_up() {
        let recording = Recording::start();
        let site = recording.add_site("layers.0.q_proj", 6, 5);
        let method = build(config(), &recording.registry()).expect("a good configuration");
        let parameters = recording.site_parameters(&site).expect("registered");
        let (x, y) = (recording.tensor("x", &[2, 3, 6]), recording.tensor("y", &[2, 3, 5]));
        let step = recording.step(PassPhase::Train);
        adapter(&method).adapt(site.index, &x, &y, &parameters, &step).expect("shapes fit");
        insta::assert_snapshot!(recording.trace(), @r"
        %0[2, 3, 2] = linear(x[2, 3, 6], lora_router.weight[2, 6])
        %1[2, 3, 2] = softmax(%0[2, 3, 2], -1)
        %2[2, 3, 2] = mul_scalar(%1[2, 3, 2], 8)
        %3[2, 3, 4] = repeat_interleave(%2[2, 3, 2], 2, -1)
        %4[2, 3, 4] = linear(x[2, 3, 6], lora_A.weight[4, 6])
        %5[2, 3, 4] = mul(%4[2, 3, 4], %3[2, 3, 4])
        %6[2, 3, 5] = linear(%5[2, 3, 4], lora_B.weight[5, 4])
        %7[2, 3, 5] = add(y[2, 3, 5], %6[2, 3, 5])
        ");
    }

    #[test]
    fn the_fused_update_is_the_sum_over_experts() {
        let recording = Recording::start();
        let site = recording.add_site("layers.0.q_proj", 6, 5);
        let method = build(config(), &recording.registry()).expect("a good configuration");
        // Not the registered ones: B starts at zero.
        let parameters = ["a", "b", "router"].map(String::from).into_iter().zip([[4, 6], [5, 4], [2, 6]]);
        let parameters: Vec<Tensor> =
            parameters.map(|(name, shape)| recording.tensor(&name, &shape)).collect();
        let (x, y) = (recording.tensor("x", &[2, 3, 6]), recording.tensor("y", &[2, 3, 5]));
        let step = recording.step(PassPhase::Train);
        let fused = adapter(&method).adapt(site.index, &x, &y, &parameters, &step).expect("shapes fit");
        let looped = sum_over_experts(&x, &y, &parameters, 2, 32.0 / 4.0).expect("shapes fit");
        let pairs = fused.to_floats().expect("known").into_iter().zip(looped.to_floats().expect("known"));
        pairs.for_each(|(a, b)| assert!((a - b).abs() < 1e-5, "{a} {b}"));
    }

    /// The definition, an expert at a time.
    fn sum_over_experts(
        x: &Tensor,
        y: &Tensor,
        parameters: &[Tensor],
        experts: i64,
        scaling: f64,
    ) -> Result<Tensor> {
        let [a, b, router] = parameters else { panic!("three tensors") };
        let gate = x.linear(router)?.softmax(-1)?;
        let (a, b) = (a.chunk(experts, 0)?, b.chunk(experts, 1)?);
        (0..experts as usize).try_fold(y.clone(), |sum, expert| {
            let update = x.linear(&a[expert])?.linear(&b[expert])?.mul_scalar(scaling)?;
            sum.add(&update.mul(&gate.narrow(-1, expert as i64, 1)?)?)
        })
    }

    #[test]
    fn the_router_sees_the_input_without_dropout() {
        let recording = Recording::start();
        let site = recording.add_site("layers.0.q_proj", 6, 5);
        let method = build(Config { lora_dropout: 0.5, ..config() }, &recording.registry())
            .expect("a good configuration");
        let parameters = recording.site_parameters(&site).expect("registered");
        let (x, y) = (recording.tensor("x", &[2, 6]), recording.tensor("y", &[2, 5]));
        let step = recording.step(PassPhase::Train);
        adapter(&method).adapt(site.index, &x, &y, &parameters, &step).expect("shapes fit");
        let trace = recording.trace();
        assert!(trace.contains("linear(x[2, 6], lora_router.weight[2, 6])"), "{trace}");
        assert!(trace.contains("%2[2, 6] = dropout(x[2, 6], 0.5)"), "{trace}");
        assert!(trace.contains("linear(%2[2, 6], lora_A.weight[4, 6])"), "{trace}");
    }

    #[test]
    fn a_starts_with_standard_deviation_a_hundredth_and_b_at_zero() {
        let recording = Recording::start();
        let site = recording.add_site("layers.0.q_proj", 600, 5);
        build(config(), &recording.registry()).expect("a good configuration");
        let parameters = recording.site_parameters(&site).expect("registered");
        let a = parameters[0].to_floats().expect("known");
        let deviation = (a.iter().map(|x| x * x).sum::<f32>() / a.len() as f32).sqrt();
        assert!((0.0095..0.0105).contains(&deviation), "{deviation}");
        assert!(parameters[1].to_floats().expect("known").iter().all(|x| *x == 0.0));
    }

    #[test]
    fn a_rank_that_cannot_be_shared_out_is_refused() {
        let recording = Recording::start();
        for (r, expert_num) in [(6, 4), (0, 4), (4, 0), (-4, 2)] {
            let error = build(Config { r, expert_num, ..Config::default() }, &recording.registry()).err();
            assert!(error.is_some_and(|error| error.message().contains("hint: r is the rank of all")));
        }
    }
}
