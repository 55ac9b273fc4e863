//! What a method makes of a host that says no, and of its own end.

use anyhow::Result;

use super::check::Verdict;
use super::child::Place;
use super::testbed::Testbed;
use super::trial::{Record, STAGES, Trial};
use crate::compare::message::message;
use crate::ops::failing::{self, Call};
use crate::plugin::PluginError;

/// Steps of a stage: enough that every hook of every stage is called.
const STEPS: usize = 3;

/// Lets each service that the method asks for fail in each hook once, and gives it states that nobody saved.
pub(super) fn verdict(place: &Place) -> Result<Verdict> {
    let testbed = Testbed::new(tch::Kind::Float, STEPS, place.scratch())?;
    let (whole, calls) = failing::watch(None, || run(place, &testbed));
    whole?;
    for call in &calls {
        let (outcome, _) = failing::watch(Some(call), || run(place, &testbed));
        if let Err(error) = outcome
            && PluginError::within(&error).is_some_and(PluginError::is_panic)
        {
            return Ok(Verdict::Fail(panicked(call, &message(&error))));
        }
    }
    damaged_states(place, &testbed)
}

fn panicked((hook, service): &Call, reason: &str) -> String {
    format!(
        "where `{service}` fails in {hook}: {reason}\nhint: `?` hands an error on; `unwrap` and `expect` panic"
    )
}

fn run(place: &Place, testbed: &Testbed) -> Result<()> {
    let world = testbed.world()?;
    let mut record = Record::default();
    let mut trial = Trial::build(&world, place.method(0))?;
    for stage in 0..STAGES {
        let running = trial.begin(stage)?;
        trial.finish(running, &mut record)?;
    }
    trial.answer(STAGES - 1, &mut record)
}

fn damaged_states(place: &Place, testbed: &Testbed) -> Result<Verdict> {
    let world = testbed.world()?;
    let mut trial = Trial::build(&world, place.method(0))?;
    let mut record = Record::default();
    let running = trial.begin(0)?;
    trial.finish(running, &mut record)?;
    for (number, (entry, strategy)) in trial.strategies.iter().enumerate() {
        if trial.cell.plugin(*entry) != place.name() {
            continue;
        }
        let state = strategy.save()?;
        // Of nothing there is no half, and nothing may stand for a fresh object.
        let damaged = [
            ("an empty state", Vec::new(), false),
            ("a state cut in half", state[..state.len() / 2].to_vec(), state.len() > 1),
            ("a state of other bytes", vec![0xFF; 64], !state.is_empty()),
        ];
        for (what, damaged, is_error) in damaged {
            let mut fresh = Trial::build(&world, place.method(0))?;
            let Some((_, strategy)) = fresh.strategies.get_mut(number) else { continue };
            match strategy.load(&damaged) {
                Err(error) if error.is_panic() => {
                    return Ok(Verdict::Fail(format!("with {what}: {error}")));
                }
                Ok(()) if is_error => {
                    return Ok(Verdict::Fail(format!(
                        "`load` takes {what} for its own\nhint: `coin_plugin_api::state` refuses what it did not write, where no field has a default"
                    )));
                }
                _ => {}
            }
        }
    }
    Ok(Verdict::Pass)
}
