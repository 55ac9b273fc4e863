//! The plugin that asks: what adapters and strategies are answered alike.

use std::cell::Cell as Slot;

use anyhow::Result;
use coin_plugin_api::Need;
use coin_plugin_api::abi::{RawModel, RawSite};
use tch::Tensor;

use crate::plugin::hook::Hook;
use crate::stream::random::seed;
use crate::train::cell::Cell;
use crate::train::describe;

/// An entry of the stack, inside one of its hooks.
pub(super) struct Client<'c> {
    pub(super) cell: &'c Cell<'c>,
    /// Place in the stack.
    pub(super) entry: Slot<usize>,
    /// Draws so far in this call of the hook.
    draws: Slot<u64>,
}

impl<'c> Client<'c> {
    pub(super) fn new(cell: &'c Cell<'c>, entry: usize) -> Client<'c> {
        Client { cell, entry: Slot::new(entry), draws: Slot::new(0) }
    }

    /// Begins the call of a hook of another entry.
    pub(super) fn becomes(&self, entry: usize) {
        self.entry.set(entry);
        self.draws.set(0);
    }

    pub(super) fn plugin(&self) -> &'c str {
        self.cell.plugin(self.entry.get())
    }

    /// The hook and its plugin, for messages.
    pub(super) fn name(&self, hook: Hook) -> String {
        format!("{} of plugin `{}`", hook.name(), self.plugin())
    }

    /// Refuses what the plugin did not declare or the protocol does not grant.
    pub(super) fn need(&self, need: Need) -> Result<()> {
        describe::granted(self.cell, self.entry.get(), need)
    }

    pub(super) fn model(&self) -> RawModel {
        describe::model(self.cell.world.backbone)
    }

    pub(super) fn sites(&self) -> Vec<RawSite> {
        describe::sites(self.cell.world.backbone)
    }

    pub(super) fn site_weight(&self, site: u64) -> Result<Tensor> {
        describe::site_weight(self.cell.world.backbone, site)
    }

    pub(super) fn site_bias(&self, site: u64) -> Result<Option<Tensor>> {
        describe::site_bias(self.cell.world.backbone, site)
    }

    pub(super) fn value(&self, id: u64) -> Result<Tensor> {
        Ok(self.cell.parameters.borrow().get(id)?.tensor.shallow_clone())
    }

    /// The seed of the next draw: of the root seed, the plugin's stream, where training stands, what else tells calls of
    /// this hook apart, and the number of the draw.
    pub(super) fn seed(&self, hook: Hook, stream: &str, call: &[usize]) -> u64 {
        let at = self.cell.position.get();
        let draw = self.draws.replace(self.draws.get() + 1);
        let indices = [at.stage, at.step, at.micro_batch].into_iter().chain(call.iter().copied());
        let indices: Vec<u64> = indices.map(|index| index as u64).chain([draw]).collect();
        seed(self.cell.seed, &format!("{}/{}/{stream}", self.plugin(), hook.name()), &indices)
    }
}
