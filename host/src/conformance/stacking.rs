//! The plugin beside another one.

use std::path::Path;

use anyhow::Result;

use super::check::Verdict;
use super::child::Place;
use super::resume;
use super::trial::{Method, whole};
use crate::compare::message::message;
use crate::config::StackEntry;

/// A strategy goes on another adapter, an adapter gets a strategy beside it. The stack is trained, answered and resumed.
pub(super) fn verdict(place: &Place, scratch: &Path) -> Result<Verdict> {
    let own = place.stack().iter().find(|entry| entry.plugin == place.name()).cloned();
    let (stack, partner): (Vec<StackEntry>, &str) = if place.has_adapter() {
        let strategy = if place.name() == "ewc" { "replay" } else { "ewc" };
        (own.into_iter().chain([entry(strategy)]).collect(), strategy)
    } else {
        // The checks so far had it on LoRA, where that is here.
        let adapter = if place.stack().len() == 1 { "lora" } else { "moelora" };
        ([entry(adapter)].into_iter().chain(own).collect(), adapter)
    };
    if let Err(error) = place.find(partner) {
        return Ok(Verdict::Skip(format!("it is tried with `{partner}`, which is not here: {error}")));
    }
    let method = Method { stack: &stack, ..place.method(0) };
    let named = |reason: String| format!("in a stack with `{partner}`: {reason}");
    let record = match whole(place.testbed(), method) {
        Ok(record) => record,
        Err(error) => return Ok(Verdict::Fail(named(message(&error)))),
    };
    Ok(match resume::verdict(place.testbed(), method, scratch, &record)? {
        Verdict::Fail(reason) => Verdict::Fail(named(reason)),
        verdict => verdict,
    })
}

fn entry(plugin: &str) -> StackEntry {
    StackEntry { plugin: plugin.to_string(), config: toml::Table::new() }
}
