//! A low-rank update held near where each stage began: one plugin that uses a good part of what version 1.0 of the interface offers.

use coin_plugin_api::{
    Adapter, Init, Method, ParameterId, Parameters, PassPhase, Phase, Registration, Registry, Result,
    SampleRef, Stage, Step, Strategy, Tensor, Term, bail, ensure, export_plugin, nn, state,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    r: i64,
    lora_alpha: f64,
    dropout: f64,
    lambda: f64,
    target_modules: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            r: 4,
            lora_alpha: 8.0,
            dropout: 0.1,
            lambda: 0.5,
            target_modules: vec![String::from("all-linear")],
        }
    }
}

struct Update {
    scaling: f64,
    dropout: f64,
}

#[derive(Default, Serialize, Deserialize)]
struct Anchor {
    lambda: f64,
    /// Mean size of the gradients of each stage, a buffer.
    sizes: u64,
    stages: usize,
    steps: usize,
}

/// The weights as a stage began.
const BEGIN: &str = "frozen.begin";

fn build(config: Config, registry: &Registry) -> Result<Method> {
    ensure!(config.r > 0, "r = {} is not a rank\nhint: a positive integer", config.r);
    ensure!(registry.model()?.layers > 0, "a model without layers");
    for site in registry.target_sites(&config.target_modules)? {
        nn::register_low_rank(registry, &site, config.r)?;
    }
    let sizes = registry.register(Registration::buffer("sizes", &[2], Init::ZEROS))?;
    Ok(Method::both(
        Update { scaling: config.lora_alpha / config.r as f64, dropout: config.dropout },
        Anchor { lambda: config.lambda, sizes: sizes.0, ..Anchor::default() },
    ))
}

impl Adapter for Update {
    fn adapt(
        &self,
        _site: usize,
        input: &Tensor,
        output: &Tensor,
        parameters: &[Tensor],
        step: &Step,
    ) -> Result<Tensor> {
        let [a, b] = parameters else { return Ok(output.clone()) };
        let input = match step.phase()? {
            PassPhase::Train => step.dropout(input, self.dropout)?,
            _ => input.clone(),
        };
        output.add(&nn::low_rank(&input, a, b, self.scaling)?)
    }

    fn merged_delta(&self, _site: usize, parameters: &[Tensor]) -> Result<Option<Tensor>> {
        let [a, b] = parameters else { return Ok(None) };
        nn::low_rank_delta(a, b, self.scaling).map(Some)
    }

    fn token_local(&self) -> bool {
        true
    }
}

impl Strategy for Anchor {
    fn before_stage(&mut self, stage: &Stage) -> Result<Vec<Phase>> {
        ensure!(stage.index() == self.stages && stage.index() < stage.count(), "stages are counted");
        ensure!(stage.samples()?.len() == stage.sample_count(), "samples are counted");
        self.steps = 0;
        stage.snapshot(BEGIN)?;
        let first = stage.steps().div_ceil(2);
        Ok(match stage.steps() - first {
            0 => Vec::new(),
            rest => {
                vec![Phase { steps: first, ..Phase::default() }, Phase { steps: rest, ..Phase::default() }]
            }
        })
    }

    fn compose_batch(&mut self, fresh: &[SampleRef], stage: &Stage) -> Result<Vec<SampleRef>> {
        ensure!(fresh.len() == stage.batch_size(), "batches have their size");
        let order = stage.sample("order", fresh.len(), fresh.len())?;
        Ok(order.into_iter().map(|place| fresh[place]).collect())
    }

    fn loss(&mut self, step: &Step) -> Result<Vec<Term>> {
        let mut sum: Option<Tensor> = None;
        for info in step.parameters().trainable()? {
            let begin = step.parameters().snapshot_value(BEGIN, info.id)?;
            let away = step.parameters().value(info.id)?.sub(&begin)?.square()?.sum_all()?;
            sum = Some(match sum {
                Some(sum) => sum.add(&away)?,
                None => away,
            });
        }
        let Some(sum) = sum else { bail!("nothing is trained") };
        let sure = step.logits()?.log_softmax(-1)?.mean_all()?;
        Ok(vec![
            Term::new("anchor", sum.mul_scalar(self.lambda)?),
            Term::new("sure", sure.mul_scalar(-1e-3)?),
        ])
    }

    fn after_backward(&mut self, stage: &Stage) -> Result<()> {
        for info in stage.trainable()? {
            if let Some(gradient) = stage.grad(info.id)? {
                stage.set_grad(info.id, &gradient.clamp(-0.5, 0.5)?)?;
            }
        }
        Ok(())
    }

    fn after_update(&mut self, stage: &Stage) -> Result<()> {
        self.steps += 1;
        stage.metric("steps", self.steps as f64)
    }

    fn after_stage(&mut self, stage: &Stage) -> Result<()> {
        let batch = stage.batch(&stage.draw("sizes", 1)?)?;
        let mut size = 0.0;
        for (_, gradient) in batch.gradients()? {
            size += gradient.abs()?.mean_all()?.to_f64()?;
        }
        let id = ParameterId(self.sizes);
        let mut sizes = stage.value(id)?.to_floats()?;
        sizes[stage.index() % 2] = size as f32;
        stage.set_value(id, &Tensor::from_floats(&sizes, &[2])?)?;
        self.stages += 1;
        stage.drop_snapshot(BEGIN)
    }

    fn before_eval(&mut self, parameters: &Parameters) -> Result<()> {
        ensure!(!parameters.all()?.is_empty(), "tensors are listed");
        Ok(())
    }

    fn after_eval(&mut self, parameters: &Parameters) -> Result<()> {
        parameters.metric("stages", self.stages as f64)
    }

    fn save(&self) -> Result<Vec<u8>> {
        state::to_bytes(self)
    }

    fn load(&mut self, bytes: &[u8]) -> Result<()> {
        *self = state::from_bytes(bytes)?;
        Ok(())
    }
}

export_plugin! { name: "frozen", method: build, needs: [StageData] }
