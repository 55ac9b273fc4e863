//! The resolved configuration: what a run works with. No default is left to be filled in; an `Option` here means that
//! the answer is not the configuration's to give.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::config::instruction::Instruction;
use crate::config::judge::Judge;
use crate::config::raw::in_written_order;
use crate::eval::scorer::{Metric, Scorer};

/// A run: methods x orders x seeds over tasks. Written as JSON it reads back equal; that is how workers get it. So it does
/// as TOML, if the reader keeps the order of tables (`toml_edit` does).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    pub name: String,
    pub seeds: Vec<u64>,
    pub orders: Vec<Order>,
    pub references: Vec<Reference>,
    pub backbone: Backbone,
    pub training: Training,
    pub evaluation: Evaluation,
    pub protocol: Protocol,
    /// In written order, which is that of the matrix' columns.
    #[serde(serialize_with = "as_table", deserialize_with = "in_written_order")]
    pub tasks: Vec<(String, Task)>,
    /// In written order.
    #[serde(serialize_with = "as_table", deserialize_with = "in_written_order")]
    pub methods: Vec<(String, Method)>,
    pub plugins: Plugins,
    /// Used by `score --judge` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<Judge>,
}

impl RunConfig {
    /// The task of this name.
    pub fn task(&self, name: &str) -> Option<&Task> {
        self.tasks.iter().find(|(known, _)| known == name).map(|(_, task)| task)
    }

    /// The method of this name.
    pub fn method(&self, name: &str) -> Option<&Method> {
        self.methods.iter().find(|(known, _)| known == name).map(|(_, method)| method)
    }
}

/// A permutation of the run's tasks: stage `t` trains on `tasks[t]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    pub name: String,
    pub tasks: Vec<String>,
}

/// A run that metrics are held against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    pub kind: ReferenceKind,
    /// The method whose stack it trains, also where that method itself is not part of the run.
    pub method: String,
    pub stack: Vec<StackEntry>,
    /// As in [`Method`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<PathBuf>,
}

/// What a reference run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReferenceKind {
    /// One stage on all tasks together.
    Joint,
    /// For each task a training on it alone.
    Single,
}

/// The frozen model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backbone {
    pub path: Location,
    /// Folder of the vision tower, for a checkpoint in LLaVA's own layout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vision_tower: Option<PathBuf>,
    /// Folder that keeps vision features between runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature_cache: Option<Location>,
    /// What it may grow to, in GiB; given where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature_cache_gib: Option<f64>,
    /// For estimates, where the checkpoint is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Shape>,
    pub device: Device,
    pub dtype: Dtype,
}

/// The size of a model that need not be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shape {
    #[serde(rename = "llava-1.5-7b")]
    Llava7b,
    #[serde(rename = "llava-1.5-13b")]
    Llava13b,
}

/// Something embedded in the program, or a folder (absolute).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Location {
    Builtin(String),
    Folder(PathBuf),
}

impl From<String> for Location {
    fn from(text: String) -> Self {
        match text.strip_prefix("builtin:") {
            Some(name) => Location::Builtin(name.to_string()),
            None => Location::Folder(PathBuf::from(text)),
        }
    }
}

impl From<Location> for String {
    fn from(location: Location) -> String {
        location.to_string()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Builtin(name) => write!(f, "builtin:{name}"),
            Location::Folder(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Where tensors live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// The first GPU if there is one, else the CPU.
    Auto,
    Cpu,
    Cuda(usize),
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let index = |text: &str| text.strip_prefix("cuda:").and_then(|index| index.parse().ok());
        match text {
            "auto" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            "cuda" => Ok(Device::Cuda(0)),
            _ => index(text).map(Device::Cuda).ok_or_else(|| format!("`{text}` is no device")),
        }
    }
}

impl TryFrom<String> for Device {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> String {
        match device {
            Device::Auto => "auto".into(),
            Device::Cpu => "cpu".into(),
            Device::Cuda(index) => format!("cuda:{index}"),
        }
    }
}

/// Why nothing is trained in float16, and what to do.
pub(crate) const FLOAT16: (&str, &str) = (
    "nothing is trained in float16: gradients of activations are smaller than its smallest number, and would vanish without a sign of it",
    "bfloat16 takes the same memory and has float32's range; a GPU without it (V100, T4) needs float32. `model logits` and `bench generate` take float16",
);

/// Type of the frozen weights and of the computation; trained parameters are always float32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dtype {
    Float32,
    Bfloat16,
    Float16,
}

/// One stage's training; optimizer and schedule are new at each stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// Rows of a micro-batch.
    pub batch_size: usize,
    /// Optimizer steps a stage; exactly one of `steps` and `epochs` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Passes over a stage's training items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    pub learning_rate: f64,
    /// 0 freezes the projector.
    pub projector_learning_rate: f64,
    pub weight_decay: f64,
    pub betas: [f64; 2],
    pub epsilon: f64,
    pub scheduler: Scheduler,
    /// Part of a stage's steps, `[0, 1)`.
    pub warmup_ratio: f64,
    /// Global gradient norm; 0 does not clip.
    pub clip_norm: f64,
    /// Micro-batches an optimizer step, where the task does not say.
    pub accumulate: usize,
    /// Layers are computed once more for their gradients.
    #[serde(default, skip_serializing_if = "is_false")]
    pub gradient_checkpointing: bool,
    /// CPU threads of a cell.
    pub threads: usize,
}

impl Training {
    /// Micro-batches an optimizer step of a stage: of its task, where it has one task that says so.
    pub fn accumulate_of(&self, task: Option<&Task>) -> usize {
        task.and_then(|task| task.accumulate).unwrap_or(self.accumulate)
    }
}

/// The learning rate after the warm-up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheduler {
    #[default]
    Cosine,
    Linear,
    Constant,
}

/// How tasks are answered and scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    pub batch_size: usize,
    /// Longest answer; each task carries its own.
    pub max_new_tokens: usize,
    pub scorers: Vec<Scorer>,
    /// One question at a time, from unfolded weights.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
    /// Test items a task that are also answered strictly.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub count_flips: usize,
    /// Test items a task; all of them without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// What methods are granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocol {
    /// Old samples for each task seen; 0 where replay is not granted or `replay_total_samples` is.
    pub replay_samples_per_task: usize,
    /// Old samples in all; 0 where replay is not granted or `replay_samples_per_task` is.
    pub replay_total_samples: usize,
    pub task_id_at_test: bool,
    /// Every picture is grey in training and at test: a control that shows what a task asks of the eyes.
    pub blank_pictures: bool,
    pub call_op: bool,
    pub replaces_task_loss: bool,
    /// Each stage is trained by a process of its own, which begins with what the host was given to keep.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
}

/// One dataset with its prompt and metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// `PLUGIN/DATASET`.
    pub dataset: String,
    pub root: Location,
    pub instruction: Instruction,
    /// The dataset's own where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<Metric>,
    pub max_new_tokens: usize,
    /// As the training says where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accumulate: Option<usize>,
    /// The backbone's own where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Keys for the dataset adapter.
    pub config: toml::Table,
}

/// A stack of plugins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Method {
    pub stack: Vec<StackEntry>,
    /// Folder of a LoRA adapter in PEFT's format that `lora` of the stack starts from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<PathBuf>,
}

/// One plugin of a stack, with the keys that are its own to check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StackEntry {
    pub plugin: String,
    #[serde(flatten)]
    pub config: toml::Table,
}

/// Where plugins come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plugins {
    pub dirs: Vec<PathBuf>,
    pub dev: Vec<PathBuf>,
    pub trust: Trust,
}

/// Which plugins are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    Locked,
    Signed,
    Any,
}

/// A key that changes no score is no part of a run that does without it: one that an earlier host began goes on.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

fn as_table<S: Serializer, T: Serialize>(entries: &[(String, T)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(entries.len()))?;
    for (name, entry) in entries {
        map.serialize_entry(name, entry)?;
    }
    map.end()
}
