//! The strategy: the term `ewc`, `lambda / 2 * sum F (weight - anchor)^2` over everything that the stack trains.

use std::collections::BTreeMap;

use coin_plugin_api::{
    Init, Method, NoGrad, ParameterId, Parameters, Phase, Registration, Registry, Result, Stage, Step,
    Strategy, Tensor, Term, state,
};
use serde::{Deserialize, Serialize};

use crate::config::{Config, Mode};
use crate::consolidation::{Quadratic, distance, online, sum};

struct Ewc {
    config: Config,
    state: State,
}

#[derive(Default, Serialize, Deserialize)]
struct State {
    /// Finished stages.
    stages: usize,
    /// The scalar part of the penalty (`per-task` only).
    offset: Option<ParameterId>,
    weights: Vec<Weight>,
}

/// A trained tensor and the buffers that belong to it.
#[derive(Clone, Serialize, Deserialize)]
struct Weight {
    id: ParameterId,
    fisher: ParameterId,
    anchor: ParameterId,
}

pub(crate) fn build(config: Config, _registry: &Registry) -> Result<Method> {
    config.check()?;
    Ok(Method::strategy(Ewc { config, state: State::default() }))
}

impl Strategy for Ewc {
    fn before_stage(&mut self, stage: &Stage) -> Result<Vec<Phase>> {
        for info in stage.trainable()? {
            if self.state.weights.iter().any(|weight| weight.id == info.id) {
                continue;
            }
            let buffer = |kind: &str, shape: &[i64]| {
                let name = format!("{kind}.{}", info.name);
                stage.registry().register(Registration::buffer(name, shape, Init::ZEROS))
            };
            self.state.weights.push(Weight {
                id: info.id,
                fisher: buffer("fisher", &info.shape)?,
                anchor: buffer("anchor", &info.shape)?,
            });
        }
        if self.config.mode == Mode::PerTask {
            self.state.offset =
                Some(stage.registry().register(Registration::buffer("offset", &[1], Init::ZEROS))?);
        }
        Ok(Vec::new())
    }

    fn after_stage(&mut self, stage: &Stage) -> Result<()> {
        let _no_grad = NoGrad::new();
        for (weight, fisher) in self.state.weights.iter().zip(self.fisher(stage)?) {
            let Some(fisher) = fisher else { continue };
            let value = stage.value(weight.id)?;
            let old = Quadratic { fisher: stage.value(weight.fisher)?, anchor: stage.value(weight.anchor)? };
            let new = match self.state.offset {
                None => online(&old, &fisher, &value, self.config.gamma)?,
                Some(offset) => {
                    let (new, constant) = sum(&old, &fisher, &value)?;
                    stage.set_value(offset, &stage.value(offset)?.add(&constant)?)?;
                    new
                }
            };
            stage.set_value(weight.fisher, &new.fisher)?;
            stage.set_value(weight.anchor, &new.anchor)?;
        }
        self.state.stages += 1;
        Ok(())
    }

    fn loss(&mut self, step: &Step) -> Result<Vec<Term>> {
        if self.state.stages == 0 {
            return Ok(Vec::new());
        }
        // One expression over one long vector, in place of one for each tensor.
        let joined =
            |of: fn(&Weight) -> ParameterId| joined(step.parameters(), self.state.weights.iter().map(of));
        let mut penalty = distance(
            &joined(|weight| weight.id)?,
            &joined(|weight| weight.fisher)?,
            &joined(|weight| weight.anchor)?,
        )?;
        if let Some(offset) = self.state.offset {
            penalty = penalty.add(&step.parameters().value(offset)?.sum_all()?)?;
        }
        Ok(vec![Term::new("ewc", penalty.mul_scalar(self.config.lambda / 2.0)?)])
    }

    fn save(&self) -> Result<Vec<u8>> {
        state::to_bytes(&self.state)
    }

    fn load(&mut self, bytes: &[u8]) -> Result<()> {
        self.state = state::from_bytes(bytes)?;
        Ok(())
    }
}

impl Ewc {
    /// Diagonal of the empirical Fisher information of each weight: the mean over single samples of the squared gradient of the task
    /// loss. None for weights that no gradient reaches.
    fn fisher(&self, stage: &Stage) -> Result<Vec<Option<Tensor>>> {
        let places: BTreeMap<ParameterId, usize> =
            self.state.weights.iter().enumerate().map(|(place, weight)| (weight.id, place)).collect();
        let mut sums: Vec<Option<Tensor>> = vec![None; self.state.weights.len()];
        let samples = stage.draw("ewc.fisher", self.config.samples)?;
        let share = 1.0 / samples.len().max(1) as f64;
        for sample in samples {
            for (id, gradient) in stage.batch(&[sample])?.gradients()? {
                let Some(place) = places.get(&id) else { continue };
                sums[*place] = Some(match &sums[*place] {
                    Some(sum) => sum.addcmul(&gradient, &gradient, share)?,
                    None => gradient.square()?.mul_scalar(share)?,
                });
            }
        }
        Ok(sums)
    }
}

/// The values of tensors as one vector.
fn joined(parameters: &Parameters, ids: impl Iterator<Item = ParameterId>) -> Result<Tensor> {
    let flat = ids.map(|id| parameters.value(id)?.reshape(&[-1])).collect::<Result<Vec<Tensor>>>()?;
    Tensor::cat(&flat.iter().collect::<Vec<_>>(), 0)
}
