//! Forward passes: the frozen model with the trained projector and the stack's adapters in place.

use std::cell::{Cell as Slot, RefCell};
use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use tch::Tensor;

use crate::data::collate::TrainingBatch;
use crate::model::{Images, LinearHook, ModelInput, Pass, Phase, Prefix, Shift, Site, product};
use crate::train::adapter_services::AdapterServices;
use crate::train::cell::Cell;

/// What a pass over a training batch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Training: dropout, terms and counts of adapters.
    Train,
    /// A snapshot teaches.
    Teacher,
    /// A strategy asked for it.
    Extra,
}

/// What a pass over a training batch gave.
pub struct Forward {
    /// `[K, V]` at supervised positions.
    pub logits: Tensor,
    /// Named terms that adapters added.
    pub terms: Vec<(String, Tensor)>,
}

/// Weights of sites with the adapters' deltas folded in, by site.
pub type Merged = BTreeMap<usize, Tensor>;

impl Cell<'_> {
    /// Logits of a training batch at its supervised positions, under the tensors in force or those of a snapshot.
    pub fn forward(
        &self,
        batch: &TrainingBatch,
        purpose: Purpose,
        snapshot: Option<&str>,
    ) -> Result<Forward> {
        let services = AdapterServices::new(self, Some(batch), purpose, None).of_snapshot(snapshot);
        let parameters = self.parameters.borrow();
        let values = snapshot.map(|name| parameters.snapshot_values(name)).transpose()?;
        let logits = {
            let hook = CellHook { cell: self, services: &services, values, merged: None };
            let backbone = self.world.backbone;
            let hidden = match soft_tokens(batch, &hook)? {
                None => backbone.hidden_at(&batch.input, &batch.positions, &hook, None)?,
                Some(widened) => backbone.hidden_at(&widened.input, &widened.positions, &hook, None)?,
            };
            backbone.logits(&hidden)?
        };
        services.settle_counts()?;
        if purpose != Purpose::Train {
            self.extra_rows.set(self.extra_rows.get() + batch.input.rows.len() as u64);
        }
        Ok(Forward { logits, terms: services.take_terms() })
    }

    /// Lends the model as the method makes it to something that answers, from folded weights where [`Cell::merge`] gave some.
    pub fn answering<T>(
        &self,
        task: usize,
        merged: Option<&Merged>,
        body: impl FnOnce(&dyn LinearHook) -> Result<T>,
    ) -> Result<T> {
        let services = AdapterServices::new(self, None, Purpose::Extra, Some(task));
        body(&CellHook { cell: self, services: &services, values: None, merged })
    }

    /// Copies of the weights with every adapter folded in; none where some adapter cannot be.
    pub fn merge(&self) -> Result<Option<Merged>> {
        let (parameters, adapted) = (self.parameters.borrow(), self.adapted.borrow());
        let mut merged = Merged::new();
        for (site, adapted) in self.world.backbone.sites().iter().zip(adapted.iter()) {
            let Some(adapted) = adapted else { continue };
            let values: Vec<Tensor> = adapted
                .parameters
                .iter()
                .map(|id| Ok(parameters.get(*id)?.tensor.f_detach()?))
                .collect::<Result<_>>()?;
            let Some(delta) = self.adapters[adapted.adapter].1.merged_delta(site, &values)? else {
                return Ok(None);
            };
            let (weight, _) = match parameters.projector(&site.path) {
                Some(trained) => trained,
                None => self.world.backbone.site_parameters(site)?,
            };
            let folded = tch::no_grad(|| -> Result<Tensor> {
                Ok(weight
                    .f_to_kind(tch::Kind::Float)?
                    .f_add(&delta)?
                    .f_to_kind(self.world.backbone.kind())?)
            })
            .with_context(|| format!("merged_delta at `{}`", site.path))?;
            merged.insert(site.index, folded);
        }
        Ok(Some(merged))
    }
}

/// A batch with soft tokens in place.
pub(super) struct Widened {
    pub(super) input: ModelInput,
    pub(super) shift: Shift,
    /// Of `TrainingBatch::positions`.
    pub(super) positions: Vec<i64>,
}

/// The batch with the soft tokens of the stack in place, where it has some; services are told.
pub(super) fn soft_tokens(batch: &TrainingBatch, hook: &CellHook) -> Result<Option<Widened>> {
    let world = hook.cell.world;
    let found = world.backbone.with_prefix(&batch.input, Phase::Train, hook, world.pad_token())?;
    let Some((input, shift)) = found else { return Ok(None) };
    hook.cell.check_soft_tokens(shift.width())?;
    let positions = batch.positions.iter().map(|&token| shift.token(token)).collect();
    hook.services.shifted(shift.clone());
    Ok(Some(Widened { input, shift, positions }))
}

/// Masters are float32; passes compute in the type of the backbone.
fn in_kind(tensor: &Tensor, kind: tch::Kind) -> Result<Tensor> {
    if tensor.kind() == kind { Ok(tensor.shallow_clone()) } else { Ok(tensor.f_to_kind(kind)?) }
}

/// Stands for every linear of language model and projector.
pub(super) struct CellHook<'c> {
    pub(super) cell: &'c Cell<'c>,
    pub(super) services: &'c AdapterServices<'c>,
    /// In place of the tensors in force.
    pub(super) values: Option<&'c [Option<Tensor>]>,
    pub(super) merged: Option<&'c Merged>,
}

impl LinearHook for CellHook<'_> {
    fn linear(&self, site: &Site, weight: &Tensor, bias: Option<&Tensor>, input: &Tensor) -> Result<Tensor> {
        let parameters = self.cell.parameters.borrow();
        let trained = parameters.projector(&site.path);
        let bias = trained.map_or(bias, |(_, bias)| bias);
        if let Some(folded) = self.merged.and_then(|merged| merged.get(&site.index)) {
            let bias = bias.map(|bias| in_kind(bias, input.kind())).transpose()?;
            return Ok(product(input, folded, bias.as_ref())?);
        }
        let weight = in_kind(trained.map_or(weight, |(weight, _)| weight), input.kind())?;
        let bias = bias.map(|bias| in_kind(bias, input.kind())).transpose()?;
        let output = self.plain(site, &weight, bias.as_ref(), input)?;
        let adapted = self.cell.adapted.borrow();
        let Some(adapted) = adapted.get(site.index).and_then(Option::as_ref) else { return Ok(output) };
        let (entry, adapter) = &self.cell.adapters[adapted.adapter];
        self.services.at_site(site.index, *entry, adapter.token_local());
        let mut values: Vec<Tensor> = Vec::with_capacity(adapted.parameters.len());
        for id in &adapted.parameters {
            if let Some(value) = self.value(*id, &parameters.get(*id)?.tensor) {
                values.push(in_kind(value, input.kind())?);
            }
        }
        Ok(adapter.adapt(site, input, &output, &values, self.services)?)
    }

    fn begin(&self, pass: &Pass) -> Result<()> {
        self.services.begin(pass)
    }

    fn prefix(&self) -> Result<Option<Prefix>> {
        let (parameters, kind) = (self.cell.parameters.borrow(), self.cell.world.backbone.kind());
        let mut found: Option<(usize, Prefix)> = None;
        for (entry, adapter) in &self.cell.adapters {
            self.services.at_prefix(*entry);
            let mut values: Vec<Tensor> = Vec::new();
            for id in parameters.without_site(*entry) {
                if let Some(value) = self.value(id, &parameters.get(id)?.tensor) {
                    values.push(in_kind(value, kind)?);
                }
            }
            let Some(prefix) = adapter.prefix(&values, self.services)? else { continue };
            if let Some((first, _)) = found {
                bail!(
                    "`{}` and `{}` both put soft tokens into a batch\nhint: a stack has at most one plugin that does",
                    self.cell.plugin(first),
                    self.cell.plugin(*entry)
                );
            }
            found = Some((*entry, prefix));
        }
        Ok(found.map(|(_, prefix)| prefix))
    }

    fn is_token_local(&self) -> bool {
        self.merged.is_some() || self.cell.adapters.iter().all(|(_, adapter)| adapter.token_local())
    }
}

impl CellHook<'_> {
    /// The tensor in force, or its value in the snapshot; none where it was registered after the snapshot was taken.
    fn value<'t>(&'t self, id: u64, in_force: &'t Tensor) -> Option<&'t Tensor> {
        match self.values {
            None => Some(self.services.before(id).unwrap_or(in_force)),
            Some(values) => values.get(id as usize).and_then(Option::as_ref),
        }
    }

    /// The linear itself, with the projector's weights of the snapshot where one is in force.
    fn plain(&self, site: &Site, weight: &Tensor, bias: Option<&Tensor>, input: &Tensor) -> Result<Tensor> {
        if self.values.is_some() {
            let parameters = self.cell.parameters.borrow();
            let of = |name: &str| {
                let id = parameters.id(&format!("{}.{}.{name}", super::parameters::HOST, site.path))?;
                self.values.and_then(|values| values.get(id as usize)).and_then(Option::as_ref)
            };
            if let Some(weight) = of("weight") {
                let bias = of("bias").map(|bias| in_kind(bias, input.kind())).transpose()?;
                return Ok(input.f_linear(&in_kind(weight, input.kind())?, bias.as_ref())?);
            }
        }
        Ok(product(input, weight, bias)?)
    }
}

/// Where the answering engine or the loop stands in a pass, for services.
#[derive(Default)]
pub(super) struct PassState {
    pub(super) phase: Slot<Option<Phase>>,
    /// Rows of a generation by the caller's numbers.
    pub(super) rows: RefCell<Vec<usize>>,
    pub(super) attention_mask: RefCell<Option<Tensor>>,
    /// As they were when the prompts were read.
    pub(super) prompt_rows: RefCell<Vec<usize>>,
    pub(super) prompt_mask: RefCell<Option<Tensor>>,
    pub(super) input_ids: RefCell<Option<Tensor>>,
    pub(super) images: RefCell<Option<Images>>,
    /// Pooled from these when somebody asks: pictures, prompts.
    pub(super) features: RefCell<Option<Tensor>>,
    pub(super) text: RefCell<Option<Tensor>>,
    /// Where the columns of the batch went, if soft tokens were put between them.
    pub(super) shift: RefCell<Option<Shift>>,
}
