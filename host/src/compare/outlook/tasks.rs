//! How large the tasks of a run are: as counted where their data is, else as in CoIN's release.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use coin_plugin_api::Split;
use serde::Serialize;

use crate::compare::message::message;
use crate::compare::plan::Plan;
use crate::compare::world::{self, PluginCache};
use crate::config::{Location, Reference, ReferenceKind, RunConfig};
use crate::data::release;

/// Training and test records of a task, or why its data, which is here, cannot be opened.
pub type Count = Result<[usize; 2], String>;

/// Those of the tasks whose data is here, by name.
pub type Counts = BTreeMap<String, Count>;

/// Opens a task's data and counts it.
pub fn counted(config: &RunConfig, name: &str, shelf: &mut PluginCache) -> Count {
    let mut count = || -> Result<[usize; 2]> {
        let task = config.task(name).context("no such task")?;
        let source = world::source(name, task, &world::root(&task.root)?, shelf)?;
        Ok([source.len(Split::Train)?, source.len(Split::Test)?])
    };
    count().map_err(|error| {
        let why = message(&error);
        // Who reads this knows which task it is.
        why.strip_prefix(&format!("task {name}: ")).unwrap_or(&why).to_owned()
    })
}

/// Whether a task's folder is there, or can be made.
pub(in crate::compare) fn is_here(root: &Location) -> bool {
    match root {
        Location::Builtin(_) => true,
        Location::Folder(folder) => folder.exists(),
    }
}

/// Where the size of a task is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SizesFrom {
    /// The records that are here.
    Data,
    /// CoIN's release; the data is not here or cannot be opened.
    Release,
}

/// One task of the outlook.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskOutlook {
    pub task: String,
    pub train: usize,
    pub test: usize,
    pub sizes_from: SizesFrom,
    /// Whether its data is here, be it that it cannot be opened.
    pub is_here: bool,
    pub rows_per_step: usize,
    /// Optimizer steps of its stage.
    pub steps: usize,
}

/// The tasks of a run; none where one was not counted and is none of CoIN's.
pub fn tasks(config: &RunConfig, counts: &Counts) -> Option<Vec<TaskOutlook>> {
    config.tasks.iter().map(|(name, _)| task(config, name, counts.get(name))).collect()
}

fn task(config: &RunConfig, name: &str, counted: Option<&Count>) -> Option<TaskOutlook> {
    let task = config.task(name)?;
    let ([train, test], sizes_from) = match (counted, &task.root) {
        (Some(Ok(counted)), _) => (*counted, SizesFrom::Data),
        // Stand-ins have another size.
        (_, Location::Builtin(_)) => return None,
        (_, Location::Folder(_)) => {
            let size = release::SIZES.iter().find(|size| size.dataset == task.dataset)?;
            ([size.train.number(), size.test.number()], SizesFrom::Release)
        }
    };
    let rows_per_step = config.training.batch_size * config.training.accumulate_of(Some(task));
    let steps = match (config.training.steps, config.training.epochs) {
        (Some(steps), _) => steps,
        (None, epochs) => {
            ((train as f64 * epochs.unwrap_or(1.0) / rows_per_step as f64).ceil() as usize).max(1)
        }
    };
    let test = config.evaluation.limit.map_or(test, |limit| limit.min(test));
    let (task, is_here) = (name.to_owned(), counted.is_some());
    Some(TaskOutlook { task, train, test, sizes_from, is_here, rows_per_step, steps })
}

/// What a run does in all.
pub struct Amount {
    /// Trainings that pass over every task once: cells, and references on single tasks.
    pub streams: usize,
    pub joint: usize,
    /// Steps of one joint training, and rows of each; 0 where there is none.
    pub joint_steps: usize,
    pub joint_rows: usize,
    /// Optimizer steps of all trainings.
    pub steps: usize,
    /// Test items of all tasks.
    pub items: usize,
    /// Items answered in all: a cell answers every task after each stage, a reference once, and so does zero-shot.
    pub answers: usize,
}

impl Amount {
    pub fn of(config: &RunConfig, tasks: &[TaskOutlook]) -> Amount {
        let plan = Plan::new(config);
        let (cells, references) = (plan.cells.len(), plan.references.len());
        let is_joint = |reference: &&Reference| reference.kind == ReferenceKind::Joint;
        let joint = config.references.iter().filter(is_joint).count() * config.seeds.len();
        let (joint_steps, joint_rows) = if joint > 0 { joint_training(config, tasks) } else { (0, 0) };
        let streams = cells + references - joint;
        let items: usize = tasks.iter().map(|task| task.test).sum();
        Amount {
            streams,
            joint,
            joint_steps,
            joint_rows,
            steps: streams * tasks.iter().map(|task| task.steps).sum::<usize>() + joint * joint_steps,
            items,
            answers: items * (cells * tasks.len() + references + 1),
        }
    }
}

/// Steps of a joint training, and rows of each.
fn joint_training(config: &RunConfig, tasks: &[TaskOutlook]) -> (usize, usize) {
    let training = &config.training;
    let rows_per_step = training.batch_size * training.accumulate_of(None);
    let rows: usize = tasks.iter().map(|task| task.train).sum();
    let steps = match training.steps {
        Some(steps) => steps * tasks.len(),
        None => (rows as f64 * training.epochs.unwrap_or(1.0) / rows_per_step as f64).ceil() as usize,
    };
    (steps.max(1), rows_per_step)
}
