//! A method without `replay` and `task_id_at_test` that tries each call which could show it a record of an earlier task, or the task that it
//! answers. Whatever answers otherwise than with a refusal is an error; how often it was refused is a metric.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coin_plugin_api::{
    Adapter, Batch, ParameterId, Parameters, PassPhase, Phase, ReplayBuffer, Result, SampleRef, Stage, Step,
    Strategy, Tensor, Term, bail, ensure, nn,
};

use crate::config::Hook;

/// What strategy and adapter know of each other.
#[derive(Default)]
struct Shared {
    refused: u64,
    /// What the host told while answering, by question: must be the same for every task.
    told: BTreeMap<String, String>,
}

impl Shared {
    fn try_call<T>(&mut self, call: &str, outcome: Result<T>) -> Result<()> {
        ensure!(outcome.is_err(), "{call} was answered");
        self.refused += 1;
        Ok(())
    }

    fn try_replay(&mut self, buffer: &ReplayBuffer, sample: Option<SampleRef>) -> Result<()> {
        self.try_call("replay.capacity", buffer.capacity())?;
        self.try_call("replay.slots", buffer.slots())?;
        self.try_call("replay.remove", buffer.remove(0))?;
        self.try_call("replay.stored", buffer.stored(0, "logits"))?;
        self.try_call("replay.store", buffer.store(0, "logits", &Tensor::from_floats(&[0.0], &[1])?))?;
        match sample {
            Some(sample) => self.try_call("replay.add", buffer.add(sample)),
            None => Ok(()),
        }
    }

    /// What could be left behind for the next task that is answered, or be told from a gradient.
    fn try_weights(&mut self, step: &Step, id: ParameterId, value: &Tensor) -> Result<()> {
        let parameters = step.parameters();
        self.try_call("set_value", parameters.set_value(id, value))?;
        self.try_call("grad", parameters.grad(id))?;
        self.try_call("set_grad", parameters.set_grad(id, value))?;
        self.try_call("set_trainable", parameters.set_trainable(id, false))?;
        self.try_call("snapshot", parameters.snapshot("reach"))?;
        self.try_call("snapshot_value", parameters.snapshot_value("reach", id))?;
        self.try_call("drop_snapshot", parameters.drop_snapshot("reach"))?;
        self.try_call("gradients_of", parameters.gradients_of(&value.sum_all()?, &[id]))?;
        self.try_call("count", step.count(id, value))
    }

    /// What may not depend on the task that is answered.
    fn same(&mut self, what: String, told: String) -> Result<()> {
        let first = self.told.entry(what.clone()).or_insert_with(|| told.clone());
        ensure!(*first == told, "{what} tells one task from another: {first}, then {told}");
        Ok(())
    }
}

#[derive(Clone, Default)]
struct Known(Arc<Mutex<Shared>>);

impl Known {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// With one of its tensors.
pub(crate) struct Reacher(Known, ParameterId);

pub(crate) struct Keeper {
    known: Known,
    /// The hook that gives the host samples of an earlier stage.
    gives: Hook,
    /// All that was seen in earlier stages and in this one.
    old: Vec<SampleRef>,
    own: Vec<SampleRef>,
    /// Of the stage before.
    batch: Option<Batch>,
}

/// The two objects; `gives` is the hook that hands out old samples, `own` a tensor.
pub(crate) fn pair(gives: Hook, own: ParameterId) -> (Reacher, Keeper) {
    let known = Known::default();
    (Reacher(known.clone(), own), Keeper { known, gives, old: Vec::new(), own: Vec::new(), batch: None })
}

impl Keeper {
    /// Everything that a stage's services could be tricked with.
    fn try_stage(&self, stage: &Stage) -> Result<()> {
        let mut known = self.known.lock();
        known.try_replay(&stage.replay(), self.old.first().copied())?;
        let Some(&old) = self.old.first() else { return Ok(()) };
        known.try_call("stage.batch of an old sample", stage.batch(&[old]))?;
        let mixed = [&self.own[..1], &[old]].concat();
        known.try_call("stage.batch of a new and an old sample", stage.batch(&mixed))?;
        if let Some(batch) = &self.batch {
            known.try_call("loss of an old batch", batch.loss())?;
            known.try_call("gradients of an old batch", batch.gradients())?;
            known.try_call("logits of an old batch", batch.logits())?;
        }
        let hidden = |sample: &SampleRef| self.old.contains(sample) && !self.own.contains(sample);
        ensure!(!stage.samples()?.iter().any(hidden), "stage.samples has old samples");
        ensure!(!stage.draw("reach", usize::MAX)?.iter().any(hidden), "stage.draw has old samples");
        Ok(())
    }

    fn gives(&self, hook: Hook) -> bool {
        self.gives == hook && !self.old.is_empty()
    }
}

impl Strategy for Keeper {
    fn before_stage(&mut self, stage: &Stage) -> Result<Vec<Phase>> {
        self.old.append(&mut self.own);
        self.own = stage.samples()?;
        self.try_stage(stage)?;
        let data: Vec<SampleRef> = self.old.iter().copied().take(stage.batch_size()).collect();
        Ok(match self.gives(Hook::BeforeStage) {
            true => vec![Phase { steps: stage.steps(), data, ..Phase::default() }],
            false => Vec::new(),
        })
    }

    fn after_stage(&mut self, stage: &Stage) -> Result<()> {
        self.try_stage(stage)?;
        self.batch = Some(stage.batch(&self.own[..1])?);
        Ok(())
    }

    fn compose_batch(&mut self, fresh: &[SampleRef], stage: &Stage) -> Result<Vec<SampleRef>> {
        self.try_stage(stage)?;
        // What another strategy of the stack replays may be trained on, and no more.
        for replayed in fresh.iter().filter(|sample| !self.own.contains(sample)) {
            let mut known = self.known.lock();
            known.try_call("stage.batch of another's replayed sample", stage.batch(&[*replayed]))?;
            known.try_call("replay.add of another's replayed sample", stage.replay().add(*replayed))?;
        }
        let mut chosen = fresh.to_vec();
        if self.gives(Hook::ComposeBatch) {
            chosen[0] = self.old[0];
        }
        Ok(chosen)
    }

    fn loss(&mut self, step: &Step) -> Result<Vec<Term>> {
        self.known.lock().try_replay(&step.replay(), self.old.first().copied())?;
        Ok(Vec::new())
    }

    fn after_backward(&mut self, stage: &Stage) -> Result<()> {
        self.try_stage(stage)
    }

    fn after_update(&mut self, stage: &Stage) -> Result<()> {
        self.try_stage(stage)
    }

    fn before_eval(&mut self, _parameters: &Parameters) -> Result<()> {
        self.known.lock().told.clear();
        if let Some(batch) = &self.batch {
            self.known.lock().try_call("loss of a batch of a hook that returned", batch.loss())?;
        }
        Ok(())
    }

    fn after_eval(&mut self, parameters: &Parameters) -> Result<()> {
        parameters.metric("refused", self.known.lock().refused as f64)
    }
}

impl Adapter for Reacher {
    fn adapt(
        &self,
        site: usize,
        input: &Tensor,
        output: &Tensor,
        parameters: &[Tensor],
        step: &Step,
    ) -> Result<Tensor> {
        let [a, b] = parameters else { bail!("two tensors are registered") };
        let adapted = output.add(&nn::low_rank(input, a, b, 1.0)?)?;
        let mut known = self.0.lock();
        known.try_replay(&step.replay(), None)?;
        known.try_call("rows", step.rows())?;
        known.try_call("targets", step.targets())?;
        known.try_call("logits", step.logits())?;
        // Not declared.
        known.try_call("image_features", step.image_features())?;
        known.try_call("text_features", step.text_features())?;
        known.try_call("prompt_embeddings", step.prompt_embeddings())?;
        let phase = step.phase()?;
        if !matches!(phase, PassPhase::Prefill | PassPhase::Decode) {
            return Ok(adapted);
        }
        known.try_call("task_index", step.task_index())?;
        known.try_call("row_stages", step.row_stages())?;
        known.try_call("label_mask", step.label_mask())?;
        known.try_call("target_rows", step.target_rows())?;
        known.try_call("task_loss", step.task_loss())?;
        known.try_call("teacher_logits", step.teacher_logits("none"))?;
        known.try_call("list of all tensors", step.parameters().all())?;
        known.try_call("metric", step.parameters().metric("task", 0.0))?;
        known.try_weights(step, self.1, a)?;
        known.same(String::from("stage"), format!("{} {:?}", step.stage()?, step.position()?))?;
        // A draw is of the site and phase, not of what is answered.
        known.same(
            format!("draws at {site} in {phase:?}"),
            format!("{:?}", step.normal("n", &[2])?.to_floats()?),
        )?;
        if phase == PassPhase::Prefill {
            known.same(
                String::from("a sequence at prefill"),
                format!("{:?}", step.sequence("mark")?.is_some()),
            )?;
            let rows = step.attention_mask()?.size(0)?;
            step.set_sequence("mark", &Tensor::from_floats(&vec![1.0; rows as usize], &[rows])?)?;
        }
        Ok(adapted)
    }
}
