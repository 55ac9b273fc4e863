//! Each method goes on from its checkpoint as if it had never stopped, behind EWC in a stack too.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use coin_host::compare::world::Shelf;
use coin_host::config::StackEntry;
use coin_host::train::cell::World;
use coin_host::train::{checkpoint, stage};

use super::stream::{self, STEPS};
use crate::resume::{kill_group, position, start, wait_until};
use crate::runs::{assert_same, compare, succeed, workspace};

/// Every method in a stack.
const STACKS: [(&str, &str); 10] = [
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
const EWC: &str = "{ plugin = \"ewc\", samples = 3 }";

/// What a cell computes: each step, and each tensor at its end, to the last bit.
#[derive(Default, PartialEq, Debug)]
struct Trace {
    steps: Vec<String>,
    tensors: BTreeMap<String, Vec<u32>>,
}

/// Trains a cell that ends and begins anew, from a checkpoint alone, at each of these steps of a stage, or after the stage.
fn train(
    world: &World,
    stack: &[StackEntry],
    shelf: &mut Shelf,
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

#[test]
fn every_method_goes_on_from_a_checkpoint() {
    for (name, stack) in STACKS {
        let stack = format!("{stack}, {EWC}");
        stream::with_world(&stack, |world, entries, shelf| {
            let whole = train(world, entries, shelf, &[])?;
            let stops = [(0, Some(1)), (0, Some(STEPS)), (0, None), (1, Some(0)), (1, Some(2))];
            let stopped = train(world, entries, shelf, &stops)?;
            assert_eq!(whole.steps, stopped.steps, "{name}");
            assert!(whole.tensors.keys().eq(stopped.tensors.keys()), "{name}");
            for (tensor, bits) in &whole.tensors {
                assert!(*bits == stopped.tensors[tensor], "{name}: {tensor}");
            }
            assert_eq!(whole.steps.len(), 2 * STEPS);
            Ok(())
        });
    }
}

#[test]
fn killed_processes_go_on() {
    let names = ["smolora", "der-plus-plus", "l2p", "eproj"];
    let methods: Vec<(&str, &str)> = STACKS.into_iter().filter(|(name, _)| names.contains(name)).collect();
    let configuration = stream::configuration(&methods);
    let whole = workspace(&configuration);
    succeed(compare(&whole, &["--jobs", "2"]));
    let workspace = workspace(&configuration);
    let out = workspace.path().join("out");
    // The first of two workers' methods inside its first stage, then the last method inside its last.
    for (method, at) in [("smolora", (0, Some(1))), ("eproj", (1, Some(1)))] {
        let mut child = start(&workspace, &["--jobs", "2"]);
        wait_until(&mut child, "a step", || position(&out, method) >= Some(at));
        kill_group(child);
    }
    succeed(compare(&workspace, &["--jobs", "2"]));
    for name in names {
        assert_same(&whole.path().join("out"), &out, name);
    }
}
