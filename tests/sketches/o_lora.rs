//! O-LoRA (Wang et al. 2023, arXiv 2310.14152): each stage has a low-rank pair of its own, the earlier ones are frozen, all of them add up,
//! and the new `A` is kept orthogonal to the earlier ones:
//!
//! ```text
//! y = W x + lora_alpha / r * sum over i <= t of B_i A_i x        L = L_task + lambda * sum over sites and i < t of |A_i A_t^T|^2
//! ```
//!
//! with the squared Frobenius norm, as the paper has it; its code sums absolute values.

use coin_plugin_api::{
    Adapter, Init, Method, ParameterInfo, Phase, Registration, Registry, Result, Site, Stage, Step, Strategy,
    Tensor, Term, export_plugin, nn,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Rank of one stage's pair.
    r: i64,
    lora_alpha: f64,
    /// Weight of the orthogonality.
    lambda: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { r: 8, lora_alpha: 16.0, lambda: 0.5 }
    }
}

fn build(config: Config, registry: &Registry) -> Result<Method> {
    let sites = registry.target_sites(&[String::from("all-linear")])?;
    let adapter = OLora { scaling: config.lora_alpha / config.r as f64 };
    Ok(Method::both(adapter, Growth { config, sites }))
}

struct OLora {
    scaling: f64,
}

/// The pairs of all stages side by side, as one pair: `A_0 B_0 A_1 B_1 ..` in the order of their registration.
fn joined(parameters: &[Tensor]) -> Result<(Tensor, Tensor)> {
    let of = |first: usize| parameters.iter().skip(first).step_by(2).collect::<Vec<_>>();
    Ok((Tensor::cat(&of(0), 0)?, Tensor::cat(&of(1), 1)?))
}

impl Adapter for OLora {
    fn adapt(
        &self,
        _site: usize,
        input: &Tensor,
        output: &Tensor,
        parameters: &[Tensor],
        _step: &Step,
    ) -> Result<Tensor> {
        if parameters.is_empty() {
            return Ok(output.clone());
        }
        let (a, b) = joined(parameters)?;
        output.add(&nn::low_rank(input, &a, &b, self.scaling)?)
    }

    fn merged_delta(&self, _site: usize, parameters: &[Tensor]) -> Result<Option<Tensor>> {
        if parameters.is_empty() {
            return Ok(None);
        }
        let (a, b) = joined(parameters)?;
        nn::low_rank_delta(&a, &b, self.scaling).map(Some)
    }

    fn token_local(&self) -> bool {
        true
    }
}

struct Growth {
    config: Config,
    sites: Vec<Site>,
}

impl Strategy for Growth {
    fn before_stage(&mut self, stage: &Stage) -> Result<Vec<Phase>> {
        for info in stage.trainable()?.iter().filter(|info| info.owner == "o-lora") {
            stage.set_trainable(info.id, false)?;
        }
        let (number, r) = (stage.index(), self.config.r);
        for site in &self.sites {
            let register = |name: &str, shape: &[i64], init| {
                let name = format!("lora_{name}.{number}.weight");
                stage.registry().register(Registration::parameter(name, shape, init).at(site))
            };
            register("A", &[r, site.in_features], Init::kaiming_uniform(site.in_features))?;
            register("B", &[site.out_features, r], Init::ZEROS)?;
        }
        Ok(Vec::new())
    }

    fn loss(&mut self, step: &Step) -> Result<Vec<Term>> {
        let mut own = step.parameters().all()?;
        own.retain(|info| info.owner == "o-lora" && info.name.contains(".lora_A."));
        let (new, earlier): (Vec<ParameterInfo>, Vec<_>) = own.into_iter().partition(|info| info.trainable);
        let mut sums = Vec::new();
        for new in &new {
            let a = step.parameters().value(new.id)?;
            for old in earlier.iter().filter(|old| old.site == new.site) {
                sums.push(step.parameters().value(old.id)?.linear(&a)?.square()?.sum_all()?);
            }
        }
        if sums.is_empty() {
            return Ok(Vec::new());
        }
        let sum = Tensor::stack(&sums.iter().collect::<Vec<_>>(), 0)?.sum_all()?;
        Ok(vec![Term::new("orthogonality", sum.mul_scalar(self.config.lambda)?)])
    }
}

export_plugin! { name: "o-lora", method: build, needs: [] }
