//! From the stack of a method to the adapters and strategies of a cell.

use anyhow::Result;

use crate::config::StackEntry;
use crate::plugin::hook::Hook;
use crate::plugin::{Plugin, capability};
use crate::train::cell::{Cell, Entry, Strategies, World};
use crate::train::strategy_services::StrategyServices;

/// Builds a cell: each plugin of the stack registers its tensors, in stack order.
///
/// # Errors
/// A plugin that is not there; a configuration that it refuses; a need that the protocol does not grant; two adapters at one site.
pub fn build<'a>(
    world: &'a World<'a>,
    plugins: &mut dyn FnMut(&str) -> Result<Plugin>,
    stack: &[StackEntry],
    seed: u64,
    stages: Vec<Vec<usize>>,
) -> Result<(Cell<'a>, Strategies)> {
    let grants = capability::grants(&world.config.protocol);
    let mut loaded = Vec::new();
    let mut entries = Vec::new();
    for entry in stack {
        let plugin = plugins(&entry.plugin)?;
        plugin.check_needs(&grants)?;
        entries.push(Entry {
            plugin: entry.plugin.clone(),
            version: plugin.description().version.clone(),
            config: entry.clone(),
            grants: plugin.description().needs.iter().copied().collect(),
        });
        loaded.push(plugin);
    }
    let mut cell = Cell::new(world, seed, stages, entries)?;
    let mut strategies = Strategies::new();
    for (entry, plugin) in loaded.into_iter().enumerate() {
        let method = {
            let services = StrategyServices::new(&cell, entry, Hook::Build, None);
            plugin.build(&stack[entry].config, &services)?
        };
        if let Some(adapter) = method.adapter {
            cell.adapters.push((entry, adapter));
        }
        if let Some(strategy) = method.strategy {
            strategies.push((entry, strategy));
        }
    }
    cell.assign_sites()?;
    Ok((cell, strategies))
}
