//! Which fresh samples train at which step: fixed by seed, stage and data alone.

use anyhow::{Result, ensure};

use crate::data::collate::length_buckets;
use crate::train::cell::Cell;
use crate::train::stage::Segment;

/// The batches of a stage: `steps x accumulate`, each of `batch_size` samples of similar length.
pub struct BatchPlan {
    pub steps: usize,
    batches: Vec<Vec<u64>>,
    accumulate: usize,
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
        let batches = draw(cell, &samples, steps * accumulate, "order", &[stage as u64])?;
        Ok(BatchPlan { steps, batches, accumulate })
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
            let (first, count) = (phase.start * self.accumulate, phase.steps * self.accumulate);
            let drawn = draw(cell, &phase.data, count, "order/phase", &[stage as u64, phase.start as u64])?;
            self.batches.splice(first..first + count, drawn);
        }
        Ok(())
    }

    /// The batches given, one a step.
    pub fn of(batches: Vec<Vec<u64>>) -> BatchPlan {
        BatchPlan { steps: batches.len(), batches, accumulate: 1 }
    }

    /// The fresh samples of a micro-batch.
    pub fn batch(&self, step: usize, micro_batch: usize) -> &[u64] {
        &self.batches[step * self.accumulate + micro_batch]
    }
}

/// Batches of samples of similar length. One pass over the samples is drawn as a whole; what is not reached is not tokenised.
fn draw(cell: &Cell, samples: &[u64], needed: usize, stream: &str, indices: &[u64]) -> Result<Vec<Vec<u64>>> {
    let batch_size = cell.world.config.training.batch_size;
    let mut batches: Vec<Vec<u64>> = Vec::with_capacity(needed);
    let mut epoch = 0;
    while batches.len() < needed {
        let mut draws = cell.draws(stream, &[indices, &[epoch]].concat());
        let mut order: Vec<usize> = (0..samples.len()).collect();
        draws.shuffle(&mut order);
        let missing = (needed - batches.len()) * batch_size;
        let whole = samples.len() - samples.len() % batch_size;
        order.truncate(missing.min(whole));
        let references: Vec<u64> = order.into_iter().map(|place| samples[place]).collect();
        let tokenised = cell.samples(&references)?;
        let lengths: Vec<usize> = tokenised.iter().map(|sample| sample.example.input_ids.len()).collect();
        for bucket in length_buckets(&lengths, batch_size, &mut draws) {
            batches.push(bucket.into_iter().map(|place| references[place]).collect());
        }
        epoch += 1;
    }
    Ok(batches)
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
