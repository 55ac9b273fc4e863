//! What a cell of a run has become, as changes of its backbone's weights.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tch::Tensor;

use crate::compare::content;
use crate::compare::kept_stage::KeptStage;
use crate::compare::world::{self, PluginCache};
use crate::config::{self, Device, Dtype, RunConfig, StackEntry};
use crate::model::merge::{Change, Changes};
use crate::model::{Backbone, weights};
use crate::report::results::PluginUse;
use crate::train::build::build;
use crate::train::cell::{Cell, World};
use crate::train::parameters::HOST;

/// A stage of a cell, folded.
pub struct MergedStage {
    /// The backbone that the run began with.
    pub backbone: config::Backbone,
    pub changes: Changes,
    /// Run, cell and stage, for the record.
    pub origin: Value,
}

/// Folds what a cell of the run in the folder `run` had learnt after the task `after`, or at its end; `name` is `METHOD/ORDER/SEED`, or
/// `joint/SEED` and `single/SEED/TASK` of the references. Loads the method's plugins into this process.
///
/// # Errors
/// No such cell or stage; other weights or plugins than the run's; an adapter that is not the same as a weight.
pub fn of_cell(run: &Path, name: &str, after: Option<&str>) -> Result<MergedStage> {
    let KeptStage { manifest, method, stack, stage, stages, after, file } =
        KeptStage::find(run, name, after)?;
    let mut config = manifest.config;
    // The sum is rounded once, to what the checkpoint is stored in.
    (config.backbone.dtype, config.backbone.device) = (Dtype::Float32, Device::Cpu);
    for now in content::backbone(&config.backbone)? {
        let then = manifest.inputs.content.iter().find(|then| then.name == now.name);
        ensure!(
            then.is_none_or(|then| then.sha256 == now.sha256),
            "{} is not what the run began with\nhint: bring back the checkpoint with sha256 {}",
            now.name,
            then.map_or("", |then| &then.sha256)
        );
    }
    let used = manifest.plugins.iter().find(|(known, _)| *known == method).map(|(_, used)| used);
    let changes = changes(&config, &stack, stages, used.map_or(&[], Vec::as_slice), &file)
        .with_context(|| format!("cell {name}"))?;
    let sha256 = content::sha256(&file)?;
    let origin = json!({"run": config.name, "cell": name, "stage": stage, "after": after, "sha256": sha256});
    Ok(MergedStage { backbone: config.backbone, changes, origin })
}

fn changes(
    config: &RunConfig,
    stack: &[StackEntry],
    stages: usize,
    used: &[PluginUse],
    file: &Path,
) -> Result<Changes> {
    let (backbone, tokenizer) = world::backbone(config)?;
    // Weights alone are asked for: no task is opened.
    let world =
        World { config, backbone: &backbone, tokenizer: &tokenizer, tasks: &[], prompters: Vec::new() };
    let mut shelf = PluginCache::new(&config.plugins);
    let stages = vec![Vec::new(); stages];
    let (cell, _) = build(&world, &mut |plugin| Ok(shelf.plugin(plugin)?), stack, 0, stages)?;
    for entry in stack {
        let plugin = shelf.plugin(&entry.plugin)?;
        let then = used.iter().find(|used| used.name == entry.plugin);
        ensure!(
            then.is_none_or(|then| then.sha256 == plugin.sha256()),
            "plugin `{}` {} is not the one that the run began with\nhint: bring the first one back",
            entry.plugin,
            plugin.version()
        );
    }
    fill(&cell, file)?;
    folded(&cell, &backbone)
}

/// Puts the tensors of a stage into a cell that was just built.
fn fill(cell: &Cell, file: &Path) -> Result<()> {
    let parameters = cell.parameters.borrow();
    let mut tensors = weights::load_all(file)?;
    for (id, parameter) in parameters.list().iter().enumerate() {
        match tensors.remove(&parameter.name) {
            Some(value) => parameters.set_value(id as u64, &value)?,
            None if parameter.buffer && parameter.site.is_none() => {}
            None => bail!(
                "`{}` is not among the tensors that a stage keeps, and the merged weight may depend on it\nhint: {}",
                parameter.name,
                ALONE
            ),
        }
    }
    if let Some(name) = tensors.keys().next() {
        bail!("`{name}` was registered in the course of the training\nhint: {ALONE}");
    }
    Ok(())
}

const ALONE: &str = "only methods whose tensors are all registered when they are built can be merged";

/// The weights of a cell's sites with its adapters in them, and its projector.
fn folded(cell: &Cell, backbone: &Backbone) -> Result<Changes> {
    let adapters = || {
        let names = cell.adapters.iter().map(|(entry, _)| format!("`{}`", cell.plugin(*entry)));
        names.collect::<Vec<_>>().join(", ")
    };
    let parameters = cell.parameters.borrow();
    if let Some(&id) = cell
        .adapters
        .iter()
        .flat_map(|(entry, _)| parameters.without_site(*entry))
        .collect::<Vec<_>>()
        .first()
    {
        bail!(
            "the adapter {} has tensors that belong to no linear (`{}`), and no weight does what they do\nhint: such a method is answered by this program alone",
            adapters(),
            parameters.get(id)?.name
        );
    }
    let merged = cell.merge()?.with_context(|| {
        format!(
            "the adapter {} gives no merged_delta: what it adds depends on the input, as a router's choice does, and no single weight does the same\nhint: `lora` can be merged",
            adapters()
        )
    })?;
    let mut changes = Changes::new();
    for parameter in parameters.list().iter().filter(|parameter| parameter.owner == HOST) {
        let name = parameter.name.strip_prefix(HOST).and_then(|name| name.strip_prefix('.'));
        if let Some(name) = name {
            changes.insert(name.to_owned(), Change::Replace(detached(&parameter.tensor)?));
        }
    }
    for site in backbone.sites() {
        if let Some(weight) = merged.get(&site.index) {
            changes.insert(format!("{}.weight", site.path), Change::Replace(detached(weight)?));
        }
    }
    Ok(changes)
}

fn detached(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.f_detach()?)
}
