//! From one stage's process to the next, under a strict protocol: what is handed over, and whether it is all that a method goes by.
//!
//! The process that has trained a stage takes the first steps of the next one, for their hash alone; nothing of it is kept. The new process,
//! which knows only what was handed over, takes them in earnest. A method that remembers more than the host was given takes others.

use anyhow::Result;
use sha2::{Digest, Sha256};
use tch::Kind;

use crate::compare::event::CellEvent;
use crate::report::results::Handover;
use crate::train::cell::{Cell, Strategies};
use crate::train::stage::{self, Running, StepReport};

/// Steps at the beginning of a stage that are compared.
const STEPS: usize = 3;

/// What the first steps of a stage did.
#[derive(Default)]
pub(super) struct Beginning {
    hash: Sha256,
    steps: usize,
}

impl Beginning {
    pub(super) fn step(&mut self, report: &StepReport) {
        self.steps += 1;
        let terms = report.terms.iter().map(|(name, value)| (name.as_str(), *value));
        let figures = [("task loss", report.task_loss), ("gradient norm", report.gradient_norm)];
        for (name, value) in figures.into_iter().chain(terms) {
            self.hash.update(name);
            self.hash.update(value.to_bits().to_le_bytes());
        }
        self.hash.update(report.fresh_rows.to_le_bytes());
    }

    pub(super) fn is_whole(&self, running: &Running) -> bool {
        self.steps >= STEPS.min(running.plan.steps)
    }

    /// The hash, with the tensors as the steps left them.
    pub(super) fn finish(mut self, cell: &Cell) -> Result<String> {
        for parameter in cell.parameters.borrow().list() {
            self.hash.update(&parameter.name);
            let values = parameter.tensor.f_detach()?.f_to_kind(Kind::Float)?.f_contiguous()?;
            let values: Vec<f32> = Vec::try_from(&values.f_view([-1])?)?;
            for value in values {
                self.hash.update(value.to_bits().to_le_bytes());
            }
        }
        Ok(format!("{:x}", self.hash.finalize()))
    }
}

/// Whether steps repeat to the bit here.
pub(super) fn is_comparable(cell: &Cell) -> bool {
    !cell.world.backbone.device().is_cuda()
}

/// The first steps of a stage with all that this process remembers. The cell is of no use afterwards.
///
/// # Errors
/// Why they failed, which says nothing about what is remembered.
pub(super) fn beginning(
    cell: &Cell,
    strategies: &mut Strategies,
    stage: usize,
    emit: &mut dyn FnMut(CellEvent),
) -> Result<String, String> {
    let mut take = || -> Result<String> {
        let mut running = stage::begin(cell, strategies, stage)?;
        let mut beginning = Beginning::default();
        while !beginning.is_whole(&running) {
            beginning.step(&stage::step(cell, strategies, &mut running)?);
            // Whoever waits hears that something goes on.
            emit(CellEvent::Started);
        }
        beginning.finish(cell)
    };
    take().map_err(|error| format!("{error:#}"))
}

/// Notes down what a stage begins with.
pub(super) fn note(
    handovers: &mut Vec<Handover>,
    cell: &Cell,
    strategies: &Strategies,
    stage: usize,
) -> Result<()> {
    let mut handover = Handover {
        stage,
        tensor_bytes: cell.parameters.borrow().bytes(),
        replay_bytes: cell.replay_bytes()?,
        ..Handover::default()
    };
    for (entry, strategy) in strategies {
        let bytes = strategy.save()?.len() as u64;
        *handover.state_bytes.entry(cell.plugin(*entry).to_string()).or_default() += bytes;
    }
    handovers.retain(|known| known.stage != stage);
    handovers.push(handover);
    Ok(())
}
