//! One cell from beginning to end, or from where an earlier run left it: train a stage, answer every task, write it down.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::compare::clock::{Clock, Lap};
use crate::compare::event::CellEvent;
use crate::compare::handover::{self, Beginning};
use crate::compare::memory;
use crate::compare::metrics_file::MetricsFile;
use crate::eval::answering::{Engine, names, percent, write};
use crate::eval::matrix::Matrix;
use crate::eval::metrics::Metrics;
use crate::eval::scorer::Scorer;
use crate::ops::live_handles;
use crate::plugin::hook::Hook;
use crate::report::results::{Cost, Flips, Handover, ScorerResult};
use crate::train::cell::{Cell, Position, Strategies};
use crate::train::checkpoint;
use crate::train::stage::{self, Running};
use crate::train::strategy_services::StrategyServices;

/// Least time between two checkpoints inside a stage; `COIN_HOST_CHECKPOINT_SECONDS` sets another, 0 takes one after each step. When
/// they are taken changes nothing that is computed.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(20);

/// They are taken so seldom that at most one part in so many of the time goes to them: those of a large model are gigabytes.
const CHECKPOINT_SHARE: u32 = 50;

/// However long the last one took: a disk may have stalled.
const CHECKPOINT_AT_LATEST: Duration = Duration::from_secs(15 * 60);

/// What a cell has measured so far; kept in its checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Stages answered.
    pub answered: usize,
    /// By scorer; row = after stage, column = task in training order.
    pub matrices: BTreeMap<String, Matrix>,
    #[serde(default)]
    pub flips: Flips,
    pub cost: Cost,
    /// How often each plugin used what it was granted.
    #[serde(default)]
    pub granted: BTreeMap<String, BTreeMap<String, u64>>,
    /// Under a strict protocol: what each stage after the first began with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handovers: Vec<Handover>,
    pub fresh_rows: u64,
    /// Length of `metrics.jsonl`.
    metrics_bytes: u64,
}

/// How far a run of a cell came.
pub enum Ended {
    Cell(Progress),
    /// One stage, where each has a process of its own. `beginning`: how this one would have gone on with what it remembers, or why
    /// that cannot be said.
    Stage {
        beginning: Option<Result<String, String>>,
    },
}

/// What a cell needs to run.
pub struct CellRun<'r> {
    pub cell: Cell<'r>,
    pub strategies: Strategies,
    /// Where its files go.
    pub folder: PathBuf,
    /// Columns of the matrix, by place in the world's tasks.
    pub columns: Vec<usize>,
    pub scorers: Vec<Scorer>,
    /// How the process of the stage before would have gone on.
    pub beginning: Option<String>,
    /// Hears what happens.
    pub emit: &'r mut dyn FnMut(CellEvent),
    /// Hears what is measured, as the cell begins and after each stage that was answered.
    pub measured: &'r mut dyn FnMut(&Progress),
}

impl CellRun<'_> {
    /// Runs the cell to its end, or under a strict protocol to that of a stage.
    pub fn run(mut self) -> Result<Ended> {
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("{} cannot be made", self.folder.display()))?;
        let _lock = lock(&self.folder)?;
        memory::reset_peak();
        let path = self.folder.join("checkpoint.safetensors");
        let (mut trained, mut running, mut progress) = match path.is_file() {
            true => checkpoint::restore::<Progress>(&path, &self.cell, &mut self.strategies)?,
            false => (0, None, self.fresh()),
        };
        let mut metrics = MetricsFile::open(&self.folder.join("metrics.jsonl"), progress.metrics_bytes)?;
        progress.cost.trainable_parameters =
            progress.cost.trainable_parameters.max(self.cell.parameters.borrow().trainable_count());
        (self.measured)(&progress);
        let strict = self.cell.world.config.protocol.strict;
        while progress.answered < self.cell.stages.len() {
            let mut remembers = false;
            if trained == progress.answered {
                if strict && trained > 0 && running.is_none() {
                    handover::note(&mut progress.handovers, &self.cell, &self.strategies, trained)?;
                }
                remembers = running.is_none();
                self.train(trained, running.take(), &mut progress, &mut metrics)?;
                trained += 1;
                self.checkpoint(trained, None, &mut progress, &mut metrics)?;
            }
            self.answer(trained - 1, &mut progress, &mut metrics)?;
            progress.answered = trained;
            self.keep_parameters(trained - 1)?;
            self.checkpoint(trained, None, &mut progress, &mut metrics)?;
            (self.measured)(&progress);
            if strict && trained < self.cell.stages.len() {
                let beginning = (remembers && handover::is_comparable(&self.cell))
                    .then(|| handover::beginning(&self.cell, &mut self.strategies, trained, self.emit));
                return Ok(Ended::Stage { beginning });
            }
        }
        (self.emit)(CellEvent::Finished {
            train_seconds: progress.cost.train_seconds,
            eval_seconds: progress.cost.eval_seconds,
            picture_seconds: progress.cost.picture_seconds,
        });
        Ok(Ended::Cell(progress))
    }

    fn empty_matrix(&self) -> Matrix {
        let stages = self.cell.stages.len();
        // A reference training has one row.
        Matrix { rows: vec![vec![None; self.columns.len()]; stages], ..Matrix::new(self.columns.len()) }
    }

    fn fresh(&self) -> Progress {
        let matrix = |name: &str| (name.to_string(), self.empty_matrix());
        Progress {
            answered: 0,
            matrices: names(&self.scorers).into_iter().map(matrix).collect(),
            flips: Flips::default(),
            cost: Cost::default(),
            granted: BTreeMap::new(),
            handovers: Vec::new(),
            fresh_rows: 0,
            metrics_bytes: 0,
        }
    }

    fn train(
        &mut self,
        stage: usize,
        resumed: Option<Running>,
        progress: &mut Progress,
        metrics: &mut MetricsFile,
    ) -> Result<()> {
        let names: Vec<&str> =
            self.cell.stages[stage].iter().map(|&task| self.cell.world.tasks[task].name.as_str()).collect();
        let task = if names.len() == 1 { names[0].to_string() } else { String::from("all tasks") };
        (self.emit)(CellEvent::StageStarted { stage, task });
        let mut clock = Clock::start(self.cell.world.tasks);
        // A cell that failed in this process before may have left some.
        let handles = live_handles();
        let expected = if resumed.is_none() { self.beginning.take() } else { None };
        let mut compared = expected.map(|expected| (expected, Beginning::default()));
        let mut running = match resumed {
            Some(running) => running,
            None => stage::begin(&self.cell, &mut self.strategies, stage)?,
        };
        let trainable = self.cell.parameters.borrow().trainable_count();
        progress.cost.trainable_parameters = progress.cost.trainable_parameters.max(trainable);
        let (every, mut saved, mut took) = (checkpoint_every(), Instant::now(), Duration::ZERO);
        while running.step < running.plan.steps {
            let report = stage::step(&self.cell, &mut self.strategies, &mut running)?;
            progress.fresh_rows += report.fresh_rows as u64;
            metrics.step(stage, &report, &self.cell)?;
            if let Some((expected, mut beginning)) = compared.take() {
                beginning.step(&report);
                if beginning.is_whole(&running) {
                    let alike = beginning.finish(&self.cell)? == expected;
                    if let Some(handover) = progress.handovers.last_mut() {
                        handover.alike = Some(alike);
                    }
                } else {
                    compared = Some((expected, beginning));
                }
            }
            (self.emit)(CellEvent::Step { step: report.step + 1, of: report.of, loss: report.task_loss });
            if saved.elapsed() >= every.max((took * CHECKPOINT_SHARE).min(CHECKPOINT_AT_LATEST)) {
                trained(&mut progress.cost, clock.lap());
                saved = Instant::now();
                self.checkpoint(stage, Some(&running), progress, metrics)?;
                // Zero asks for one after each step, whatever they cost.
                took = if every.is_zero() { Duration::ZERO } else { saved.elapsed() };
                saved = Instant::now();
            }
        }
        stage::end(&self.cell, &mut self.strategies)?;
        metrics.plugin_metrics(stage, &self.cell)?;
        trained(&mut progress.cost, clock.lap());
        let left = live_handles() - handles;
        ensure!(
            left <= 0,
            "{} tensor handles were not given back by the end of stage {stage}\nhint: keep ids across calls, never tensors; plugins of this stack: {}",
            left,
            self.plugins()
        );
        Ok(())
    }

    fn plugins(&self) -> String {
        self.cell.entries.iter().map(|entry| entry.plugin.as_str()).collect::<Vec<_>>().join(", ")
    }

    fn answer(&mut self, stage: usize, progress: &mut Progress, metrics: &mut MetricsFile) -> Result<()> {
        let mut clock = Clock::start(self.cell.world.tasks);
        // The same whether the stage was just trained or read back.
        self.cell.position.set(Position { stage, ..Position::default() });
        self.hooks(Hook::BeforeEval)?;
        let world = self.cell.world;
        let engine = Engine {
            backbone: world.backbone,
            tokenizer: world.tokenizer,
            scorers: &self.scorers,
            batch_size: world.config.evaluation.batch_size,
            strict: world.config.evaluation.strict,
            limit: world.config.evaluation.limit,
        };
        let strict = world.config.evaluation.strict;
        let merged = if strict { None } else { self.cell.merge()? };
        for (column, &task) in self.columns.iter().enumerate() {
            let (task_data, prompter) = (&world.tasks[task], &world.prompters[task]);
            let emit = &mut self.emit;
            let mut seen = |done: usize, of: usize| {
                emit(CellEvent::Answered { stage: Some(stage), task: task_data.name.clone(), done, of });
            };
            let answers = self.cell.answering(task, merged.as_ref(), |hook| {
                engine.answer(task_data, prompter, hook, &mut seen)
            })?;
            write(
                &self
                    .folder
                    .join("predictions")
                    .join(stage.to_string())
                    .join(format!("{}.jsonl", task_data.name)),
                &answers,
            )?;
            for name in names(&self.scorers) {
                // A checkpoint of an earlier host has the scorers only.
                let empty = self.empty_matrix();
                let matrix = progress.matrices.entry(name.to_string()).or_insert(empty);
                matrix.set(stage, column, percent(&answers, name))?;
                matrix.set_items(column, answers.len() as u64)?;
            }
            if !strict && world.config.evaluation.count_flips > 0 {
                let limit = Some(world.config.evaluation.count_flips.min(answers.len()));
                let strictly = self.cell.answering(task, None, |hook| {
                    Engine { limit, strict: true, ..engine }.answer(task_data, prompter, hook, &mut |_, _| {})
                })?;
                let differ = answers.iter().zip(&strictly).filter(|(one, other)| one.text != other.text);
                progress.flips.flipped += differ.count() as u64;
                progress.flips.compared += strictly.len() as u64;
            }
            task_data.rest();
            let score = self.scorers.first().map_or(0.0, |scorer| percent(&answers, scorer.name()));
            (self.emit)(CellEvent::Evaluated { stage: Some(stage), task: task_data.name.clone(), score });
        }
        self.hooks(Hook::AfterEval)?;
        metrics.plugin_metrics(stage, &self.cell)?;
        let lap = clock.lap();
        progress.cost.eval_seconds += lap.own;
        progress.cost.picture_seconds += lap.pictures;
        Ok(())
    }

    fn hooks(&mut self, hook: Hook) -> Result<()> {
        for (entry, strategy) in &mut self.strategies {
            let services = StrategyServices::new(&self.cell, *entry, hook, None);
            match hook {
                Hook::BeforeEval => strategy.before_eval(&services)?,
                _ => strategy.after_eval(&services)?,
            }
        }
        Ok(())
    }

    /// The tensors after a stage, for a later look or a merge.
    fn keep_parameters(&self, stage: usize) -> Result<()> {
        let folder = self.folder.join("stages").join(stage.to_string());
        std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let parameters = self.cell.parameters.borrow();
        let tensors: BTreeMap<_, _> = parameters
            .list()
            .iter()
            .filter(|parameter| !parameter.buffer)
            .map(|parameter| (parameter.name.clone(), parameter.tensor.shallow_clone()))
            .collect();
        crate::model::weights::save(&folder.join("parameters.safetensors"), &tensors, None)
    }

    fn checkpoint(
        &self,
        stage: usize,
        running: Option<&Running>,
        progress: &mut Progress,
        metrics: &mut MetricsFile,
    ) -> Result<()> {
        progress.metrics_bytes = metrics.flush()?;
        if running.is_none() {
            // At fixed places only: when checkpoints are taken must not show in a figure.
            let mut stored = self.cell.parameters.borrow().bytes();
            for (_, strategy) in &self.strategies {
                stored += strategy.save()?.len() as u64;
            }
            let replay = self.cell.replay_bytes()?;
            progress.cost.replay_bytes = progress.cost.replay_bytes.max(replay);
            progress.cost.stored_bytes = progress.cost.stored_bytes.max(stored + replay);
        }
        progress.cost.fresh_rows = progress.fresh_rows;
        progress.cost.extra_rows = self.cell.extra_rows.get();
        progress.granted = self.cell.uses();
        progress.cost.peak_memory_bytes = progress.cost.peak_memory_bytes.max(memory::peak());
        checkpoint::save(
            &self.folder.join("checkpoint.safetensors"),
            &self.cell,
            &self.strategies,
            stage,
            running,
            progress,
        )
    }
}

fn trained(cost: &mut Cost, lap: Lap) {
    cost.train_seconds += lap.own;
    cost.picture_seconds += lap.pictures;
}

fn checkpoint_every() -> Duration {
    let seconds = std::env::var("COIN_HOST_CHECKPOINT_SECONDS").ok().and_then(|text| text.parse().ok());
    seconds.map_or(CHECKPOINT_EVERY, Duration::from_secs)
}

/// Waits until no other process works on this cell: a worker whose parent was killed is at its last step.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(".lock");
    let file = File::create(&path).with_context(|| format!("{} cannot be made", path.display()))?;
    file.lock().with_context(|| format!("{} cannot be locked", path.display()))?;
    Ok(file)
}

/// Scores of a cell with what follows from them.
pub fn scored(
    progress: &Progress,
    joint: impl Fn(&str) -> Option<Vec<Option<f64>>>,
) -> BTreeMap<String, ScorerResult> {
    if progress.answered == 0 {
        return BTreeMap::new();
    }
    let result = |(scorer, matrix): (&String, &Matrix)| {
        let metrics = Metrics::of(matrix, joint(scorer).as_deref());
        (scorer.clone(), ScorerResult { matrix: matrix.clone(), metrics })
    };
    progress.matrices.iter().map(result).collect()
}
