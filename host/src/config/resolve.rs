//! From the configuration as written to the one that is run.

use std::path::{Path, PathBuf};

use crate::config::judge::{Judge, RawJudge};
use crate::config::raw::{RawConfig, RawMethod, RawOrder, RawReference, RawTask, RawTraining};
use crate::config::{
    Backbone, ConfigError, Device, Dtype, Evaluation, FLOAT16, Location, Method, Order, Origin, Origins,
    Plugins, Protocol, Reference, ReferenceKind, RunConfig, Scheduler, Task, Training, Trust,
    instruction::Instruction, nearest, orders,
};
use crate::eval::scorer::Scorer;

/// Tasks and methods to keep; empty keeps all.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Selection<'a> {
    pub(crate) methods: &'a [String],
    pub(crate) tasks: &'a [String],
}

/// Fills in the defaults and checks what concerns several keys. `name` is the run's where the file gives none.
pub(crate) fn resolve(
    raw: &RawConfig,
    origins: &Origins,
    name: &str,
    selection: Selection<'_>,
) -> Result<RunConfig, ConfigError> {
    let resolver = Resolver { origins };
    let evaluation = Evaluation {
        batch_size: raw.evaluation.batch_size.unwrap_or(64),
        max_new_tokens: raw.evaluation.max_new_tokens.unwrap_or(16),
        scorers: raw.evaluation.scorers.clone().unwrap_or_else(|| vec![Scorer::Official]),
        strict: raw.evaluation.strict.unwrap_or(false),
        count_flips: raw.evaluation.count_flips.unwrap_or(0),
        limit: raw.evaluation.limit,
    };
    let mut tasks = Vec::new();
    for (name, task) in &raw.tasks {
        tasks.push((name.clone(), resolver.task(name, task, &evaluation)?));
    }
    let mut methods = Vec::new();
    for (name, method) in &raw.methods {
        methods.push((name.clone(), resolver.method(name, method)?));
    }
    if tasks.is_empty() {
        return Err(ConfigError::new("the run has no task").hint("add a table `[tasks.NAME]`"));
    }
    if methods.is_empty() {
        return Err(
            ConfigError::new("the run has no method").hint("add a table `[methods.NAME]` with a `stack`")
        );
    }
    let references = resolver.references(raw.references.as_deref().unwrap_or_default(), &methods)?;
    let all_tasks: Vec<String> = tasks.iter().map(|(name, _)| name.clone()).collect();
    select("--tasks", "task", selection.tasks, &mut tasks)?;
    select("--methods", "method", selection.methods, &mut methods)?;
    let selected: Vec<String> = tasks.iter().map(|(name, _)| name.clone()).collect();
    let seeds = raw.seeds.clone().unwrap_or_else(|| vec![0]);
    let orders =
        resolver.orders(raw.orders.as_deref(), &all_tasks, &selected, seeds.first().copied().unwrap_or(0))?;
    Ok(RunConfig {
        name: resolver.name(raw.name.as_deref(), name)?,
        seeds,
        orders,
        references,
        backbone: resolver.backbone(raw)?,
        training: resolver.training(&raw.training)?,
        evaluation,
        protocol: resolver.protocol(raw)?,
        tasks,
        methods,
        plugins: Plugins {
            dirs: resolver.paths("plugins.dirs", raw.plugins.dirs.as_deref())?,
            dev: resolver.paths("plugins.dev", raw.plugins.dev.as_deref())?,
            trust: raw.plugins.trust.unwrap_or(Trust::Locked),
        },
        judge: raw.judge.as_ref().map(|judge| resolver.judge(judge)).transpose()?,
    })
}

/// Keeps the entries named; the order stays that of the file.
fn select<T>(
    option: &str,
    noun: &str,
    names: &[String],
    entries: &mut Vec<(String, T)>,
) -> Result<(), ConfigError> {
    if names.is_empty() {
        return Ok(());
    }
    for name in names {
        if !entries.iter().any(|(known, _)| known == name) {
            let known = || entries.iter().map(|(name, _)| name.as_str());
            let hint = match (option, nearest::nearest(name, known())) {
                ("--methods", None) => format!(
                    "known: {}; a plugin becomes a method in a file, `--methods my.toml`, with `stack = [{{ plugin = \"{name}\" }}]` in it",
                    known().collect::<Vec<_>>().join(", ")
                ),
                _ => nearest::hint(name, known().collect::<Vec<_>>()),
            };
            return Err(ConfigError::new(format!("the run has no {noun} `{name}`"))
                .at(&Origin::option(option))
                .hint(hint));
        }
    }
    entries.retain(|(name, _)| names.contains(name));
    Ok(())
}

struct Resolver<'a> {
    origins: &'a Origins,
}

impl Resolver<'_> {
    fn fault(&self, key: &str, reason: impl Into<String>) -> ConfigError {
        ConfigError::new(reason).at(self.origins.of(key)).key(key)
    }

    fn missing(&self, table: &str, key: &str, example: &str) -> ConfigError {
        ConfigError::new("the key is missing")
            .at(self.origins.of(table))
            .key(format!("{table}.{key}"))
            .hint(format!("for example `{key} = \"{example}\"`"))
    }

    fn name(&self, name: Option<&str>, fallback: &str) -> Result<String, ConfigError> {
        let name = name.unwrap_or(fallback);
        crate::config::check::check_name(name)
            .map_err(|fault| fault.at(self.origins.of("name")).key("name"))?;
        Ok(name.to_string())
    }

    fn backbone(&self, raw: &RawConfig) -> Result<Backbone, ConfigError> {
        let raw = &raw.backbone;
        let path = raw.path.as_deref().ok_or_else(|| self.missing("backbone", "path", "builtin:tiny"))?;
        let device = raw.device.as_deref().unwrap_or("auto").parse::<Device>().map_err(|reason| {
            self.fault("backbone.device", reason).hint("devices are `auto`, `cpu`, `cuda` and `cuda:INDEX`")
        })?;
        if raw.dtype == Some(Dtype::Float16) {
            return Err(self.fault("backbone.dtype", FLOAT16.0).hint(FLOAT16.1));
        }
        Ok(Backbone {
            path: self.location("backbone.path", path)?,
            vision_tower: (raw.vision_tower.as_deref())
                .map(|path| self.absolute("backbone.vision_tower", Path::new(path)))
                .transpose()?,
            feature_cache: (raw.feature_cache.as_deref())
                .map(|path| self.location("backbone.feature_cache", path))
                .transpose()?,
            feature_cache_gib: raw.feature_cache.as_ref().map(|_| raw.feature_cache_gib.unwrap_or(100.0)),
            shape: raw.shape,
            device,
            dtype: raw.dtype.unwrap_or(Dtype::Float32),
        })
    }

    fn judge(&self, raw: &RawJudge) -> Result<Judge, ConfigError> {
        let rule =
            raw.rule.as_deref().map(|rule| self.absolute("judge.rule", Path::new(rule))).transpose()?;
        Ok(Judge::default().with(raw, rule))
    }

    fn training(&self, raw: &RawTraining) -> Result<Training, ConfigError> {
        let (mut steps, mut epochs) = (raw.steps, raw.epochs);
        if steps.is_some() && epochs.is_some() {
            match self.later_of("training.steps", "training.epochs")? {
                Later::First => epochs = None,
                Later::Second => steps = None,
            }
        }
        if steps.is_none() && epochs.is_none() {
            epochs = Some(1.0);
        }
        let learning_rate = raw.learning_rate.unwrap_or(2e-4);
        Ok(Training {
            batch_size: raw.batch_size.unwrap_or(32),
            steps,
            epochs,
            learning_rate,
            projector_learning_rate: raw.projector_learning_rate.unwrap_or(learning_rate),
            weight_decay: raw.weight_decay.unwrap_or(0.0),
            betas: raw.betas.unwrap_or([0.9, 0.999]),
            epsilon: raw.epsilon.unwrap_or(1e-8),
            scheduler: raw.scheduler.unwrap_or(Scheduler::Cosine),
            warmup_ratio: raw.warmup_ratio.unwrap_or(0.03),
            clip_norm: raw.clip_norm.unwrap_or(1.0),
            accumulate: raw.accumulate.unwrap_or(1),
            gradient_checkpointing: raw.gradient_checkpointing.unwrap_or(false),
            threads: raw.threads.unwrap_or(1),
        })
    }

    fn protocol(&self, raw: &RawConfig) -> Result<Protocol, ConfigError> {
        let raw = &raw.protocol;
        let mut per_task = raw.replay_samples_per_task.unwrap_or(0);
        let mut total = raw.replay_total_samples.unwrap_or(0);
        if per_task > 0 && total > 0 {
            match self.later_of("protocol.replay_samples_per_task", "protocol.replay_total_samples")? {
                Later::First => total = 0,
                Later::Second => per_task = 0,
            }
        }
        Ok(Protocol {
            replay_samples_per_task: per_task,
            replay_total_samples: total,
            task_id_at_test: raw.task_id_at_test.unwrap_or(false),
            blank_pictures: raw.blank_pictures.unwrap_or(false),
            call_op: raw.call_op.unwrap_or(false),
            replaces_task_loss: raw.replaces_task_loss.unwrap_or(false),
            strict: raw.strict.unwrap_or(false),
        })
    }

    /// Of two keys that exclude each other, the one that an option of the command line sets over the file's.
    fn later_of(&self, first: &str, second: &str) -> Result<Later, ConfigError> {
        let option = |key: &str| matches!(self.origins.of(key), Origin::Option { .. });
        match (option(first), option(second)) {
            (true, false) => Ok(Later::First),
            (false, true) => Ok(Later::Second),
            _ => Err(self
                .fault(second, format!("excludes `{first}` ({})", self.origins.of(first)))
                .hint("keep one of the two")),
        }
    }

    fn task(&self, name: &str, raw: &RawTask, evaluation: &Evaluation) -> Result<Task, ConfigError> {
        let table = format!("tasks.{name}");
        let dataset =
            raw.dataset.as_deref().ok_or_else(|| self.missing(&table, "dataset", "coin-datasets/gqa"))?;
        if !dataset.split_once('/').is_some_and(|(plugin, dataset)| !plugin.is_empty() && !dataset.is_empty())
        {
            return Err(self
                .fault(
                    &format!("{table}.dataset"),
                    format!("`{dataset}` does not name a plugin and its dataset"),
                )
                .hint("write `PLUGIN/DATASET`, for example `coin-datasets/gqa`"));
        }
        let root = raw.root.as_deref().ok_or_else(|| self.missing(&table, "root", "data/gqa"))?;
        Ok(Task {
            dataset: dataset.to_string(),
            root: self.location(&format!("{table}.root"), root)?,
            instruction: raw.instruction.clone().unwrap_or_else(Instruction::original),
            metric: raw.metric,
            max_new_tokens: raw.max_new_tokens.unwrap_or(evaluation.max_new_tokens),
            accumulate: raw.accumulate,
            template: raw.template.clone(),
            config: raw.config.clone().unwrap_or_default(),
        })
    }

    fn method(&self, name: &str, raw: &RawMethod) -> Result<Method, ConfigError> {
        let table = format!("methods.{name}");
        let stack = raw.stack.clone().ok_or_else(|| {
            self.fault(&table, "the method has no `stack`")
                .hint("for example `stack = [{ plugin = \"lora\", r = 16 }]`")
        })?;
        let adapter = raw.adapter.as_deref().map(Path::new);
        let adapter = adapter.map(|path| self.absolute(&format!("{table}.adapter"), path)).transpose()?;
        Ok(Method { stack, adapter })
    }

    fn references(
        &self,
        raw: &[RawReference],
        methods: &[(String, Method)],
    ) -> Result<Vec<Reference>, ConfigError> {
        let mut references: Vec<Reference> = Vec::new();
        for (index, text) in raw.iter().enumerate() {
            let key = format!("references.{index}");
            let text = match text {
                RawReference::Name(text) => text,
                RawReference::Written(reference) => {
                    references.push(self.only_one(&key, reference.clone(), &references)?);
                    continue;
                }
            };
            let (kind, name) =
                text.split_once(':').map_or((text.as_str(), None), |(kind, name)| (kind, Some(name)));
            let kind = match kind {
                "joint" => ReferenceKind::Joint,
                "single" => ReferenceKind::Single,
                _ => {
                    return Err(self
                        .fault(&key, format!("`{text}` is no reference run"))
                        .hint("`joint`, `single`, or either with `:METHOD`; zero-shot and blind scores are always there"));
                }
            };
            let (method, written) = match name {
                None => methods.first(),
                Some(name) => methods.iter().find(|(known, _)| known == name),
            }
            .ok_or_else(|| {
                let name = name.unwrap_or_default();
                self.fault(&key, format!("there is no method `{name}`"))
                    .hint(nearest::hint(name, methods.iter().map(|(name, _)| name.as_str())))
            })?;
            let Method { stack, adapter } = written.clone();
            let reference = Reference { kind, method: method.clone(), stack, adapter };
            references.push(self.only_one(&key, reference, &references)?);
        }
        Ok(references)
    }

    /// Refuses a second reference of a kind: both would have the folder `references/KIND/SEED`.
    fn only_one(&self, key: &str, one: Reference, known: &[Reference]) -> Result<Reference, ConfigError> {
        let Some(first) = known.iter().find(|known| known.kind == one.kind) else { return Ok(one) };
        let kind = match one.kind {
            ReferenceKind::Joint => "joint",
            ReferenceKind::Single => "single",
        };
        let what = format!(
            "a second `{kind}` reference, of `{}` beside that of `{}`; a run has one, in `references/{kind}`",
            one.method, first.method
        );
        Err(self
            .fault(key, what)
            .hint("leave one of them out; a run in another folder (`--out`) can have it"))
    }

    fn orders(
        &self,
        raw: Option<&[RawOrder]>,
        tasks: &[String],
        selected: &[String],
        seed: u64,
    ) -> Result<Vec<Order>, ConfigError> {
        let written = [RawOrder::Name("written".into())];
        let mut resolved: Vec<Order> = Vec::new();
        for (index, order) in raw.unwrap_or(&written).iter().enumerate() {
            let key = format!("orders.{index}");
            let fault = |fault: ConfigError| fault.at(self.origins.of(&key)).key("orders");
            for order in orders::resolve(order, index + 1, tasks, selected, seed).map_err(fault)? {
                if resolved.iter().any(|known| known.name == order.name) {
                    return Err(fault(ConfigError::new(format!(
                        "the order `{}` stands there twice",
                        order.name
                    ))));
                }
                resolved.push(order);
            }
        }
        Ok(resolved)
    }

    fn location(&self, key: &str, text: &str) -> Result<Location, ConfigError> {
        match Location::from(text.to_string()) {
            Location::Folder(path) => Ok(Location::Folder(self.absolute(key, &path)?)),
            builtin => Ok(builtin),
        }
    }

    fn paths(&self, key: &str, raw: Option<&[String]>) -> Result<Vec<PathBuf>, ConfigError> {
        (raw.unwrap_or_default().iter().enumerate())
            .map(|(index, path)| self.absolute(&format!("{key}.{index}"), Path::new(path)))
            .collect()
    }

    /// Paths of a file are relative to its folder, those of the command line to the current one.
    fn absolute(&self, key: &str, path: &Path) -> Result<PathBuf, ConfigError> {
        let path = match self.origins.of(key) {
            Origin::File { file, .. } => Path::new(file).parent().unwrap_or(Path::new("")).join(path),
            _ => path.to_path_buf(),
        };
        std::path::absolute(&path).map_err(|fault| self.fault(key, format!("`{}`: {fault}", path.display())))
    }
}

enum Later {
    First,
    Second,
}
