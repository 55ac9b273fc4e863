//! A stage that a run has kept, found by the names of its cell and its task.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::compare::manifest::{FILE_NAME, Manifest};
use crate::compare::protocol::Work;
use crate::compare::run::works;
use crate::config::{RunConfig, StackEntry, nearest};

/// What a cell, or a reference, had learnt at the end of a stage.
pub(super) struct KeptStage {
    pub(super) manifest: Manifest,
    pub(super) method: String,
    pub(super) stack: Vec<StackEntry>,
    pub(super) stage: usize,
    /// How many stages there are in all.
    pub(super) stages: usize,
    /// The task that it trained on; none where it was all at once.
    pub(super) after: Option<String>,
    /// Its `parameters.safetensors`, which is there.
    pub(super) file: PathBuf,
}

impl KeptStage {
    /// That of the cell `name` (`METHOD/ORDER/SEED`, or `joint/SEED` and `single/SEED/TASK` of the references) in the folder `run`, after
    /// the task `after` or at its end.
    ///
    /// # Errors
    /// No such cell or stage, with what there is.
    pub(super) fn find(run: &Path, name: &str, after: Option<&str>) -> Result<KeptStage> {
        let manifest = Manifest::read(run)?.with_context(|| {
            format!(
                "{} holds no {FILE_NAME}\nhint: name the folder of a run (`compare --out`)",
                run.display()
            )
        })?;
        let works = works(&manifest.config);
        let work = works.iter().find(|work| is_trained(work) && work.name() == name).with_context(|| {
            let names: Vec<String> = works.iter().filter(|work| is_trained(work)).map(Work::name).collect();
            let hint = nearest::hint(name, names.iter().map(String::as_str));
            format!("{} has no cell `{name}`\nhint: {hint}", run.display())
        })?;
        let (method, stack, tasks) = made_of(&manifest.config, work)?;
        let stage = match after {
            None => tasks.len().saturating_sub(1),
            Some(_) if tasks == [None] => {
                bail!("{name} trains on all tasks at once, and keeps one stage\nhint: leave out --after")
            }
            Some(task) => {
                let known = || tasks.iter().flatten().map(String::as_str);
                known().position(|known| known == task).with_context(|| {
                    let hint = nearest::hint(task, known().collect::<Vec<_>>());
                    format!("cell {name} has no stage of a task `{task}`\nhint: {hint}")
                })?
            }
        };
        let stages = run.join(work.folder()).join("stages");
        let file = stages.join(stage.to_string()).join("parameters.safetensors");
        ensure!(
            file.is_file(),
            "cell {name} has no stage {stage} yet: {} is not there\nhint: {}`coin-host compare` goes on with the run",
            file.display(),
            if tasks.len() > 1 { "`--after TASK` names an earlier one, " } else { "" }
        );
        let (stages, after) = (tasks.len(), tasks.into_iter().nth(stage).flatten());
        Ok(KeptStage { manifest, method, stack, stage, stages, after, file })
    }
}

fn is_trained(work: &Work) -> bool {
    !matches!(work, Work::ZeroShot)
}

/// Method, stack and the task of each stage; none for all at once.
fn made_of(config: &RunConfig, work: &Work) -> Result<(String, Vec<StackEntry>, Vec<Option<String>>)> {
    let reference = |number: usize, task: Option<String>| {
        let reference = config.references.get(number).context("no such reference")?;
        Ok((reference.method.clone(), reference.stack.clone(), vec![task]))
    };
    match work {
        Work::Cell { cell } => {
            let order = config.orders.iter().find(|order| order.name == cell.order);
            let order = order.with_context(|| format!("no order is named `{}`", cell.order))?;
            let method = config.method(&cell.method);
            let method = method.with_context(|| format!("no method is named `{}`", cell.method))?;
            Ok((cell.method.clone(), method.stack.clone(), order.tasks.iter().cloned().map(Some).collect()))
        }
        Work::Joint { reference: number, .. } => reference(*number, None),
        Work::Single { reference: number, task, .. } => reference(*number, Some(task.clone())),
        Work::ZeroShot => bail!("zero-shot answers are given before any training"),
    }
}
