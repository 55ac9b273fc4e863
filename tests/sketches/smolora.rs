//! SMoLoRA (Wang et al. 2025, arXiv 2411.13949): low-rank experts beside each linear in two groups, one routed by what the picture shows,
//! one by what the instruction says, fused for each token:
//!
//! ```text
//! y = W x + a_v u_v + a_i u_i                      [a_v, a_i] = softmax([w_v . u_v, w_i . u_i])
//! u = lora_alpha / r * sum over experts of G_e(z) B_e A_e x      G(z) = softmax(R z), of which the largest `top_k` are kept
//! ```
//!
//! with `z` the mean vision features of a row's picture for `v`, and the mean embedding of its prompt for `i`; both are the same for all
//! tokens of a row, while it is answered too. The paper's code keeps one expert, with the constant 1 as its gate, so that no gradient
//! reaches its routers; and its instruction's embedding is a label of the task. Here the gate is the softmax, and a row is its own label.

use coin_plugin_api::{
    Adapter, Init, Method, Registration, Registry, Result, Step, Tensor, ensure, export_plugin, nn,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Rank of all experts of a group together.
    r: i64,
    lora_alpha: f64,
    /// Experts of a group.
    expert_num: i64,
    /// Experts of a group that a row uses.
    top_k: i64,
    target_modules: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            r: 8,
            lora_alpha: 16.0,
            expert_num: 4,
            top_k: 1,
            target_modules: vec![String::from("all-linear")],
        }
    }
}

struct SmoLora {
    scaling: f64,
    top_k: i64,
}

fn build(config: Config, registry: &Registry) -> Result<Method> {
    let Config { r, expert_num, top_k, .. } = config;
    ensure!(
        expert_num > 0 && r > 0 && r % expert_num == 0 && (1..=expert_num).contains(&top_k),
        "r = {r}, expert_num = {expert_num}, top_k = {top_k} do not fit\nhint: r is a multiple of expert_num, top_k at most expert_num"
    );
    let model = registry.model()?;
    for site in registry.target_sites(&config.target_modules)? {
        let register = |name: String, shape: &[i64], init| {
            registry.register(Registration::parameter(name, shape, init).at(&site)).map(|_| ())
        };
        for (group, features) in [("visual", model.image_features), ("instruction", model.text_features)] {
            let fan_in = Init::kaiming_uniform;
            register(format!("{group}.A"), &[r, site.in_features], fan_in(site.in_features))?;
            register(format!("{group}.B"), &[site.out_features, r], Init::ZEROS)?;
            register(format!("{group}.router"), &[expert_num, features], fan_in(features))?;
            register(format!("{group}.fusion"), &[1, site.out_features], fan_in(site.out_features))?;
        }
    }
    Ok(Method::adapter(SmoLora { scaling: config.lora_alpha / r as f64, top_k }))
}

impl SmoLora {
    /// The update of a group `[B, T, out]`, and its weight in the fusion before the softmax, `[B, T, 1]`.
    fn group(&self, input: &Tensor, group: &[Tensor], features: &Tensor) -> Result<(Tensor, Tensor)> {
        let [a, b, router, fusion] = group else { coin_plugin_api::bail!("a group has four tensors") };
        let gate = nn::route(&features.to_like(router)?, router)?;
        let (_, kept) = gate.topk(self.top_k, -1, true)?;
        let mask = gate.zeros_like()?.scatter(-1, &kept, &kept.to_like(&gate)?.ones_like()?)?;
        let update = nn::gated_low_rank(input, a, b, &gate.mul(&mask)?.unsqueeze(1)?, self.scaling)?;
        let weight = update.linear(fusion)?;
        Ok((update, weight))
    }
}

impl Adapter for SmoLora {
    fn adapt(
        &self,
        _site: usize,
        input: &Tensor,
        output: &Tensor,
        parameters: &[Tensor],
        step: &Step,
    ) -> Result<Tensor> {
        if parameters.is_empty() {
            return Ok(output.clone());
        }
        let (visual, instruction) = parameters.split_at(4);
        let (visual, visual_weight) = self.group(input, visual, &step.image_features()?)?;
        let (instruction, instruction_weight) = self.group(input, instruction, &step.text_features()?)?;
        let share = Tensor::cat(&[&visual_weight, &instruction_weight], -1)?.softmax(-1)?;
        let update = visual.mul(&share.narrow(-1, 0, 1)?)?;
        output.add(&update.add(&instruction.mul(&share.narrow(-1, 1, 1)?)?)?)
    }
}

export_plugin! { name: "smolora", method: build, needs: [ImageFeatures, TextFeatures] }
