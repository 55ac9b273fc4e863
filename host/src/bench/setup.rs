//! What both benchmarks start from: a checkpoint, records and a method, put together as a worker of a comparison does it.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::bench::records::FileRecords;
use crate::compare::world::PluginCache;
use crate::config::resolved::{Backbone, Evaluation, Location, Protocol, Scheduler, Training};
use crate::config::{Device, Dtype, Plugins, RunConfig, StackEntry, Trust};
use crate::data::bad_input::BadInput;
use crate::data::prompt::{Prompter, Template};
use crate::data::task::{Instruction, Pictures, Task};
use crate::eval::logits::{Inputs, Loaded};
use crate::eval::scorer::Metric;
use crate::ops::set_compute_device;
use crate::train::build::build;
use crate::train::cell::{Cell, Strategies, World};

/// What a user asks for.
pub struct Request<'a> {
    pub inputs: Inputs<'a>,
    pub dtype: Dtype,
    /// The method, as a stack of one plugin.
    pub method: Option<StackEntry>,
    /// Whether the projector is trained too.
    pub projector: bool,
    pub plugin_dirs: Vec<PathBuf>,
    pub batch_size: usize,
    pub steps: usize,
    pub learning_rate: f64,
    pub gradient_checkpointing: bool,
    pub max_new_tokens: usize,
    /// Answers one at a time, from weights without the adapter in them.
    pub strict: bool,
    /// CPU threads; all cores without.
    pub threads: Option<usize>,
}

/// What was asked for, read and checked.
pub struct Setup {
    pub(super) config: RunConfig,
    pub(super) loaded: Loaded,
    pub(super) tasks: Vec<Task>,
    pub(super) method: Option<StackEntry>,
    pub(super) dtype: Dtype,
}

impl Setup {
    /// Reads everything but pictures, and sets the threads of this process.
    pub fn new(request: Request) -> Result<Setup> {
        let threads = match request.threads {
            Some(threads) => threads,
            None => std::thread::available_parallelism().map_or(1, usize::from),
        };
        tch::set_num_threads(threads as i32);
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
        let config = config(&request, threads);
        let loaded = request.inputs.load()?;
        set_compute_device(loaded.backbone.device());
        let source = FileRecords::new(&loaded.conversations)?;
        ensure!(
            loaded.conversations.len() >= request.batch_size,
            "{} has {} records for batches of {}\nhint: a smaller --batch-size",
            request.inputs.data.display(),
            loaded.conversations.len(),
            request.batch_size
        );
        let setup = Setup {
            tasks: vec![Task::new(
                String::from("bench"),
                Metric::ExactMatch,
                request.max_new_tokens,
                Box::new(source),
                Instruction::None,
                Pictures {
                    root: loaded.pictures.root.clone(),
                    transform: loaded.pictures.transform.clone(),
                    blank: false,
                },
            )],
            config,
            loaded,
            method: request.method,
            dtype: request.dtype,
        };
        setup.loaded.examples(&setup.prompter()?)?;
        Ok(setup)
    }

    pub(super) fn prompter(&self) -> Result<Prompter<'_>> {
        let model = self.loaded.backbone.config();
        let template = Template::named(model.template())?;
        let image_tokens = model.image_tokens() as usize;
        Prompter::new(template, &self.loaded.tokenizer, model.image_token_index, image_tokens)
    }

    pub(super) fn world(&self) -> Result<World<'_>> {
        Ok(World {
            config: &self.config,
            backbone: &self.loaded.backbone,
            tokenizer: &self.loaded.tokenizer,
            tasks: &self.tasks,
            prompters: vec![self.prompter()?],
        })
    }

    /// The cell of the method, which is given.
    pub(super) fn cell<'w>(&self, world: &'w World<'w>) -> Result<(Cell<'w>, Strategies)> {
        let entry = self.method.as_ref().context("a method must be named\nhint: --method lora")?;
        let mut shelf = PluginCache::new(&self.config.plugins);
        let stack = std::slice::from_ref(entry);
        build(world, &mut |name| Ok(shelf.plugin(name)?), stack, 0, vec![vec![0]])
    }

    pub(super) fn threads(&self) -> usize {
        self.config.training.threads
    }

    pub(super) fn dtype(&self) -> String {
        format!("{:?}", self.dtype).to_lowercase()
    }
}

/// AdamW at a constant rate without decay, on the method's tensors and on the projector if an adapter has one: what is compared is a step,
/// not a recipe.
fn config(request: &Request, threads: usize) -> RunConfig {
    RunConfig {
        name: String::from("bench"),
        seeds: vec![0],
        orders: Vec::new(),
        references: Vec::new(),
        backbone: Backbone {
            path: Location::Folder(request.inputs.model.to_path_buf()),
            vision_tower: None,
            feature_cache: None,
            feature_cache_gib: None,
            shape: None,
            device: Device::Auto,
            dtype: request.dtype,
        },
        training: Training {
            batch_size: request.batch_size,
            steps: Some(request.steps),
            epochs: None,
            learning_rate: request.learning_rate,
            projector_learning_rate: if request.projector { request.learning_rate } else { 0.0 },
            weight_decay: 0.0,
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            scheduler: Scheduler::Constant,
            warmup_ratio: 0.0,
            clip_norm: 1.0,
            accumulate: 1,
            gradient_checkpointing: request.gradient_checkpointing,
            threads,
        },
        evaluation: Evaluation {
            batch_size: request.batch_size,
            max_new_tokens: request.max_new_tokens,
            scorers: Vec::new(),
            limit: None,
            strict: request.strict,
            count_flips: 0,
        },
        protocol: Protocol {
            replay_samples_per_task: 0,
            replay_total_samples: 0,
            task_id_at_test: false,
            blank_pictures: false,
            strict: false,
            call_op: true,
            replaces_task_loss: true,
        },
        tasks: Vec::new(),
        methods: Vec::new(),
        judge: None,
        plugins: Plugins { dirs: request.plugin_dirs.clone(), dev: Vec::new(), trust: Trust::Locked },
    }
}

/// An error of what a user gave.
pub(super) fn bad(error: anyhow::Error) -> anyhow::Error {
    BadInput::from(error).into()
}
