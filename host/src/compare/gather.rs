//! Results as they come in: `results.json` is true after every piece of work.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::compare::arguments::Outcome;
use crate::compare::plan::Plan;
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
    /// Takes over what an earlier run in this folder finished; everything else is pending.
    pub fn begin(out: &Path, config: &RunConfig, refusals: &[Refusal]) -> Result<Gathered> {
        let tasks = config.tasks.iter().map(|(name, _)| name.clone()).collect();
        let mut results = Results::new(&config.name, tasks);
        results.config = serde_json::to_value(config)?;
        let before = match out.join(FILE_NAME).is_file() {
            true => Some(Results::read(out)?),
            false => None,
        };
        for cell in Plan::new(config).cells {
            let done = before.as_ref().and_then(|before| {
                before.cells.iter().find(|known| {
                    known.status == Status::Done
                        && (&known.method, &known.order, known.seed) == (&cell.method, &cell.order, cell.seed)
                })
            });
            let refusal = refusals.iter().find(|refusal| refusal.method.as_ref() == Some(&cell.method));
            results.cells.push(done.cloned().unwrap_or_else(|| CellResult {
                method: cell.method.clone(),
                order: cell.order.clone(),
                seed: cell.seed,
                status: if refusal.is_some() { Status::Failed } else { Status::Pending },
                error: refusal.map(|refusal| refusal.message.clone()),
                tasks: Vec::new(),
                scorers: Default::default(),
                cost: Cost::default(),
                plugins: Vec::new(),
            }));
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
            Work::Cell { cell } => self
                .find(&cell.method, &cell.order, cell.seed)
                .is_some_and(|known| known.status != Status::Pending),
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

    fn find(&self, method: &str, order: &str, seed: u64) -> Option<&CellResult> {
        self.results
            .cells
            .iter()
            .find(|cell| (cell.method.as_str(), cell.order.as_str(), cell.seed) == (method, order, seed))
    }

    /// A cell or a joint training ended.
    pub fn cell(&mut self, work: &Work, result: CellResult) -> Result<()> {
        match work {
            Work::Cell { cell } => {
                let known = self.results.cells.iter_mut().find(|known| {
                    (&known.method, &known.order, known.seed) == (&cell.method, &cell.order, cell.seed)
                });
                *known.with_context(|| format!("no cell is named {cell}"))? = result;
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
                let found = self.results.cells.iter_mut().find(|known| {
                    (&known.method, &known.order, known.seed) == (&cell.method, &cell.order, cell.seed)
                });
                let known = found.with_context(|| format!("no cell is named {cell}"))?;
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
