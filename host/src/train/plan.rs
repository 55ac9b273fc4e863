//! Which fresh samples train at which step: fixed by seed, stage and data alone.

use std::cell::RefCell;

use anyhow::{Context as _, Result, ensure};

use crate::data::collate::length_buckets;
use crate::train::cell::Cell;
use crate::train::stage::Segment;

/// Batches of a pass that are drawn together: their samples are tokenised for it, so that batches have rows of similar length.
const WHOLE_PASS: usize = 1024;
/// Batches of a longer pass that are drawn together, when the training reaches them.
const WINDOW: usize = 128;

/// The batches of a stage: `steps x accumulate`, each of `batch_size` samples of similar length.
pub struct BatchPlan {
    pub steps: usize,
    accumulate: usize,
    draws: Vec<Drawing>,
    /// The batches drawn last.
    held: RefCell<Option<Held>>,
    /// Given ones, in place of drawn ones.
    fixed: Vec<Vec<u64>>,
}

/// Consecutive batches that are drawn from the same samples.
struct Drawing {
    stream: &'static str,
    indices: Vec<u64>,
    samples: Vec<u64>,
    /// The first of its batches in the stage, and how many there are.
    first: usize,
    count: usize,
}

struct Held {
    drawing: usize,
    pass: usize,
    window: usize,
    batches: Vec<Vec<u64>>,
}

impl BatchPlan {
    /// The plan of the stage the cell is at. The tasks of a joint stage are mixed within batches.
    pub fn new(cell: &Cell) -> Result<BatchPlan> {
        let stage = cell.position.get().stage;
        let training = &cell.world.config.training;
        let samples = cell.stage_samples()?;
        let names = || {
            cell.stages[stage]
                .iter()
                .map(|&task| cell.world.tasks[task].name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        ensure!(
            samples.len() >= training.batch_size,
            "stage {stage} ({}) has {} training samples for batches of {}\nhint: a smaller `training.batch_size`, or check the files below the task's `root`",
            names(),
            samples.len(),
            training.batch_size
        );
        let steps = steps(cell, stage, samples.len());
        let accumulate = cell.accumulate(stage);
        let count = steps * accumulate;
        let whole = Drawing { stream: "order", indices: vec![stage as u64], samples, first: 0, count };
        let plan =
            BatchPlan { steps, accumulate, draws: vec![whole], held: RefCell::new(None), fixed: Vec::new() };
        Ok(plan)
    }

    /// Draws the batches of phases that have samples of their own.
    pub fn draw_phases(&mut self, cell: &Cell, phases: &[Segment]) -> Result<()> {
        let (stage, batch_size) = (cell.position.get().stage, cell.world.config.training.batch_size);
        for phase in phases.iter().filter(|phase| !phase.data.is_empty()) {
            ensure!(
                phase.data.len() >= batch_size,
                "a phase of stage {stage} draws from {} samples for batches of {batch_size}",
                phase.data.len()
            );
            self.draws.push(Drawing {
                stream: "order/phase",
                indices: vec![stage as u64, phase.start as u64],
                samples: phase.data.clone(),
                first: phase.start * self.accumulate,
                count: phase.steps * self.accumulate,
            });
        }
        Ok(())
    }

    /// The batches given, one a step.
    pub fn of(batches: Vec<Vec<u64>>) -> BatchPlan {
        BatchPlan {
            steps: batches.len(),
            accumulate: 1,
            draws: vec![],
            held: RefCell::new(None),
            fixed: batches,
        }
    }

    /// The fresh samples of a micro-batch.
    pub fn batch(&self, cell: &Cell, step: usize, micro_batch: usize) -> Result<Vec<u64>> {
        let number = step * self.accumulate + micro_batch;
        if let Some(batch) = self.fixed.get(number) {
            return Ok(batch.clone());
        }
        let holds = |drawing: &Drawing| (drawing.first..drawing.first + drawing.count).contains(&number);
        // A phase comes behind the stage that it is a part of.
        let drawing = self.draws.iter().rposition(holds).context("the stage has no such batch")?;
        let from = &self.draws[drawing];
        let batches_of_a_pass = from.samples.len() / cell.world.config.training.batch_size;
        let (pass, at) =
            ((number - from.first) / batches_of_a_pass, (number - from.first) % batches_of_a_pass);
        let together = from.together(pass, batches_of_a_pass);
        let (window, place) = (at / together, at % together);
        let mut held = self.held.borrow_mut();
        let is_held = |held: &Held| (held.drawing, held.pass, held.window) == (drawing, pass, window);
        if !held.as_ref().is_some_and(is_held) {
            let batches = draw(cell, from, pass, window)?;
            *held = Some(Held { drawing, pass, window, batches });
        }
        let batch = held.as_ref().and_then(|held| held.batches.get(place));
        batch.cloned().context("fewer batches were drawn than the stage has")
    }
}

impl Drawing {
    /// Batches of a pass.
    fn reached(&self, pass: usize, batches_of_a_pass: usize) -> usize {
        (self.count - pass * batches_of_a_pass).min(batches_of_a_pass)
    }

    /// Batches of a pass that are drawn together.
    fn together(&self, pass: usize, batches_of_a_pass: usize) -> usize {
        if self.reached(pass, batches_of_a_pass) <= WHOLE_PASS { WHOLE_PASS } else { WINDOW }
    }
}

/// A window of a pass. A pass over the samples is shuffled as a whole; what is not reached is not read.
fn draw(cell: &Cell, from: &Drawing, pass: usize, window: usize) -> Result<Vec<Vec<u64>>> {
    let batch_size = cell.world.config.training.batch_size;
    let batches_of_a_pass = from.samples.len() / batch_size;
    let mut draws = cell.draws(from.stream, &[&from.indices[..], &[pass as u64]].concat());
    let mut order: Vec<usize> = (0..from.samples.len()).collect();
    draws.shuffle(&mut order);
    order.truncate(from.reached(pass, batches_of_a_pass) * batch_size);
    let mut windows = order.chunks(from.together(pass, batches_of_a_pass) * batch_size);
    if windows.len() > 1 {
        draws = cell.draws(from.stream, &[&from.indices[..], &[pass as u64, window as u64]].concat());
    }
    let places = windows.nth(window).context("the pass has no such window")?;
    let references: Vec<u64> = places.iter().map(|&place| from.samples[place]).collect();
    let lengths = cell.lengths(&references)?;
    let buckets = length_buckets(&lengths, batch_size, &mut draws);
    Ok(buckets
        .into_iter()
        .map(|bucket| bucket.into_iter().map(|place| references[place]).collect())
        .collect())
}

/// Optimizer steps of a stage: as configured for each of its tasks.
pub fn steps(cell: &Cell, stage: usize, samples: usize) -> usize {
    let training = &cell.world.config.training;
    match (training.steps, training.epochs) {
        (Some(steps), _) => steps * cell.stages[stage].len(),
        (None, epochs) => {
            let batches = samples as f64 * epochs.unwrap_or(1.0)
                / (training.batch_size * cell.accumulate(stage)) as f64;
            (batches.ceil() as usize).max(1)
        }
    }
}
