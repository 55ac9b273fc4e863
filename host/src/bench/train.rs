//! Seconds of a training step.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::bench::setup::{Setup, bad};
use crate::bench::work::{self, Tokens};
use crate::bench::{Report, Timed};
use crate::model::construction::check_vacant;
use crate::train::cell::Cell;
use crate::train::peft::PeftAdapter;
use crate::train::plan::BatchPlan;
use crate::train::stage;

/// Options of the training alone.
#[derive(Default)]
pub struct Training<'a> {
    /// A PEFT adapter that it starts from.
    pub adapter: Option<&'a Path>,
    /// Where the trained adapter is written, in PEFT's format.
    pub out: Option<&'a Path>,
}

/// Trains the method for the steps asked for and says how long they took. `seen` hears each step's loss.
pub fn train(setup: &Setup, options: &Training, seen: &mut dyn FnMut(usize, f64)) -> Result<Report> {
    let world = setup.world()?;
    let (cell, mut strategies) = setup.cell(&world)?;
    let mut running = stage::begin(&cell, &mut strategies, 0)?;
    if let Some(folder) = options.adapter {
        PeftAdapter::read(folder).and_then(|adapter| adapter.apply(&cell)).map_err(bad)?;
    }
    if let Some(folder) = options.out {
        // Before the training, which takes its time.
        PeftAdapter::of_cell(&cell).and_then(|_| check_vacant(folder)).map_err(bad)?;
    }
    let (steps, batch_size) = (running.plan.steps, world.config.training.batch_size);
    running.plan = BatchPlan::of(in_file_order(setup.loaded.conversations.len(), batch_size, steps));
    let trainable = cell.parameters.borrow().trainable_count();
    ensure!(trainable > 0, "the method trains nothing\nhint: its target_modules");
    let mut timed = Timed { seconds: vec![], samples: vec![], tokens: vec![], work: vec![] };
    let mut losses = Vec::with_capacity(steps);
    while running.step < steps {
        let batch = running.plan.batch(&cell, running.step, 0)?;
        world.tasks[0].forget_features();
        let clock = Instant::now();
        let report = stage::step(&cell, &mut strategies, &mut running)?;
        timed.seconds.push(clock.elapsed().as_secs_f64());
        seen(report.step, report.task_loss);
        losses.push(report.task_loss);
        let (rows, read, images) = counts(&cell, &batch)?;
        timed.samples.push(rows.len());
        timed.tokens.push(rows.iter().sum());
        timed.work.push(work::training(
            world.backbone,
            trainable as f64,
            &Tokens { rows: &rows, images, read },
        ));
    }
    stage::end(&cell, &mut strategies)?;
    if let Some(folder) = options.out {
        PeftAdapter::of_cell(&cell)?.write(folder)?;
    }
    Ok(Report { losses, ..Report::new("train", setup, &world, &timed, trainable)? })
}

/// Batches of the records one after another, from the first again where they end.
fn in_file_order(records: usize, batch_size: usize, steps: usize) -> Vec<Vec<u64>> {
    let batch = |step: usize| {
        let places = step * batch_size..(step + 1) * batch_size;
        places.map(|place| Cell::sample_ref(0, place % records)).collect()
    };
    (0..steps).map(batch).collect()
}

/// Tokens of each row, supervised tokens, pictures.
fn counts(cell: &Cell, batch: &[u64]) -> Result<(Vec<usize>, usize, usize)> {
    let samples = cell.samples(batch)?;
    let rows = samples.iter().map(|sample| sample.example.input_ids.len()).collect();
    let labelled = |labels: &[i64]| labels.iter().filter(|&&label| label >= 0).count();
    let read = samples.iter().map(|sample| labelled(&sample.example.labels)).sum();
    Ok((rows, read, samples.iter().filter(|sample| sample.image.is_some()).count()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_round_again() {
        let batches = in_file_order(5, 2, 4);
        let places: Vec<Vec<u64>> = vec![vec![0, 1], vec![2, 3], vec![4, 0], vec![1, 2]];
        assert_eq!(batches, places);
    }
}
