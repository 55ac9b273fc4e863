//! What adapters may ask of the host during a pass.

use std::cell::{Cell as Slot, RefCell};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use anyhow::{Context as _, Result, bail, ensure};
use coin_plugin_api::Need;
use coin_plugin_api::abi::{RawModel, RawRow, RawSite, RawStep};
use tch::{Kind, Tensor, no_grad};

use crate::data::collate::TrainingBatch;
use crate::model::{Images, Pass, Phase, Shift};
use crate::ops::services::{Services, Unavailable};
use crate::plugin::hook::Hook;
use crate::train::cell::Cell;
use crate::train::client::Client;
use crate::train::describe;
use crate::train::forward::{PassState, Purpose};
use crate::train::parameters::copied;

/// The services of one pass: over a training batch, or over prompts and their answers.
pub(super) struct AdapterServices<'c> {
    client: Client<'c>,
    batch: Option<&'c TrainingBatch>,
    purpose: Purpose,
    /// The task being answered, by place in the world.
    task: Option<usize>,
    /// The snapshot whose values stand in place of those in force.
    snapshot: Option<&'c str>,
    pass: PassState,
    site: Slot<usize>,
    /// What is asked: the output of a site, or soft tokens.
    hook: Slot<Hook>,
    /// The adapter at the site said that it looks at one token at a time.
    token_local: Slot<bool>,
    terms: RefCell<Vec<(String, Tensor)>>,
    /// What was counted, by buffer, in the order of the calls.
    counts: RefCell<Vec<(u64, Tensor)>>,
    /// Of a pass that is computed again: the buffers as they were the first time, before its counts.
    before: Option<&'c BTreeMap<u64, Tensor>>,
    /// By key: the rows it was kept for, and one row of the tensor for each.
    sequences: RefCell<BTreeMap<String, (Vec<usize>, Tensor)>>,
}

impl<'c> AdapterServices<'c> {
    pub(super) fn new(
        cell: &'c Cell<'c>,
        batch: Option<&'c TrainingBatch>,
        purpose: Purpose,
        task: Option<usize>,
    ) -> AdapterServices<'c> {
        AdapterServices {
            client: Client::new(cell, 0),
            batch,
            purpose,
            task,
            snapshot: None,
            pass: PassState::default(),
            site: Slot::new(0),
            hook: Slot::new(Hook::Adapt),
            token_local: Slot::new(false),
            terms: RefCell::new(Vec::new()),
            counts: RefCell::new(Vec::new()),
            before: None,
            sequences: RefCell::new(BTreeMap::new()),
        }
    }

    /// Answers with the values of a snapshot.
    pub(super) fn of_snapshot(self, snapshot: Option<&'c str>) -> AdapterServices<'c> {
        AdapterServices { snapshot, ..self }
    }

    /// For a pass that is computed again.
    pub(super) fn with_buffers(self, before: &'c BTreeMap<u64, Tensor>) -> AdapterServices<'c> {
        AdapterServices { before: Some(before), ..self }
    }

    /// The value that a buffer had when the pass was computed first, where it was counted in since.
    pub(super) fn before(&self, id: u64) -> Option<&Tensor> {
        self.before?.get(&id)
    }

    pub(super) fn begin(&self, pass: &Pass) -> Result<()> {
        let input = pass.input;
        self.pass.phase.set(Some(pass.phase));
        self.pass.rows.borrow_mut().clone_from(&input.rows);
        *self.pass.attention_mask.borrow_mut() = Some(input.attention_mask.shallow_clone());
        if pass.phase == Phase::Prefill && input.soft.is_none() {
            // Rows are counted anew in each task and part of one: what was kept for others neither answers for these nor tells where
            // they begin.
            self.sequences.borrow_mut().clear();
        }
        // With soft tokens the prompts are the same, and known from the time before.
        if pass.phase != Phase::Decode && input.soft.is_none() {
            *self.pass.shift.borrow_mut() = None;
            self.pass.prompt_rows.borrow_mut().clone_from(&input.rows);
            *self.pass.prompt_mask.borrow_mut() = Some(input.attention_mask.shallow_clone());
            *self.pass.input_ids.borrow_mut() = Some(input.input_ids.shallow_clone());
            *self.pass.images.borrow_mut() = input.images.as_ref().map(Images::shallow_clone);
            *self.pass.features.borrow_mut() = None;
            *self.pass.text.borrow_mut() = None;
        }
        Ok(())
    }

    /// Of a tensor with a row for each prompt, the rows that are still being answered.
    fn open_rows(&self, of_prompts: &Tensor) -> Result<Tensor> {
        let (rows, prompts) = (self.pass.rows.borrow(), self.pass.prompt_rows.borrow());
        if *rows == *prompts {
            return Ok(of_prompts.shallow_clone());
        }
        let place = |row: &usize| prompts.iter().position(|known| known == row).map(|place| place as i64);
        let places: Option<Vec<i64>> = rows.iter().map(place).collect();
        let places = places.context("a row is answered whose prompt was not seen")?;
        let index = Tensor::f_from_slice(&places)?.f_to_device(of_prompts.device())?;
        Ok(of_prompts.f_index_select(0, &index)?)
    }

    pub(super) fn at_site(&self, site: usize, entry: usize, token_local: bool) {
        self.hook.set(Hook::Adapt);
        self.site.set(site);
        self.client.becomes(entry);
        self.token_local.set(token_local);
    }

    pub(super) fn at_prefix(&self, entry: usize) {
        self.hook.set(Hook::Prefix);
        self.site.set(self.client.cell.world.backbone.sites().len());
        self.client.becomes(entry);
        self.token_local.set(false);
    }

    /// Soft tokens were put between the columns of the batch.
    pub(super) fn shifted(&self, shift: Shift) {
        *self.pass.shift.borrow_mut() = Some(shift);
    }

    /// Refuses what an adapter that is token-local cannot use rightly: it may be shown some tokens of a batch, some of them twice,
    /// or a beginning that rows have in common once.
    fn whole_batch(&self, service: &str) -> Result<()> {
        if !self.token_local.get() {
            return Ok(());
        }
        Err(Unavailable(format!(
            "`{service}` is not available in {}, which is token-local: the host shows it only tokens whose result is read\nhint: let `token_local` of the adapter be false",
            self.hook()
        ))
        .into())
    }

    pub(super) fn take_terms(&self) -> Vec<(String, Tensor)> {
        self.terms.take()
    }

    /// Adds what was counted to the buffers, and gives these as they were.
    pub(super) fn settle_counts(&self) -> Result<BTreeMap<u64, Tensor>> {
        let parameters = self.client.cell.parameters.borrow();
        let mut before = BTreeMap::new();
        for (buffer, delta) in self.counts.take() {
            let target = &parameters.get(buffer)?.tensor;
            if let Entry::Vacant(place) = before.entry(buffer) {
                place.insert(copied(target)?);
            }
            let _sum = no_grad(|| target.shallow_clone().f_add_(&delta))?;
        }
        Ok(before)
    }

    fn input_ids(&self) -> Result<Tensor> {
        let ids = self.pass.input_ids.borrow();
        Ok(ids.as_ref().context("no pass has begun")?.shallow_clone())
    }
}

impl Services for AdapterServices<'_> {
    fn hook(&self) -> String {
        self.client.name(self.hook.get())
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

    fn value(&self, id: u64) -> Result<Tensor> {
        if let Some(value) = self.before(id) {
            return Ok(value.shallow_clone());
        }
        let Some(name) = self.snapshot else { return self.client.value(id) };
        let parameters = self.client.cell.parameters.borrow();
        let value = parameters.snapshot_values(name)?.get(id as usize).and_then(Option::as_ref);
        let value = value.with_context(|| {
            format!("tensor {id} was registered after the snapshot `{name}`\nhint: a teacher computes with what the snapshot has")
        })?;
        Ok(value.shallow_clone())
    }

    fn step(&self) -> Result<RawStep> {
        let phase = match (self.pass.phase.get(), self.purpose) {
            (Some(Phase::Prefill), _) => 1,
            (Some(Phase::Decode), _) => 2,
            (_, Purpose::Train) => 0,
            (_, Purpose::Teacher) => 3,
            (_, Purpose::Extra) => 4,
        };
        Ok(describe::step(self.client.cell, phase, self.pass.rows.borrow().len()))
    }

    fn attention_mask(&self) -> Result<Tensor> {
        self.whole_batch("attention_mask")?;
        Ok(self.pass.attention_mask.borrow().as_ref().context("no pass has begun")?.shallow_clone())
    }

    fn label_mask(&self) -> Result<Tensor> {
        self.whole_batch("label_mask")?;
        let Some(batch) = self.batch else { bail!("`label_mask` is not available while answering") };
        let mask = describe::label_mask(batch)?;
        match self.pass.shift.borrow().as_ref() {
            Some(shift) => shift.widen(&mask, 0),
            None => Ok(mask),
        }
    }

    fn image_features(&self) -> Result<Tensor> {
        self.client.need(Need::ImageFeatures)?;
        self.whole_batch("image_features")?;
        if self.pass.features.borrow().is_none() {
            let (ids, images) = (self.input_ids()?, self.pass.images.borrow());
            let backbone = self.client.cell.world.backbone;
            let pooled = describe::pooled_images(backbone, images.as_ref(), ids.size2()?)?;
            *self.pass.features.borrow_mut() = Some(pooled);
        }
        let features = self.pass.features.borrow();
        self.open_rows(features.as_ref().context("no pass has begun")?)
    }

    fn text_features(&self) -> Result<Tensor> {
        self.client.need(Need::TextFeatures)?;
        self.whole_batch("text_features")?;
        if self.pass.text.borrow().is_none() {
            let (ids, mask) = (self.input_ids()?, self.pass.prompt_mask.borrow());
            let mask = mask.as_ref().context("no pass has begun")?;
            let pooled = describe::pooled_text(self.client.cell.world.backbone, &ids, self.batch, mask)?;
            *self.pass.text.borrow_mut() = Some(pooled);
        }
        let text = self.pass.text.borrow();
        self.open_rows(text.as_ref().context("no pass has begun")?)
    }

    fn image_rows(&self) -> Result<Tensor> {
        self.whole_batch("image_rows")?;
        let (ids, images) = (self.input_ids()?, self.pass.images.borrow());
        let Some(images) = images.as_ref() else {
            return Ok(ids.f_new_empty([0], (Kind::Int64, ids.device()))?);
        };
        describe::image_rows(images, ids.size2()?.1)
    }

    fn row_stages(&self) -> Result<Tensor> {
        self.whole_batch("row_stages")?;
        let Some(batch) = self.batch else {
            return Err(Unavailable(format!(
                "`row_stages` is not available in {} while answering",
                self.hook()
            ))
            .into());
        };
        describe::row_stages(self.client.cell, batch)
    }

    fn task_index(&self) -> Result<u64> {
        match self.task {
            None => Ok(self.client.cell.position.get().stage as u64),
            Some(task) => {
                self.client.need(Need::TaskIdAtTest)?;
                let stage = self.client.cell.stages.iter().position(|tasks| tasks.contains(&task));
                Ok(stage.context("the task is not in the stream")? as u64)
            }
        }
    }

    fn prompt_embeddings(&self) -> Result<Tensor> {
        self.client.need(Need::TextFeatures)?;
        self.whole_batch("prompt_embeddings")?;
        let (ids, mask) = (self.input_ids()?, self.pass.prompt_mask.borrow());
        let mask = mask.as_ref().context("no pass has begun")?;
        self.open_rows(&describe::prompt_embeddings(self.client.cell.world.backbone, &ids, self.batch, mask)?)
    }

    fn add_term(&self, name: &str, value: &Tensor) -> Result<()> {
        self.whole_batch("add_term")?;
        ensure!(value.numel() == 1, "add_term `{name}`: a scalar is needed, not shape {:?}", value.size());
        let number = value.f_double_value(&[])?;
        ensure!(number.is_finite(), "add_term `{name}`: it is {number}");
        if self.purpose == Purpose::Train {
            self.terms.borrow_mut().push((name.to_string(), value.shallow_clone()));
        }
        Ok(())
    }

    fn count(&self, buffer: u64, delta: &Tensor) -> Result<()> {
        self.whole_batch("count")?;
        let parameters = self.client.cell.parameters.borrow();
        let target = parameters.get(buffer)?;
        ensure!(target.buffer, "count: `{}` is not a buffer", target.name);
        if self.purpose == Purpose::Train && self.batch.is_some() {
            // Added after the pass: every call in it sees the buffer as it was before.
            self.counts.borrow_mut().push((buffer, delta.f_detach()?));
        }
        Ok(())
    }

    fn sequence(&self, key: &str) -> Result<Option<Tensor>> {
        self.whole_batch("sequence")?;
        let sequences = self.sequences.borrow();
        let key = format!("{}/{}/{key}", self.client.entry.get(), self.site.get());
        let Some((kept, tensor)) = sequences.get(&key) else { return Ok(None) };
        let rows = self.pass.rows.borrow();
        let places: Option<Vec<i64>> = rows
            .iter()
            .map(|row| kept.iter().position(|known| known == row).map(|place| place as i64))
            .collect();
        let Some(places) = places else { return Ok(None) };
        let index = Tensor::f_from_slice(&places)?.f_to_device(tensor.device())?;
        Ok(Some(tensor.f_index_select(0, &index)?))
    }

    fn set_sequence(&self, key: &str, value: &Tensor) -> Result<()> {
        self.whole_batch("set_sequence")?;
        let rows = self.pass.rows.borrow().clone();
        ensure!(
            value.size().first() == Some(&(rows.len() as i64)),
            "set_sequence `{key}`: shape {:?} for {} rows",
            value.size(),
            rows.len()
        );
        let key = format!("{}/{}/{key}", self.client.entry.get(), self.site.get());
        self.sequences.borrow_mut().insert(key, (rows, value.shallow_clone()));
        Ok(())
    }

    fn rows(&self) -> Result<Vec<RawRow>> {
        bail!("`rows` is not available in an adapter: it sees a batch, not where its rows come from")
    }

    fn seed(&self, stream: &str) -> Result<u64> {
        let call = [self.site.get(), self.client.entry.get(), self.purpose as usize];
        Ok(self.client.seed(self.hook.get(), stream, &call))
    }

    fn training(&self) -> bool {
        self.purpose == Purpose::Train && self.batch.is_some()
    }

    fn call_op_granted(&self) -> bool {
        self.client.need(Need::CallOp).is_ok()
    }
}
