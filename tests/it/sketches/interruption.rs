//! Each method, with EWC behind it, goes on from its checkpoint as if it had never stopped.

use super::stream::{self, STEPS};
use super::trace::{EWC, STACKS, train};
use crate::resume::{kill_group, position, start, wait_until};
use crate::runs::{assert_same, compare, succeed, workspace};

#[test]
fn every_method_goes_on_from_a_checkpoint() {
    for (name, stack) in STACKS {
        let stack = format!("{stack}, {EWC}");
        stream::with_world(&stack, &[], |world, entries, shelf| {
            let whole = train(world, entries, shelf, &[])?;
            let stops = [(0, Some(1)), (0, Some(STEPS)), (0, None), (1, Some(0)), (1, Some(2))];
            let stopped = train(world, entries, shelf, &stops)?;
            whole.assert_same(&stopped, name);
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
