//! A cell: one method on one order with one seed. Its state, and forward passes through the model as the method makes it.

use std::cell::{Cell as Slot, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use anyhow::{Context as _, Result, bail, ensure};
use coin_plugin_api::Need;
use tch::{Kind, Tensor};

use crate::config::{RunConfig, StackEntry};
use crate::data::collate::TrainingBatch;
use crate::data::lengths;
use crate::data::prompt::Prompter;
use crate::data::task::{FEATURES_KEPT, Sample, Task};
use crate::model::{Backbone, Tokenizer};
use crate::plugin::{Adapter, Strategy};
use crate::stream::random::Draws;
use crate::train::kept_batches::KeptBatches;
use crate::train::parameters::Parameters;
use crate::train::replay::ReplayBuffer;
use crate::train::tape::Tape;

/// Samples that are read and tokenised at once to plan batches.
const READ_TOGETHER: usize = 1024;
/// Tokenised samples that are kept; more of them are tokenised again when they are needed. One of LLaVA 1.5 takes 10 KB.
const SAMPLES_KEPT: usize = 1 << 15;

/// What every cell of a worker shares: the frozen model, the tasks, the configuration.
pub struct World<'a> {
    pub config: &'a RunConfig,
    pub backbone: &'a Backbone,
    pub tokenizer: &'a Tokenizer,
    /// In the configuration's order.
    pub tasks: &'a [Task],
    /// By task.
    pub prompters: Vec<Prompter<'a>>,
}

impl World<'_> {
    /// The token that fills up shorter rows, which no position attends to.
    pub fn pad_token(&self) -> i64 {
        self.prompters.first().map_or(0, Prompter::end_token)
    }
}

/// One plugin of the stack.
pub struct Entry {
    pub plugin: String,
    pub version: String,
    pub config: StackEntry,
    /// What it declared to need, all of it granted.
    pub grants: BTreeSet<Need>,
}

/// The adapter of a site and the tensors it gets there.
pub struct Adapted {
    /// Place in [`Cell::adapters`].
    pub adapter: usize,
    pub parameters: Vec<u64>,
}

/// The state of a cell. Hooks reach it through services while the loop runs, hence the inner mutability; strategies are kept
/// beside it, since they are called with it.
pub struct Cell<'a> {
    pub world: &'a World<'a>,
    pub seed: u64,
    /// Tasks of each stage, by place in [`World::tasks`]; joint training has one stage with all of them.
    pub stages: Vec<Vec<usize>>,
    pub entries: Vec<Entry>,
    /// With the place of their entry in the stack.
    pub adapters: Vec<(usize, Adapter)>,
    pub parameters: RefCell<Parameters>,
    pub replay: RefCell<ReplayBuffer>,
    /// By site.
    pub adapted: RefCell<Vec<Option<Adapted>>>,
    /// Batches that strategies asked for, with the samples in them.
    pub batches: RefCell<KeptBatches<(Vec<u64>, Rc<TrainingBatch>)>>,
    pub position: Slot<Position>,
    /// Passes with gradients still to be computed, where layers are computed twice.
    pub(super) tapes: RefCell<Vec<Tape>>,
    /// Named numbers that plugins reported and that were not written yet.
    pub metrics: RefCell<Vec<(String, f64)>>,
    /// Rows of forward passes beyond training and answering.
    pub extra_rows: Slot<u64>,
    /// How often each entry of the stack used what it was granted.
    pub granted: RefCell<BTreeMap<(usize, Need), u64>>,
    /// What entries asked for and were not granted, whatever they made of the refusal.
    pub refused: RefCell<BTreeSet<(usize, Need)>>,
    /// The most soft tokens that records were held against.
    soft: Slot<usize>,
    samples: RefCell<BTreeMap<u64, Rc<Sample>>>,
}

/// Where a cell stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub stage: usize,
    pub step: usize,
    pub steps: usize,
    pub micro_batch: usize,
}

/// A strategy with the place of its entry in the stack.
pub type Strategies = Vec<(usize, Strategy)>;

impl<'a> Cell<'a> {
    /// A cell without a method yet; [`super::build::build`] adds it.
    pub fn new(
        world: &'a World<'a>,
        seed: u64,
        stages: Vec<Vec<usize>>,
        entries: Vec<Entry>,
    ) -> Result<Cell<'a>> {
        let mut parameters = Parameters::new(seed, world.backbone.device());
        let training = &world.config.training;
        if training.projector_learning_rate > 0.0 {
            parameters.add_projector(world.backbone, true)?;
        }
        Ok(Cell {
            world,
            seed,
            stages,
            entries,
            adapters: Vec::new(),
            parameters: RefCell::new(parameters),
            replay: RefCell::new(ReplayBuffer::default()),
            adapted: RefCell::new(Vec::new()),
            batches: RefCell::new(KeptBatches::default()),
            granted: RefCell::new(BTreeMap::new()),
            position: Slot::new(Position::default()),
            tapes: RefCell::new(Vec::new()),
            metrics: RefCell::new(Vec::new()),
            extra_rows: Slot::new(0),
            refused: RefCell::new(BTreeSet::new()),
            soft: Slot::new(0),
            samples: RefCell::new(BTreeMap::new()),
        })
    }

    /// Holds test records, and training records of this stage and later ones, against the positions that so many soft tokens leave.
    ///
    /// # Errors
    /// Records that do not fit.
    pub(super) fn check_soft_tokens(&self, count: usize) -> Result<()> {
        if count > self.soft.get() {
            let World { config, backbone, tasks, ref prompters, .. } = *self.world;
            let positions = backbone.config().text_config.max_position_embeddings as usize;
            let ahead = self.stages.get(self.position.get().stage..).unwrap_or_default();
            let trained = |task: usize| ahead.iter().any(|tasks| tasks.contains(&task));
            let limit = config.evaluation.limit;
            lengths::check(tasks, prompters, &[self.seed], limit, positions, count, &trained)?;
            self.soft.set(count);
        }
        Ok(())
    }

    /// Finds the adapter of each site anew, after tensors were registered.
    ///
    /// # Errors
    /// Two adapters with tensors at one site.
    pub fn assign_sites(&self) -> Result<()> {
        let parameters = self.parameters.borrow();
        let sites = self.world.backbone.sites();
        let mut adapted: Vec<Option<Adapted>> = Vec::with_capacity(sites.len());
        for site in sites {
            let mut found: Option<Adapted> = None;
            for (adapter, (entry, _)) in self.adapters.iter().enumerate() {
                let ids = parameters.at_site(*entry, site.index);
                if ids.is_empty() {
                    continue;
                }
                if let Some(first) = &found {
                    let name = |adapter: usize| &self.entries[self.adapters[adapter].0].plugin;
                    bail!(
                        "two adapters at one site: `{}` and `{}` both registered tensors at `{}`\nhint: a stack has at most one adapter a site; give them different target_modules",
                        name(first.adapter),
                        name(adapter),
                        site.path
                    );
                }
                found = Some(Adapted { adapter, parameters: ids });
            }
            adapted.push(found);
        }
        *self.adapted.borrow_mut() = adapted;
        Ok(())
    }

    /// The reference of a training sample: its task and its number there.
    pub fn sample_ref(task: usize, number: usize) -> u64 {
        ((task as u64) << 40) | number as u64
    }

    fn resolve(sample: u64) -> (usize, usize) {
        ((sample >> 40) as usize, (sample & ((1 << 40) - 1)) as usize)
    }

    /// Whether a strategy may use a sample now: one of this stage, or one in the replay buffer where it was granted `replay`.
    pub fn may_see(&self, entry: usize, sample: u64) -> bool {
        let granted = self.entries.get(entry).is_some_and(|entry| entry.grants.contains(&Need::Replay));
        self.is_of_stage(sample) || (granted && self.replay.borrow().slot_of(sample).is_some())
    }

    /// Whether it is a training sample of this stage.
    pub fn is_of_stage(&self, sample: u64) -> bool {
        let (task, _) = Cell::resolve(sample);
        self.stages.get(self.position.get().stage).is_some_and(|tasks| tasks.contains(&task))
    }

    /// The stage that a training sample belongs to.
    pub fn stage_of(&self, sample: u64) -> Result<i64> {
        let (task, _) = Cell::resolve(sample);
        let stage = self.stages.iter().position(|tasks| tasks.contains(&task));
        Ok(stage.context("a sample of a task that is not in the stream")? as i64)
    }

    /// Tokens of the samples behind references.
    pub fn lengths(&self, references: &[u64]) -> Result<Vec<usize>> {
        let mut lengths = Vec::with_capacity(references.len());
        for part in references.chunks(READ_TOGETHER) {
            lengths.extend(self.samples(part)?.iter().map(|sample| sample.example.input_ids.len()));
        }
        Ok(lengths)
    }

    /// The samples behind references. They are kept while there are few.
    pub fn samples(&self, references: &[u64]) -> Result<Vec<Rc<Sample>>> {
        let mut missing: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for reference in references {
            if !self.samples.borrow().contains_key(reference) {
                let (task, number) = Cell::resolve(*reference);
                missing.entry(task).or_default().push(number);
            }
        }
        for (task, mut numbers) in missing {
            numbers.sort_unstable();
            numbers.dedup();
            let world = self.world;
            let source = world.tasks.get(task).zip(world.prompters.get(task));
            let (source, prompter) = source.context("a sample of a task that is not there")?;
            let read = source.samples(&numbers, prompter, self.seed)?;
            let mut known = self.samples.borrow_mut();
            if known.len() + read.len() > SAMPLES_KEPT {
                let wanted: BTreeSet<u64> = references.iter().copied().collect();
                known.retain(|reference, _| wanted.contains(reference));
            }
            for (number, sample) in numbers.iter().zip(read) {
                known.insert(Cell::sample_ref(task, *number), Rc::new(sample));
            }
        }
        let known = self.samples.borrow();
        references
            .iter()
            .map(|reference| known.get(reference).cloned().context("a sample was not read"))
            .collect()
    }

    /// Forgets tokenised samples that are neither of this stage nor in the replay buffer.
    pub fn forget_samples(&self) {
        let replay = self.replay.borrow();
        let kept = |reference: u64| self.is_of_stage(reference) || replay.slot_of(reference).is_some();
        self.samples.borrow_mut().retain(|reference, _| kept(*reference));
    }

    /// Micro-batches of one optimizer step at a stage.
    pub fn accumulate(&self, stage: usize) -> usize {
        let config = &self.world.config;
        let task = match &self.stages[stage][..] {
            [task] => config.task(&self.world.tasks[*task].name),
            _ => None,
        };
        config.training.accumulate_of(task)
    }

    /// Has the pictures of the samples read that make the next batch.
    pub fn expect(&self, references: &[u64]) -> Result<()> {
        let samples = self.samples(references)?;
        for (task, images) in images(references, &samples) {
            self.world.tasks[task].expect(images);
        }
        Ok(())
    }

    /// A training batch of these samples.
    pub fn batch(&self, references: &[u64]) -> Result<TrainingBatch> {
        ensure!(!references.is_empty(), "a batch needs at least one sample");
        let samples = self.samples(references)?;
        let mut features: Vec<Option<Tensor>> = Vec::with_capacity(samples.len());
        // Joint training and replay see many tasks.
        if self.world.tasks.iter().map(Task::held).sum::<usize>() > FEATURES_KEPT {
            self.world.tasks.iter().for_each(Task::forget_features);
        }
        for (task, images) in images(references, &samples) {
            self.world.tasks[task].see(self.world.backbone, images)?;
        }
        for (reference, sample) in references.iter().zip(&samples) {
            let task = &self.world.tasks[Cell::resolve(*reference).0];
            features.push(sample.image.as_deref().map(|image| task.features(image)).transpose()?);
        }
        let rows: Vec<_> = samples
            .iter()
            .zip(&features)
            .map(|(sample, features)| (&sample.example, features.as_ref()))
            .collect();
        let image_token = self.world.backbone.config().image_token_index;
        let (pad, device) = (self.world.pad_token(), self.world.backbone.device());
        let batch = TrainingBatch::new(&rows, image_token, pad, device)?;
        Ok(TrainingBatch { samples: references.to_vec(), ..batch })
    }

    /// Bytes of the replay buffer: tokens as 64-bit integers, pictures as the tower's input in 8 bits a channel, stored tensors.
    pub fn replay_bytes(&self) -> Result<u64> {
        let buffer = self.replay.borrow();
        let side = self.world.backbone.config().vision_config.image_size as u64;
        let mut bytes = buffer.bytes();
        for sample in self.samples(&buffer.samples())? {
            let picture = if sample.image.is_some() { 3 * side * side } else { 0 };
            bytes += 8 * sample.example.input_ids.len() as u64 + picture;
        }
        Ok(bytes)
    }

    /// Mean cross-entropy of logits `[K, V]` at a batch's supervised positions.
    pub fn task_loss(&self, logits: &Tensor, batch: &TrainingBatch) -> Result<Tensor> {
        Ok(logits.f_to_kind(Kind::Float)?.f_cross_entropy_loss::<Tensor>(
            &batch.targets,
            None,
            tch::Reduction::Mean,
            -100,
            0.0,
        )?)
    }

    /// The draws of a stream of the host's own.
    pub fn draws(&self, stream: &str, indices: &[u64]) -> Draws {
        Draws::new(self.seed, stream, indices)
    }

    /// How often each plugin used what it was granted, by plugin and need.
    pub fn uses(&self) -> BTreeMap<String, BTreeMap<String, u64>> {
        let mut uses: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for ((entry, need), count) in self.granted.borrow().iter() {
            let of_plugin = uses.entry(self.plugin(*entry).to_string()).or_default();
            *of_plugin.entry(need.name().to_string()).or_default() += count;
        }
        uses
    }

    /// The name of an entry's plugin.
    pub fn plugin(&self, entry: usize) -> &str {
        self.entries.get(entry).map_or("host", |entry| entry.plugin.as_str())
    }
}

/// The pictures of samples, by task.
fn images<'a>(references: &[u64], samples: &'a [Rc<Sample>]) -> BTreeMap<usize, Vec<&'a str>> {
    let mut images: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for (reference, sample) in references.iter().zip(samples) {
        if let Some(image) = &sample.image {
            images.entry(Cell::resolve(*reference).0).or_default().push(image);
        }
    }
    images
}
