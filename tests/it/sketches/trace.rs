//! What a cell of each method computes, to the last bit, with and without an end and a new beginning in between.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use coin_host::compare::world::PluginCache;
use coin_host::config::StackEntry;
use coin_host::train::cell::World;
use coin_host::train::{checkpoint, stage};

use super::stream::{self, STEPS};

/// Every method in a stack.
pub(super) const STACKS: [(&str, &str); 10] = [
    ("lora", "{ plugin = \"lora\", r = 4, lora_dropout = 0.1 }"),
    ("moelora", "{ plugin = \"moelora\", r = 4, expert_num = 2, lora_dropout = 0.1 }"),
    ("smolora", "{ plugin = \"smolora\" }"),
    ("o-lora", "{ plugin = \"o-lora\" }"),
    ("ewc", "{ plugin = \"lora\" }, { plugin = \"replay\", rows_per_batch = 2 }"),
    ("lwf", "{ plugin = \"lora\", lora_dropout = 0.1 }, { plugin = \"lwf\" }"),
    ("der-plus-plus", "{ plugin = \"lora\" }, { plugin = \"der-plus-plus\", rows_per_batch = 2 }"),
    ("a-gem", "{ plugin = \"lora\" }, { plugin = \"a-gem\", samples = 2 }"),
    ("l2p", "{ plugin = \"l2p\" }"),
    ("eproj", "{ plugin = \"eproj\", key_steps = 1 }"),
];
pub(super) const EWC: &str = "{ plugin = \"ewc\", samples = 3 }";

/// What a cell computes: each step, and each tensor at its end, to the last bit.
#[derive(Default, PartialEq, Debug)]
pub(super) struct Trace {
    pub(super) steps: Vec<String>,
    pub(super) tensors: BTreeMap<String, Vec<u32>>,
}

impl Trace {
    /// Asserts that another one has the same steps and the same tensors.
    pub(super) fn assert_same(&self, other: &Trace, what: &str) {
        assert_eq!(self.steps.len(), 2 * STEPS);
        assert_eq!(self.steps, other.steps, "{what}");
        assert!(self.tensors.keys().eq(other.tensors.keys()), "{what}");
        for (tensor, bits) in &self.tensors {
            assert!(*bits == other.tensors[tensor], "{what}: {tensor}");
        }
    }
}

/// Trains a cell that ends and begins anew, from a checkpoint alone, at each of these steps of a stage, or after the stage.
pub(super) fn train(
    world: &World,
    stack: &[StackEntry],
    shelf: &mut PluginCache,
    stops: &[(usize, Option<usize>)],
) -> Result<Trace> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("checkpoint.safetensors");
    let mut trace = Trace::default();
    let (mut cell, mut strategies) = stream::cell(world, stack, shelf)?;
    for number in 0..cell.stages.len() {
        let mut running = stage::begin(&cell, &mut strategies, number)?;
        loop {
            if stops.contains(&(number, Some(running.step))) {
                checkpoint::save(&path, &cell, &strategies, number, Some(&running), &())?;
                (cell, strategies) = stream::cell(world, stack, shelf)?;
                let (at, going_on, ()) = checkpoint::restore(&path, &cell, &mut strategies)?;
                assert_eq!(at, number);
                running = going_on.context("it was inside a stage")?;
            }
            if running.step == STEPS {
                break;
            }
            let report = stage::step(&cell, &mut strategies, &mut running)?;
            let numbers = [report.task_loss, report.gradient_norm]
                .into_iter()
                .chain(report.terms.iter().map(|term| term.1));
            trace.steps.push(format!(
                "{number} {} {:x?}",
                report.step,
                numbers.map(f64::to_bits).collect::<Vec<_>>()
            ));
        }
        stage::end(&cell, &mut strategies)?;
        if stops.contains(&(number, None)) {
            checkpoint::save(&path, &cell, &strategies, number + 1, None, &())?;
            (cell, strategies) = stream::cell(world, stack, shelf)?;
            let (at, _, ()) = checkpoint::restore(&path, &cell, &mut strategies)?;
            assert_eq!(at, number + 1);
        }
    }
    let bits = |tensor: &tch::Tensor| -> Result<Vec<u32>> {
        let values = Vec::<f32>::try_from(tensor.detach().flatten(0, -1))?;
        Ok(values.into_iter().map(f32::to_bits).collect())
    };
    for parameter in cell.parameters.borrow().list() {
        trace.tensors.insert(parameter.name.clone(), bits(&parameter.tensor)?);
    }
    for (slot, content) in cell.replay.borrow().slots().0 {
        for (name, value) in &content.stored {
            trace.tensors.insert(format!("{slot} {} {name}", content.sample), bits(value)?);
        }
    }
    Ok(trace)
}
