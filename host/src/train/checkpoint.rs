//! All that a cell needs to go on, as one value and one file: parameters, buffers, snapshots, the replay buffer, plugin state,
//! optimizer, position. Random streams need nothing: draws depend on the position alone.

mod state;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::model::weights;
use crate::train::cell::{Cell, Position, Strategies};
use crate::train::plan::BatchPlan;
use crate::train::replay::{ReplayBuffer, Slot};
use crate::train::stage::{Running, optimizer};
use state::{ParameterState, RunningState, SCHEMA, State};

const STATE: &str = "state.json";

/// Writes a checkpoint; a reader never sees half of one.
pub fn save<P: Serialize>(
    path: &Path,
    cell: &Cell,
    strategies: &Strategies,
    stage: usize,
    running: Option<&Running>,
    progress: &P,
) -> Result<()> {
    let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
    let parameters = cell.parameters.borrow();
    for parameter in parameters.list() {
        tensors.insert(format!("parameter.{}", parameter.name), parameter.tensor.f_detach()?);
    }
    let mut snapshots = Vec::new();
    for name in parameters.snapshot_names() {
        let values = parameters.snapshot_values(name)?;
        for (parameter, value) in parameters.list().iter().zip(values) {
            if let Some(value) = value {
                tensors.insert(format!("snapshot.{name}.{}", parameter.name), value.shallow_clone());
            }
        }
        snapshots.push((name.to_string(), values.iter().map(Option::is_some).collect()));
    }
    let buffer = cell.replay.borrow();
    let (slots, replay_next) = buffer.slots();
    for (slot, content) in slots {
        for (name, value) in &content.stored {
            tensors.insert(format!("replay.{slot}.{name}"), value.shallow_clone());
        }
    }
    let mut entries = Vec::new();
    for (entry, strategy) in strategies {
        tensors.insert(format!("strategy.{entry}"), Tensor::f_from_slice(&strategy.save()?)?);
        entries.push((*entry, cell.entries[*entry].plugin.clone(), cell.entries[*entry].version.clone()));
    }
    if let Some(running) = running {
        for (name, moment) in running.optimizer.export()? {
            tensors.insert(format!("optimizer.{name}"), moment);
        }
    }
    let state = State {
        schema: SCHEMA,
        seed: cell.seed,
        stage,
        running: running.map(|running| RunningState {
            step: running.step,
            segments: running.segments.clone(),
            optimizer_steps: running.optimizer.steps(),
        }),
        parameters: parameters.list().iter().map(ParameterState::of).collect(),
        snapshots,
        replay: slots
            .iter()
            .map(|(slot, content)| (*slot, content.sample, content.stored.keys().cloned().collect()))
            .collect(),
        replay_next,
        strategies: entries,
        extra_rows: cell.extra_rows.get(),
        granted: cell.granted.borrow().iter().map(|(&(entry, need), &uses)| (entry, need, uses)).collect(),
        progress,
    };
    tensors.insert(STATE.to_string(), Tensor::f_from_slice(&serde_json::to_vec(&state)?)?);
    weights::save(path, &tensors, None)
}

/// Brings a freshly built cell to where a checkpoint left it; returns the stage, what runs in it, and what the caller kept.
///
/// # Errors
/// A tensor that is missing, not expected, or of another shape; another seed; a plugin of another version.
pub fn restore<P: for<'de> Deserialize<'de>>(
    path: &Path,
    cell: &Cell,
    strategies: &mut Strategies,
) -> Result<(usize, Option<Running>, P)> {
    let place = || format!("checkpoint {}", path.display());
    let mut tensors = weights::load_all(path).with_context(place)?;
    let bytes = tensors.remove(STATE).with_context(|| format!("{} has no {STATE}", path.display()))?;
    let bytes: Vec<u8> = Vec::try_from(&bytes)?;
    let state: State<P> = serde_json::from_slice(&bytes).with_context(place)?;
    ensure!(
        state.schema == SCHEMA,
        "{} has schema {}, this host reads {SCHEMA}",
        path.display(),
        state.schema
    );
    ensure!(state.seed == cell.seed, "{} belongs to seed {}, not {}", path.display(), state.seed, cell.seed);
    let mut take = Taker { tensors: &mut tensors, path };
    restore_parameters(cell, &state.parameters, &mut take)?;
    restore_snapshots(cell, &state.snapshots, &mut take)?;
    let mut slots = BTreeMap::new();
    for (slot, sample, names) in &state.replay {
        let mut stored = BTreeMap::new();
        for name in names {
            let value = take.take(&format!("replay.{slot}.{name}"))?;
            stored.insert(name.clone(), value.f_to_device(cell.world.backbone.device())?);
        }
        slots.insert(*slot, Slot { sample: *sample, stored });
    }
    *cell.replay.borrow_mut() = ReplayBuffer::restore(slots, state.replay_next);
    cell.extra_rows.set(state.extra_rows);
    *cell.granted.borrow_mut() =
        state.granted.iter().map(|&(entry, need, uses)| ((entry, need), uses)).collect();
    cell.position.set(Position { stage: state.stage.min(cell.stages.len() - 1), ..Position::default() });
    cell.assign_sites()?;
    let known: Vec<_> = strategies
        .iter()
        .map(|(entry, _)| (*entry, cell.entries[*entry].plugin.clone(), cell.entries[*entry].version.clone()))
        .collect();
    ensure!(
        known == state.strategies,
        "{} was written by {}, the run has {}\nhint: finish the run with the plugins it began with, or start anew with another --out",
        path.display(),
        listed(&state.strategies),
        listed(&known)
    );
    for (entry, strategy) in strategies.iter_mut() {
        let bytes = take.take(&format!("strategy.{entry}"))?;
        strategy.load(&Vec::<u8>::try_from(&bytes)?)?;
    }
    let running = match state.running {
        None => None,
        Some(running) => Some(restore_running(cell, state.stage, running, &mut take)?),
    };
    if let Some(extra) = take.tensors.keys().next() {
        bail!(
            "{} has {} tensors that nobody expects, for example `{extra}`",
            path.display(),
            take.tensors.len()
        );
    }
    Ok((state.stage, running, state.progress))
}

/// `ewc 0.1.0 (entry 1), replay 0.1.0 (entry 2)`.
fn listed(strategies: &[(usize, String, String)]) -> String {
    let names: Vec<String> = strategies
        .iter()
        .map(|(entry, plugin, version)| format!("{plugin} {version} (entry {entry})"))
        .collect();
    if names.is_empty() { String::from("no strategy") } else { names.join(", ") }
}

struct Taker<'t> {
    tensors: &'t mut BTreeMap<String, Tensor>,
    path: &'t Path,
}

impl Taker<'_> {
    fn take(&mut self, name: &str) -> Result<Tensor> {
        self.tensors.remove(name).with_context(|| format!("{} lacks tensor `{name}`", self.path.display()))
    }
}

/// Those that construction registered get their values back; those that hooks registered are made anew, in the same order.
fn restore_parameters(cell: &Cell, states: &[ParameterState], take: &mut Taker) -> Result<()> {
    let device = cell.world.backbone.device();
    let mut parameters = cell.parameters.borrow_mut();
    let built = parameters.list().len();
    ensure!(
        states.len() >= built,
        "{} has {} tensors, the method registers {built}",
        take.path.display(),
        states.len()
    );
    for (place, state) in states.iter().enumerate() {
        let value = take.take(&format!("parameter.{}", state.name))?.f_to_device(device)?;
        if place < built {
            let known = parameters.get(place as u64)?;
            ensure!(
                known.name == state.name
                    && known.tensor.size() == value.size()
                    && value.kind() == Kind::Float,
                "{}: tensor {place} is `{}` {:?}, the method registers `{}` {:?}\nhint: the run began with another configuration of the method",
                take.path.display(),
                state.name,
                value.size(),
                known.name,
                known.tensor.size()
            );
            parameters.set_value(place as u64, &value)?;
            if parameters.get(place as u64)?.trainable != state.trainable {
                parameters.set_trainable(place as u64, state.trainable)?;
            }
        } else {
            parameters.adopt(state.parameter(&value)?)?;
        }
    }
    Ok(())
}

fn restore_snapshots(cell: &Cell, snapshots: &[(String, Vec<bool>)], take: &mut Taker) -> Result<()> {
    let device = cell.world.backbone.device();
    let mut parameters = cell.parameters.borrow_mut();
    let names: Vec<String> = parameters.list().iter().map(|parameter| parameter.name.clone()).collect();
    for (snapshot, present) in snapshots {
        let mut values = Vec::with_capacity(present.len());
        for (name, present) in names.iter().zip(present) {
            values.push(match present {
                true => Some(take.take(&format!("snapshot.{snapshot}.{name}"))?.f_to_device(device)?),
                false => None,
            });
        }
        parameters.restore_snapshot(snapshot, values);
    }
    Ok(())
}

fn restore_running(cell: &Cell, stage: usize, state: RunningState, take: &mut Taker) -> Result<Running> {
    cell.position.set(Position { stage, ..Position::default() });
    let mut plan = BatchPlan::new(cell)?;
    plan.draw_phases(cell, &state.segments)?;
    // Where its last step left it: draws after the stage's last step depend on it.
    let micro_batch = cell.accumulate(stage).saturating_sub(1);
    let step = state.step.saturating_sub(1);
    cell.position.set(Position { stage, step, steps: plan.steps, micro_batch });
    let segment = state
        .segments
        .iter()
        .rev()
        .find(|segment| segment.start < state.step.max(1))
        .with_context(|| format!("{} stands at a step of no segment", take.path.display()))?;
    let mut optimizer = optimizer(cell, segment)?;
    let names: Vec<String> =
        take.tensors.keys().filter(|name| name.starts_with("optimizer.")).cloned().collect();
    let mut moments = BTreeMap::new();
    for name in names {
        let tensor = take.take(&name)?;
        moments.insert(name.strip_prefix("optimizer.").unwrap_or(&name).to_string(), tensor);
    }
    optimizer.import(&moments, state.optimizer_steps).with_context(|| take.path.display().to_string())?;
    Ok(Running { plan, segments: state.segments, optimizer, step: state.step })
}
