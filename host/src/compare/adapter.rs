//! The adapter that a stage of a run left behind.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::compare::kept_stage::KeptStage;
use crate::compare::manifest::Manifest;
use crate::config::StackEntry;
use crate::model::weights;
use crate::train::peft::PeftAdapter;

/// That of a cell of the run in the folder `run`, after the task `after` or at its end; `name` is `METHOD/ORDER/SEED`, or `joint/SEED` and
/// `single/SEED/TASK` of the references.
///
/// # Errors
/// No such cell or stage, or a method without LoRA.
pub fn of_cell(run: &Path, name: &str, after: Option<&str>) -> Result<PeftAdapter> {
    let kept = KeptStage::find(run, name, after)?;
    read(&kept.file, &kept.stack).with_context(|| format!("method {}", kept.method))
}

/// Reads `RUN/cells/METHOD/ORDER/SEED/stages/NUMBER`; what the method's stack was stands in the run's manifest.
///
/// # Errors
/// Not such a folder, or a method without LoRA.
pub fn of_stage(stage: &Path) -> Result<PeftAdapter> {
    let stage = stage
        .canonicalize()
        .with_context(|| format!("{} cannot be read\nhint: {STAGES}{}", stage.display(), beside(stage)))?;
    let place = || format!("{} is no stage of a run\nhint: {STAGES}", stage.display());
    let above = |levels: usize| stage.ancestors().nth(levels);
    let (method, run) = above(4).zip(above(6)).with_context(place)?;
    let method = method.file_name().with_context(place)?.to_string_lossy();
    let path = run.join("manifest.json");
    let text = std::fs::read_to_string(&path).with_context(place)?;
    let manifest: Manifest = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let stack = manifest
        .config
        .method(&method)
        .with_context(|| format!("{} knows no method `{method}`", path.display()))?;
    let file = stage.join("parameters.safetensors");
    ensure!(file.is_file(), place());
    read(&file, &stack.stack).with_context(|| format!("method {method}"))
}

fn read(file: &Path, stack: &[StackEntry]) -> Result<PeftAdapter> {
    let tensors = weights::load_all(file)?;
    let named = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
    PeftAdapter::of_parameters(named, &stack.iter().collect::<Vec<&StackEntry>>())
}

const STAGES: &str = "a run keeps them in cells/METHOD/ORDER/SEED/stages, by number; `--run RUN --cell METHOD/ORDER/SEED --after TASK` finds one by name";

/// The stages that there are.
fn beside(stage: &Path) -> String {
    let entries = stage.parent().and_then(|folder| std::fs::read_dir(folder).ok());
    let names = entries.into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut numbers: Vec<u64> = names.filter_map(|name| name.to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    match (numbers.first(), numbers.last()) {
        (Some(first), Some(last)) => format!("; here {first} to {last}, in the order of the tasks"),
        _ => String::new(),
    }
}
