//! What a run will take, reckoned from sizes alone: neither data nor weights are needed. Every figure is an estimate, and what it
//! assumes is said beside it.

use std::fmt;

use serde::Serialize;

use crate::compare::plan::Plan;
use crate::config::{Dtype, Location, Reference, ReferenceKind, RunConfig, Shape};
use crate::data::feature_cache::entry_bytes;
use crate::eval::answering::ANSWERED_TOGETHER;
use crate::model::{Checkpoint, ModelConfig};
use crate::report::format::{bytes, count, duration};

/// Training and test items of CoIN's release by dataset. Those of VizWiz, Grounding, VQAv2 and OCR-VQA are known to about a tenth.
const SIZES: [(&str, usize, usize); 8] = [
    ("scienceqa", 12_726, 4_241),
    ("textvqa", 34_602, 5_000),
    ("imagenet", 129_833, 5_050),
    ("gqa", 72_140, 12_578),
    ("vizwiz", 20_000, 4_319),
    ("grounding", 55_000, 30_969),
    ("vqav2", 82_783, 107_000),
    ("ocrvqa", 165_000, 100_000),
];

/// Tokens of a prompt beside its picture, template and instruction included, and of an answer.
const PROMPT: f64 = 90.0;
const ANSWER: f64 = 6.0;

/// Operations a second that a run is taken to reach where nobody says: about a third of what an H100 does in bfloat16.
pub const OPERATIONS: f64 = 3e14;

/// Bytes of a kept answer.
const KEPT: f64 = 300.0;

/// One task of the outlook.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskOutlook {
    pub task: String,
    pub train: usize,
    pub test: usize,
    pub rows_per_step: usize,
    /// Optimizer steps of its stage.
    pub steps: usize,
}

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
    pub train_seconds: f64,
    pub answer_seconds: f64,
}

/// The outlook of a run; none where the model's shape or the size of a task is not known.
pub fn of(config: &RunConfig, operations_per_second: Option<f64>) -> Option<Outlook> {
    let model = model(config)?;
    let sizes = Sizes::of(&model);
    let tasks: Vec<TaskOutlook> =
        config.tasks.iter().map(|(name, _)| task(config, name)).collect::<Option<_>>()?;
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
    let is_joint = |reference: &&Reference| reference.kind == ReferenceKind::Joint;
    let joint = config.references.iter().filter(is_joint).count() * config.seeds.len();
    let (joint_steps, joint_rows) = if joint > 0 { joint_training(config, &tasks) } else { (0, 0) };
    // A cell, and a reference on single tasks, pass over every task once.
    let streams = plan.cells.len() + plan.references.len() - joint;
    let tokens = model.image_tokens() as f64 + PROMPT + ANSWER;
    let rows = streams * tasks.iter().map(|task| task.steps * task.rows_per_step).sum::<usize>();
    let rows = (rows + joint * joint_steps * joint_rows) as f64;
    let train_operations = rows * sizes.training(tokens, adapters);
    let items: f64 = tasks.iter().map(|task| task.test as f64).sum();
    let answers = items * (cells * tasks.len() as f64 + references + 1.0);
    let answer_operations = answers * sizes.answering(tokens);
    let per_second = operations_per_second.unwrap_or(OPERATIONS);
    let layer_bytes = element * (12.0 * sizes.width + 4.0 * sizes.inner);
    let kept = trainable * 4.0;
    let cached = 2.0 * (model.text_config.key_value_heads() * model.text_config.head_dim()) as f64;
    let feature_bytes = entry_bytes(&model, element as u64) as f64;
    let pictures: f64 =
        tasks.iter().map(|task| (task.train.min(task.steps * task.rows_per_step) + task.test) as f64).sum();
    Some(Outlook {
        trainings: cells + references,
        joint_steps,
        steps: streams * tasks.iter().map(|task| task.steps).sum::<usize>() + joint * joint_steps,
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
        train_seconds: train_operations / per_second,
        answer_seconds: answer_operations / per_second,
        tasks,
    })
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

fn task(config: &RunConfig, name: &str) -> Option<TaskOutlook> {
    let task = config.task(name)?;
    // Stand-ins have another size.
    let Location::Folder(_) = task.root else { return None };
    let (_, train, test) =
        SIZES.iter().find(|(known, _, _)| task.dataset == format!("coin-datasets/{known}"))?;
    let rows_per_step = config.training.batch_size * config.training.accumulate_of(Some(task));
    let steps = match (config.training.steps, config.training.epochs) {
        (Some(steps), _) => steps,
        (None, epochs) => {
            ((*train as f64 * epochs.unwrap_or(1.0) / rows_per_step as f64).ceil() as usize).max(1)
        }
    };
    let test = config.evaluation.limit.map_or(*test, |limit| limit.min(*test));
    Some(TaskOutlook { task: name.to_owned(), train: *train, test, rows_per_step, steps })
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

impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "estimates, from CoIN's sizes and the model's shape alone:")?;
        let width = self.tasks.iter().map(|task| task.task.len()).max().unwrap_or(0);
        for task in &self.tasks {
            writeln!(
                f,
                "  {:width$}  {:>6} steps of {} rows ({} training items, {} test items)",
                task.task, task.steps, task.rows_per_step, task.train, task.test
            )?;
        }
        let steps: usize = self.tasks.iter().map(|task| task.steps).sum();
        write!(f, "  {:width$}  {steps:>6} steps", "all")?;
        if self.joint_steps > 0 {
            write!(f, ", {} of joint training", self.joint_steps)?;
        }
        writeln!(f, "; {} in {} trainings", self.steps, self.trainings)?;
        writeln!(
            f,
            "  time: at least {} training and {} answering, one after another: by operations alone, at {:.0} TFLOP/s (--tflops sets another)",
            duration(self.train_seconds),
            duration(self.answer_seconds),
            self.operations_per_second / 1e12
        )?;
        writeln!(
            f,
            "  memory: {} in training = {} weights + {} for {} trained parameters + {} activations, picture features not counted",
            bytes(self.weight_bytes + self.optimizer_bytes + self.activation_bytes),
            bytes(self.weight_bytes),
            bytes(self.optimizer_bytes),
            count(self.trainable_parameters),
            bytes(self.activation_bytes)
        )?;
        writeln!(
            f,
            "          {} in answering = the same weights and parameters + {} weights with adapters folded in + {} keys and values + {} picture features",
            bytes(
                self.weight_bytes
                    + self.optimizer_bytes
                    + self.folded_bytes
                    + self.cache_bytes
                    + self.held_feature_bytes
            ),
            bytes(self.folded_bytes),
            bytes(self.cache_bytes),
            bytes(self.held_feature_bytes)
        )?;
        if self.all_feature_bytes > 0.0 {
            writeln!(
                f,
                "  picture features on disk: at most {}, {} a picture",
                bytes(self.all_feature_bytes),
                bytes(self.feature_bytes)
            )?;
        }
        write!(
            f,
            "  disk: {} for the run's folder; assumed: {PROMPT} tokens a prompt beside the picture, {ANSWER} an answer",
            bytes(self.disk_bytes)
        )
    }
}
