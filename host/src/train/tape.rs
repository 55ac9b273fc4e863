//! Gradient checkpointing (Chen et al. 2016, arXiv 1604.06174): a pass keeps the input of each decoder layer, and what gradients need
//! beyond that is computed again, one layer at a time from the last to the first.
//!
//! The graph of such a pass begins in a leaf, the hidden states that the head reads. A backward pass ends there; its [`Tape`] takes the
//! gradient on through the layers. A layer computed again is the same function of the same input: draws depend on step and site alone,
//! buffers have the values that they had, and what adapters counted is not counted twice.

use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::{Context as _, Result, ensure};
use tch::{Tensor, with_grad};

use crate::data::collate::TrainingBatch;
use crate::model::{Pass, Phase, Segments};
use crate::ops::all_finite;
use crate::train::adapter_services::AdapterServices;
use crate::train::cell::Cell;
use crate::train::forward::{CellHook, Forward, Purpose, Widened, soft_tokens};

/// A pass over a training batch whose gradient has still to go through the layers.
pub(super) struct Tape {
    purpose: Purpose,
    samples: Vec<u64>,
    /// `[K, d]`, as `Backbone::hidden_at` gives it.
    leaf: Tensor,
    /// Without it the whole pass is computed again first.
    kept: Option<Kept>,
}

struct Kept {
    batch: Rc<TrainingBatch>,
    widened: Option<Widened>,
    segments: Segments,
    /// Of each layer.
    inputs: Vec<Tensor>,
    /// Adapters' terms from projector and soft tokens, with their graph.
    terms: Vec<Tensor>,
    /// The first layer with terms of adapters, or the number of layers.
    first_term: usize,
    /// Buffers that adapters counted in, as they were before.
    buffers: BTreeMap<u64, Tensor>,
}

/// Where gradients go.
enum Sink<'s> {
    /// To the tensors themselves, as `backward` does it.
    Tensors,
    /// Of each of these tensors, the sum.
    Sums { of: &'s [Tensor], sums: &'s mut [Tensor] },
}

impl Cell<'_> {
    /// Logits of a training batch with their graph, and the terms of adapters; those of layers that are computed again have none:
    /// [`Cell::backward`] takes care of them.
    pub fn trained_forward(
        &self,
        samples: &[u64],
        batch: &Rc<TrainingBatch>,
        purpose: Purpose,
    ) -> Result<Forward> {
        if !self.world.config.training.gradient_checkpointing {
            return self.forward(batch, purpose, None);
        }
        let (tape, terms) = self.record(samples, batch, purpose)?;
        let logits = self.world.backbone.logits(&tape.leaf)?;
        let mut tapes = self.tapes.borrow_mut();
        if purpose == Purpose::Extra {
            self.extra_rows.set(self.extra_rows.get() + batch.input.rows.len() as u64);
            // A hook may ask for any number of them, and most are differentiated at once or never.
            tapes.iter_mut().filter(|tape| tape.purpose == Purpose::Extra).for_each(|tape| tape.kept = None);
        }
        tapes.push(tape);
        Ok(Forward { logits, terms })
    }

    /// Adds the gradient of the loss to that of every tensor that it depends on; terms of adapters count `share` times.
    pub fn backward(&self, loss: &Tensor, share: f64) -> Result<()> {
        let tapes = self.tapes.take();
        // Not so where the batch has nothing that the method trains, for example no picture for a projector.
        if loss.requires_grad() {
            loss.f_backward()?;
        }
        for tape in tapes.into_iter().rev() {
            let arrived = tape.leaf.f_grad()?;
            let gradient = arrived.defined().then(|| arrived.f_detach()).transpose()?;
            self.through_layers(&tape, gradient, Some(share), &mut Sink::Tensors)?;
        }
        Ok(())
    }

    /// The gradients of a scalar, by id; zero where it does not depend on a tensor. Those of the tensors themselves stay as they are.
    pub(super) fn gradients_of(&self, scalar: &Tensor, ids: &[u64]) -> Result<Vec<(u64, Tensor)>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let parameters = self.parameters.borrow();
        let of: Vec<Tensor> =
            ids.iter().map(|id| Ok(parameters.get(*id)?.tensor.shallow_clone())).collect::<Result<_>>()?;
        let tapes = self.tapes.borrow();
        let open: Vec<&Tape> = tapes.iter().filter(|tape| tape.leaf.requires_grad()).collect();
        let ends: Vec<&Tensor> = of.iter().chain(open.iter().map(|tape| &tape.leaf)).collect();
        let mut sums = match scalar.requires_grad() {
            true => Tensor::f_run_backward(&[scalar], &ends, false, false)?,
            false => ends.iter().map(|_| Tensor::new()).collect(),
        };
        let arrived = sums.split_off(of.len());
        for (tape, gradient) in open.into_iter().zip(arrived).rev().filter(|(_, found)| found.defined()) {
            let mut sink = Sink::Sums { of: &of, sums: &mut sums };
            self.through_layers(tape, Some(gradient), None, &mut sink)?;
        }
        let or_zero = |(sum, tensor): (Tensor, &Tensor)| -> Result<Tensor> {
            if sum.defined() { Ok(sum) } else { Ok(tensor.f_detach()?.f_zeros_like()?) }
        };
        ids.iter().zip(sums.into_iter().zip(&of)).map(|(id, found)| Ok((*id, or_zero(found)?))).collect()
    }

    /// The pass itself: one layer's graph at a time, each dropped when its output is there.
    fn record(
        &self,
        samples: &[u64],
        batch: &Rc<TrainingBatch>,
        purpose: Purpose,
    ) -> Result<(Tape, Vec<(String, Tensor)>)> {
        let backbone = self.world.backbone;
        let services = AdapterServices::new(self, Some(batch), purpose, None);
        let hook = CellHook { cell: self, services: &services, values: None, merged: None };
        let widened = soft_tokens(batch, &hook)?;
        let (input, positions) = match &widened {
            None => (&batch.input, &batch.positions),
            Some(widened) => (&widened.input, &widened.positions),
        };
        let segments = backbone.segments(input, positions, &hook)?;
        let before = services.take_terms();
        let own_terms = before.iter().map(|(_, term)| term.shallow_clone()).collect();
        let mut terms = detached(before)?;
        let (mut inputs, mut first_term) = (Vec::with_capacity(backbone.layers()), backbone.layers());
        let mut hidden = leaf(&segments.embedded)?;
        for index in 0..backbone.layers() {
            let output = leaf(&backbone.layer(&segments, index, &hidden, &hook)?)?;
            inputs.push(std::mem::replace(&mut hidden, output));
            let found = services.take_terms();
            if !found.is_empty() {
                first_term = first_term.min(index);
            }
            terms.extend(detached(found)?);
        }
        let kept = Kept {
            batch: Rc::clone(batch),
            segments,
            inputs,
            terms: own_terms,
            first_term,
            buffers: services.settle_counts()?,
            widened,
        };
        Ok((Tape { purpose, samples: samples.to_vec(), leaf: hidden, kept: Some(kept) }, terms))
    }

    /// Takes a gradient from the leaf to everything before it; terms of adapters count `share` times, or not at all.
    fn through_layers(
        &self,
        tape: &Tape,
        gradient: Option<Tensor>,
        share: Option<f64>,
        sink: &mut Sink,
    ) -> Result<()> {
        let granted = self.granted.borrow().clone();
        with_grad(|| match &tape.kept {
            Some(kept) => self.through_kept(kept, tape, gradient, share, sink),
            None if gradient.is_none() => Ok(()),
            None => {
                let batch = Rc::new(self.batch(&tape.samples)?);
                let (again, _) = self.record(&tape.samples, &batch, tape.purpose)?;
                self.check_same(&again.leaf, &tape.leaf).context("in a pass that a strategy asked for")?;
                let kept = again.kept.as_ref().context("a pass was not kept")?;
                self.through_kept(kept, &again, gradient, share, sink)
            }
        })?;
        // What is computed again is not used again.
        *self.granted.borrow_mut() = granted;
        Ok(())
    }

    fn through_kept(
        &self,
        kept: &Kept,
        tape: &Tape,
        mut gradient: Option<Tensor>,
        share: Option<f64>,
        sink: &mut Sink,
    ) -> Result<()> {
        let services = AdapterServices::new(self, Some(&kept.batch), tape.purpose, None);
        let services = services.with_buffers(&kept.buffers);
        services.begin(&Pass { phase: Phase::Train, input: &kept.batch.input })?;
        if let Some(widened) = &kept.widened {
            services.shifted(widened.shift.clone());
            services.begin(&Pass { phase: Phase::Train, input: &widened.input })?;
        }
        let hook = CellHook { cell: self, services: &services, values: None, merged: None };
        for (index, input) in kept.inputs.iter().enumerate().rev() {
            if gradient.is_none() && (share.is_none() || kept.first_term > index) {
                break;
            }
            let input = leaf(input)?;
            let output = self.world.backbone.layer(&kept.segments, index, &input, &hook)?;
            let first = kept.inputs.get(index + 1).unwrap_or(&tape.leaf);
            self.check_same(&output, first).with_context(|| format!("in layer {index}"))?;
            let terms: Vec<Tensor> = services.take_terms().into_iter().map(|(_, term)| term).collect();
            let root = root(&output, gradient.as_ref(), &terms, share)?;
            gradient = sink.take(root, Some(&input))?;
        }
        let root = root(&kept.segments.embedded, gradient.as_ref(), &kept.terms, share)?;
        sink.take(root, None)?;
        Ok(())
    }

    /// On the CPU the same to the last bit; elsewhere sums may be rounded in another order.
    fn check_same(&self, again: &Tensor, first: &Tensor) -> Result<()> {
        let again = again.f_detach()?;
        let same = match first.device() {
            tch::Device::Cpu => again.f_equal(first)?,
            _ => {
                let (apart, size) = (again.f_sub(first)?.f_norm()?, first.f_norm()?);
                apart.f_double_value(&[])? <= 1e-2 * size.f_double_value(&[])?
            }
        };
        if same || !all_finite(first)? {
            return Ok(());
        }
        let adapters: Vec<&str> = self.adapters.iter().map(|(entry, _)| self.plugin(*entry)).collect();
        ensure!(
            same,
            "adapt of {} gave another output when it was computed again\nhint: adapt must be a function of its arguments and the registered tensors, with draws from `step`; training.gradient_checkpointing = false calls it once",
            adapters.join(", ")
        );
        Ok(())
    }
}

impl Sink<'_> {
    /// Differentiates the root; gives the gradient of the input, where it has one.
    fn take(&mut self, root: Option<Tensor>, input: Option<&Tensor>) -> Result<Option<Tensor>> {
        let Some(root) = root else { return Ok(None) };
        let input = input.filter(|input| input.requires_grad());
        match self {
            Sink::Tensors => {
                root.f_backward()?;
                let found = input.map(Tensor::f_grad).transpose()?;
                Ok(found.filter(Tensor::defined))
            }
            Sink::Sums { of, sums } => {
                let ends: Vec<&Tensor> = of.iter().chain(input).collect();
                // The graph of projector and soft tokens may be needed again.
                let mut found = Tensor::f_run_backward(&[&root], &ends, input.is_none(), false)?;
                let onward = found.split_off(of.len()).pop();
                for (sum, found) in sums.iter_mut().zip(found).filter(|(_, found)| found.defined()) {
                    *sum = if sum.defined() { sum.f_add(&found)? } else { found };
                }
                Ok(onward.filter(Tensor::defined))
            }
        }
    }
}

/// The tensor as the beginning of a graph, if it is part of one.
fn leaf(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.f_detach()?.f_set_requires_grad(tensor.requires_grad())?)
}

fn detached(terms: Vec<(String, Tensor)>) -> Result<Vec<(String, Tensor)>> {
    terms.into_iter().map(|(name, term)| Ok((name, term.f_detach()?))).collect()
}

/// A scalar whose gradient is `gradient` at the output and `share` at each term; none where nothing before it is trained.
fn root(
    output: &Tensor,
    gradient: Option<&Tensor>,
    terms: &[Tensor],
    share: Option<f64>,
) -> Result<Option<Tensor>> {
    let mut root: Option<Tensor> = None;
    if let Some(gradient) = gradient.filter(|_| output.requires_grad()) {
        root = Some(output.f_mul(gradient)?.f_sum(output.kind())?);
    }
    let Some(share) = share else { return Ok(root) };
    for term in terms.iter().filter(|term| term.requires_grad()) {
        let part = term.f_reshape(&[] as &[i64])?.f_mul_scalar(share)?;
        root = Some(match root {
            Some(root) => root.f_add(&part)?,
            None => part,
        });
    }
    Ok(root)
}
