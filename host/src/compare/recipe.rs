//! What the cells of a method, and of a reference, begin as.

use std::path::Path;

use anyhow::{Context, Result};

use crate::compare::world::PluginCache;
use crate::config::{Method, Reference, StackEntry};
use crate::train::build::build;
use crate::train::cell::{Cell, Strategies, World};
use crate::train::peft::PeftAdapter;

/// What a cell begins as.
#[derive(Clone, Copy)]
pub(super) struct Recipe<'c> {
    pub(super) stack: &'c [StackEntry],
    /// The PEFT adapter that it starts from.
    adapter: Option<&'c Path>,
}

impl<'c> Recipe<'c> {
    pub(super) fn of_method(method: &'c Method) -> Recipe<'c> {
        Recipe { stack: &method.stack, adapter: method.adapter.as_deref() }
    }

    pub(super) fn of_reference(reference: &'c Reference) -> Recipe<'c> {
        Recipe { stack: &reference.stack, adapter: reference.adapter.as_deref() }
    }

    pub(super) fn build<'w>(
        &self,
        world: &'w World<'w>,
        shelf: &mut PluginCache,
        seed: u64,
        stages: Vec<Vec<usize>>,
    ) -> Result<(Cell<'w>, Strategies)> {
        let (cell, strategies) =
            build(world, &mut |plugin| Ok(shelf.plugin(plugin)?), self.stack, seed, stages)?;
        if let Some(folder) = self.adapter {
            PeftAdapter::read(folder)?.apply(&cell).with_context(|| folder.display().to_string())?;
        }
        Ok((cell, strategies))
    }
}
