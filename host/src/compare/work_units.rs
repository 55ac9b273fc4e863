//! What there is to do, in optimizer steps and answers, for the estimate of the time left.

use crate::compare::estimate::{CellWork, Work as Units};
use crate::compare::protocol::Work;
use crate::config::RunConfig;

/// Test items assumed of a task whose size is not known before it is opened.
const ITEMS: usize = 300;

/// The units of each piece of work.
pub fn of<'w>(config: &RunConfig, works: impl Iterator<Item = &'w Work>) -> Vec<CellWork> {
    let tasks = config.tasks.len();
    // Where a run counts epochs the data decides; the bar then corrects itself with the first stage.
    let steps = config.training.steps.unwrap_or(100);
    let items = config.evaluation.limit.unwrap_or(ITEMS);
    works
        .map(|work| {
            let (method, stages, steps, answers) = match work {
                Work::Cell { cell } => (cell.method.clone(), tasks, steps * tasks, items * tasks * tasks),
                Work::Joint { .. } => (String::from("joint"), 1, steps * tasks, items * tasks),
                Work::Single { .. } => (String::from("single"), 1, steps, items),
                Work::ZeroShot => (String::from("zero-shot"), 1, 0, items * tasks),
            };
            CellWork { cell: work.name(), method, work: Units { stages, steps, answers } }
        })
        .collect()
}
