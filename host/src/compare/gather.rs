//! Results as they come in: `results.json` is written anew after every stage of a cell and after every piece of work.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::compare::arguments::Outcome;
use crate::compare::plan::{Cell, Plan};
use crate::compare::protocol::{Refusal, Work};
use crate::config::RunConfig;
use crate::eval::metrics::Metrics;
use crate::report::html;
use crate::report::results::{CellResult, Cost, FILE_NAME, Joint, References, Results, Status};

/// What a run has so far.
pub struct Gathered {
    out: PathBuf,
    results: Results,
    /// References that could not be made, by name.
    failures: Vec<(String, String)>,
}

impl Gathered {
    /// Takes over what an earlier run in this folder finished; everything else is pending, with what was measured of it.
    pub fn begin(out: &Path, config: &RunConfig, refusals: &[Refusal]) -> Result<Gathered> {
        let tasks = config.tasks.iter().map(|(name, _)| name.clone()).collect();
        let mut results = Results::new(&config.name, tasks);
        results.config = serde_json::to_value(config)?;
        let before = match out.join(FILE_NAME).is_file() {
            true => Some(Results::read(out)?),
            false => None,
        };
        for cell in Plan::new(config).cells {
            let known = before.as_ref().and_then(|before| before.cells.iter().find(|known| is(known, &cell)));
            let mut result = known.cloned().unwrap_or_else(|| CellResult {
                method: cell.method.clone(),
                order: cell.order.clone(),
                seed: cell.seed,
                status: Status::Pending,
                error: None,
                tasks: Vec::new(),
                scorers: Default::default(),
                cost: Cost::default(),
                plugins: Vec::new(),
            });
            if result.status != Status::Done {
                let refusal = refusals.iter().find(|refusal| refusal.method.as_ref() == Some(&cell.method));
                result.status = if refusal.is_some() { Status::Failed } else { Status::Pending };
                result.error = refusal.map(|refusal| refusal.message.clone());
            }
            results.cells.push(result);
        }
        results.references = before.map(|before| before.references).unwrap_or_default();
        let gathered = Gathered { out: out.to_path_buf(), results, failures: Vec::new() };
        gathered.write()?;
        Ok(gathered)
    }

    /// Whether a piece of work is done.
    pub fn has(&self, work: &Work) -> bool {
        let references = &self.results.references;
        match work {
            Work::Cell { cell } => {
                let known = self.results.cells.iter().find(|known| is(known, cell));
                known.is_some_and(|known| known.status != Status::Pending)
            }
            Work::Joint { seed, .. } => {
                !references.is_empty()
                    && references
                        .values()
                        .all(|reference| reference.joint.iter().any(|joint| joint.seed == *seed))
            }
            Work::ZeroShot => {
                !references.is_empty() && references.values().all(|reference| !reference.zero_shot.is_empty())
            }
        }
    }

    fn known(&mut self, cell: &Cell) -> Result<&mut CellResult> {
        let known = self.results.cells.iter_mut().find(|known| is(known, cell));
        known.with_context(|| format!("no cell is named {cell}"))
    }

    /// A cell has begun, or answered another stage.
    pub fn measured(&mut self, cell: &Cell, result: CellResult) -> Result<()> {
        *self.known(cell)? = result;
        self.settle();
        self.write()
    }

    /// A cell or a joint training ended.
    pub fn cell(&mut self, work: &Work, result: CellResult) -> Result<()> {
        match work {
            Work::Cell { cell } => {
                let known = self.known(cell)?;
                let before = std::mem::replace(known, result);
                if known.status == Status::Failed {
                    // What it measured stays true.
                    (known.scorers, known.cost) = (before.scorers, before.cost);
                }
            }
            _ if result.status == Status::Failed => {
                self.failures.push((work.name(), result.error.unwrap_or_default()));
            }
            _ => {
                for (scorer, scores) in result.scorers {
                    let row = scores.matrix.rows.last().cloned().unwrap_or_default();
                    let joint = &mut self.results.references.entry(scorer).or_default().joint;
                    joint.retain(|known| known.seed != result.seed);
                    joint.push(Joint { seed: result.seed, scores: row });
                    joint.sort_by_key(|known| known.seed);
                }
            }
        }
        self.settle();
        self.write()
    }

    /// Zero-shot answers and blind baselines are there.
    pub fn zero_shot(&mut self, references: Vec<(String, References)>, _items: Vec<u64>) -> Result<()> {
        for (scorer, found) in references {
            let known = self.results.references.entry(scorer).or_default();
            known.blind = found.blind;
            known.zero_shot = found.zero_shot;
        }
        self.settle();
        self.write()
    }

    /// A piece of work could not be done.
    pub fn failed(&mut self, work: &Work, message: &str) -> Result<()> {
        match work {
            Work::Cell { cell } => {
                let known = self.known(cell)?;
                known.status = Status::Failed;
                known.error = Some(message.to_string());
            }
            _ => self.failures.push((work.name(), message.to_string())),
        }
        self.write()
    }

    /// Carries references into the cells: the zero-shot row, and the metrics that need it or joint training.
    fn settle(&mut self) {
        let tasks = self.results.tasks.clone();
        let references = self.results.references.clone();
        for cell in &mut self.results.cells {
            let own = if cell.tasks.is_empty() { tasks.clone() } else { cell.tasks.clone() };
            let places: Vec<Option<usize>> =
                own.iter().map(|task| tasks.iter().position(|known| known == task)).collect();
            for (scorer, result) in &mut cell.scorers {
                let Some(reference) = references.get(scorer) else { continue };
                let in_order = |scores: &[Option<f64>]| -> Vec<Option<f64>> {
                    places
                        .iter()
                        .map(|place| place.and_then(|place| scores.get(place).copied().flatten()))
                        .collect()
                };
                if !reference.zero_shot.is_empty() {
                    result.matrix.zero_shot = in_order(&reference.zero_shot);
                }
                let joint = reference
                    .joint
                    .iter()
                    .find(|joint| joint.seed == cell.seed)
                    .map(|joint| in_order(&joint.scores));
                result.metrics = Metrics::of(&result.matrix, joint.as_deref());
            }
        }
    }

    fn write(&self) -> Result<()> {
        self.results.write(&self.out.join(FILE_NAME))?;
        Ok(())
    }

    /// The end of a run: the page is written, the outcome counted.
    pub fn finish(self) -> Result<Outcome> {
        let page = self.out.join("report.html");
        std::fs::write(&page, html::page(&self.results))
            .with_context(|| format!("{} cannot be written", page.display()))?;
        let count = |status: Status| self.results.cells.iter().filter(|cell| cell.status == status).count();
        Ok(Outcome {
            results: self.out.join(FILE_NAME),
            finished: count(Status::Done),
            failed: count(Status::Failed) + self.failures.len(),
            failures: self.failures,
        })
    }
}

/// Whether a result is that of a cell.
fn is(result: &CellResult, cell: &Cell) -> bool {
    (&result.method, &result.order, result.seed) == (&cell.method, &cell.order, cell.seed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{self, Request};
    use crate::eval::matrix::Matrix;
    use crate::report::results::ScorerResult;

    fn quickstart() -> RunConfig {
        let none: &[String] = &[];
        let request = Request {
            path: None,
            set: none,
            seeds: &[],
            orders: none,
            methods: none,
            tasks: none,
            plugin_dirs: none,
        };
        config::load(&request).unwrap().config
    }

    /// The quickstart's first cell after its first stage.
    fn measured(config: &RunConfig) -> (Cell, CellResult) {
        let cell = Plan::new(config).cells.remove(0);
        let tasks = config.orders[0].tasks.clone();
        let mut matrix = Matrix::new(tasks.len());
        for task in 0..tasks.len() {
            matrix.set(0, task, 10.0 * task as f64).unwrap();
        }
        let metrics = Metrics::of(&matrix, None);
        let result = CellResult {
            method: cell.method.clone(),
            order: cell.order.clone(),
            seed: cell.seed,
            status: Status::Running,
            error: None,
            tasks,
            scorers: BTreeMap::from([(String::from("official"), ScorerResult { matrix, metrics })]),
            cost: Cost { train_seconds: 3.0, ..Cost::default() },
            plugins: Vec::new(),
        };
        (cell, result)
    }

    #[test]
    fn a_running_cell_is_written_with_its_rows_and_is_pending_when_the_run_goes_on() {
        let (folder, config) = (tempfile::tempdir().unwrap(), quickstart());
        let (cell, result) = measured(&config);
        let mut gathered = Gathered::begin(folder.path(), &config, &[]).unwrap();
        gathered.measured(&cell, result.clone()).unwrap();
        let written = Results::read(folder.path()).unwrap();
        assert_eq!(written.cells[0], result);
        assert!(written.cells[1..].iter().all(|cell| cell.status == Status::Pending));

        let again = Gathered::begin(folder.path(), &config, &[]).unwrap();
        assert!(!again.has(&Work::Cell { cell }), "it goes on");
        let expected = CellResult { status: Status::Pending, ..result };
        assert_eq!(Results::read(folder.path()).unwrap().cells[0], expected);
    }

    #[test]
    fn a_cell_that_fails_keeps_the_rows_it_measured() {
        let (folder, config) = (tempfile::tempdir().unwrap(), quickstart());
        let (cell, result) = measured(&config);
        let work = Work::Cell { cell: cell.clone() };
        let failed =
            CellResult { status: Status::Failed, error: Some(String::from("it crashed")), ..result.clone() };
        let reply = CellResult { scorers: BTreeMap::new(), cost: Cost::default(), ..failed.clone() };
        for crashed in [false, true] {
            let mut gathered = Gathered::begin(folder.path(), &config, &[]).unwrap();
            gathered.measured(&cell, result.clone()).unwrap();
            match crashed {
                false => gathered.cell(&work, reply.clone()).unwrap(),
                true => gathered.failed(&work, "it crashed").unwrap(),
            }
            assert_eq!(Results::read(folder.path()).unwrap().cells[0], failed);
        }
    }
}
