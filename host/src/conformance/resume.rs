//! A run that is stopped and goes on in a fresh object, within a stage and between two: a relay of legs, from checkpoint to checkpoint.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use super::check::Verdict;
use super::child::Place;
use super::testbed::Testbed;
use super::trial::{Method, Record, STAGES, Trial};
use crate::compare::message::message;
use crate::train::checkpoint;
use crate::train::stage::Running;

const HINT: &str = "hint: what is no registered tensor belongs into `save`, all of it, and `load` puts it back; statics end with their process";

/// Legs of a relay: a stage is stopped behind its first step and behind its last.
pub(super) const LEGS: usize = 2 * STAGES + 1;

/// A leg that a process of its own runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Leg {
    pub(super) number: usize,
    /// What goes from process to process.
    pub(super) folder: PathBuf,
}

/// Compares a run that is stopped with one that is not, in this process.
pub(super) fn verdict(testbed: &Testbed, method: Method, scratch: &Path, whole: &Record) -> Result<Verdict> {
    let path = scratch.join("checkpoint.safetensors");
    let mut verdict = Verdict::Pass;
    for number in 0..LEGS {
        verdict = match run(testbed, method, &path, number) {
            Ok(record) => record.map_or(Verdict::Pass, |record| compared(whole, &record)),
            Err(error) => Verdict::Fail(message(&error)),
        };
        if verdict != Verdict::Pass {
            break;
        }
    }
    Ok(verdict)
}

/// A leg in this process; the first one is given what the run in one go computed.
pub(super) fn leg(place: &Place, leg: &Leg, whole: Option<&Record>) -> Result<Verdict> {
    let expected = leg.folder.join("whole.json");
    if let Some(whole) = whole {
        std::fs::write(&expected, serde_json::to_vec(whole)?)?;
    }
    let path = leg.folder.join("checkpoint.safetensors");
    Ok(match run(place.testbed(), place.method(0), &path, leg.number) {
        Ok(None) => Verdict::Pass,
        Ok(Some(record)) => compared(&serde_json::from_slice(&std::fs::read(&expected)?)?, &record),
        Err(error) => Verdict::Fail(message(&error)),
    })
}

fn compared(whole: &Record, stopped: &Record) -> Verdict {
    match whole.difference(stopped, "in one go", "after being stopped") {
        Some(difference) => Verdict::Fail(format!("{difference}\n{HINT}")),
        None => Verdict::Pass,
    }
}

/// Goes on from the checkpoint of the leg before, to the next one. The last leg gives what all of them computed.
fn run(testbed: &Testbed, method: Method, path: &Path, number: usize) -> Result<Option<Record>> {
    let world = testbed.world()?;
    let mut trial = Trial::build(&world, method)?;
    let (stage, within) = (number / 2, number % 2 == 1);
    let (mut running, mut record) = match number {
        0 => (None, Record::default()),
        _ => restored(&mut trial, path, stage, within)?,
    };
    if within {
        let running = running.take().context("the checkpoint is of a running stage")?;
        trial.finish(running, &mut record)?;
        checkpoint::save(path, &trial.cell, &trial.strategies, stage + 1, None, &record)?;
        return Ok(None);
    }
    if stage > 0 {
        trial.answer(stage - 1, &mut record)?;
    }
    if stage == STAGES {
        trial.describe(&mut record)?;
        return Ok(Some(record));
    }
    let mut running = trial.begin(stage)?;
    trial.step(&mut running, &mut record)?;
    checkpoint::save(path, &trial.cell, &trial.strategies, stage, Some(&running), &record)?;
    Ok(None)
}

fn restored(trial: &mut Trial, path: &Path, stage: usize, within: bool) -> Result<(Option<Running>, Record)> {
    let place = || match within {
        true => format!("going on within stage {stage}"),
        false => format!("going on after stage {}", stage - 1),
    };
    let (at, running, record) =
        checkpoint::restore(path, &trial.cell, &mut trial.strategies).with_context(place)?;
    ensure!(at == stage, "the checkpoint of stage {stage} is one of stage {at}");
    Ok((running, record))
}
