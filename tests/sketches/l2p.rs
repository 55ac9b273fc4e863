//! L2P, learning to prompt (Wang et al. 2022, arXiv 2112.08654): a pool of prompts with a key each. A row is given the prompts whose keys
//! are nearest to it, as soft tokens before everything else, and draws these keys nearer. Equations 3 and 5:
//!
//! ```text
//! K = the `selection` keys with the smallest d(q, k)        L = L_task + lambda * mean over rows of sum over K of d(q, k)
//! d(q, k) = 1 - cos(q, k)                                   q = [image, text], each of length 1
//! ```
//!
//! The paper's query is the class token of the frozen vision tower; here it has the frozen features of picture and prompt.

use coin_plugin_api::{
    Adapter, Init, Method, PassPhase, Prefix, PrefixPlace, Registration, Registry, Result, Step, Tensor,
    ensure, export_plugin,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Prompts in the pool.
    pool: i64,
    /// Tokens of a prompt.
    length: i64,
    /// Prompts that a row is given.
    selection: i64,
    /// Weight of the keys' term.
    lambda: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { pool: 10, length: 5, selection: 5, lambda: 0.5 }
    }
}

struct L2p {
    selection: i64,
    lambda: f64,
}

fn build(config: Config, registry: &Registry) -> Result<Method> {
    let Config { pool, length, selection, lambda } = config;
    ensure!(
        length > 0 && (1..=pool).contains(&selection),
        "pool = {pool}, length = {length}, selection = {selection} do not fit\nhint: selection is at most pool"
    );
    let model = registry.model()?;
    let features = model.image_features + model.text_features;
    for (name, shape) in [("prompts", vec![pool, length, model.hidden_size]), ("keys", vec![pool, features])]
    {
        registry.register(Registration::parameter(name, &shape, Init::Uniform { bound: 1.0 }))?;
    }
    Ok(Method::adapter(L2p { selection, lambda }))
}

/// Rows of length 1.
fn unit(rows: &Tensor) -> Result<Tensor> {
    rows.div(&rows.norm(2.0, &[-1], true)?.clamp_min(1e-12)?)
}

impl Adapter for L2p {
    fn adapt(
        &self,
        _site: usize,
        _input: &Tensor,
        output: &Tensor,
        _parameters: &[Tensor],
        _step: &Step,
    ) -> Result<Tensor> {
        Ok(output.clone())
    }

    fn prefix(&self, parameters: &[Tensor], step: &Step) -> Result<Option<Prefix>> {
        let [prompts, keys] = parameters else { return Ok(None) };
        let query = Tensor::cat(&[&unit(&step.image_features()?)?, &unit(&step.text_features()?)?], -1)?;
        let similarity = unit(&query)?.to_like(keys)?.linear(&unit(keys)?)?;
        let (nearest, chosen) = similarity.topk(self.selection, -1, true)?;
        if step.phase()? == PassPhase::Train {
            let distance = nearest.neg()?.add_scalar(1.0)?.sum(&[-1], false)?.mean_all()?;
            step.add_term("keys", &distance.mul_scalar(self.lambda)?)?;
        }
        let [length, width] = [1, 2].map(|dim| prompts.size(dim));
        let tokens = prompts.index_select(0, &chosen.reshape(&[-1])?)?;
        let tokens = tokens.reshape(&[chosen.size(0)?, self.selection * length?, width?])?;
        Ok(Some(Prefix { tokens, place: PrefixPlace::Start }))
    }
}

export_plugin! { name: "l2p", method: build, needs: [ImageFeatures, TextFeatures] }
