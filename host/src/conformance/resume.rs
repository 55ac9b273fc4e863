//! A run that is stopped and goes on in a fresh object, within a stage and between two.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::check::Verdict;
use super::testbed::Testbed;
use super::trial::{Method, Record, STAGES, Trial};
use crate::train::checkpoint;

const HINT: &str =
    "hint: what is no registered tensor belongs into `save`, all of it, and `load` puts it back";

/// Compares a run that is stopped three times with one that is not.
pub(super) fn verdict(testbed: &Testbed, method: Method, scratch: &Path, whole: &Record) -> Result<Verdict> {
    let stopped = match stopped(testbed, method, &scratch.join("checkpoint.safetensors")) {
        Ok(record) => record,
        Err(error) => return Ok(Verdict::Fail(crate::compare::message::message(&error))),
    };
    Ok(match whole.difference(&stopped, "in one go", "after being stopped") {
        Some(difference) => Verdict::Fail(format!("{difference}\n{HINT}")),
        None => Verdict::Pass,
    })
}

/// Stops after the first step of each stage, and after the first stage.
fn stopped(testbed: &Testbed, method: Method, path: &Path) -> Result<Record> {
    let world = testbed.world()?;
    let mut record = Record::default();
    let mut trial = Trial::build(&world, method)?;
    for stage in 0..STAGES {
        let mut running = trial.begin(stage)?;
        trial.step(&mut running, &mut record)?;
        checkpoint::save(path, &trial.cell, &trial.strategies, stage, Some(&running), &())?;
        trial = Trial::build(&world, method)?;
        let (at, running, ()) = checkpoint::restore(path, &trial.cell, &mut trial.strategies)
            .with_context(|| format!("going on within stage {stage}"))?;
        ensure!(at == stage, "the checkpoint of stage {stage} is one of stage {at}");
        trial.finish(running.context("the checkpoint is of a running stage")?, &mut record)?;
        checkpoint::save(path, &trial.cell, &trial.strategies, stage + 1, None, &())?;
        trial = Trial::build(&world, method)?;
        let (_, _, ()) = checkpoint::restore(path, &trial.cell, &mut trial.strategies)
            .with_context(|| format!("going on after stage {stage}"))?;
        trial.answer(stage, &mut record)?;
    }
    trial.describe(&mut record)?;
    Ok(record)
}
