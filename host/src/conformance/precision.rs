//! Other ways to compute the same: half precision, gradient checkpointing.

use anyhow::Result;
use tch::Kind;

use super::check::Verdict;
use super::child::Place;
use super::testbed::Testbed;
use super::training::Base;
use super::trial::{Record, Trial, whole};
use crate::compare::message::message;

/// The base run on a backbone in bfloat16; what lasts stays in float32.
pub(super) fn bfloat16(place: &Place) -> Result<Verdict> {
    let testbed = Testbed::new(Kind::BFloat16, super::child::STEPS, place.scratch())?;
    let world = testbed.world()?;
    let mut trial = Trial::build(&world, place.method(0))?;
    if let Err(error) = trial.run(&mut Record::default()) {
        return Ok(Verdict::Fail(format!(
            "{}\nhint: `adapt` gets its tensors in the type of the backbone and gives back that of `output`",
            message(&error)
        )));
    }
    let parameters = trial.cell.parameters.borrow();
    let other = parameters.list().iter().find(|parameter| parameter.tensor.kind() != Kind::Float);
    Ok(match other {
        Some(parameter) => Verdict::Fail(format!("`{}` is no longer float32", parameter.name)),
        None => Verdict::Pass,
    })
}

/// The base run with decoder layers that are computed once more for their gradients.
pub(super) fn checkpointing(place: &Place, base: &Base) -> Result<Verdict> {
    let mut testbed = Testbed::new(Kind::Float, super::child::STEPS, place.scratch())?;
    testbed.config.training.gradient_checkpointing = true;
    let record = match whole(&testbed, place.method(0)) {
        Ok(record) => record,
        Err(error) => return Ok(Verdict::Fail(message(&error))),
    };
    Ok(match base.record.difference(&record, "without gradient checkpointing", "with it") {
        Some(difference) => Verdict::Fail(format!(
            "{difference}\nhint: `adapt` may be called twice for a pass; it must be a function of its arguments and draw from `step`"
        )),
        None => Verdict::Pass,
    })
}
