//! Two stages of training and answering, which most checks build on, and what is seen of a method while it goes through them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use coin_plugin_api::{ErrorCode, Need};
use tch::Tensor;

use super::check::{Check, Verdict};
use super::child::Place;
use super::trial::{Record, STAGES, Trial, any, bits};
use crate::compare::message::message;
use crate::plugin::PluginError;
use crate::train::cell::Position;
use crate::train::forward::Purpose;
use crate::train::parameters::Parameter;

/// What the run showed.
pub(super) struct Base {
    pub(super) record: Record,
    refused: Vec<Need>,
    gradients: Result<(), String>,
}

/// Why there is no such run, and the check that says so.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) check: Check,
    reason: String,
}

impl Fault {
    /// What a check that builds on the run has to say.
    pub(super) fn verdict(&self, check: Check) -> Verdict {
        if check == self.check {
            Verdict::Fail(self.reason.clone())
        } else {
            Verdict::Skip(format!("training does not get through, see `{}`", self.check.name()))
        }
    }
}

/// Runs the method from beginning to end, in float32.
pub(super) fn base(place: &Place) -> Result<Base, Fault> {
    let frozen = weights(place).map_err(|error| fault(&error))?;
    let mut record = Record::default();
    let mut looked = || -> Result<(Vec<Need>, Result<(), String>)> {
        let testbed = place.testbed();
        let world = testbed.world()?;
        let mut trial = Trial::build(&world, place.method(0))?;
        trial.run(&mut record)?;
        let refused = trial.cell.refused.borrow().iter().map(|(_, need)| *need).collect();
        Ok((refused, gradients(&trial, place)?))
    };
    let (refused, mut gradients) = looked().map_err(|error| fault(&error))?;
    let now = weights(place).map_err(|error| fault(&error))?;
    if let Some((name, _)) = frozen.iter().find(|(name, bits)| now.get(*name) != Some(bits)) {
        gradients = Err(format!(
            "the frozen weight `{name}` was changed\nhint: the backbone is everybody's, and is never written"
        ));
    }
    Ok(Base { record, refused, gradients })
}

fn weights(place: &Place) -> Result<BTreeMap<String, Vec<u32>>> {
    let weights = place.testbed().backbone.parameters().iter();
    weights.map(|(name, tensor)| Ok((name.clone(), bits(tensor)?))).collect()
}

/// Which check an error of training belongs to.
pub(super) fn fault(error: &anyhow::Error) -> Fault {
    // Of the host's words alone: what a plugin writes into its errors says nothing about their kind.
    const KINDS: [(&str, Check); 9] = [
        ("tensor handles", Check::Handles),
        ("it left gradients switched", Check::Gradients),
        ("has no graph", Check::Gradients),
        ("not granted", Check::Capabilities),
        ("neither of this stage nor in the replay buffer", Check::Capabilities),
        ("not finite", Check::Finite),
        ("is NaN", Check::Finite),
        ("is inf", Check::Finite),
        ("is -inf", Check::Finite),
    ];
    let reason = message(error);
    let check = match PluginError::within(error).and_then(PluginError::code) {
        Some(ErrorCode::PANIC) => Check::Errors,
        Some(ErrorCode::PLUGIN | ErrorCode::CONFIG) => Check::Trains,
        _ => {
            let kind = KINDS.iter().find(|(part, _)| reason.contains(part));
            kind.map_or(Check::Trains, |(_, check)| *check)
        }
    };
    Fault { check, reason }
}

/// Back through one more pass of the last stage, whose tensors are in force: who has a gradient, or had one in a step of that stage, and
/// who must not. Gradients of earlier stages still stand at their tensors, as zeros.
fn gradients(trial: &Trial, place: &Place) -> Result<Result<(), String>> {
    let cell = &trial.cell;
    cell.position.set(Position { stage: STAGES - 1, ..Position::default() });
    let samples: Vec<u64> = cell.stage_samples()?.into_iter().take(4).collect();
    let batch = cell.batch(&samples)?;
    let forward = cell.forward(&batch, Purpose::Train, None)?;
    let loss = cell.task_loss(&forward.logits, &batch)?;
    let part = part_of(trial, place, &loss)?;
    loss.f_backward()?;
    for (name, weight) in cell.world.backbone.parameters() {
        if weight.requires_grad() || weight.f_grad()?.defined() {
            return Ok(Err(format!("the frozen weight `{name}` got a gradient")));
        }
    }
    let parameters = cell.parameters.borrow();
    let mut trained = 0;
    let mut reached = false;
    for parameter in parameters.list() {
        let gradient = parameter.tensor.f_grad()?;
        if !parameter.trainable && gradient.defined() && any(&gradient)? {
            return Ok(Err(format!("`{}` is frozen or a buffer, and got a gradient", parameter.name)));
        }
        if parameter.trainable && parameter.owner == place.name() {
            // Zero is a gradient: an expert that no row was sent to has that.
            if !part.contains(&parameter.name) && !trial.reached.contains(&parameter.name) {
                return Ok(Err(format!(
                    "`{}` is trained, and no loss of a step depends on it\nhint: is it detached on its way, or computed without gradients? What a plugin sets by itself is a buffer; `set_trainable` freezes",
                    parameter.name
                )));
            }
            trained += 1;
            reached |= gradient.defined() && any(&gradient)?;
        }
    }
    let has_adapter = cell.adapters.iter().any(|(entry, _)| cell.plugin(*entry) == place.name());
    if has_adapter && trained > 0 && !reached {
        return Ok(Err(format!(
            "none of its {trained} trained tensors gets a gradient from the task loss\nhint: does `adapt` detach what it computes, or run without gradients?"
        )));
    }
    Ok(Ok(()))
}

/// The trained tensors of the method that a loss depends on.
fn part_of(trial: &Trial, place: &Place, loss: &Tensor) -> Result<BTreeSet<String>> {
    let parameters = trial.cell.parameters.borrow();
    let own = |parameter: &&Parameter| parameter.trainable && parameter.owner == place.name();
    let own: Vec<&Parameter> = parameters.list().iter().filter(own).collect();
    if own.is_empty() || !loss.requires_grad() {
        return Ok(BTreeSet::new());
    }
    let tensors: Vec<&Tensor> = own.iter().map(|parameter| &parameter.tensor).collect();
    let gradients = Tensor::f_run_backward(&[loss], &tensors, true, false)?;
    let part = own.iter().zip(gradients).filter(|(_, gradient)| gradient.defined());
    Ok(part.map(|(parameter, _)| parameter.name.clone()).collect())
}

/// The checks that look at the run alone.
pub(super) fn verdict(check: Check, base: &Base) -> Verdict {
    match check {
        Check::Gradients => match &base.gradients {
            Ok(()) => Verdict::Pass,
            Err(reason) => Verdict::Fail(reason.clone()),
        },
        Check::Capabilities => match base.refused.first() {
            None => Verdict::Pass,
            Some(need) => Verdict::Fail(format!(
                "it asks for `{}`, which it does not declare, and goes on without\nhint: declare the need, or do not ask",
                need.name()
            )),
        },
        _ => Verdict::Pass,
    }
}
