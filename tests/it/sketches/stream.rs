//! Two small tasks, with and without pictures, and cells on them.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use coin_host::compare::world::{self, PluginCache};
use coin_host::config::{self, Request, RunConfig, StackEntry};
use coin_host::data::source::Source;
use coin_host::data::task::Task;
use coin_host::train::build::build;
use coin_host::train::cell::{Cell, Strategies, World};
use coin_plugin_api::{DatasetDescription, Record, Split};

use crate::{built, runs};

pub(super) const SAMPLES: usize = 8;
pub(super) const ROWS: usize = 4;
/// More than one pass over the samples.
pub(super) const STEPS: usize = 3;
pub(super) const LEARNING_RATE: f64 = 0.02;
/// So large that AdamW's update is a smooth function of the gradient, near zero too.
pub(super) const EPSILON: f64 = 0.1;

/// Where cargo puts the libraries of `tests/sketches`.
pub(crate) fn folder() -> PathBuf {
    let folder = built::folder().join("examples");
    assert!(
        folder.join("libl2p.so").is_file(),
        "{} has no sketches\nhint: `cargo build --release --workspace --examples`, or `make test`",
        folder.display()
    );
    folder
}

/// A run of these tasks by `methods`, the lines `name = [stack]`.
pub(super) fn configuration(methods: &[(&str, &str)]) -> String {
    let task = |name: &str| {
        format!("[tasks.{name}]\ndataset = \"coin-datasets/{name}\"\nroot = {:?}\n", runs::data())
    };
    let methods: String =
        methods.iter().map(|(name, stack)| format!("[methods.{name}]\nstack = [{stack}]\n")).collect();
    format!(
        "references = []\n\
         [backbone]\npath = \"builtin:tiny\"\ndevice = \"cpu\"\n\
         [training]\nbatch_size = {ROWS}\nsteps = {STEPS}\nlearning_rate = {LEARNING_RATE}\nprojector_learning_rate = {LEARNING_RATE}\n\
         epsilon = {EPSILON}\nscheduler = \"constant\"\nwarmup_ratio = 0.0\nclip_norm = 0.0\n\
         [evaluation]\nlimit = 4\nmax_new_tokens = 4\n\
         [protocol]\nreplay_total_samples = 3\nreplaces_task_loss = true\n\
         [plugins]\ndirs = [{folder:?}]\ndev = [{folder:?}, {built:?}]\n\
         {tasks}{methods}",
        folder = folder(),
        built = built::folder(),
        tasks = task("scienceqa") + &task("grounding"),
    )
}

/// The first records of another source, every second one without its picture.
struct First(Box<dyn Source>);

impl Source for First {
    fn describe(&self) -> Result<DatasetDescription> {
        self.0.describe()
    }
    fn len(&self, split: Split) -> Result<usize> {
        Ok(self.0.len(split)?.min(SAMPLES))
    }
    fn records(&self, split: Split, start: usize, end: usize) -> Result<Vec<Record>> {
        let mut records = self.0.records(split, start, end)?;
        for (record, number) in records.iter_mut().zip(start..end) {
            record.image = record.image.take().filter(|_| number % 2 == 0);
        }
        Ok(records)
    }
    fn files(&self) -> Result<Vec<std::path::PathBuf>> {
        self.0.files()
    }

    fn verify(&self) -> Result<Vec<String>> {
        self.0.verify()
    }
    fn score(&self, prediction: &str, record: &Record) -> Result<Option<f64>> {
        self.0.score(prediction, record)
    }
}

fn shortened(task: Task) -> Task {
    let Task { name, metric, max_new_tokens, source, instruction, pictures, .. } = task;
    Task::new(name, metric, max_new_tokens, Box::new(First(source)), instruction, (*pictures).clone())
}

/// Lends a world to a test, with some keys set, the stack to train in it, and what loads its plugins.
pub(crate) fn with_world<T>(
    stack: &str,
    set: &[&str],
    test: impl FnOnce(&World, &[StackEntry], &mut PluginCache) -> Result<T>,
) -> T {
    // As a worker has it; the tests run beside each other.
    tch::set_num_threads(1);
    let file = tempfile::Builder::new().prefix("run").suffix(".toml").tempfile().expect("a temporary file");
    std::fs::write(file.path(), configuration(&[("sketch", stack)])).expect("written");
    let set: Vec<String> = set.iter().map(ToString::to_string).collect();
    let request = Request { path: Some(file.path()), set: &set, ..Request::default() };
    let config = config::load(&request).unwrap_or_else(|error| panic!("{error}")).config;
    in_world(&config, test).unwrap_or_else(|error| panic!("{stack}: {error:#}"))
}

fn in_world<T>(
    config: &RunConfig,
    test: impl FnOnce(&World, &[StackEntry], &mut PluginCache) -> Result<T>,
) -> Result<T> {
    let mut shelf = PluginCache::new(&config.plugins);
    let parts = world::load(config, &mut shelf)?;
    let tasks: Vec<Task> = parts.tasks.into_iter().map(shortened).collect();
    let world = World {
        config,
        backbone: &parts.backbone,
        tokenizer: &parts.tokenizer,
        tasks: &tasks,
        prompters: world::prompters(config, &parts.backbone, &parts.tokenizer)?,
    };
    let stack = &config.method("sketch").context("the method of the test")?.stack;
    test(&world, stack, &mut shelf)
}

/// A cell of a stage for each task.
pub(crate) fn cell<'w>(
    world: &'w World<'w>,
    stack: &[StackEntry],
    shelf: &mut PluginCache,
) -> Result<(Cell<'w>, Strategies)> {
    build(world, &mut |plugin| Ok(shelf.plugin(plugin)?), stack, 0, vec![vec![0], vec![1]])
}
