//! How long a run still takes, from what its units of work have cost so far. A unit is an optimizer step or an answered item.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::compare::event::CellEvent;

/// Units from which on a method's own cost is trusted over that of all methods.
const ENOUGH: f64 = 5.0;

/// What a cell has to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    pub stages: usize,
    /// Optimizer steps of all stages.
    pub steps: usize,
    /// Items answered in all.
    pub answers: usize,
}

/// A cell for the estimate; cells of one method are taken to cost the same.
#[derive(Debug, Clone, PartialEq)]
pub struct CellWork {
    /// As in [`Line::cell`](crate::compare::event::Line::cell).
    pub cell: String,
    pub method: String,
    pub work: Work,
}

/// Time that is left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Remaining {
    pub time: Duration,
    /// Some kind of unit has not been measured yet and counts for nothing.
    pub at_least: bool,
}

/// Watches events and knows what is left.
#[derive(Debug, Clone)]
pub struct Estimate {
    cells: BTreeMap<String, Progressed>,
    jobs: usize,
    /// Costs by method, and of all under the empty name.
    costs: BTreeMap<String, Costs>,
}

#[derive(Debug, Clone)]
struct Progressed {
    method: String,
    work: Work,
    done: Units,
    /// `done` when the current stage or task began.
    begun: Units,
    last_event: Option<Duration>,
    over: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Units {
    steps: f64,
    answers: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Costs {
    step: Cost,
    answer: Cost,
}

#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    seconds: f64,
    units: f64,
}

impl Cost {
    fn add(&mut self, seconds: f64, units: f64) {
        self.seconds += seconds;
        self.units += units;
    }

    fn of_one(&self, least: f64) -> Option<f64> {
        (self.units >= least && self.units > 0.0).then(|| self.seconds / self.units)
    }
}

impl Estimate {
    /// `jobs`: cells that run side by side.
    pub fn new(cells: &[CellWork], jobs: usize) -> Self {
        let fresh = |cell: &CellWork| Progressed {
            method: cell.method.clone(),
            work: cell.work,
            done: Units::default(),
            begun: Units::default(),
            last_event: None,
            over: false,
        };
        let cells = cells.iter().map(|cell| (cell.cell.clone(), fresh(cell))).collect();
        Estimate { cells, jobs: jobs.max(1), costs: BTreeMap::new() }
    }

    /// Takes note of an event at a time since the start of the run. Events of unknown cells are ignored.
    pub fn observe(&mut self, cell: &str, event: &CellEvent, now: Duration) {
        let Some(cell) = self.cells.get_mut(cell) else { return };
        let elapsed = cell.last_event.map(|last| now.saturating_sub(last).as_secs_f64());
        cell.last_event = Some(now);
        match event {
            CellEvent::Started => {}
            CellEvent::StageStarted { stage, .. } => {
                // Stages before it are done, whether this run did them or an earlier one.
                let part = *stage as f64 / cell.work.stages.max(1) as f64;
                cell.done.steps = cell.done.steps.max(part * cell.work.steps as f64);
                cell.done.answers = cell.done.answers.max(part * cell.work.answers as f64);
                cell.begun = cell.done;
            }
            CellEvent::Step { step, .. } => {
                let units = (cell.begun.steps + *step as f64 - cell.done.steps).max(0.0);
                cell.done.steps += units;
                if let Some(seconds) = elapsed {
                    for name in [cell.method.as_str(), ""] {
                        self.costs.entry(name.to_string()).or_default().step.add(seconds, units);
                    }
                }
            }
            CellEvent::Answered { done, .. } => {
                let units = (cell.begun.answers + *done as f64 - cell.done.answers).max(0.0);
                cell.done.answers += units;
                if let Some(seconds) = elapsed {
                    for name in [cell.method.as_str(), ""] {
                        self.costs.entry(name.to_string()).or_default().answer.add(seconds, units);
                    }
                }
            }
            CellEvent::Evaluated { .. } => cell.begun = cell.done,
            CellEvent::Finished { .. } | CellEvent::Failed { .. } => cell.over = true,
        }
    }

    /// Time until the last cell ends; `None` before anything was measured.
    pub fn remaining(&self) -> Option<Remaining> {
        let mut at_least = false;
        let mut measured = false;
        let mut left = Vec::new();
        for cell in self.cells.values().filter(|cell| !cell.over) {
            let steps = (cell.work.steps as f64 - cell.done.steps).max(0.0);
            let answers = (cell.work.answers as f64 - cell.done.answers).max(0.0);
            let mut seconds = 0.0;
            for (units, cost) in [
                (steps, self.cost(&cell.method, |costs| costs.step)),
                (answers, self.cost(&cell.method, |costs| costs.answer)),
            ] {
                match cost {
                    Some(cost) => {
                        measured = true;
                        seconds += units * cost;
                    }
                    None => at_least |= units > 0.0,
                }
            }
            left.push(seconds);
        }
        if !measured && !left.is_empty() {
            return None;
        }
        // Cells cannot be split: the longest bounds the time from below.
        let longest = left.iter().copied().fold(0.0, f64::max);
        let shared = left.iter().sum::<f64>() / self.jobs as f64;
        Some(Remaining { time: Duration::from_secs_f64(shared.max(longest)), at_least })
    }

    /// Part of the work that is done, from 0 to 1, weighed by cost where it is known.
    pub fn fraction(&self) -> f64 {
        let step = self.cost("", |costs| costs.step).unwrap_or(1.0);
        let answer = self.cost("", |costs| costs.answer).unwrap_or(0.0);
        let (mut done, mut all) = (0.0, 0.0);
        for cell in self.cells.values() {
            let whole = cell.work.steps as f64 * step + cell.work.answers as f64 * answer;
            all += whole;
            done += if cell.over {
                whole
            } else {
                (cell.done.steps * step + cell.done.answers * answer).min(whole)
            };
        }
        if all > 0.0 { done / all } else { 0.0 }
    }

    fn cost(&self, method: &str, kind: impl Fn(&Costs) -> Cost) -> Option<f64> {
        let of = |name: &str, least: f64| self.costs.get(name).and_then(|costs| kind(costs).of_one(least));
        of(method, ENOUGH).or_else(|| of("", 0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(name: &str, method: &str) -> CellWork {
        CellWork {
            cell: name.into(),
            method: method.into(),
            work: Work { stages: 2, steps: 20, answers: 40 },
        }
    }

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn stage(stage: usize) -> CellEvent {
        CellEvent::StageStarted { stage, task: "gqa".into() }
    }

    fn step(step: usize) -> CellEvent {
        CellEvent::Step { step, of: 10, loss: 1.0 }
    }

    fn answered(done: usize) -> CellEvent {
        CellEvent::Answered { stage: Some(0), task: "gqa".into(), done, of: 10 }
    }

    #[test]
    fn what_is_left_is_what_units_have_cost() {
        let mut estimate = Estimate::new(&[cell("a", "lora"), cell("b", "lora")], 2);
        assert_eq!(estimate.remaining(), None);
        estimate.observe("a", &stage(0), seconds(100.0));
        estimate.observe("a", &step(5), seconds(110.0));
        // 15 and 20 steps of 2 s, side by side; answers have no cost yet.
        assert_eq!(estimate.remaining(), Some(Remaining { time: seconds(40.0), at_least: true }));
        estimate.observe("a", &step(10), seconds(120.0));
        estimate.observe("a", &answered(10), seconds(121.0));
        // b: 20 steps of 2 s and 40 answers of 0.1 s.
        assert_eq!(estimate.remaining(), Some(Remaining { time: seconds(44.0), at_least: false }));
    }

    #[test]
    fn one_job_does_the_cells_after_one_another() {
        let mut estimate = Estimate::new(&[cell("a", "lora"), cell("b", "lora")], 1);
        estimate.observe("a", &stage(0), seconds(0.0));
        estimate.observe("a", &step(10), seconds(10.0));
        estimate.observe("a", &answered(20), seconds(10.0));
        assert_eq!(estimate.remaining().map(|left| left.time), Some(seconds(30.0)));
        estimate.observe("b", &CellEvent::Failed { message: String::new() }, seconds(10.0));
        assert_eq!(estimate.remaining().map(|left| left.time), Some(seconds(10.0)));
    }

    #[test]
    fn a_slow_method_has_its_own_cost() {
        let mut estimate = Estimate::new(&[cell("a", "lora"), cell("b", "moelora")], 2);
        for name in ["a", "b"] {
            estimate.observe(name, &stage(0), seconds(0.0));
        }
        estimate.observe("a", &step(10), seconds(10.0));
        estimate.observe("b", &step(10), seconds(30.0));
        assert_eq!(estimate.remaining().map(|left| left.time), Some(seconds(30.0)));
    }

    #[test]
    fn stages_of_an_earlier_run_are_done() {
        let mut estimate = Estimate::new(&[cell("a", "lora")], 1);
        estimate.observe("a", &CellEvent::Started, seconds(0.0));
        estimate.observe("a", &stage(1), seconds(1.0));
        assert_eq!(estimate.fraction(), 0.5);
        estimate.observe("a", &step(5), seconds(6.0));
        estimate.observe("a", &answered(10), seconds(6.0));
        assert_eq!(estimate.remaining().map(|left| left.time), Some(seconds(5.0)));
        assert_eq!(estimate.fraction(), 0.75);
        let finished = CellEvent::Finished { train_seconds: 1.0, eval_seconds: 1.0, picture_seconds: 0.0 };
        estimate.observe("a", &finished, seconds(7.0));
        assert_eq!(estimate.fraction(), 1.0);
        assert_eq!(estimate.remaining().map(|left| left.time), Some(Duration::ZERO));
    }
}
