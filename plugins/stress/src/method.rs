//! A small LoRA and a strategy, both of which ask for trouble first.

use std::sync::Arc;

use coin_plugin_api::{
    Adapter, DType, Error, Level, Method, ParameterId, Parameters, PassPhase, Phase, Prefix, PrefixPlace,
    Registry, Result, SampleRef, Stage, Step, Strategy, Tensor, Term, ensure, log, nn,
};

use crate::config::{Config, Fault, Hook};
use crate::fault::{self, Spoil, Trouble};
use crate::hoard::{self, Hoard};
use crate::phases::Phased;
use crate::reach;
use crate::services;

const RANK: i64 = 2;
/// Of another task than any stage's of the tests.
const HIDDEN: SampleRef = SampleRef(u64::MAX >> 8);

struct Stress(Arc<Trouble>, Hoard);

pub(crate) fn build(config: Config, registry: &Registry) -> Result<Method> {
    fault::check(&config)?;
    let (fault, hook) = (config.fault, config.hook);
    if fault == Fault::Services {
        return services::build(registry);
    }
    let trouble = Arc::new(Trouble::new(config));
    trouble.strike(Hook::Build)?;
    for site in registry.target_sites(&[String::from("all-linear")])? {
        nn::register_low_rank(registry, &site, RANK)?;
    }
    if fault == Fault::Reach {
        let (reacher, keeper) = reach::pair(hook, ParameterId(0));
        return Ok(Method::both(reacher, keeper));
    }
    if fault == Fault::Phases {
        return Ok(Method::both(Stress(trouble, Hoard::default()), Phased::default()));
    }
    Ok(Method::both(Stress(Arc::clone(&trouble), Hoard::default()), Stress(trouble, Hoard::default())))
}

fn spoiled(value: Tensor, spoil: Spoil) -> Result<Tensor> {
    match spoil {
        Spoil::Nothing | Spoil::Hidden | Spoil::Scaled(_) => Ok(value),
        Spoil::Nan => value.mul_scalar(f64::NAN),
        Spoil::Wrong => value.add_scalar(1.0),
        Spoil::WrongShape => Tensor::stack(&[&value, &value], 0),
    }
}

impl Adapter for Stress {
    fn adapt(
        &self,
        _site: usize,
        input: &Tensor,
        output: &Tensor,
        parameters: &[Tensor],
        step: &Step,
    ) -> Result<Tensor> {
        let spoil = self.0.strike(Hook::Adapt)?;
        if self.0.is(Fault::Service, Hook::Adapt) {
            step.task_loss()?;
        }
        #[cfg(feature = "growth")]
        if self.0.is(Fault::Later, Hook::Adapt) {
            return output.growth_cube();
        }
        let [a, b] = parameters else { return spoiled(output.clone(), spoil) };
        if self.0.is(Fault::Hoard, Hook::Adapt) {
            return hoard::shifted(input, output.add(&nn::low_rank(input, a, b, 1.0)?)?, step);
        }
        let update = nn::low_rank(input, a, b, 1.0)?;
        let adapted = spoiled(output.add(&update)?, spoil)?;
        let is = |fault| self.0.is(fault, Hook::Adapt);
        if is(Fault::Detached) || is(Fault::Tired) && step.stage()? > 0 {
            output.add(&update.detach()?)
        } else if is(Fault::Half) || is(Fault::HalfTired) && step.stage()? > 0 {
            output.add(&nn::low_rank(input, &a.detach()?, b, 1.0)?)
        } else if is(Fault::Float32) {
            adapted.to_dtype(DType::FLOAT)
        } else if is(Fault::Neighbour) {
            adapted.add(&output.mean(&[0], true)?)
        } else if is(Fault::Tokens) {
            adapted.add(&output.mean(&[-2], true)?)
        } else if is(Fault::Memory) {
            adapted.add_scalar(1e-5 * self.0.calls() as f64)
        } else if is(Fault::Decoding) && step.phase()? == PassPhase::Decode {
            adapted.mul_scalar(1.5)
        } else {
            Ok(adapted)
        }
    }

    fn prefix(&self, _parameters: &[Tensor], _step: &Step) -> Result<Option<Prefix>> {
        match self.0.strike(Hook::Prefix)? {
            Spoil::Nothing => Ok(None),
            spoil => {
                let tokens = spoiled(Tensor::zeros(&[1, 1, 1], DType::FLOAT)?, spoil)?;
                Ok(Some(Prefix { tokens, place: PrefixPlace::Start }))
            }
        }
    }

    fn merged_delta(&self, _site: usize, parameters: &[Tensor]) -> Result<Option<Tensor>> {
        let spoil = self.0.strike(Hook::MergedDelta)?;
        let [a, b] = parameters else { return Ok(None) };
        spoiled(nn::low_rank_delta(a, b, 1.0)?, spoil).map(Some)
    }

    fn token_local(&self) -> bool {
        true
    }
}

impl Drop for Stress {
    fn drop(&mut self) {
        // There is nobody to give an error to.
        let _nothing = self.0.strike(Hook::Drop);
        if self.0.is(Fault::Alarm, Hook::Drop) {
            log(Level::Error, "stress was told to complain");
        }
        assert!(!self.0.is(Fault::Weary, Hook::Loss) || self.0.calls() < 100, "worn out");
    }
}

impl Strategy for Stress {
    fn before_stage(&mut self, stage: &Stage) -> Result<Vec<Phase>> {
        if self.0.strike(Hook::BeforeStage)? == Spoil::Hidden {
            let data = vec![HIDDEN; stage.batch_size()];
            return Ok(vec![Phase { steps: stage.steps(), data, ..Phase::default() }]);
        }
        if self.0.is(Fault::Alone, Hook::BeforeStage) {
            let others = stage.all()?.into_iter().find(|info| info.owner != "stress" && info.owner != "host");
            ensure!(others.is_none(), "another plugin has tensors here: {others:?}");
        }
        #[cfg(feature = "growth")]
        if self.0.is(Fault::Later, Hook::BeforeStage) {
            stage.growth_shuffle("stress", 2)?;
        }
        Ok(Vec::new())
    }

    fn after_stage(&mut self, stage: &Stage) -> Result<()> {
        self.0.strike(Hook::AfterStage)?;
        if self.0.is(Fault::Static, Hook::AfterStage) {
            hoard::keep(stage.index());
        }
        Ok(())
    }

    fn compose_batch(&mut self, fresh: &[SampleRef], _stage: &Stage) -> Result<Vec<SampleRef>> {
        let mut chosen = fresh.to_vec();
        match self.0.strike(Hook::ComposeBatch)? {
            Spoil::WrongShape => drop(chosen.pop()),
            Spoil::Hidden => chosen[0] = HIDDEN,
            _ => {}
        }
        Ok(chosen)
    }

    fn loss(&mut self, step: &Step) -> Result<Vec<Term>> {
        if self.0.is(Fault::Undeclared, Hook::Loss) {
            let _refused = step.replay().capacity();
        }
        if self.0.is(Fault::Unwrap, Hook::Loss) {
            let _stage = step.stage().expect("a step has a stage");
        }
        if self.0.is(Fault::Alarm, Hook::Loss) {
            let reworded = |error| Error::new(format!("panicked, was not granted, is NaN: {error}"));
            step.stage().map_err(reworded)?;
        }
        match self.0.strike(Hook::Loss)? {
            _ if self.0.is(Fault::Hoard, Hook::Loss) => self.1.terms(step),
            Spoil::Nothing => Ok(Vec::new()),
            spoil => Ok(vec![Term::new("stress", spoiled(Tensor::from_floats(&[0.0], &[1])?, spoil)?)]),
        }
    }

    fn after_backward(&mut self, stage: &Stage) -> Result<()> {
        let factor = match self.0.strike(Hook::AfterBackward)? {
            Spoil::Nan => f64::NAN,
            Spoil::Scaled(factor) => factor,
            _ if self.0.is(Fault::Static, Hook::AfterStage) => hoard::kept(stage.index()),
            _ => return Ok(()),
        };
        for parameter in stage.trainable()? {
            if let Some(gradient) = stage.grad(parameter.id)? {
                stage.set_grad(parameter.id, &gradient.mul_scalar(factor)?)?;
            }
        }
        Ok(())
    }

    fn after_update(&mut self, _stage: &Stage) -> Result<()> {
        self.0.strike(Hook::AfterUpdate)?;
        Ok(())
    }

    fn before_eval(&mut self, _parameters: &Parameters) -> Result<()> {
        self.0.strike(Hook::BeforeEval)?;
        Ok(())
    }

    fn after_eval(&mut self, _parameters: &Parameters) -> Result<()> {
        self.0.strike(Hook::AfterEval)?;
        Ok(())
    }

    fn save(&self) -> Result<Vec<u8>> {
        self.0.strike(Hook::Save)?;
        Ok(if self.0.is(Fault::Gullible, Hook::Save) { b"anything".to_vec() } else { Vec::new() })
    }

    fn load(&mut self, _state: &[u8]) -> Result<()> {
        self.0.strike(Hook::Load)?;
        Ok(())
    }
}
