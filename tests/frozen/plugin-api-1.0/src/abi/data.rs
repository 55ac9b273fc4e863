//! Plain data that crosses the border by value. These never change; what grows is a prefix type or TOML text.

use abi_stable::StableAbi;
use abi_stable::std_types::{ROption, RString, RVec};

use super::handle::RawTensor;

/// A version of the border.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    /// Changes when something existing changes.
    pub major: u32,
    /// Changes when something is added.
    pub minor: u32,
}

impl std::fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A linear of the model that an adapter may change.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct RawSite {
    /// Its number in the model, from 0.
    pub index: u64,
    /// Its checkpoint path.
    pub path: RString,
    /// The last part of the path, as in PEFT's `target_modules`.
    pub module: RString,
    /// 0 language model, 1 projector, 2 vision tower.
    pub part: u8,
    /// Input features.
    pub in_features: u64,
    /// Output features.
    pub out_features: u64,
}

/// Sizes of the model.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct RawModel {
    /// Width of the language model.
    pub hidden_size: u64,
    /// Decoder layers.
    pub layers: u64,
    /// Vocabulary entries.
    pub vocabulary: u64,
    /// Width of the pooled image features.
    pub image_features: u64,
    /// Width of the pooled text features.
    pub text_features: u64,
}

/// How a registered tensor starts.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct RawInit {
    /// 0 constant `a`; 1 normal with mean `a` and standard deviation `b`; 2 uniform in `[a, b)`.
    pub kind: u32,
    /// First number of the kind.
    pub a: f64,
    /// Second number of the kind.
    pub b: f64,
}

/// A tensor to register.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct RawParameterSpec {
    /// Unique in the stack entry.
    pub name: RString,
    /// The site it belongs to, or -1.
    pub site: i64,
    /// 0 parameter, 1 buffer.
    pub role: u32,
    /// Shape.
    pub shape: RVec<i64>,
    /// Initial values.
    pub init: RawInit,
    /// Whether the optimizer changes it.
    pub trainable: bool,
    /// Factor on the learning rate.
    pub learning_rate_scale: f64,
    /// Weight decay; negative means the run's default.
    pub weight_decay: f64,
}

/// A registered tensor as a strategy sees it.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct RawParameterInfo {
    /// Its number in the cell.
    pub id: u64,
    /// Its name: `<owner>.<site path>.<name>`, or `<owner>.<name>`.
    pub name: RString,
    /// The site it belongs to, or -1.
    pub site: i64,
    /// 0 parameter, 1 buffer.
    pub role: u32,
    /// The plugin that registered it, or `host`.
    pub owner: RString,
    /// Shape.
    pub shape: RVec<i64>,
    /// Whether the optimizer changes it.
    pub trainable: bool,
}

/// One stage of the task stream.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct RawStage {
    /// Its number, from 0.
    pub index: u64,
    /// Stages in the stream.
    pub count: u64,
    /// Optimizer steps of this stage.
    pub steps: u64,
    /// Rows of a training batch.
    pub batch_size: u64,
    /// Training samples of this stage.
    pub samples: u64,
}

/// Where the run stands when an adapter or a strategy is called.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct RawStep {
    /// 0 train, 1 prefill, 2 decode, 3 teacher, 4 extra.
    pub phase: u32,
    /// Stage, from 0.
    pub stage: u64,
    /// Optimizer step in the stage, from 0.
    pub step: u64,
    /// Optimizer steps of the stage.
    pub steps: u64,
    /// Micro-batch in the optimizer step, from 0.
    pub micro_batch: u64,
    /// Rows of the batch.
    pub rows: u64,
}

/// A row of a training batch.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct RawRow {
    /// The sample.
    pub sample: u64,
    /// Its slot in the replay buffer, or -1 for a fresh sample.
    pub slot: i64,
}

/// A named extra term of the loss.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct RawTerm {
    /// Name in logs and reports.
    pub name: RString,
    /// Scalar tensor, owned.
    pub value: RawTensor,
    /// Whether it stands in place of the task loss.
    pub replaces_task_loss: bool,
}

/// A part of a stage with its own trainable set.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct RawPhase {
    /// Optimizer steps.
    pub steps: u64,
    /// Ids of the tensors trained in it; empty means all trainable ones.
    pub trainable: RVec<u64>,
    /// Samples that its batches are drawn from; empty means all of the stage.
    pub data: RVec<u64>,
}

/// A tensor with the id of the parameter it belongs to.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct RawGradient {
    /// The parameter.
    pub id: u64,
    /// Owned tensor.
    pub value: RawTensor,
}

/// Soft prompt tokens.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct RawPrefix {
    /// `[B, P, d]`, owned, or none.
    pub tokens: RawTensor,
    /// 0 before everything, 1 after the image.
    pub place: u32,
}

/// One question of a dataset.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct RawRecord {
    /// Unique in its split.
    pub id: RString,
    /// Path relative to the task's root folder.
    pub image: ROption<RString>,
    /// Question without the instruction line.
    pub question: RString,
    /// Instruction line as stored.
    pub instruction: ROption<RString>,
    /// Options of a multiple choice question.
    pub options: RVec<RString>,
    /// Accepted answers; the first is the training target.
    pub answers: RVec<RString>,
    /// The one answer that the benchmark's own script compares with, where it is none of them.
    pub target: ROption<RString>,
    /// `x1, y1, x2, y2` in `0..1`; empty if there is none.
    pub bbox: RVec<f64>,
    /// Width and height in pixels; empty if unknown.
    pub size: RVec<u32>,
}

/// What a dataset says of itself.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct RawDatasetDescription {
    /// What kind of task, for a person.
    pub task_type: RString,
    /// The host's metric for it (`multiple-choice`, `vqa-soft`, ..).
    pub metric: RString,
    /// What form answers have, for a person.
    pub answer_form: RString,
}
