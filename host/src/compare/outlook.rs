//! What a run will take, reckoned from sizes alone: neither data nor weights are needed, and where data is its records are counted. Every
//! figure is an estimate, and what it assumes is said beside it.

pub mod rate;
pub mod tasks;
mod text;

use anyhow::Result;
use serde::Serialize;

use crate::compare::outlook::rate::{Rate, RateFrom};
use crate::compare::outlook::tasks::{Amount, TaskOutlook};
use crate::compare::plan::Plan;
use crate::config::{Dtype, Location, RunConfig, Shape};
use crate::data::feature_cache::entry_bytes;
use crate::eval::answering::ANSWERED_TOGETHER;
use crate::model::{Checkpoint, ModelConfig};

/// Tokens of a prompt beside its picture, template and instruction included, and of an answer.
const PROMPT: f64 = 90.0;
const ANSWER: f64 = 6.0;

/// Bytes of a kept answer.
const KEPT: f64 = 300.0;

/// An estimate of a whole run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outlook {
    pub tasks: Vec<TaskOutlook>,
    /// Models that are trained: cells, and references as parts of one.
    pub trainings: f64,
    /// Optimizer steps of a joint training, whose rows a step are `training`'s own; 0 where there is none.
    pub joint_steps: usize,
    /// Optimizer steps of all trainings.
    pub steps: usize,
    /// Items answered in all.
    pub answers: f64,
    /// Of one method: the largest.
    pub trainable_parameters: f64,
    pub weight_bytes: f64,
    /// Masters, gradients and both moments, float32.
    pub optimizer_bytes: f64,
    /// Kept for the backward pass of one micro-batch.
    pub activation_bytes: f64,
    /// Copies of the language model's weights with adapters folded in, while tasks are answered.
    pub folded_bytes: f64,
    /// Of the pictures whose questions are answered together.
    pub held_feature_bytes: f64,
    /// Keys and values of a batch that is answered.
    pub cache_bytes: f64,
    pub disk_bytes: f64,
    /// Of one picture's features, and of those of all items, where each has a picture of its own; 0 where they are not kept.
    pub feature_bytes: f64,
    pub all_feature_bytes: f64,
    pub train_operations: f64,
    pub answer_operations: f64,
    pub operations_per_second: f64,
    pub rate_from: RateFrom,
    /// CPU threads of a worker.
    pub threads: usize,
    /// Worker processes at a time.
    pub workers: usize,
    /// Of all trainings and of all answers, one after another.
    pub train_seconds: f64,
    pub answer_seconds: f64,
    /// From beginning to end, with so many workers.
    pub seconds: f64,
}

/// The outlook of a run with so many workers at a time; none where the model's shape is not known. The rate is asked for only where it
/// is needed.
///
/// # Errors
/// Those of `rate`.
pub fn of(
    config: &RunConfig,
    tasks: Vec<TaskOutlook>,
    workers: usize,
    rate: impl FnOnce() -> Result<Rate>,
) -> Result<Option<Outlook>> {
    let Some(model) = model(config) else { return Ok(None) };
    let rate = rate()?;
    let sizes = Sizes::of(&model);
    let plan = Plan::new(config);
    let rank = config.methods.iter().filter_map(|(_, method)| {
        let ranks = method.stack.iter().filter_map(|entry| entry.config.get("r")?.as_integer());
        ranks.max()
    });
    let projector = if config.training.projector_learning_rate > 0.0 { sizes.projector } else { 0.0 };
    let adapters = rank.max().unwrap_or(0) as f64 * sizes.ends;
    let trainable = adapters + projector;
    let element = if config.backbone.dtype == Dtype::Float32 { 4.0 } else { 2.0 };
    let (cells, references) = (plan.cells.len() as f64, plan.references.len() as f64);
    let amount = Amount::of(config, &tasks);
    let tokens = model.image_tokens() as f64 + PROMPT + ANSWER;
    let row = sizes.training(tokens, adapters);
    // Of a pass over the tasks, and of a joint training.
    let stream = row * tasks.iter().map(|task| task.steps * task.rows_per_step).sum::<usize>() as f64;
    let joint = row * (amount.joint_steps * amount.joint_rows) as f64;
    let train_operations = amount.streams as f64 * stream + amount.joint as f64 * joint;
    let answers = amount.answers as f64;
    let once = amount.items as f64 * sizes.answering(tokens);
    let answer_operations = answers * sizes.answering(tokens);
    // No run is shorter than its longest part, which one worker does.
    let longest = (stream + tasks.len() as f64 * once).max(joint + once);
    let at_once = rate.at_once(workers, config.training.threads);
    let operations = ((train_operations + answer_operations) / at_once).max(longest);
    let per_second = rate.per_second;
    let layer_bytes = element * (12.0 * sizes.width + 4.0 * sizes.inner);
    let kept = trainable * 4.0;
    let cached = 2.0 * (model.text_config.key_value_heads() * model.text_config.head_dim()) as f64;
    let feature_bytes = entry_bytes(&model, element as u64) as f64;
    // Each training may draw other records.
    let drawn = |task: &TaskOutlook| (amount.streams + amount.joint) * task.steps * task.rows_per_step;
    let pictures: f64 = tasks.iter().map(|task| (task.train.min(drawn(task)) + task.test) as f64).sum();
    Ok(Some(Outlook {
        trainings: cells + references,
        joint_steps: amount.joint_steps,
        steps: amount.steps,
        answers,
        trainable_parameters: trainable,
        weight_bytes: element * (sizes.language + 2.0 * sizes.head + sizes.projector + sizes.tower),
        optimizer_bytes: 16.0 * trainable,
        activation_bytes: config.training.batch_size as f64 * tokens * sizes.layers * layer_bytes,
        folded_bytes: if config.evaluation.strict { 0.0 } else { element * sizes.language },
        cache_bytes: config.evaluation.batch_size as f64 * tokens * sizes.layers * element * cached,
        held_feature_bytes: feature_bytes * pictures.min(ANSWERED_TOGETHER as f64),
        // Each stage's tensors, and one checkpoint with moments and the one that replaces it.
        disk_bytes: (cells * tasks.len() as f64 + references) * kept
            + (cells + references) * 24.0 * trainable
            + answers * KEPT,
        feature_bytes,
        all_feature_bytes: if config.backbone.feature_cache.is_some() {
            feature_bytes * pictures
        } else {
            0.0
        },
        train_operations,
        answer_operations,
        operations_per_second: per_second,
        rate_from: rate.from,
        threads: config.training.threads,
        workers,
        train_seconds: train_operations / per_second,
        answer_seconds: answer_operations / per_second,
        seconds: operations / per_second,
        tasks,
    }))
}

/// The model's shape: of the checkpoint if it is there, else as named.
fn model(config: &RunConfig) -> Option<ModelConfig> {
    if let Location::Folder(folder) = &config.backbone.path
        && folder.join("config.json").is_file()
    {
        let checkpoint = Checkpoint::open(folder, config.backbone.vision_tower.as_deref());
        return Some(checkpoint.ok()?.config().clone());
    }
    let (width, inner, layers, heads) = match config.backbone.shape? {
        Shape::Llava7b => (4_096, 11_008, 32, 32),
        Shape::Llava13b => (5_120, 13_824, 40, 40),
    };
    let text = serde_json::json!({
        "model_type": "llava",
        "text_config": {"model_type": "llama", "vocab_size": 32_064, "hidden_size": width, "intermediate_size": inner,
            "num_hidden_layers": layers, "num_attention_heads": heads},
        "vision_config": {"model_type": "clip_vision_model", "hidden_size": 1_024, "intermediate_size": 4_096, "num_hidden_layers": 24,
            "num_attention_heads": 16, "image_size": 336, "patch_size": 14},
    });
    ModelConfig::parse(&text.to_string()).ok()
}

/// Numbers of the parts of a model.
struct Sizes {
    width: f64,
    inner: f64,
    layers: f64,
    /// All linears of the language model.
    language: f64,
    /// The sum of their inputs and outputs: a rank costs this many numbers.
    ends: f64,
    head: f64,
    projector: f64,
    tower: f64,
    /// Operations that a picture costs, tower and projector.
    picture: f64,
}

impl Sizes {
    fn of(model: &ModelConfig) -> Sizes {
        let text = &model.text_config;
        let number = |value: i64| value as f64;
        let (width, inner, layers) =
            (number(text.hidden_size), number(text.intermediate_size), number(text.num_hidden_layers));
        let queries = number(text.num_attention_heads * text.head_dim());
        let keys = number(text.key_value_heads() * text.head_dim());
        let linears = [
            (width, queries),
            (width, keys),
            (width, keys),
            (queries, width),
            (width, inner),
            (width, inner),
            (inner, width),
        ];
        let vision = &model.vision_config;
        let (side, depth) = (number(vision.hidden_size), number(model.vision_blocks()));
        let block = 4.0 * side * side + 2.0 * side * number(vision.intermediate_size);
        let patches = number(vision.grid().pow(2)) + 1.0;
        let projector = number(model.image_feature_size()) * width + width * width;
        let tower = depth * (2.0 * patches * block + 4.0 * patches * patches * side);
        Sizes {
            width,
            inner,
            layers,
            language: layers * linears.iter().map(|(input, output)| input * output).sum::<f64>(),
            ends: layers * linears.iter().map(|(input, output)| input + output).sum::<f64>(),
            head: width * number(text.vocab_size),
            projector,
            tower: depth * block,
            picture: tower + 2.0 * projector * number(model.image_tokens()),
        }
    }

    /// Forward, the gradient of the input, forward and backward of the adapters; logits at answers alone.
    fn training(&self, tokens: f64, adapters: f64) -> f64 {
        let attention = 2.0 * self.layers * self.width * tokens * tokens;
        4.0 * self.language * tokens
            + 4.0 * self.head * ANSWER
            + 6.0 * adapters * tokens
            + 3.0 * attention
            + self.picture
    }

    fn answering(&self, tokens: f64) -> f64 {
        let attention = 2.0 * self.layers * self.width * tokens * tokens;
        2.0 * self.language * tokens + 2.0 * self.head * ANSWER + attention + self.picture
    }
}
