//! A method on trial: a cell that is built, trained and answered as [`crate::compare`] does it, with everything it computes written down.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::testbed::Testbed;
use crate::config::StackEntry;
use crate::eval::answering::Engine;
use crate::ops::live_handles;
use crate::plugin::Plugin;
use crate::plugin::hook::Hook;
use crate::train::build;
use crate::train::cell::{Cell, Position, Strategies, World};
use crate::train::stage::{self, Running};
use crate::train::strategy_services::StrategyServices;

/// Stages of a trial: one for each task of the testbed.
pub(super) const STAGES: usize = 2;

/// A plugin by its name.
pub(super) type Plugins<'p> = &'p dyn Fn(&str) -> Result<Plugin>;

/// What a method is made of: the stack, where its plugins come from, the root seed.
#[derive(Clone, Copy)]
pub(super) struct Method<'m> {
    pub(super) stack: &'m [StackEntry],
    pub(super) plugins: Plugins<'m>,
    pub(super) seed: u64,
}

/// A cell that runs.
pub(super) struct Trial<'t> {
    pub(super) cell: Cell<'t>,
    pub(super) strategies: Strategies,
    /// Names of the tensors that an optimizer of the stage was given a gradient of, other than zero.
    pub(super) reached: BTreeSet<String>,
}

/// A step: stage, number, the bits of the task loss and of each named term.
pub(super) type Step = (usize, usize, u64, Vec<(String, u64)>);

/// What a trial computed: compared bit for bit.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) losses: Vec<Step>,
    /// After each stage.
    pub(super) answers: Vec<Vec<String>>,
    /// At the end, by name.
    pub(super) tensors: BTreeMap<String, Vec<u32>>,
}

impl<'t> Trial<'t> {
    /// Builds the stack on the world of a testbed.
    pub(super) fn build(world: &'t World<'t>, method: Method) -> Result<Trial<'t>> {
        let stages = (0..STAGES).map(|task| vec![task]).collect();
        let (cell, strategies) =
            build::build(world, &mut |name| (method.plugins)(name), method.stack, method.seed, stages)?;
        Ok(Trial { cell, strategies, reached: BTreeSet::new() })
    }

    /// Begins a stage.
    pub(super) fn begin(&mut self, stage: usize) -> Result<Running> {
        self.reached.clear();
        stage::begin(&self.cell, &mut self.strategies, stage)
    }

    /// One step; what it measured goes into the record.
    pub(super) fn step(&mut self, running: &mut Running, record: &mut Record) -> Result<()> {
        let report = stage::step(&self.cell, &mut self.strategies, running)?;
        self.cell.metrics.borrow_mut().clear();
        let terms = report.terms.into_iter().map(|(name, value)| (name, value.to_bits())).collect();
        let at = self.cell.position.get().stage;
        record.losses.push((at, report.step, report.task_loss.to_bits(), terms));
        // Where it ends: each segment has an optimizer of its own.
        if running.segments.iter().any(|segment| segment.start + segment.steps == running.step) {
            self.look_back(running)?;
        }
        Ok(())
    }

    /// The steps that are left of a stage, and its end.
    pub(super) fn finish(&mut self, mut running: Running, record: &mut Record) -> Result<()> {
        while running.step < running.plan.steps {
            self.step(&mut running, record)?;
        }
        stage::end(&self.cell, &mut self.strategies)
    }

    /// Looks at an optimizer that has taken its last step: a first moment is zero only where every gradient was.
    fn look_back(&mut self, running: &Running) -> Result<()> {
        for (name, moment) in running.optimizer.export()? {
            if let Some(name) = name.strip_suffix(".first_moment")
                && any(&moment)?
            {
                self.reached.insert(name.to_string());
            }
        }
        Ok(())
    }

    /// Answers every task, folded where the method can be.
    pub(super) fn answer(&mut self, stage: usize, record: &mut Record) -> Result<()> {
        self.cell.position.set(Position { stage, ..Position::default() });
        self.hooks(Hook::BeforeEval)?;
        let world = self.cell.world;
        let engine = Engine {
            backbone: world.backbone,
            tokenizer: world.tokenizer,
            scorers: &[],
            batch_size: world.config.evaluation.batch_size,
            limit: None,
            strict: false,
        };
        let merged = self.cell.merge()?;
        let mut texts = Vec::new();
        for task in 0..world.tasks.len() {
            // Unfolded as well: a method that can be folded would not be asked else.
            for merged in [merged.as_ref(), None] {
                let answers = self.cell.answering(task, merged, |hook| {
                    engine.answer(&world.tasks[task], &world.prompters[task], hook, &mut |_, _| {})
                })?;
                texts.extend(answers.into_iter().map(|answer| answer.text));
            }
        }
        record.answers.push(texts);
        self.hooks(Hook::AfterEval)
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

    /// All stages from the first one.
    pub(super) fn run(&mut self, record: &mut Record) -> Result<()> {
        for stage in 0..STAGES {
            let handles = live_handles();
            let running = self.begin(stage)?;
            self.finish(running, record)?;
            self.answer(stage, record)?;
            let left = live_handles() - handles;
            ensure!(
                left <= 0,
                "{left} tensor handles were not given back by the end of stage {stage}\nhint: keep ids across calls, never tensors"
            );
        }
        self.describe(record)
    }

    /// Writes down every tensor that lasts.
    pub(super) fn describe(&self, record: &mut Record) -> Result<()> {
        for parameter in self.cell.parameters.borrow().list() {
            record.tensors.insert(parameter.name.clone(), bits(&parameter.tensor)?);
        }
        Ok(())
    }
}

/// Builds and runs a method from beginning to end.
pub(super) fn whole(testbed: &Testbed, method: Method) -> Result<Record> {
    let world = testbed.world()?;
    let mut record = Record::default();
    Trial::build(&world, method)?.run(&mut record)?;
    Ok(record)
}

/// Whether a value is not zero.
pub(super) fn any(tensor: &Tensor) -> Result<bool> {
    Ok(tensor.f_abs()?.f_sum(Kind::Float)?.f_double_value(&[])? != 0.0)
}

/// The values of a tensor, bit for bit as float32.
pub(super) fn bits(tensor: &Tensor) -> Result<Vec<u32>> {
    let flat = tensor.f_detach()?.f_to_kind(Kind::Float)?.f_contiguous()?.f_view(-1)?;
    Ok(Vec::<f32>::try_from(&flat)?.into_iter().map(f32::to_bits).collect())
}

impl Record {
    /// Where two records differ first; `this` and `that` name them.
    pub(super) fn difference(&self, other: &Record, this: &str, that: &str) -> Option<String> {
        for (one, two) in self.losses.iter().zip(&other.losses) {
            let (stage, step, loss, terms) = one;
            if (stage, step) != (&two.0, &two.1) {
                return Some(format!(
                    "stage {stage}, step {step}: {that} stands at stage {}, step {}",
                    two.0, two.1
                ));
            }
            if *loss != two.2 {
                let (one, two) = (f64::from_bits(*loss), f64::from_bits(two.2));
                return Some(format!(
                    "stage {stage}, step {step}: the task loss is {one} {this}, {two} {that}"
                ));
            }
            if *terms != two.3 {
                return Some(format!(
                    "stage {stage}, step {step}: the extra terms of the loss are others {that}"
                ));
            }
        }
        if self.losses.len() != other.losses.len() {
            return Some(format!("{} steps {this}, {} {that}", self.losses.len(), other.losses.len()));
        }
        if let Some(stage) = self.answers.iter().zip(&other.answers).position(|(one, two)| one != two) {
            return Some(format!("the answers after stage {stage} are others {that}"));
        }
        let differs = |(name, value): (&String, &Vec<u32>)| {
            (other.tensors.get(name) != Some(value))
                .then(|| format!("tensor `{name}` ends with other values {that}"))
        };
        let extra = || {
            let name = other.tensors.keys().find(|name| !self.tensors.contains_key(*name))?;
            Some(format!("tensor `{name}` is there {that} alone"))
        };
        self.tensors.iter().find_map(differs).or_else(extra)
    }
}
