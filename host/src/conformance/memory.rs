//! What a method's process holds while it trains for long.

use anyhow::Result;

use super::check::Verdict;
use super::child::Place;
use super::testbed::Testbed;
use super::trial::{Record, Trial};
use crate::compare::memory::resident;
use crate::ops::live_handles;

const STEPS: usize = 200;
/// Steps after which allocators, caches and optimizers have what they need.
const SETTLED: usize = 50;
/// What the rest may add: allocators come and go by megabytes.
const BOUND: u64 = 64 << 20;

/// Trains a stage of 200 steps.
pub(super) fn verdict(place: &Place) -> Result<Verdict> {
    let testbed = Testbed::new(tch::Kind::Float, STEPS, place.scratch())?;
    let world = testbed.world()?;
    let mut trial = Trial::build(&world, place.method(0))?;
    let mut running = trial.begin(0)?;
    let mut before = (0, 0);
    for step in 0..STEPS {
        if step == SETTLED {
            before = (resident("self"), live_handles());
        }
        trial.step(&mut running, &mut Record::default())?;
    }
    let (bytes, handles) = (resident("self").saturating_sub(before.0), live_handles() - before.1);
    let since = STEPS - SETTLED;
    if handles > 0 {
        let hint = "hint: keep ids across calls, never tensors";
        return Ok(Verdict::Fail(format!("{handles} more tensor handles after {since} steps\n{hint}")));
    }
    if bytes > BOUND {
        return Ok(Verdict::Fail(format!(
            "{} MiB more memory after {since} steps, {} are let pass\nhint: what grows with the steps? Lasting values belong into registered tensors",
            bytes >> 20,
            BOUND >> 20
        )));
    }
    Ok(Verdict::Pass)
}
