//! Strategies: what takes part in training around the model. Hook names follow Avalanche where it has one; a stage is its
//! experience.

use crate::error::Result;
use crate::registry::ParameterId;
use crate::services::{Parameters, SampleRef, Stage};
use crate::step::Step;
use crate::tensor::Tensor;

/// A part of a stage that trains some of the tensors on some of the samples for some of the steps, for example keys first, then experts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Phase {
    /// Optimizer steps.
    pub steps: usize,
    /// The tensors it trains; empty means all trainable ones.
    pub trainable: Vec<ParameterId>,
    /// The samples that its batches are drawn from, of this stage or in the replay buffer; empty means all of this stage.
    pub data: Vec<SampleRef>,
}

/// A named extra term of the loss. The host adds and logs each.
pub struct Term {
    pub(crate) name: String,
    pub(crate) value: Tensor,
    pub(crate) replaces_task_loss: bool,
}

impl Term {
    /// A scalar that is added to the loss.
    pub fn new(name: impl Into<String>, value: Tensor) -> Term {
        Term { name: name.into(), value, replaces_task_loss: false }
    }

    /// A scalar that stands in place of the task loss. Needs `replaces_task_loss`; at most one in a stack.
    pub fn replacing_task_loss(name: impl Into<String>, value: Tensor) -> Term {
        Term { name: name.into(), value, replaces_task_loss: true }
    }
}

/// Takes part in training. Hooks are called in stack order; each has a body that does nothing.
///
/// Order of one optimizer step: `compose_batch`, then for each micro-batch forward, `loss`, backward; then `after_backward`, the
/// check for finite gradients, clipping, the optimizer, `after_update`.
pub trait Strategy: Send + 'static {
    /// Before the first step of a stage: grow, freeze, snapshot. May split the stage into phases whose steps add up to the stage's.
    fn before_stage(&mut self, stage: &Stage) -> Result<Vec<Phase>> {
        let _unused = stage;
        Ok(Vec::new())
    }

    /// After the last step of a stage: importance, projections, memories.
    fn after_stage(&mut self, stage: &Stage) -> Result<()> {
        let _unused = stage;
        Ok(())
    }

    /// Which samples train next, given those the plan or an earlier strategy chose. The batch keeps its size.
    fn compose_batch(&mut self, fresh: &[SampleRef], stage: &Stage) -> Result<Vec<SampleRef>> {
        let _unused = stage;
        Ok(fresh.to_vec())
    }

    /// Extra terms of the loss.
    fn loss(&mut self, step: &Step) -> Result<Vec<Term>> {
        let _unused = step;
        Ok(Vec::new())
    }

    /// Once per optimizer step, before clipping: read and replace gradients. Each strategy sees the previous one's result. Batches of
    /// the stage may be asked for theirs, which are accumulated nowhere.
    fn after_backward(&mut self, stage: &Stage) -> Result<()> {
        let _unused = stage;
        Ok(())
    }

    /// After the optimizer changed the parameters.
    fn after_update(&mut self, stage: &Stage) -> Result<()> {
        let _unused = stage;
        Ok(())
    }

    /// Before the tasks are answered.
    fn before_eval(&mut self, parameters: &Parameters) -> Result<()> {
        let _unused = parameters;
        Ok(())
    }

    /// After the tasks were answered.
    fn after_eval(&mut self, parameters: &Parameters) -> Result<()> {
        let _unused = parameters;
        Ok(())
    }

    /// State that is not a registered tensor, for checkpoints.
    fn save(&self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    /// Takes back what `save` gave. Registered tensors are already restored.
    fn load(&mut self, state: &[u8]) -> Result<()> {
        crate::ensure!(
            state.is_empty(),
            "a checkpoint has {} bytes of state for a strategy that keeps none",
            state.len()
        );
        Ok(())
    }

    /// For tests of the border's growth: a hook that older plugins do not have.
    #[cfg(feature = "growth")]
    fn growth_rest(&mut self) -> Result<u64> {
        Ok(0)
    }
}
