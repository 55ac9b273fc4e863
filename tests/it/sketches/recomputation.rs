//! Each method, with EWC behind it, computes the same where decoder layers are computed twice to save memory.

use super::stream;
use super::trace::{EWC, STACKS, train};

#[test]
fn every_method_is_the_same_with_gradient_checkpointing() {
    for (name, stack) in STACKS {
        let stack = format!("{stack}, {EWC}");
        let run = |set: &[&str]| {
            stream::with_world(&stack, set, |world, entries, shelf| train(world, entries, shelf, &[]))
        };
        run(&[]).assert_same(&run(&["training.gradient_checkpointing=true"]), name);
    }
}
