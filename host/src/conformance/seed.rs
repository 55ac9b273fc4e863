//! One seed, one run.

use anyhow::Result;

use super::check::Verdict;
use super::child::Place;
use super::training::Base;
use super::trial::whole;

/// The base run once more with its seed, and with another one.
pub(super) fn verdict(place: &Place, base: &Base) -> Result<Verdict> {
    let again = whole(place.testbed(), place.method(0))?;
    if let Some(difference) = base.record.difference(&again, "the first time", "the second time") {
        return Ok(Verdict::Fail(format!(
            "two runs with one seed differ: {difference}\nhint: draw from `step` and `stage`, keep nothing in statics, and do not go by time, addresses or the order of a HashMap"
        )));
    }
    let other = whole(place.testbed(), place.method(1))?;
    if other.losses == base.record.losses {
        return Ok(Verdict::Fail(String::from(
            "another seed gives the same losses\nhint: which samples train is drawn by the host; does `compose_batch` put others in their place?",
        )));
    }
    Ok(Verdict::Pass)
}
