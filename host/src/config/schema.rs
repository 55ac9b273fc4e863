//! The keys of a configuration: one table for the check, the hints and the documentation.

/// What a value has to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Text,
    /// A name with a meaning of its own; the text lists the forms.
    Form(&'static str),
    /// A file or folder: relative to the configuration file, on the command line to the current folder.
    Path,
    Flag,
    /// A whole number.
    Count {
        least: i64,
    },
    /// A finite number; `above` and `below` are excluded, `least` is not.
    Number {
        least: Option<f64>,
        above: Option<f64>,
        below: Option<f64>,
    },
    Choice(&'static [&'static str]),
    /// A list without repetitions; `least` items.
    List {
        of: &'static Kind,
        least: usize,
    },
    /// Exactly two numbers.
    Pair(&'static Kind),
    /// Names of orders, lists of task names, or `{ name, tasks }`.
    Orders,
    /// `joint`, `joint:METHOD`, or `{ kind, method, stack }`.
    Reference,
    /// A text, `{ definition, constraint, prompt }`, or a list of these.
    Instruction,
    /// Tables with a `plugin` and that plugin's keys.
    Stack,
    /// Any keys: another part of the program checks them.
    Open,
}

/// What holds where a key is not given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fallback {
    Required,
    /// In TOML.
    Value(&'static str),
    /// In words.
    Words(&'static str),
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Dotted; `*` stands for a name that the user chooses.
    pub path: &'static str,
    pub kind: Kind,
    pub fallback: Fallback,
    pub text: &'static str,
}

const fn key(path: &'static str, kind: Kind, fallback: Fallback, text: &'static str) -> Key {
    Key { path, kind, fallback, text }
}

use Fallback::{Required, Value, Words};
use Kind::{Choice, Count, Flag, Form, List, Number, Open, Orders, Pair, Path, Stack, Text};

const POSITIVE: Kind = Number { least: None, above: Some(0.0), below: None };
const NOT_NEGATIVE: Kind = Number { least: Some(0.0), above: None, below: None };
const FRACTION: Kind = Number { least: Some(0.0), above: None, below: Some(1.0) };
const SCORERS: &[&str] = &["official", "coin"];
const METRICS: &[&str] = &[
    "multiple-choice",
    "vqa-soft",
    "textvqa",
    "vizwiz",
    "exact-match",
    "classification",
    "grounding",
    "gqa",
    "ocr-vqa",
];

/// All keys, in the order of the documentation.
pub const KEYS: &[Key] = &[
    key("name", Text, Words("the file's name"), "Name of the run; the default `--out` is `runs/NAME`."),
    key(
        "seeds",
        List { of: &Count { least: 0 }, least: 1 },
        Value("[0]"),
        "Root seeds; every method runs with each.",
    ),
    key(
        "orders",
        Orders,
        Value("[\"written\"]"),
        "Task orders; every method runs with each. A name from `configs/orders.toml` (`coin`, `alphabetical`), `written` (as the tasks stand in the file), `random:N` (N different orders drawn from the first seed), a list of task names, or `{ name = .., tasks = [..] }`.",
    ),
    key(
        "references",
        List { of: &Kind::Reference, least: 0 },
        Value("[]"),
        "Runs that the metrics are held against. `joint` trains on all tasks at once, `single` on each task alone, with the first method's stack or that of the method named (`joint:METHOD`). Zero-shot and blind scores are always there.",
    ),
    key(
        "backbone.path",
        Form("a checkpoint folder or `builtin:NAME`"),
        Required,
        "Checkpoint folder (config.json, safetensors, tokenizer.json) or an embedded backbone: `builtin:tiny`.",
    ),
    key(
        "backbone.vision_tower",
        Path,
        Words("as `mm_vision_tower` in config.json says"),
        "Folder of the vision tower, for a checkpoint in LLaVA's own layout, which has none in it.",
    ),
    key(
        "backbone.feature_cache",
        Form("a folder or `builtin:features`"),
        Words("none"),
        "Folder that keeps the frozen tower's features of every picture for later runs, by content: picture, tower, preparation, machine. No result depends on it, it may be removed at any time, and `compare` says how large it will get. `builtin:features` is a folder among the user's cached files.",
    ),
    key(
        "backbone.feature_cache_gib",
        POSITIVE,
        Words("100.0 with `feature_cache`"),
        "GiB that the folder may grow to; what does not fit is computed in each run.",
    ),
    key(
        "backbone.shape",
        Choice(&["llava-1.5-7b", "llava-1.5-13b"]),
        Words("that of the checkpoint"),
        "Shape of the model for the estimates of `compare --dry-run` where the checkpoint is not there.",
    ),
    key(
        "backbone.device",
        Form("`auto`, `cpu`, `cuda` or `cuda:INDEX`"),
        Value("\"auto\""),
        "`auto` takes the first GPU, else the CPU.",
    ),
    key(
        "backbone.dtype",
        Choice(&["float32", "bfloat16", "float16"]),
        Value("\"float32\""),
        "Type of the frozen weights and of the computation; trained parameters stay float32. `float16` is refused with the reason: it is for `model logits` and `bench generate`.",
    ),
    key(
        "training.batch_size",
        Count { least: 1 },
        Value("32"),
        "Rows of a micro-batch; replayed rows replace fresh ones, the size stays.",
    ),
    key(
        "training.steps",
        Count { least: 1 },
        Words("as `epochs`"),
        "Optimizer steps a stage. Either this or `epochs`.",
    ),
    key(
        "training.epochs",
        POSITIVE,
        Words("1.0 without `steps`"),
        "Passes over a stage's training items. Either this or `steps`.",
    ),
    key("training.learning_rate", POSITIVE, Value("2e-4"), "Peak learning rate of the method's parameters."),
    key(
        "training.projector_learning_rate",
        NOT_NEGATIVE,
        Words("as `learning_rate`"),
        "Peak learning rate of the projector; 0 freezes it.",
    ),
    key("training.weight_decay", NOT_NEGATIVE, Value("0.0"), "Decoupled weight decay (AdamW)."),
    key("training.betas", Pair(&FRACTION), Value("[0.9, 0.999]"), "AdamW's two decay rates."),
    key("training.epsilon", POSITIVE, Value("1e-8"), "AdamW's denominator offset."),
    key(
        "training.scheduler",
        Choice(&["cosine", "linear", "constant"]),
        Value("\"cosine\""),
        "Learning rate after the warm-up; anew at each stage.",
    ),
    key(
        "training.warmup_ratio",
        FRACTION,
        Value("0.03"),
        "Part of a stage's steps over which the learning rate rises from 0.",
    ),
    key("training.clip_norm", NOT_NEGATIVE, Value("1.0"), "Largest global gradient norm; 0 does not clip."),
    key(
        "training.accumulate",
        Count { least: 1 },
        Value("1"),
        "Micro-batches of `batch_size` rows that one optimizer step gathers.",
    ),
    key(
        "training.gradient_checkpointing",
        Flag,
        Value("false"),
        "Keeps the input of each decoder layer in place of everything its gradient needs, and computes the layer once more for it: a fraction of the memory for about a third more time, with the same result.",
    ),
    key(
        "training.threads",
        Count { least: 1 },
        Value("1"),
        "CPU threads of a cell. Part of the result (sums are rounded in another order), so it does not follow `--jobs`.",
    ),
    key(
        "evaluation.batch_size",
        Count { least: 1 },
        Value("64"),
        "Prompts answered together. No answer depends on it.",
    ),
    key(
        "evaluation.max_new_tokens",
        Count { least: 1 },
        Value("16"),
        "Longest answer in tokens, where the task does not say.",
    ),
    key(
        "evaluation.scorers",
        List { of: &Choice(SCORERS), least: 1 },
        Value("[\"official\"]"),
        "`official` scores by each benchmark's own rule, `coin` repeats the paper's scripts with their faults.",
    ),
    key(
        "evaluation.strict",
        Flag,
        Value("false"),
        "Answers one question at a time, each prompt read whole, with adapters beside the weights and not folded into them: slower, and what decoding by the book gives. As `--strict`.",
    ),
    key(
        "evaluation.count_flips",
        Count { least: 0 },
        Value("0"),
        "Test items a task, the first ones, that are answered once more as with `strict`; `flips` in `results.json` counts the answers that differ. No score depends on it; 0 counts none.",
    ),
    key("evaluation.limit", Count { least: 1 }, Words("all"), "Test items a task, the first ones."),
    key(
        "protocol.replay_samples_per_task",
        Count { least: 0 },
        Value("0"),
        "Grants replay of this many old samples for each task seen; 0 grants none.",
    ),
    key(
        "protocol.replay_total_samples",
        Count { least: 0 },
        Value("0"),
        "Grants replay from a buffer of this fixed size. Either this or `replay_samples_per_task`.",
    ),
    key("protocol.task_id_at_test", Flag, Value("false"), "Grants methods the task's index at test."),
    key(
        "protocol.blank_pictures",
        Flag,
        Value("false"),
        "Makes every picture grey, in training and at test: a control.",
    ),
    key("protocol.call_op", Flag, Value("false"), "Grants plugins the untyped call of any ATen operator."),
    key(
        "protocol.replaces_task_loss",
        Flag,
        Value("false"),
        "Grants one strategy of a stack its own loss in place of the task loss.",
    ),
    key(
        "protocol.strict",
        Flag,
        Value("false"),
        "Trains each stage in a new process, which begins with registered tensors and what plugins save, and with nothing else; tells of methods that would have gone on otherwise with what they remember. As `--strict-protocol`.",
    ),
    key(
        "tasks.*.dataset",
        Form("`PLUGIN/DATASET`"),
        Required,
        "Dataset adapter, for example `coin-datasets/gqa`.",
    ),
    key(
        "tasks.*.root",
        Form("a folder or `builtin:NAME`"),
        Required,
        "Folder with the data, or embedded data: `builtin:quickstart`.",
    ),
    key(
        "tasks.*.instruction",
        Kind::Instruction,
        Value("\"original\""),
        "Wording of the instructions. `original` keeps the line in the data, `none` leaves it out, `diverse` and `10type` read CoIN's files of these names. Any other text replaces the line; one with `{question}` in it is the whole prompt. `{ definition, constraint, prompt }` are put together, the question before the `prompt` unless a part has `{question}`. Of a list each record draws one, by seed and record.",
    ),
    key("tasks.*.metric", Choice(METRICS), Words("as the dataset says"), "Metric of the task."),
    key(
        "tasks.*.max_new_tokens",
        Count { least: 1 },
        Words("as `evaluation.max_new_tokens`"),
        "Longest answer in tokens.",
    ),
    key(
        "tasks.*.accumulate",
        Count { least: 1 },
        Words("as `training.accumulate`"),
        "Micro-batches that one optimizer step of this task's stage gathers.",
    ),
    key("tasks.*.template", Text, Words("as the backbone says"), "Conversation template of this task alone."),
    key("tasks.*.config", Open, Value("{}"), "Keys for the dataset adapter, which checks them."),
    key(
        "methods.*.stack",
        Stack,
        Words("as in `file`"),
        "Plugins of the method, in the order of their calls: `[{ plugin = \"lora\", r = 16 }, { plugin = \"ewc\" }]`. Keys other than `plugin` are the plugin's own (`coin-host plugin info`).",
    ),
    key(
        "methods.*.adapter",
        Path,
        Words("none"),
        "Folder of a LoRA adapter in PEFT's format that the stack's `lora` starts from, and the trained projector where the adapter has one; `r`, `lora_alpha` and `target_modules` must be the adapter's. Zero-shot answers are the backbone's own.",
    ),
    key("methods.*.file", Path, Words("none"), "A TOML file that holds the method's `stack`."),
    key(
        "plugins.dirs",
        List { of: &Path, least: 0 },
        Value("[]"),
        "Folders with plugins, searched before the installation's own.",
    ),
    key(
        "plugins.dev",
        List { of: &Path, least: 0 },
        Value("[]"),
        "Libraries or folders of one's own builds, accepted without a lock; the report marks them.",
    ),
    key(
        "plugins.trust",
        Choice(&["locked", "signed", "any"]),
        Value("\"locked\""),
        "What is loaded: plugins whose sha256 stands in `plugins.lock` (`locked`); those, and packages signed by a trusted key (`signed`, docs/sharing.md); or any.",
    ),
    key(
        "judge.url",
        Text,
        Words("`COIN_HOST_JUDGE_URL` of the environment"),
        "Address of an OpenAI-compatible server up to `/v1`, for `coin-host score --judge`. Credentials in it are refused.",
    ),
    key(
        "judge.model",
        Text,
        Words("`COIN_HOST_JUDGE_MODEL` of the environment"),
        "The judging model's name.",
    ),
    key(
        "judge.key_env",
        Text,
        Words("`OPENAI_API_KEY`, which may be unset"),
        "Environment variable that holds the key. The key itself belongs in no file.",
    ),
    key(
        "judge.temperature",
        NOT_NEGATIVE,
        Value("0.0"),
        "Sampling temperature. CoIN's code has 0.7, which no run repeats.",
    ),
    key(
        "judge.votes",
        Count { least: 1 },
        Value("1"),
        "Replies asked for each answer; their mean counts, their agreement is reported.",
    ),
    key(
        "judge.max_tokens",
        Count { least: 0 },
        Value("20"),
        "Longest reply in tokens; 0 leaves it to the server.",
    ),
    key("judge.limit", Count { least: 1 }, Words("all"), "Items a task that are judged, the first ones."),
    key("judge.parallel", Count { least: 1 }, Value("4"), "Requests at a time."),
    key("judge.timeout_seconds", POSITIVE, Value("60.0"), "Longest wait for one reply."),
    key(
        "judge.retries",
        Count { least: 0 },
        Value("5"),
        "Tries after the first one: on timeouts, lost connections, status 408, 429 and 5xx, and replies that cannot be read.",
    ),
    key(
        "judge.backoff_seconds",
        NOT_NEGATIVE,
        Value("1.0"),
        "Wait before the second try, doubled with each further one up to 60 s; a `Retry-After` of the server goes first.",
    ),
    key(
        "judge.price_per_million_input",
        NOT_NEGATIVE,
        Words("unknown"),
        "Price of a million tokens of messages, in any currency.",
    ),
    key(
        "judge.price_per_million_output",
        NOT_NEGATIVE,
        Words("unknown"),
        "Price of a million tokens of replies.",
    ),
    key(
        "judge.max_cost",
        NOT_NEGATIVE,
        Words("none"),
        "Cap on what one call of `score --judge` costs, in the currency of the prices: it does not begin beyond its estimate, and stops before it would exceed the cap.",
    ),
    key(
        "judge.rule",
        Path,
        Words("the host's own wording"),
        "A `rule.json` of CoIN (entries `CoIN` and `CoIN_Grounding`) with what the judge is told to do.",
    ),
];

impl Kind {
    /// In words, for messages and the documentation.
    pub fn words(&self) -> String {
        match self {
            Text => "text".into(),
            Form(form) => (*form).to_string(),
            Path => "a path".into(),
            Flag => "true or false".into(),
            Count { least: 0 } => "a whole number".into(),
            Count { least } => format!("a whole number of at least {least}"),
            Number { least, above, below } => {
                let mut words = "a number".to_string();
                let mut bounds = Vec::new();
                bounds.extend(least.map(|least| format!("of at least {least}")));
                bounds.extend(above.map(|above| format!("above {above}")));
                bounds.extend(below.map(|below| format!("below {below}")));
                if !bounds.is_empty() {
                    words = format!("{words} {}", bounds.join(" and "));
                }
                words
            }
            Choice(names) => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
            List { of, least: 0 } => format!("a list: {}", of.words()),
            List { of, .. } => format!("a list that is not empty: {}", of.words()),
            Pair(of) => format!("two numbers, each {}", of.words().trim_start_matches("a number ")),
            Orders => "a list of orders".into(),
            Kind::Reference => "`joint`, `single`, or either with `:METHOD`".into(),
            Kind::Instruction => {
                "`original`, `diverse`, `10type`, `none`, a text, `{ definition, constraint, prompt }`, or a list of these".into()
            }
            Stack => "a list of tables, each with a `plugin`".into(),
            Open => "a table".into(),
        }
    }
}

/// The key with this path, names standing for `*`.
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| matches(key.path, path))
}

fn matches(pattern: &str, path: &str) -> bool {
    let mut names = path.split('.');
    pattern.split('.').all(|part| names.next().is_some_and(|name| part == "*" || part == name))
        && names.next().is_none()
}

/// The parts that may follow a table's pattern (`""`, `training`, `tasks.*`), in documentation order.
pub(crate) fn children(pattern: &str) -> Vec<&'static str> {
    let mut found: Vec<&'static str> = Vec::new();
    for key in KEYS {
        let rest = if pattern.is_empty() {
            Some(key.path)
        } else {
            key.path.strip_prefix(pattern).and_then(|rest| rest.strip_prefix('.'))
        };
        if let Some(part) = rest.and_then(|rest| rest.split('.').next())
            && !found.contains(&part)
        {
            found.push(part);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::scorer::{Metric, Scorer};

    #[test]
    fn metrics_and_scorers_are_those_of_the_evaluation() {
        assert_eq!(METRICS, Metric::ALL.map(Metric::name));
        assert_eq!(SCORERS, [Scorer::Official, Scorer::Coin].map(Scorer::name));
    }

    #[test]
    fn names_stand_for_stars() {
        assert_eq!(find("tasks.gqa.root").map(|key| key.path), Some("tasks.*.root"));
        assert!(find("tasks.gqa").is_none());
        assert!(find("training.setps").is_none());
        assert_eq!(children("tasks"), ["*"]);
        assert_eq!(children("methods.*"), ["stack", "adapter", "file"]);
        assert!(children("").starts_with(&["name", "seeds", "orders"]));
    }
}
