//! The cells of a run as their events tell of them, apart from any terminal.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::compare::estimate::{CellWork, Estimate};
use crate::compare::event::{CellEvent, Line};
use crate::time::short;

/// What is known of the cells.
pub(super) struct Grid {
    pub(super) estimate: Estimate,
    stages: BTreeMap<String, usize>,
    pub(super) running: BTreeMap<String, Running>,
    finished: usize,
    failed: usize,
}

/// What a cell does now.
#[derive(Default)]
pub(super) struct Running {
    stage: Option<usize>,
    task: String,
    doing: String,
}

impl Running {
    pub(super) fn text(&self, stages: usize) -> String {
        match self.stage {
            Some(stage) => format!("stage {}/{stages} {}  {}", stage + 1, self.task, self.doing),
            None => self.doing.clone(),
        }
    }
}

impl Grid {
    pub(super) fn new(cells: &[CellWork], jobs: usize) -> Self {
        Grid {
            estimate: Estimate::new(cells, jobs),
            stages: cells.iter().map(|cell| (cell.cell.clone(), cell.work.stages)).collect(),
            running: BTreeMap::new(),
            finished: 0,
            failed: 0,
        }
    }

    pub(super) fn stages(&self, cell: &str) -> usize {
        self.stages.get(cell).copied().unwrap_or(0)
    }

    /// Takes note of an event; the line for a log, where the event is worth one.
    pub(super) fn take(&mut self, line: &Line, now: Duration) -> Option<String> {
        let cell = &line.cell;
        self.estimate.observe(cell, &line.event, now);
        let stages = self.stages(cell);
        let running = self.running.entry(cell.clone()).or_default();
        match &line.event {
            CellEvent::Started => {
                running.doing = "starting".into();
                None
            }
            CellEvent::StageStarted { stage, task } => {
                *running = Running { stage: Some(*stage), task: task.clone(), doing: "training".into() };
                Some(format!("{cell}: stage {}/{stages}, training on {task}", stage + 1))
            }
            CellEvent::Step { step, of, loss } => {
                running.doing = format!("step {step}/{of}  loss {loss:.3}");
                None
            }
            CellEvent::Answered { task, done, of, .. } => {
                running.doing = format!("evaluating {task} {done}/{of}");
                None
            }
            CellEvent::Evaluated { stage, task, score } => {
                running.doing = format!("evaluated {task}: {score:.1}");
                let own = stage.is_some() && *stage == running.stage && *task == running.task;
                let stage = stage.map_or(0, |stage| stage + 1);
                own.then(|| format!("{cell}: stage {stage}/{stages}, {task} {score:.1} ({})", self.left()))
            }
            CellEvent::Finished { train_seconds, eval_seconds, picture_seconds } => {
                self.running.remove(cell);
                self.finished += 1;
                let [train, eval, pictures] = [train_seconds, eval_seconds, picture_seconds]
                    .map(|seconds| short(Duration::try_from_secs_f64(*seconds).unwrap_or_default()));
                Some(format!("{cell}: done, {train} training, {eval} evaluating, {pictures} for pictures"))
            }
            CellEvent::Failed { message } => {
                self.running.remove(cell);
                self.failed += 1;
                Some(format!("{cell}: failed: {message}"))
            }
        }
    }

    pub(super) fn total(&self, now: Duration) -> String {
        let failed = if self.failed > 0 { format!(", {} failed", self.failed) } else { String::new() };
        let over = self.finished + self.failed;
        let left = if over < self.stages.len() { format!(", {}", self.left()) } else { String::new() };
        let cells = if self.stages.len() == 1 { "cell" } else { "cells" };
        format!("{over} of {} {cells}{failed}, {} gone{left}", self.stages.len(), short(now))
    }

    fn left(&self) -> String {
        match self.estimate.remaining() {
            None => "time left unknown".into(),
            Some(left) if left.at_least => format!("more than {} left", short(left.time)),
            Some(left) => format!("about {} left", short(left.time)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cells, events};
    use super::*;

    #[test]
    fn a_running_cell_says_what_it_does() {
        let mut grid = Grid::new(&cells(), 1);
        let mut seen = Vec::new();
        for (second, cell, event) in events().into_iter().take(6) {
            grid.take(&Line { cell: cell.into(), event }, Duration::from_secs(second));
            seen.push(grid.running[cell].text(2));
        }
        assert_eq!(seen[0], "starting");
        assert_eq!(seen[3], "stage 1/2 gqa  step 5/10  loss 1.235");
        assert_eq!(seen[5], "stage 1/2 gqa  evaluating gqa 10/10");
        assert_eq!(grid.total(Duration::from_secs(5)), "0 of 2 cells, 5 s gone, about 12 s left");
    }
}
