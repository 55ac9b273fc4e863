//! The stage's samples, and batches of them beyond those that are trained on.

use std::rc::Rc;

use anyhow::{Context as _, Result, bail};
use coin_plugin_api::Split;
use coin_plugin_api::abi::RawStage;
use tch::{Kind, Tensor, with_grad};

use crate::data::collate::TrainingBatch;
use crate::train::cell::Cell;
use crate::train::forward::Purpose;

impl Cell<'_> {
    /// The stage as strategies are told of it.
    pub(super) fn stage(&self) -> Result<RawStage> {
        let at = self.position.get();
        Ok(RawStage {
            index: at.stage as u64,
            count: self.stages.len() as u64,
            steps: at.steps as u64,
            batch_size: self.world.config.training.batch_size as u64,
            samples: self.stage_sizes()?.iter().map(|(_, count)| *count as u64).sum(),
        })
    }

    /// References to all training samples of the stage.
    pub fn stage_samples(&self) -> Result<Vec<u64>> {
        let of_task = |(task, count)| (0..count).map(move |number| Cell::sample_ref(task, number));
        Ok(self.stage_sizes()?.into_iter().flat_map(of_task).collect())
    }

    /// The tasks of the stage, each with the number of its training samples.
    fn stage_sizes(&self) -> Result<Vec<(usize, usize)>> {
        let tasks = self.stages.get(self.position.get().stage).context("no stage has begun")?;
        tasks.iter().map(|&task| Ok((task, self.world.tasks[task].source.len(Split::Train)?))).collect()
    }

    /// Keeps a batch of samples that strategies may see, until the stage ends or the batch is dropped; gives its number.
    pub(super) fn keep_batch(&self, entry: usize, samples: &[u64]) -> Result<u64> {
        if let Some(hidden) = samples.iter().find(|sample| !self.may_see(entry, **sample)) {
            bail!("sample {hidden} is neither of this stage nor in the replay buffer");
        }
        let batch = Rc::new(self.batch(samples)?);
        Ok(self.batches.borrow_mut().keep(entry, (samples.to_vec(), batch)))
    }

    /// `[K, V]`, with a graph even where the hook that asks is outside of one.
    pub(super) fn extra_logits(&self, entry: usize, batch: u64) -> Result<Tensor> {
        self.extra_pass(entry, batch, |logits, _| Ok(logits))
    }

    /// A scalar, with a graph even where the hook that asks is outside of one.
    pub(super) fn extra_loss(&self, entry: usize, batch: u64) -> Result<Tensor> {
        if !self.world.config.training.gradient_checkpointing {
            return self.extra_pass(entry, batch, |logits, batch| self.task_loss(&logits, batch));
        }
        // Layers that are computed twice are no part of a graph; this has the same value and the same gradients.
        let (mut loss, gradients) = self.extra_gradients(entry, batch)?;
        with_grad(|| {
            for (id, gradient) in gradients {
                let tensor = self.parameters.borrow().get(id)?.tensor.shallow_clone();
                let zero = tensor.f_sub(&tensor.f_detach()?)?;
                loss = loss.f_add(&zero.f_mul(&gradient)?.f_sum(Kind::Float)?)?;
            }
            Ok(loss)
        })
    }

    /// Its task loss without a graph, and the gradients for every trainable tensor.
    pub(super) fn extra_gradients(&self, entry: usize, batch: u64) -> Result<(Tensor, Vec<(u64, Tensor)>)> {
        let known = self.tapes.borrow().len();
        let loss = self.extra_pass(entry, batch, |logits, batch| self.task_loss(&logits, batch))?;
        let ids = self.parameters.borrow().ids(|parameter| parameter.trainable);
        let gradients = self.gradients_of(&loss, &ids)?;
        self.tapes.borrow_mut().truncate(known);
        Ok((loss.f_detach()?, gradients))
    }

    fn extra_pass(
        &self,
        entry: usize,
        batch: u64,
        finish: impl FnOnce(Tensor, &TrainingBatch) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let (samples, batch) = self.batches.borrow().get(entry, batch)?.clone();
        with_grad(|| finish(self.trained_forward(&samples, &batch, Purpose::Extra)?.logits, &batch))
    }
}
