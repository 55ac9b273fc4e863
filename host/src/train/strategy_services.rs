//! What a plugin may ask of the host while it is built and in the hooks of a strategy.

mod batches;
mod gradients;
mod pass;

use anyhow::{Context as _, Result, bail, ensure};
use coin_plugin_api::Need;
use coin_plugin_api::abi::{
    RawModel, RawParameterInfo, RawParameterSpec, RawRow, RawSite, RawStage, RawStep,
};
use tch::{Tensor, no_grad};

use crate::ops::all_finite;
use crate::ops::services::Services;
use crate::plugin::hook::Hook;
use crate::train::cell::Cell;
use crate::train::client::Client;
use crate::train::describe;
use crate::train::forward::Purpose;
use crate::train::parameters::copied;
use crate::train::replay::ReplayBuffer;

pub use pass::Pass;

/// The services of one hook call: which hook may ask what, and who answers.
pub struct StrategyServices<'c> {
    client: Client<'c>,
    hook: Hook,
    pass: Option<Pass<'c>>,
}

impl<'c> StrategyServices<'c> {
    pub fn new(cell: &'c Cell<'c>, entry: usize, hook: Hook, pass: Option<Pass<'c>>) -> StrategyServices<'c> {
        StrategyServices { client: Client::new(cell, entry), hook, pass }
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

    /// Data belongs to a stage, and none has begun where a method is built: not the first one either, in a cell that goes on.
    fn in_a_stage(&self, service: &str) -> Result<()> {
        ensure!(
            self.hook != Hook::Build,
            "`{service}` is not available in {}: no stage has begun",
            self.hook()
        );
        Ok(())
    }

    /// Stages until now, this one included: what the buffer's capacity goes by.
    fn seen(&self) -> usize {
        let cell = self.client.cell;
        let stages = &cell.stages[..=cell.position.get().stage.min(cell.stages.len() - 1)];
        stages.iter().map(Vec::len).sum()
    }
}

impl Drop for StrategyServices<'_> {
    /// No tensor outlives the hook it was made in, but for the terms of `loss`.
    fn drop(&mut self) {
        if self.hook != Hook::Loss {
            self.client.cell.tapes.borrow_mut().clear();
        }
    }
}

impl Services for StrategyServices<'_> {
    fn hook(&self) -> String {
        self.client.name(self.hook)
    }

    fn model(&self) -> Result<RawModel> {
        Ok(self.client.model())
    }

    fn sites(&self) -> Result<Vec<RawSite>> {
        Ok(self.client.sites())
    }

    fn site_weight(&self, site: u64) -> Result<Tensor> {
        self.client.site_weight(site)
    }

    fn site_bias(&self, site: u64) -> Result<Option<Tensor>> {
        self.client.site_bias(site)
    }

    fn register(&self, spec: RawParameterSpec) -> Result<u64> {
        // After a stage buffers may be added (importance, anchors); parameters could no longer be trained in it.
        if spec.role == 1 {
            self.only_in(&[Hook::Build, Hook::BeforeStage, Hook::AfterStage], "register")?;
        } else {
            self.only_in(&[Hook::Build, Hook::BeforeStage], "register")?;
        }
        let sites = self.client.cell.world.backbone.sites();
        let path = match usize::try_from(spec.site) {
            Ok(site) => {
                Some(&sites.get(site).with_context(|| format!("no site has the number {site}"))?.path)
            }
            Err(_) => None,
        };
        let owner = self.client.plugin().to_string();
        self.client.cell.parameters.borrow_mut().register(
            &spec,
            &owner,
            self.client.entry.get(),
            path.map(String::as_str),
        )
    }

    fn parameters(&self) -> Result<Vec<RawParameterInfo>> {
        Ok(self.client.cell.parameters.borrow().infos())
    }

    fn value(&self, id: u64) -> Result<Tensor> {
        self.client.value(id)
    }

    fn set_value(&self, id: u64, value: &Tensor) -> Result<()> {
        ensure!(
            self.hook != Hook::Loss,
            "`set_value` is not available in {}: the graph of the pass needs the old values",
            self.hook()
        );
        ensure!(
            all_finite(value)?,
            "set_value in {}: the values are not finite\nhint: look for a division by zero",
            self.hook()
        );
        self.client.cell.parameters.borrow().set_value(id, value)
    }

    fn grad(&self, id: u64) -> Result<Option<Tensor>> {
        self.only_in(&[Hook::AfterBackward], "grad")?;
        gradients::gradient(&self.client.cell.parameters.borrow(), id)
    }

    fn set_grad(&self, id: u64, gradient: &Tensor) -> Result<()> {
        self.only_in(&[Hook::AfterBackward], "set_grad")?;
        gradients::set_gradient(&self.client.cell.parameters.borrow(), id, gradient)
    }

    fn set_trainable(&self, id: u64, trainable: bool) -> Result<()> {
        self.only_in(&[Hook::Build, Hook::BeforeStage, Hook::AfterStage], "set_trainable")?;
        self.client.cell.parameters.borrow_mut().set_trainable(id, trainable)
    }

    fn snapshot(&self, name: &str) -> Result<()> {
        self.only_in(&[Hook::BeforeStage, Hook::AfterStage, Hook::AfterUpdate], "snapshot")?;
        self.client.cell.parameters.borrow_mut().snapshot(name)
    }

    fn drop_snapshot(&self, name: &str) -> Result<()> {
        self.client.cell.parameters.borrow_mut().drop_snapshot(name)
    }

    fn snapshot_value(&self, name: &str, id: u64) -> Result<Tensor> {
        let parameters = self.client.cell.parameters.borrow();
        let value = parameters.snapshot_values(name)?.get(id as usize).and_then(Option::as_ref);
        Ok(value
            .with_context(|| format!("snapshot `{name}` has no tensor {id}: it was registered later"))?
            .shallow_clone())
    }

    fn stage(&self) -> Result<RawStage> {
        self.in_a_stage("stage")?;
        self.client.cell.stage()
    }

    fn samples(&self) -> Result<Vec<u64>> {
        self.in_a_stage("samples")?;
        self.client.need(Need::StageData)?;
        self.client.cell.stage_samples()
    }

    fn batch(&self, samples: &[u64]) -> Result<u64> {
        self.in_a_stage("batch")?;
        self.client.need(Need::StageData)?;
        self.client.cell.keep_batch(self.client.entry.get(), samples)
    }

    fn batch_loss(&self, batch: u64) -> Result<Tensor> {
        self.client.cell.extra_loss(self.client.entry.get(), batch)
    }

    fn batch_gradients(&self, batch: u64) -> Result<Vec<(u64, Tensor)>> {
        Ok(self.client.cell.extra_gradients(self.client.entry.get(), batch)?.1)
    }

    fn batch_logits(&self, batch: u64) -> Result<Tensor> {
        self.client.cell.extra_logits(self.client.entry.get(), batch)
    }

    fn drop_batch(&self, batch: u64) -> Result<()> {
        self.client.cell.batches.borrow_mut().remove(self.client.entry.get(), batch);
        Ok(())
    }

    fn teacher_logits(&self, snapshot: &str) -> Result<Tensor> {
        self.client.need(Need::Teacher)?;
        let pass = self.pass("teacher_logits")?;
        no_grad(|| Ok(self.client.cell.forward(pass.batch, Purpose::Teacher, Some(snapshot))?.logits))
    }

    fn step(&self) -> Result<RawStep> {
        let rows = self.pass.as_ref().map_or(0, |pass| pass.rows.len());
        Ok(describe::step(self.client.cell, 0, rows))
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
        self.pass("target_rows")?.target_rows()
    }

    fn task_loss(&self) -> Result<Tensor> {
        Ok(self.pass("task_loss")?.task_loss.shallow_clone())
    }

    fn image_features(&self) -> Result<Tensor> {
        self.client.need(Need::ImageFeatures)?;
        self.pass("image_features")?.image_features(self.client.cell.world.backbone)
    }

    fn text_features(&self) -> Result<Tensor> {
        self.client.need(Need::TextFeatures)?;
        self.pass("text_features")?.text_features(self.client.cell.world.backbone)
    }

    fn row_stages(&self) -> Result<Tensor> {
        describe::row_stages(self.client.cell, self.pass("row_stages")?.batch)
    }

    fn task_index(&self) -> Result<u64> {
        Ok(self.client.cell.position.get().stage as u64)
    }

    fn replay_capacity(&self) -> Result<u64> {
        self.in_a_stage("replay_capacity")?;
        self.client.need(Need::Replay)?;
        Ok(ReplayBuffer::capacity(&self.client.cell.world.config.protocol, self.seen()))
    }

    fn replay_slots(&self) -> Result<Vec<RawRow>> {
        self.in_a_stage("replay_slots")?;
        self.client.need(Need::Replay)?;
        Ok(self.client.cell.replay.borrow().rows())
    }

    fn replay_add(&self, sample: u64) -> Result<u64> {
        self.in_a_stage("replay_add")?;
        let capacity = self.replay_capacity()?;
        ensure!(
            self.client.cell.may_see(self.client.entry.get(), sample),
            "sample {sample} is not of this stage"
        );
        self.client.cell.replay.borrow_mut().add(sample, capacity)
    }

    fn replay_remove(&self, slot: u64) -> Result<()> {
        self.in_a_stage("replay_remove")?;
        self.client.need(Need::Replay)?;
        self.client.cell.replay.borrow_mut().remove(slot)
    }

    fn replay_store(&self, slot: u64, name: &str, value: &Tensor) -> Result<()> {
        self.in_a_stage("replay_store")?;
        self.client.need(Need::Replay)?;
        let copy = copied(value)?;
        self.client.cell.replay.borrow_mut().store(slot, name, copy)
    }

    fn replay_stored(&self, slot: u64, name: &str) -> Result<Option<Tensor>> {
        self.in_a_stage("replay_stored")?;
        self.client.need(Need::Replay)?;
        Ok(self.client.cell.replay.borrow().stored(slot, name)?.map(Tensor::shallow_clone))
    }

    fn seed(&self, stream: &str) -> Result<u64> {
        Ok(self.client.seed(self.hook, stream, &[self.client.entry.get()]))
    }

    fn call_op_granted(&self) -> bool {
        self.client.need(Need::CallOp).is_ok()
    }

    fn metric(&self, name: &str, value: f64) -> Result<()> {
        let name = format!("{}.{name}", self.client.plugin());
        self.client.cell.metrics.borrow_mut().push((name, value));
        Ok(())
    }

    fn parameter_gradients(&self, scalar: &Tensor, ids: &[u64]) -> Result<Vec<(u64, Tensor)>> {
        self.client.cell.gradients_of(scalar, ids)
    }
}
