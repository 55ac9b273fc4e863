//! What a worker loads once for all its cells: backbone, tokenizer, tasks, plugins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use coin_plugin_api::{DatasetDescription, Record, Split};
use sha2::Digest as _;
use tch::{Device, Kind};

use crate::config::{self, Dtype, Location, RunConfig};
use crate::data::feature_cache::FeatureCache;
use crate::data::image::{Aspect, Transform};
use crate::data::prompt::{Prompter, Template};
use crate::data::source::Source;
use crate::data::task::{Instruction, Pictures, Task};
use crate::eval::scorer::{Metric, Scorer};
use crate::files;
use crate::model::{Backbone, Checkpoint, Tokenizer};
use crate::plugin::discover::{Candidate, is_cargo_profile};
use crate::plugin::{Catalog, Dataset, Plugin, PluginError};
use crate::quickstart;

/// The parts that cells borrow.
pub struct Parts {
    pub backbone: Backbone,
    pub tokenizer: Tokenizer,
    pub tasks: Vec<Task>,
    pub scorers: Vec<Scorer>,
}

/// Loads the backbone of a configuration with its tokenizer.
pub fn backbone(config: &RunConfig) -> Result<(Backbone, Tokenizer)> {
    let device = device(config.backbone.device);
    let kind = kind(config.backbone.dtype);
    match &config.backbone.path {
        Location::Builtin(name) => {
            ensure!(
                name == "tiny",
                "no built-in backbone is named `{name}`\nhint: use builtin:tiny, or the folder of a checkpoint"
            );
            Backbone::builtin_tiny(device, kind)
        }
        Location::Folder(folder) => {
            Checkpoint::open(folder, config.backbone.vision_tower.as_deref())?.load(device, kind)
        }
    }
}

/// The element type that a configuration means.
pub fn kind(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::Float32 => Kind::Float,
        Dtype::Bfloat16 => Kind::BFloat16,
        Dtype::Float16 => Kind::Half,
    }
}

/// The device that a configuration means on this machine.
pub fn device(device: config::Device) -> Device {
    match device {
        config::Device::Auto => Device::cuda_if_available(),
        config::Device::Cpu => Device::Cpu,
        config::Device::Cuda(index) => Device::Cuda(index),
    }
}

/// Opens the tasks of a configuration.
///
/// # Errors
/// A dataset that is not there or cannot be opened, an empty split, an unknown metric: each with the task's name.
pub fn tasks(config: &RunConfig, backbone: &Backbone, shelf: &mut PluginCache) -> Result<Vec<Task>> {
    let mut tasks = Vec::new();
    let cache = feature_cache(config, backbone)?;
    for (name, task) in &config.tasks {
        let named = || format!("task {name}");
        let root = root(&task.root)?;
        let source = source(name, task, &root, shelf)?;
        for split in [Split::Train, Split::Test] {
            ensure!(
                !source.is_empty(split).with_context(named)?,
                "task {name}: its {} split under {} is empty\nhint: look at the annotation files below that folder",
                split.name(),
                root.display()
            );
        }
        let metric = metric(name, task, source.as_ref())?;
        let instruction = Instruction::new(&task.instruction);
        let transform = match &config.backbone.path {
            Location::Builtin(_) => Transform::tiny(),
            Location::Folder(folder) => {
                let side = backbone.config().vision_config.image_size as u32;
                let checkpoint = Checkpoint::open(folder, config.backbone.vision_tower.as_deref())?;
                let own = Transform::of_checkpoint(checkpoint.preparation().0, side, None)?;
                // CoIN and LLaVA train on whole pictures, whatever CLIP's processor cuts off.
                let aspect = if own.aspect == Aspect::Crop { Aspect::Pad } else { own.aspect };
                Transform { aspect, ..own }
            }
        };
        let pictures = Pictures { root, transform, blank: config.protocol.blank_pictures };
        let mut task = Task::new(name.clone(), metric, task.max_new_tokens, source, instruction, pictures);
        task.feature_cache.clone_from(&cache);
        tasks.push(task);
    }
    Ok(tasks)
}

/// The cache on disk, if the configuration names one.
pub(super) fn feature_cache(config: &RunConfig, backbone: &Backbone) -> Result<Option<Arc<FeatureCache>>> {
    let Some(location) = &config.backbone.feature_cache else { return Ok(None) };
    let most = config.backbone.feature_cache_gib.unwrap_or(0.0) * f64::from(1 << 30);
    Ok(Some(Arc::new(FeatureCache::open(&feature_folder(location)?, most as u64, backbone)?)))
}

/// The folder of the cache.
pub(super) fn feature_folder(location: &Location) -> Result<PathBuf> {
    match location {
        Location::Folder(folder) => Ok(folder.clone()),
        Location::Builtin(name) => {
            ensure!(
                name == "features",
                "`feature_cache` in `[backbone]`: no built-in folder is named `{name}`\nhint: use builtin:features, or a folder"
            );
            Ok(cache().join("features"))
        }
    }
}

/// Opens the dataset of a task.
///
/// # Errors
/// A dataset that is not there or cannot be opened, with the task's name.
pub fn source(
    name: &str,
    task: &config::Task,
    root: &Path,
    shelf: &mut PluginCache,
) -> Result<Box<dyn Source>> {
    let (plugin, dataset) = task.dataset.split_once('/').with_context(|| {
        format!("task {name}: dataset `{}` is not of the form PLUGIN/DATASET", task.dataset)
    })?;
    let plugin = shelf.plugin(plugin)?;
    let opened = plugin.open_dataset(dataset, root, &dataset_keys(name, task)?);
    Ok(Box::new(PluginSource(opened.with_context(|| format!("task {name}"))?)))
}

/// The keys of a task's dataset: those written, and the folder of the instruction set that the task names.
pub fn dataset_keys(name: &str, task: &config::Task) -> Result<toml::Table> {
    let mut keys = task.config.clone();
    if let Some(folder) = task.instruction.folder() {
        let written = keys.insert(String::from("instructions"), folder.into());
        ensure!(
            written.is_none(),
            "task {name}: `instruction` and `config.instructions` both name the instruction files\nhint: keep one of the two"
        );
    }
    Ok(keys)
}

/// The metric of a task: as configured, else the dataset's own.
///
/// # Errors
/// Neither names one.
pub fn metric(name: &str, task: &config::Task, source: &dyn Source) -> Result<Metric> {
    if let Some(metric) = task.metric {
        return Ok(metric);
    }
    let named = || format!("task {name}");
    let own = source.describe().with_context(named)?.metric;
    ensure!(
        !own.is_empty(),
        "task {name}: its dataset {} leaves the metric to the task\nhint: for example `metric = \"exact-match\"` in `[tasks.{name}]`; docs/metrics.md lists them",
        task.dataset
    );
    own.parse().with_context(named)
}

/// A prompter for each task: with the task's own template, else with that of the backbone.
pub fn prompters<'a>(
    config: &RunConfig,
    backbone: &Backbone,
    tokenizer: &'a Tokenizer,
) -> Result<Vec<Prompter<'a>>> {
    let usual = match config.backbone.path {
        Location::Builtin(_) => "tiny",
        Location::Folder(_) => backbone.config().template(),
    };
    let (image_token, image_tokens) =
        (backbone.config().image_token_index, backbone.config().image_tokens() as usize);
    let prompter = |(name, task): &(String, config::Task)| {
        let template = Template::named(task.template.as_deref().unwrap_or(usual));
        template
            .and_then(|template| Prompter::new(template, tokenizer, image_token, image_tokens))
            .with_context(|| format!("task {name}"))
    };
    config.tasks.iter().map(prompter).collect()
}

/// The folder of a task's files; the quickstart's are made when they are asked for first.
pub fn root(location: &Location) -> Result<PathBuf> {
    match location {
        Location::Folder(folder) => Ok(folder.clone()),
        Location::Builtin(name) => {
            ensure!(
                name == "quickstart",
                "no built-in data is named `{name}`\nhint: use builtin:quickstart, or a folder"
            );
            let folder = cache().join(format!("quickstart-{}", &quickstart::content_hash()[..16]));
            quickstart::generate(&folder)?;
            Ok(folder)
        }
    }
}

/// Where what can be made again is kept between runs.
fn cache() -> PathBuf {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("XDG_CACHE_HOME")
        .or_else(|| from("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("coin-host")
}

/// A plugin's dataset as a source of records.
struct PluginSource(Dataset);

impl Source for PluginSource {
    fn describe(&self) -> Result<DatasetDescription> {
        Ok(self.0.describe()?)
    }

    fn len(&self, split: Split) -> Result<usize> {
        Ok(self.0.len(split)?)
    }

    fn records(&self, split: Split, start: usize, end: usize) -> Result<Vec<Record>> {
        Ok(self.0.records(split, start..end)?)
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        Ok(self.0.files()?)
    }

    fn verify(&self) -> Result<Vec<String>> {
        Ok(self.0.verify()?)
    }

    fn score(&self, prediction: &str, record: &Record) -> Result<Option<f64>> {
        Ok(self.0.score(prediction, record)?)
    }
}

/// The plugins of a worker: each is loaded once.
pub struct PluginCache {
    catalog: Catalog,
    loaded: BTreeMap<String, Plugin>,
}

impl PluginCache {
    pub fn new(plugins: &config::Plugins) -> PluginCache {
        PluginCache { catalog: Catalog::open(plugins), loaded: BTreeMap::new() }
    }

    /// A plugin by name.
    pub fn plugin(&mut self, name: &str) -> Result<Plugin, PluginError> {
        if let Some(known) = self.loaded.get(name) {
            return Ok(known.clone());
        }
        let plugin = self.catalog.load(name)?;
        self.loaded.insert(name.to_string(), plugin.clone());
        Ok(plugin)
    }

    /// What a person should know who has just built a plugin that another one hides.
    pub fn note(&self, name: &str) -> Option<String> {
        let (used, hidden) = self.catalog.find(name).ok()?;
        // Libraries of tests are in a folder of the profile's.
        let is_build = |other: &&&Candidate| other.path.ancestors().skip(1).take(2).any(is_cargo_profile);
        let other = hidden.iter().find(is_build)?;
        let (_, sum) = files::sha256(&other.path).ok()?;
        (self.loaded.get(name)?.sha256() != format!("{:x}", sum.finalize())).then(|| {
            format!(
                "note: {name}: {} is used and not {}, which was built from other code; `coin-host plugin remove {name}` lets the build be used",
                used.path.display(),
                other.path.display()
            )
        })
    }
}

/// Loads everything that cells share.
pub fn load(config: &RunConfig, shelf: &mut PluginCache) -> Result<Parts> {
    let (backbone, tokenizer) = backbone(config)?;
    let tasks = tasks(config, &backbone, shelf)?;
    Ok(Parts { backbone, tokenizer, tasks, scorers: config.evaluation.scorers.clone() })
}

/// Paths below a run's folder are made by workers; this one is checked before.
pub fn writable(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    tempfile::tempfile_in(folder).with_context(|| format!("{} cannot be written to", folder.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Request;

    #[test]
    fn a_template_is_its_tasks_own() {
        let (backbone, tokenizer) = Backbone::builtin_tiny(Device::Cpu, Kind::Float).unwrap();
        let prompts = |set: &[&str]| -> Result<Vec<Vec<i64>>> {
            let set: Vec<String> = set.iter().map(ToString::to_string).collect();
            let tasks = [String::from("gqa"), String::from("vizwiz")];
            let config = config::load(&Request { set: &set, tasks: &tasks, ..Request::default() })?.config;
            let prompters = prompters(&config, &backbone, &tokenizer)?;
            prompters.iter().map(|prompter| prompter.prompt("what is this", true)).collect()
        };
        let (usual, changed) =
            (prompts(&[]).unwrap(), prompts(&["tasks.gqa.template=\"vicuna_v1\""]).unwrap());
        assert_ne!(changed[0], usual[0]);
        assert_eq!(changed[1], usual[1]);
        let error = prompts(&["tasks.vizwiz.template=\"alpaca\""]).unwrap_err();
        assert!(
            format!("{error:#}").contains("task vizwiz: no prompt template is named `alpaca`"),
            "{error:#}"
        );
    }
}
