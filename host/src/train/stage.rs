//! One stage: the training loop.

use std::rc::Rc;

use anyhow::{Context as _, Result, bail, ensure};
use coin_plugin_api::Need;
use coin_plugin_api::abi::RawRow;
use tch::Tensor;

use crate::plugin::hook::Hook;
use crate::train::cell::{Cell, Position, Strategies};
use crate::train::describe;
use crate::train::forward::Purpose;
use crate::train::optimizer::{AdamW, Group};
use crate::train::plan::BatchPlan;
use crate::train::strategy_services::{Pass, StrategyServices};

/// A part of a stage with one optimizer: all of it, unless a strategy split it into phases.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Segment {
    pub start: usize,
    pub steps: usize,
    /// Ids of the tensors it trains.
    pub trained: Vec<u64>,
    /// The samples its batches are drawn from; empty for all of the stage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<u64>,
}

/// What a stage is in the middle of.
pub struct Running {
    pub plan: BatchPlan,
    pub segments: Vec<Segment>,
    pub optimizer: AdamW,
    /// The next step.
    pub step: usize,
}

/// What one optimizer step measured.
pub struct StepReport {
    pub step: usize,
    pub of: usize,
    pub task_loss: f64,
    /// Extra terms by name.
    pub terms: Vec<(String, f64)>,
    /// Before clipping.
    pub gradient_norm: f64,
    pub fresh_rows: usize,
}

/// Begins a stage: strategies prepare, then comes the first optimizer.
pub fn begin(cell: &Cell, strategies: &mut Strategies, stage: usize) -> Result<Running> {
    cell.position.set(Position { stage, ..Position::default() });
    cell.forget_samples();
    cell.batches.borrow_mut().clear();
    forget_gradients(cell)?;
    let mut plan = BatchPlan::new(cell)?;
    cell.position.set(Position { stage, steps: plan.steps, ..Position::default() });
    let mut phases = Vec::new();
    for (entry, strategy) in strategies.iter_mut() {
        let services = StrategyServices::new(cell, *entry, Hook::BeforeStage, None);
        let own = strategy.before_stage(&services)?;
        if let Some(hidden) =
            own.iter().flat_map(|phase| &phase.data).find(|sample| !cell.may_see(*entry, **sample))
        {
            bail!(
                "before_stage of plugin `{}` made a phase on sample {hidden}, which is neither of this stage nor in the replay buffer",
                cell.plugin(*entry)
            );
        }
        ensure!(
            own.is_empty() || phases.is_empty(),
            "two strategies split the stage into phases\nhint: a stack has at most one that does"
        );
        phases.extend(own);
    }
    cell.assign_sites()?;
    let mut segments = Vec::new();
    let mut start = 0;
    for phase in &phases {
        let steps = phase.steps as usize;
        ensure!(steps > 0, "a phase of a stage has no steps");
        let parameters = cell.parameters.borrow();
        for &id in &phase.trainable {
            let parameter = parameters.get(id)?;
            ensure!(parameter.trainable, "a phase trains `{}`, which is frozen or a buffer", parameter.name);
            let times = phase.trainable.iter().filter(|&&other| other == id).count();
            ensure!(times == 1, "a phase lists `{}` {times} times", parameter.name);
        }
        segments.push(Segment { start, steps, trained: phase.trainable.to_vec(), data: phase.data.to_vec() });
        start += steps;
    }
    if segments.is_empty() {
        segments.push(Segment { start: 0, steps: plan.steps, trained: Vec::new(), data: Vec::new() });
        start = plan.steps;
    }
    ensure!(
        start == plan.steps,
        "the phases of a stage have {start} steps together, the stage has {}",
        plan.steps
    );
    plan.draw_phases(cell, &segments)?;
    let trainable = cell.parameters.borrow().ids(|parameter| parameter.trainable);
    for segment in &mut segments {
        if segment.trained.is_empty() {
            segment.trained.clone_from(&trainable);
        }
    }
    ensure!(
        !trainable.is_empty(),
        "nothing is trained\nhint: no plugin of the stack registers a parameter, and the projector is frozen"
    );
    let optimizer = optimizer(cell, &segments[0])?;
    Ok(Running { plan, segments, optimizer, step: 0 })
}

/// The optimizer of a segment, new as CoIN has it at each stage.
pub fn optimizer(cell: &Cell, segment: &Segment) -> Result<AdamW> {
    let training = &cell.world.config.training;
    let parameters = cell.parameters.borrow();
    let mut groups: Vec<Group> = Vec::new();
    for &id in &segment.trained {
        let parameter = parameters.get(id)?;
        let base = match parameter.entry {
            Some(_) => training.learning_rate,
            None => training.projector_learning_rate,
        };
        let learning_rate = base * parameter.learning_rate_scale;
        let weight_decay = parameter.weight_decay.unwrap_or(training.weight_decay);
        let named = (parameter.name.clone(), parameter.tensor.shallow_clone());
        match groups
            .iter_mut()
            .find(|group| group.learning_rate == learning_rate && group.weight_decay == weight_decay)
        {
            Some(group) => group.parameters.push(named),
            None => groups.push(Group { parameters: vec![named], learning_rate, weight_decay }),
        }
    }
    AdamW::new(groups, (training.betas[0], training.betas[1]), training.epsilon)
}

/// One optimizer step: for each micro-batch forward, terms, backward; then `after_backward`, the check for finite gradients,
/// clipping, the optimizer, `after_update`.
pub fn step(cell: &Cell, strategies: &mut Strategies, running: &mut Running) -> Result<StepReport> {
    let training = &cell.world.config.training;
    let segment = current(running)?.clone();
    if segment.start == running.step && running.step > 0 {
        running.optimizer = optimizer(cell, &segment)?;
        forget_gradients(cell)?;
    }
    let mut report = StepReport {
        step: running.step,
        of: running.plan.steps,
        task_loss: 0.0,
        terms: Vec::new(),
        gradient_norm: 0.0,
        fresh_rows: 0,
    };
    let accumulate = cell.accumulate(cell.position.get().stage);
    for micro_batch in 0..accumulate {
        let position = Position { step: running.step, micro_batch, ..cell.position.get() };
        cell.position.set(position);
        let fresh = running.plan.batch(cell, running.step, micro_batch)?;
        let rows = compose(cell, strategies, &fresh, &mut report)?;
        let samples: Vec<u64> = rows.iter().map(|row| row.sample).collect();
        let batch = Rc::new(cell.batch(&samples)?);
        expect_pictures(cell, running, micro_batch + 1)?;
        let forward = cell.trained_forward(&samples, &batch, Purpose::Train)?;
        let task_loss = cell.task_loss(&forward.logits, &batch)?;
        let pass = || Pass { batch: &batch, rows: &rows, logits: &forward.logits, task_loss: &task_loss };
        let mut terms =
            forward.terms.iter().map(|(name, value)| (name.clone(), value.shallow_clone(), false)).collect();
        for (entry, strategy) in strategies.iter_mut() {
            let services = StrategyServices::new(cell, *entry, Hook::Loss, Some(pass()));
            let own = strategy.loss(&services)?;
            add_terms(cell, *entry, own, &mut terms)?;
        }
        let loss = total(cell, &task_loss, &terms, &mut report)?;
        cell.backward(&loss.f_div_scalar(accumulate as f64)?, 1.0 / accumulate as f64)?;
    }
    for (entry, strategy) in strategies.iter_mut() {
        let services = StrategyServices::new(cell, *entry, Hook::AfterBackward, None);
        strategy.after_backward(&services)?;
    }
    let mut gradients = running.optimizer.gradients()?;
    let limit = if training.clip_norm > 0.0 { training.clip_norm } else { f64::INFINITY };
    report.gradient_norm = gradients.clip(limit)?;
    if !report.gradient_norm.is_finite() {
        bail!(
            "the gradient is not finite at stage {}, step {}: {}",
            cell.position.get().stage,
            running.step,
            running.optimizer.non_finite(4)?.join(", ")
        );
    }
    let factor =
        training.scheduler.factor(running.step - segment.start, segment.steps, training.warmup_ratio);
    running.optimizer.step(&gradients, factor)?;
    running.optimizer.zero_gradients()?;
    if running.segments.len() > 1 {
        // What this phase does not train has gradients as well.
        forget_gradients(cell)?;
    }
    for (entry, strategy) in strategies.iter_mut() {
        let services = StrategyServices::new(cell, *entry, Hook::AfterUpdate, None);
        strategy.after_update(&services)?;
    }
    running.step += 1;
    Ok(report)
}

/// Has the pictures of the next batch read while this one is computed.
fn expect_pictures(cell: &Cell, running: &Running, micro_batch: usize) -> Result<()> {
    let accumulate = cell.accumulate(cell.position.get().stage);
    let (step, micro_batch) = (running.step + micro_batch / accumulate, micro_batch % accumulate);
    if step < running.plan.steps {
        cell.expect(&running.plan.batch(cell, step, micro_batch)?)?;
    }
    Ok(())
}

/// Drops the gradients of all tensors: those that the last segment did not train still have some.
fn forget_gradients(cell: &Cell) -> Result<()> {
    for parameter in cell.parameters.borrow().list() {
        let gradient = parameter.tensor.f_grad()?;
        if gradient.defined() {
            let _zeroed = gradient.f_detach()?.f_zero_()?;
        }
    }
    Ok(())
}

/// Ends a stage.
pub fn end(cell: &Cell, strategies: &mut Strategies) -> Result<()> {
    for (entry, strategy) in strategies.iter_mut() {
        let services = StrategyServices::new(cell, *entry, Hook::AfterStage, None);
        strategy.after_stage(&services)?;
    }
    cell.batches.borrow_mut().clear();
    // Buffers that a hook has just registered at a site belong to its tensors from now on, as after a resume.
    cell.assign_sites()
}

/// The segment that the next step belongs to.
pub fn current(running: &Running) -> Result<&Segment> {
    let found = running
        .segments
        .iter()
        .find(|segment| (segment.start..segment.start + segment.steps).contains(&running.step));
    found.context("the stage has no step left")
}

/// Lets strategies choose the rows of a batch.
fn compose(
    cell: &Cell,
    strategies: &mut Strategies,
    fresh: &[u64],
    report: &mut StepReport,
) -> Result<Vec<RawRow>> {
    let mut samples = fresh.to_vec();
    for (entry, strategy) in strategies.iter_mut() {
        let services = StrategyServices::new(cell, *entry, Hook::ComposeBatch, None);
        let chosen = strategy.compose_batch(&samples, &services)?;
        let plugin = cell.plugin(*entry);
        ensure!(
            chosen.len() == samples.len(),
            "compose_batch of plugin `{plugin}` made a batch of {} rows, not {}",
            chosen.len(),
            samples.len()
        );
        // What came down the chain may be passed on; anything else must be the plugin's own to see.
        let foreign = |sample: &&u64| !samples.contains(sample) && !cell.may_see(*entry, **sample);
        if let Some(hidden) = chosen.iter().find(foreign) {
            bail!(
                "compose_batch of plugin `{plugin}` chose sample {hidden}, which is neither of this stage nor in the replay buffer"
            );
        }
        samples = chosen;
    }
    let replay = cell.replay.borrow();
    let is_fresh = |sample: &u64| fresh.contains(sample) && cell.is_of_stage(*sample);
    report.fresh_rows += samples.iter().filter(|sample| is_fresh(sample)).count();
    // A sample that the plan chose is no replayed one, though the buffer may hold it too.
    let mut planned = fresh.to_vec();
    let row = |sample: u64| match planned.iter().position(|fresh| *fresh == sample) {
        Some(place) => {
            planned.swap_remove(place);
            RawRow { sample, slot: -1 }
        }
        None => RawRow { sample, slot: replay.slot_of(sample).map_or(-1, |slot| slot as i64) },
    };
    Ok(samples.into_iter().map(row).collect())
}

type Terms = Vec<(String, Tensor, bool)>;

fn add_terms(cell: &Cell, entry: usize, own: Vec<crate::plugin::Term>, terms: &mut Terms) -> Result<()> {
    for term in own {
        let plugin = cell.plugin(entry);
        ensure!(
            term.value.numel() == 1,
            "loss of plugin `{plugin}`: term `{}` has shape {:?}, not a scalar",
            term.name,
            term.value.size()
        );
        ensure!(
            term.value.f_double_value(&[])?.is_finite(),
            "loss of plugin `{plugin}`: term `{}` is {}",
            term.name,
            term.value.f_double_value(&[])?
        );
        if term.replaces_task_loss {
            describe::granted(cell, entry, Need::ReplacesTaskLoss)?;
            ensure!(
                terms.iter().all(|(_, _, replaces)| !replaces),
                "two terms replace the task loss; `{}` is the second\nhint: a stack has at most one",
                term.name
            );
        }
        terms.push((term.name, term.value, term.replaces_task_loss));
    }
    Ok(())
}

fn total(cell: &Cell, task_loss: &Tensor, terms: &Terms, report: &mut StepReport) -> Result<Tensor> {
    let value = task_loss.f_double_value(&[])?;
    let at = cell.position.get();
    if !value.is_finite() {
        let adapters: Vec<&str> = cell.adapters.iter().map(|(entry, _)| cell.plugin(*entry)).collect();
        bail!(
            "the task loss is {value} at stage {}, step {}\nhint: adapt of {} made outputs that are not finite, the learning rate is too high, or a weight of the checkpoint is damaged (`model logits` tells)",
            at.stage,
            at.step,
            adapters.join(", ")
        );
    }
    report.task_loss += value / cell.accumulate(at.stage) as f64;
    let mut loss = match terms.iter().any(|(_, _, replaces)| *replaces) {
        true => task_loss.f_zeros_like()?,
        false => task_loss.shallow_clone(),
    };
    for (name, term, _) in terms {
        let value = term.f_double_value(&[])? / cell.accumulate(at.stage) as f64;
        match report.terms.iter_mut().find(|(known, _)| known == name) {
            Some((_, sum)) => *sum += value,
            None => report.terms.push((name.clone(), value)),
        }
        loss = loss.f_add(&term.f_view(&loss.size()[..])?)?;
    }
    Ok(loss)
}
