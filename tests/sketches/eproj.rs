//! EProj (He et al. 2023, arXiv 2311.16206): nothing is trained but a projector for each task, which the earlier ones do not see, and two
//! keys by which a picture finds it: near to the mean vision features, and to the mean embedding of the prompts, of its task.
//!
//! ```text
//! y = W_s x + b_s      W_s = W + delta_s      s: the stage of the row while it is trained on, else argmax_s cos(q_image, k_s) + cos(q_text, l_s)
//! L = L_task + key_weight * mean over pictures of (1 - cos(q_image, k_s)) + (1 - cos(q_text, l_s))
//! ```
//!
//! A stage first trains its keys alone, then everything. The projector has two linears, each with keys of its own. The paper's grows only
//! for tasks that are unlike the earlier ones; here each stage has one.

use coin_plugin_api::{
    Adapter, DType, Init, Method, Part, PassPhase, Phase, Registration, Registry, Result, Site, Stage, Step,
    Strategy, Tensor, export_plugin,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Steps of a stage that train the keys alone.
    key_steps: usize,
    key_weight: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { key_steps: 10, key_weight: 0.1 }
    }
}

fn build(config: Config, registry: &Registry) -> Result<Method> {
    let mut sites = registry.sites()?;
    sites.retain(|site| site.part == Part::Projector);
    let adapter = Projectors { key_weight: config.key_weight };
    Ok(Method::both(adapter, Growth { key_steps: config.key_steps, sites }))
}

struct Projectors {
    key_weight: f64,
}

impl Adapter for Projectors {
    /// `input` is `[n, N, in]` for `n` pictures; each stage registered four tensors for the site.
    fn adapt(
        &self,
        _site: usize,
        input: &Tensor,
        output: &Tensor,
        parameters: &[Tensor],
        step: &Step,
    ) -> Result<Tensor> {
        let stages: Vec<&[Tensor]> = parameters.chunks(4).collect();
        if stages.is_empty() {
            return Ok(output.clone());
        }
        let (rows, phase) = (step.image_rows()?, step.phase()?);
        let [image, text] = [step.image_features()?, step.text_features()?];
        let [image, text] =
            [image.index_select(0, &rows)?.unsqueeze(1)?, text.index_select(0, &rows)?.unsqueeze(1)?];
        let keys = |place: usize| {
            let keys: Vec<&Tensor> = stages.iter().map(|stage| &stage[place]).collect();
            Tensor::stack(&keys, 0)?.to_dtype(DType::FLOAT)?.unsqueeze(0)
        };
        // [n, stages]
        let near = image.cosine_similarity(&keys(2)?, -1)?.add(&text.cosine_similarity(&keys(3)?, -1)?)?;
        let chosen = match phase {
            PassPhase::Train | PassPhase::Extra => step.row_stages()?.index_select(0, &rows)?,
            // A teacher may know fewer stages than the rows are from.
            _ => near.argmax(-1, false)?,
        };
        let gate = chosen.one_hot(stages.len() as i64)?.to_like(&near)?;
        if phase == PassPhase::Train {
            let distance = near.mul(&gate)?.sum(&[-1], false)?.neg()?.add_scalar(2.0)?;
            step.add_term("keys", &distance.mean_all()?.mul_scalar(self.key_weight)?)?;
        }
        let gate = gate.to_like(output)?.unsqueeze(-1)?.unsqueeze(-1)?;
        let mut sum = output.clone();
        for (number, stage) in stages.iter().enumerate() {
            let own = input.linear_bias(&stage[0], &stage[1])?;
            sum = sum.add(&own.mul(&gate.select(1, number as i64)?)?)?;
        }
        Ok(sum)
    }
}

struct Growth {
    key_steps: usize,
    sites: Vec<Site>,
}

impl Strategy for Growth {
    fn before_stage(&mut self, stage: &Stage) -> Result<Vec<Phase>> {
        // The host's projector, and what earlier stages registered.
        for info in stage.trainable()?.iter().filter(|info| info.owner == "host" || info.owner == "eproj") {
            stage.set_trainable(info.id, false)?;
        }
        let (model, number) = (stage.registry().model()?, stage.index());
        let mut keys = Vec::new();
        for site in &self.sites {
            let register = |name: &str, shape: &[i64], init| {
                let registration = Registration::parameter(format!("{name}.{number}"), shape, init);
                stage.registry().register(registration.at(site))
            };
            let uniform = Init::Uniform { bound: 1.0 };
            register("delta", &[site.out_features, site.in_features], Init::ZEROS)?;
            register("bias", &[site.out_features], Init::ZEROS)?;
            keys.push(register("image_key", &[model.image_features], uniform)?);
            keys.push(register("text_key", &[model.text_features], uniform)?);
        }
        let first = self.key_steps.min(stage.steps() - 1);
        let phases = [
            Phase { steps: first, trainable: keys, data: Vec::new() },
            Phase { steps: stage.steps() - first, ..Phase::default() },
        ];
        Ok(phases.into_iter().filter(|phase| phase.steps > 0).collect())
    }
}

export_plugin! { name: "eproj", method: build, needs: [ImageFeatures, TextFeatures] }
