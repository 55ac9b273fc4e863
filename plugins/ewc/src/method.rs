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
    /// Diagonal of the empirical Fisher information of each weight, with one departure: `F_j = 1/S sum_s (d l_s / d w_j)^2`, where `l_s`
    /// is the task loss of sample `s` alone, the *mean* of `-log p` over the `K_s` tokens of its answer. The definition (Kirkpatrick et
    /// al. 2017, below equation 3) has the log-likelihood of the answer, the sum over its tokens, and expects it over answers that the
    /// model gives; here the answer is that of the data, and a sample counts `1 / K_s^2` of what it would with the sum: samples with
    /// long answers weigh less. None for weights that no gradient reaches.
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

#[cfg(test)]
mod tests {
    use coin_plugin_api::testing::{Recording, strategy, term};
    use coin_plugin_api::{PassPhase, SampleRef};

    use super::*;

    /// A weight of two elements, and what a stage of two samples says of it: their gradients, and the weight at its end.
    struct Case {
        recording: Recording,
        method: Method,
        weight: ParameterId,
    }

    impl Case {
        fn new(config: Config) -> Case {
            let recording = Recording::start();
            let registration = Registration::parameter("w", &[1, 2], Init::ZEROS);
            let weight = recording.registry().register(registration).expect("a good shape");
            let method = build(config, &recording.registry()).expect("a good configuration");
            Case { recording, method, weight }
        }

        fn run_stage(&mut self, index: usize, gradients: [[f32; 2]; 2], end: [f32; 2]) -> Result<()> {
            let samples = [10 * index as u64, 10 * index as u64 + 1];
            let stage = self.recording.stage(index, 4, &samples)?;
            strategy(&mut self.method).before_stage(&stage)?;
            self.set(end)?;
            for (sample, gradient) in samples.into_iter().zip(gradients) {
                let gradient = Tensor::from_floats(&gradient, &[1, 2])?;
                self.recording.set_gradient(SampleRef(sample), self.weight, &gradient);
            }
            strategy(&mut self.method).after_stage(&stage)
        }

        fn set(&self, weight: [f32; 2]) -> Result<()> {
            self.recording.parameters().set_value(self.weight, &Tensor::from_floats(&weight, &[1, 2])?)
        }

        /// The term `ewc` at a weight.
        fn penalty(&mut self, weight: [f32; 2]) -> Result<f64> {
            self.set(weight)?;
            self.recording.trace();
            let terms = strategy(&mut self.method).loss(&self.recording.step(PassPhase::Train))?;
            match terms.as_slice() {
                [] => Ok(0.0),
                [only] => {
                    assert_eq!(term(only).0, "ewc");
                    term(only).1.to_f64()
                }
                more => panic!("{} terms", more.len()),
            }
        }
    }

    /// `lambda / 2 * sum F (w - a)^2` for two elements.
    fn quadratic(lambda: f64, fisher: [f64; 2], weight: [f64; 2], anchor: [f64; 2]) -> f64 {
        lambda / 2.0 * (0..2).map(|i| fisher[i] * (weight[i] - anchor[i]).powi(2)).sum::<f64>()
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-5 * b.abs().max(1.0), "{a} is not {b}");
    }

    // Means of the squares: [5, 0.5] after stage 0, [2, 8] after stage 1.
    const FIRST: [[f32; 2]; 2] = [[1.0, 1.0], [3.0, 0.0]];
    const SECOND: [[f32; 2]; 2] = [[2.0, 0.0], [0.0, 4.0]];

    #[test]
    fn the_penalty_is_the_fisher_weighted_distance_from_the_anchor() -> Result<()> {
        let mut case = Case::new(Config { lambda: 3.0, ..Config::default() });
        close(case.penalty([7.0, 7.0])?, 0.0);
        case.run_stage(0, FIRST, [1.0, -1.0])?;
        close(case.penalty([1.0, -1.0])?, 0.0);
        close(case.penalty([2.0, 3.0])?, quadratic(3.0, [5.0, 0.5], [2.0, 3.0], [1.0, -1.0]));
        insta::assert_snapshot!(case.recording.trace(), @r"
        %15[2] = reshape(w[1, 2], [-1])
        %16[2] = cat([%15[2]], 0)
        %17[2] = reshape(fisher.test.w[1, 2], [-1])
        %18[2] = cat([%17[2]], 0)
        %19[2] = reshape(anchor.test.w[1, 2], [-1])
        %20[2] = cat([%19[2]], 0)
        %21[2] = sub(%16[2], %20[2])
        %22[2] = square(%21[2])
        %23[] = dot(%22[2], %18[2])
        %24[] = mul_scalar(%23[], 1.5)
        ");
        Ok(())
    }

    #[test]
    fn online_keeps_a_fading_sum_around_the_latest_weights() -> Result<()> {
        let mut case = Case::new(Config { gamma: 0.5, lambda: 1.0, ..Config::default() });
        case.run_stage(0, FIRST, [1.0, -1.0])?;
        case.run_stage(1, SECOND, [2.0, 0.5])?;
        close(case.penalty([3.0, 4.0])?, quadratic(1.0, [4.5, 8.25], [3.0, 4.0], [2.0, 0.5]));
        Ok(())
    }

    #[test]
    fn per_task_is_the_sum_of_the_stages_penalties() -> Result<()> {
        let mut case = Case::new(Config { mode: Mode::PerTask, lambda: 2.0, ..Config::default() });
        case.run_stage(0, FIRST, [1.0, -1.0])?;
        case.run_stage(1, SECOND, [2.0, 0.5])?;
        case.run_stage(2, FIRST, [-2.0, 0.0])?;
        for weight in [[3.0, 4.0], [0.0, 0.0], [-1.5, 0.25]] {
            let at = weight.map(f64::from);
            let sum = quadratic(2.0, [5.0, 0.5], at, [1.0, -1.0])
                + quadratic(2.0, [2.0, 8.0], at, [2.0, 0.5])
                + quadratic(2.0, [5.0, 0.5], at, [-2.0, 0.0]);
            close(case.penalty(weight)?, sum);
        }
        Ok(())
    }

    #[test]
    fn a_restored_strategy_has_the_same_penalty() -> Result<()> {
        let config = || Config { mode: Mode::PerTask, ..Config::default() };
        let mut case = Case::new(config());
        case.run_stage(0, FIRST, [1.0, -1.0])?;
        let before = case.penalty([2.0, 2.0])?;
        let saved = strategy(&mut case.method).save()?;
        case.method = build(config(), &case.recording.registry())?;
        strategy(&mut case.method).load(&saved)?;
        close(case.penalty([2.0, 2.0])?, before);
        assert!(strategy(&mut case.method).load(b"stages = 1").is_err());
        Ok(())
    }

    #[test]
    fn the_buffers_are_named_after_the_weight_and_are_not_trained() -> Result<()> {
        let mut case = Case::new(Config::default());
        case.run_stage(0, FIRST, [1.0, -1.0])?;
        case.run_stage(1, FIRST, [1.0, -1.0])?;
        let all = case.recording.parameters().all()?;
        let names: Vec<(&str, bool)> = all.iter().map(|info| (info.name.as_str(), info.buffer)).collect();
        assert_eq!(names, [("test.w", false), ("test.fisher.test.w", true), ("test.anchor.test.w", true)]);
        Ok(())
    }

    #[test]
    fn wrong_values_are_refused() {
        let recording = Recording::start();
        for config in [
            Config { lambda: -1.0, ..Config::default() },
            Config { lambda: f64::NAN, ..Config::default() },
            Config { gamma: 1.5, ..Config::default() },
            Config { samples: 0, ..Config::default() },
        ] {
            let error = build(config, &recording.registry()).err().expect("a wrong value");
            assert!(error.message().contains("hint: "), "{error}");
        }
    }
}
