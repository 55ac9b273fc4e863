//! What a plugin may ask of the host while it is built and in the hooks of a strategy.

use std::cell::Cell as Slot;
use std::rc::Rc;

use anyhow::{Context as _, Result, bail, ensure};
use coin_plugin_api::Need;
use coin_plugin_api::abi::{
    RawModel, RawParameterInfo, RawParameterSpec, RawRow, RawSite, RawStage, RawStep,
};
use tch::{Kind, Tensor, no_grad, with_grad};

use crate::data::collate::TrainingBatch;
use crate::ops::services::Services;
use crate::stream::random::{Draws, seed};
use crate::train::cell::Cell;
use crate::train::describe;
use crate::train::forward::Purpose;
use crate::train::parameters::copied;
use crate::train::replay::ReplayBuffer;

/// Which hook runs: it decides what is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    Build,
    BeforeStage,
    AfterStage,
    ComposeBatch,
    Loss,
    AfterBackward,
    AfterUpdate,
    BeforeEval,
    AfterEval,
}

impl Hook {
    /// The name of the trait's method.
    pub fn name(self) -> &'static str {
        match self {
            Hook::Build => "build",
            Hook::BeforeStage => "before_stage",
            Hook::AfterStage => "after_stage",
            Hook::ComposeBatch => "compose_batch",
            Hook::Loss => "loss",
            Hook::AfterBackward => "after_backward",
            Hook::AfterUpdate => "after_update",
            Hook::BeforeEval => "before_eval",
            Hook::AfterEval => "after_eval",
        }
    }
}

/// The training pass that `loss` looks at.
pub struct Pass<'c> {
    pub batch: &'c TrainingBatch,
    pub rows: &'c [RawRow],
    pub logits: &'c Tensor,
    pub task_loss: &'c Tensor,
}

/// The services of one hook call.
pub struct StrategyServices<'c> {
    cell: &'c Cell<'c>,
    entry: usize,
    hook: Hook,
    pass: Option<Pass<'c>>,
    calls: Slot<u64>,
}

impl<'c> StrategyServices<'c> {
    pub fn new(cell: &'c Cell<'c>, entry: usize, hook: Hook, pass: Option<Pass<'c>>) -> StrategyServices<'c> {
        StrategyServices { cell, entry, hook, pass, calls: Slot::new(0) }
    }

    fn need(&self, need: Need) -> Result<()> {
        describe::granted(self.cell, self.entry, need)
    }

    fn pass(&self, service: &str) -> Result<&Pass<'c>> {
        match &self.pass {
            Some(pass) => Ok(pass),
            None => bail!("`{service}` is not available in {}: it belongs to `loss`", self.hook()),
        }
    }

    fn only_in(&self, hooks: &[Hook], service: &str) -> Result<()> {
        let names: Vec<&str> = hooks.iter().map(|hook| hook.name()).collect();
        ensure!(
            hooks.contains(&self.hook),
            "`{service}` is not available in {}: use it in {}",
            self.hook(),
            names.join(", ")
        );
        Ok(())
    }

    /// Stages until now, this one included: what the buffer's capacity goes by.
    fn seen(&self) -> usize {
        let stages = &self.cell.stages[..=self.cell.position.get().stage.min(self.cell.stages.len() - 1)];
        stages.iter().map(Vec::len).sum()
    }

    fn batch_of(&self, number: u64) -> Result<Rc<TrainingBatch>> {
        self.cell
            .batches
            .borrow()
            .get(&number)
            .cloned()
            .with_context(|| format!("no batch has the number {number}"))
    }

    fn extra_loss(&self, number: u64) -> Result<Tensor> {
        let batch = self.batch_of(number)?;
        // The hook may be outside the graph at the moment; what it asks for has one.
        with_grad(|| {
            let forward = self.cell.forward(&batch, Purpose::Extra, None)?;
            self.cell.task_loss(&forward.logits, &batch)
        })
    }

    fn gradients(&self, scalar: &Tensor, ids: &[u64]) -> Result<Vec<(u64, Tensor)>> {
        let inputs: Vec<Tensor> = {
            let parameters = self.cell.parameters.borrow();
            ids.iter().map(|id| Ok(parameters.get(*id)?.tensor.shallow_clone())).collect::<Result<_>>()?
        };
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let found = Tensor::f_run_backward(&[scalar], &inputs, false, false)?;
        ids.iter()
            .zip(found.into_iter().zip(&inputs))
            .map(|(id, (gradient, input))| match gradient.defined() {
                true => Ok((*id, gradient)),
                false => Ok((*id, input.f_detach()?.f_zeros_like()?)),
            })
            .collect()
    }
}

impl Services for StrategyServices<'_> {
    fn hook(&self) -> String {
        format!("{} of plugin `{}`", self.hook.name(), self.cell.plugin(self.entry))
    }

    fn model(&self) -> Result<RawModel> {
        Ok(describe::model(self.cell.world.backbone))
    }

    fn sites(&self) -> Result<Vec<RawSite>> {
        Ok(describe::sites(self.cell.world.backbone))
    }

    fn site_weight(&self, site: u64) -> Result<Tensor> {
        describe::site_weight(self.cell.world.backbone, site)
    }

    fn site_bias(&self, site: u64) -> Result<Option<Tensor>> {
        describe::site_bias(self.cell.world.backbone, site)
    }

    fn register(&self, spec: RawParameterSpec) -> Result<u64> {
        // After a stage buffers may be added (importance, anchors); parameters could no longer be trained in it.
        if spec.role == 1 {
            self.only_in(&[Hook::Build, Hook::BeforeStage, Hook::AfterStage], "register")?;
        } else {
            self.only_in(&[Hook::Build, Hook::BeforeStage], "register")?;
        }
        let sites = self.cell.world.backbone.sites();
        let path = match usize::try_from(spec.site) {
            Ok(site) => {
                Some(&sites.get(site).with_context(|| format!("no site has the number {site}"))?.path)
            }
            Err(_) => None,
        };
        let owner = self.cell.plugin(self.entry).to_string();
        self.cell.parameters.borrow_mut().register(&spec, &owner, self.entry, path.map(String::as_str))
    }

    fn parameters(&self) -> Result<Vec<RawParameterInfo>> {
        Ok(self.cell.parameters.borrow().infos())
    }

    fn value(&self, id: u64) -> Result<Tensor> {
        Ok(self.cell.parameters.borrow().get(id)?.tensor.shallow_clone())
    }

    fn set_value(&self, id: u64, value: &Tensor) -> Result<()> {
        ensure!(
            self.hook != Hook::Loss,
            "`set_value` is not available in {}: the graph of the pass needs the old values",
            self.hook()
        );
        self.cell.parameters.borrow().set_value(id, value)
    }

    fn grad(&self, id: u64) -> Result<Option<Tensor>> {
        self.only_in(&[Hook::AfterBackward], "grad")?;
        let parameters = self.cell.parameters.borrow();
        let parameter = parameters.get(id)?;
        if !parameter.trainable {
            return Ok(None);
        }
        // Zero where none reached it: whether libtorch keeps an empty gradient depends on earlier steps.
        let gradient = parameter.tensor.f_grad()?;
        Ok(Some(if gradient.defined() { gradient } else { parameter.tensor.f_detach()?.f_zeros_like()? }))
    }

    fn set_grad(&self, id: u64, gradient: &Tensor) -> Result<()> {
        self.only_in(&[Hook::AfterBackward], "set_grad")?;
        let parameters = self.cell.parameters.borrow();
        let parameter = parameters.get(id)?;
        ensure!(
            parameter.tensor.size() == gradient.size(),
            "set_grad `{}`: shape {:?} for a tensor of shape {:?}",
            parameter.name,
            gradient.size(),
            parameter.tensor.size()
        );
        ensure!(parameter.trainable, "set_grad `{}`: it is not trained", parameter.name);
        let own = parameter.tensor.f_grad()?;
        if own.defined() {
            no_grad(|| own.f_detach()?.f_copy_(gradient))?;
        } else {
            // The gradient of this product is the gradient that was asked for.
            let product = with_grad(|| parameter.tensor.f_mul(&gradient.f_detach()?)?.f_sum(Kind::Float))?;
            product.f_backward()?;
        }
        Ok(())
    }

    fn set_trainable(&self, id: u64, trainable: bool) -> Result<()> {
        self.only_in(&[Hook::Build, Hook::BeforeStage, Hook::AfterStage], "set_trainable")?;
        self.cell.parameters.borrow_mut().set_trainable(id, trainable)
    }

    fn snapshot(&self, name: &str) -> Result<()> {
        self.only_in(&[Hook::BeforeStage, Hook::AfterStage, Hook::AfterUpdate], "snapshot")?;
        self.cell.parameters.borrow_mut().snapshot(name)
    }

    fn drop_snapshot(&self, name: &str) -> Result<()> {
        self.cell.parameters.borrow_mut().drop_snapshot(name)
    }

    fn snapshot_value(&self, name: &str, id: u64) -> Result<Tensor> {
        let parameters = self.cell.parameters.borrow();
        let value = parameters.snapshot_values(name)?.get(id as usize).and_then(Option::as_ref);
        Ok(value
            .with_context(|| format!("snapshot `{name}` has no tensor {id}: it was registered later"))?
            .shallow_clone())
    }

    fn stage(&self) -> Result<RawStage> {
        let at = self.cell.position.get();
        let tasks = self.cell.stages.get(at.stage).context("no stage has begun")?;
        let mut samples = 0;
        for &task in tasks {
            samples += self.cell.world.tasks[task].source.len(coin_plugin_api::Split::Train)? as u64;
        }
        Ok(RawStage {
            index: at.stage as u64,
            count: self.cell.stages.len() as u64,
            steps: at.steps as u64,
            batch_size: self.cell.world.config.training.batch_size as u64,
            samples,
        })
    }

    fn samples(&self) -> Result<Vec<u64>> {
        self.need(Need::StageData)?;
        self.cell.stage_samples()
    }

    fn batch(&self, samples: &[u64]) -> Result<u64> {
        self.need(Need::StageData)?;
        if let Some(hidden) = samples.iter().find(|sample| !self.cell.may_see(**sample)) {
            bail!("sample {hidden} is neither of this stage nor in the replay buffer");
        }
        let batch = Rc::new(self.cell.batch(samples)?);
        let number = self.cell.next_batch.get();
        self.cell.next_batch.set(number + 1);
        self.cell.batches.borrow_mut().insert(number, batch);
        Ok(number)
    }

    fn batch_loss(&self, batch: u64) -> Result<Tensor> {
        self.extra_loss(batch)
    }

    fn batch_gradients(&self, batch: u64) -> Result<Vec<(u64, Tensor)>> {
        let loss = self.extra_loss(batch)?;
        let ids = self.cell.parameters.borrow().ids(|parameter| parameter.trainable);
        self.gradients(&loss, &ids)
    }

    fn batch_logits(&self, batch: u64) -> Result<Tensor> {
        let batch = self.batch_of(batch)?;
        with_grad(|| Ok(self.cell.forward(&batch, Purpose::Extra, None)?.logits))
    }

    fn drop_batch(&self, batch: u64) -> Result<()> {
        self.cell.batches.borrow_mut().remove(&batch);
        Ok(())
    }

    fn teacher_logits(&self, snapshot: &str) -> Result<Tensor> {
        self.need(Need::Teacher)?;
        let pass = self.pass("teacher_logits")?;
        no_grad(|| Ok(self.cell.forward(pass.batch, Purpose::Teacher, Some(snapshot))?.logits))
    }

    fn step(&self) -> Result<RawStep> {
        let rows = self.pass.as_ref().map_or(0, |pass| pass.rows.len());
        Ok(describe::step(self.cell, 0, rows))
    }

    fn attention_mask(&self) -> Result<Tensor> {
        Ok(self.pass("attention_mask")?.batch.input.attention_mask.shallow_clone())
    }

    fn label_mask(&self) -> Result<Tensor> {
        describe::label_mask(self.pass("label_mask")?.batch)
    }

    fn rows(&self) -> Result<Vec<RawRow>> {
        Ok(self.pass("rows")?.rows.to_vec())
    }

    fn logits(&self) -> Result<Tensor> {
        Ok(self.pass("logits")?.logits.shallow_clone())
    }

    fn targets(&self) -> Result<Tensor> {
        Ok(self.pass("targets")?.batch.targets.shallow_clone())
    }

    fn target_rows(&self) -> Result<Tensor> {
        let batch = self.pass("target_rows")?.batch;
        let columns = batch.labels.size2()?.1;
        let rows: Vec<i64> = batch.positions.iter().map(|position| position / columns).collect();
        Ok(Tensor::f_from_slice(&rows)?.f_to_device(batch.labels.device())?)
    }

    fn task_loss(&self) -> Result<Tensor> {
        Ok(self.pass("task_loss")?.task_loss.shallow_clone())
    }

    fn image_features(&self) -> Result<Tensor> {
        self.need(Need::ImageFeatures)?;
        let input = &self.pass("image_features")?.batch.input;
        match &input.images {
            Some(images) => describe::pooled_images(images, input.input_ids.size2()?),
            None => {
                let width = describe::model(self.cell.world.backbone).image_features as i64;
                Ok(Tensor::f_zeros(
                    [input.rows.len() as i64, width],
                    (Kind::Float, input.input_ids.device()),
                )?)
            }
        }
    }

    fn text_features(&self) -> Result<Tensor> {
        self.need(Need::TextFeatures)?;
        let batch = self.pass("text_features")?.batch;
        let input = &batch.input;
        describe::pooled_text(self.cell.world.backbone, &input.input_ids, Some(batch), &input.attention_mask)
    }

    fn task_index(&self) -> Result<u64> {
        Ok(self.cell.position.get().stage as u64)
    }

    fn replay_capacity(&self) -> Result<u64> {
        self.need(Need::Replay)?;
        Ok(ReplayBuffer::capacity(&self.cell.world.config.protocol, self.seen()))
    }

    fn replay_slots(&self) -> Result<Vec<RawRow>> {
        self.need(Need::Replay)?;
        Ok(self.cell.replay.borrow().rows())
    }

    fn replay_add(&self, sample: u64) -> Result<u64> {
        let capacity = self.replay_capacity()?;
        ensure!(self.cell.may_see(sample), "sample {sample} is not of this stage");
        self.cell.replay.borrow_mut().add(sample, capacity)
    }

    fn replay_remove(&self, slot: u64) -> Result<()> {
        self.need(Need::Replay)?;
        self.cell.replay.borrow_mut().remove(slot)
    }

    fn replay_store(&self, slot: u64, name: &str, value: &Tensor) -> Result<()> {
        self.need(Need::Replay)?;
        let copy = copied(value)?;
        self.cell.replay.borrow_mut().store(slot, name, copy)
    }

    fn replay_stored(&self, slot: u64, name: &str) -> Result<Option<Tensor>> {
        self.need(Need::Replay)?;
        Ok(self.cell.replay.borrow().stored(slot, name)?.map(Tensor::shallow_clone))
    }

    fn seed(&self, stream: &str) -> Result<u64> {
        let at = self.cell.position.get();
        let call = self.calls.get();
        self.calls.set(call + 1);
        let name = format!("{}/{}/{stream}", self.cell.plugin(self.entry), self.hook.name());
        let indices = [at.stage, at.step, at.micro_batch, self.entry].map(|index| index as u64);
        Ok(seed(self.cell.seed, &name, &[&indices[..], &[call]].concat()))
    }

    fn call_op_granted(&self) -> bool {
        self.need(Need::CallOp).is_ok()
    }

    fn metric(&self, name: &str, value: f64) -> Result<()> {
        let name = format!("{}.{name}", self.cell.plugin(self.entry));
        self.cell.metrics.borrow_mut().push((name, value));
        Ok(())
    }

    fn parameter_gradients(&self, scalar: &Tensor, ids: &[u64]) -> Result<Vec<(u64, Tensor)>> {
        self.gradients(scalar, ids)
    }
}

impl Cell<'_> {
    /// References to all training samples of the stage.
    pub fn stage_samples(&self) -> Result<Vec<u64>> {
        let tasks = self.stages.get(self.position.get().stage).context("no stage has begun")?;
        let mut samples = Vec::new();
        for &task in tasks {
            let count = self.world.tasks[task].source.len(coin_plugin_api::Split::Train)?;
            samples.extend((0..count).map(|number| Cell::sample_ref(task, number)));
        }
        Ok(samples)
    }

    /// The draws of a stream of the host's own.
    pub fn draws(&self, stream: &str, indices: &[u64]) -> Draws {
        Draws::new(self.seed, stream, indices)
    }
}
