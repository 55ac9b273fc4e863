//! Results as they come in: `results.json` is written anew after every stage of a cell and after every piece of work.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::compare::agreement::ALL;
use crate::compare::arguments::Outcome;
use crate::compare::plan::{Cell, Plan};
use crate::compare::protocol::{Refusal, Work};
use crate::config::RunConfig;
use crate::eval::measure::is_measure;
use crate::eval::questions;
use crate::files;
use crate::report::html;
use crate::report::results::{CellResult, Environment, FILE_NAME, Joint, References, Results, Status};

/// What a run has so far.
pub struct Gathered {
    out: PathBuf,
    /// Of the whole run, with the cells that are not asked for now.
    results: Results,
    /// What is asked for now.
    plan: Plan,
    /// References that could not be made, by name.
    failures: Vec<(String, String)>,
}

impl Gathered {
    /// Takes over what earlier comparisons in this folder finished; everything else that is asked for is pending, with what was
    /// measured of it. `whole` is the run that `asked` is a part of; of the methods in `redo` nothing is taken over, and their files
    /// are removed.
    pub fn begin(
        out: &Path,
        whole: &RunConfig,
        asked: &RunConfig,
        refusals: &[Refusal],
        redo: &[String],
    ) -> Result<Gathered> {
        let tasks = whole.tasks.iter().map(|(name, _)| name.clone()).collect();
        let mut results = Results::new(&whole.name, tasks);
        results.config = serde_json::to_value(whole)?;
        let before = match out.join(FILE_NAME).is_file() {
            true => Some(Results::read(out)?),
            false => None,
        };
        let plan = Plan::new(asked);
        for cell in Plan::new(whole).cells {
            let known = before.iter().flat_map(|before| &before.cells).find(|known| cell.is(known));
            let is_asked = plan.cells.contains(&cell);
            if known.is_none() && !is_asked {
                continue;
            }
            let kept = known.filter(|_| !redo.contains(&cell.method)).cloned();
            let mut result = kept
                .unwrap_or_else(|| CellResult::begun(&cell.method, &cell.order, cell.seed, Status::Pending));
            if is_asked && result.status != Status::Done {
                let refusal = refusals.iter().find(|refusal| refusal.method.as_ref() == Some(&cell.method));
                result.status = if refusal.is_some() { Status::Failed } else { Status::Pending };
                result.error = refusal.map(|refusal| refusal.message.clone());
            }
            results.cells.push(result);
        }
        results.judge = before.as_ref().and_then(|before| before.judge.clone());
        results.references = before.map(|before| before.references).unwrap_or_default();
        let mut gathered = Gathered { out: out.to_path_buf(), results, plan, failures: Vec::new() };
        gathered.forget(whole, redo)?;
        gathered.write()?;
        Ok(gathered)
    }

    /// Notes down what everything that follows runs on.
    pub fn on(&mut self, environment: Environment) -> Result<()> {
        self.results.environment = Some(environment);
        self.write()
    }

    /// Removes the files of these methods and of the references that are made with them.
    fn forget(&mut self, config: &RunConfig, methods: &[String]) -> Result<()> {
        let mut folders: Vec<PathBuf> =
            methods.iter().map(|method| Path::new("cells").join(method)).collect();
        if methods.iter().any(|method| method == ALL) {
            self.results.references.clear();
            folders.push(PathBuf::from("references"));
        } else if config.references.iter().any(|reference| methods.contains(&reference.method)) {
            for reference in self.results.references.values_mut() {
                reference.joint.clear();
                reference.single.clear();
            }
            folders.extend(["joint", "single"].map(|kind| Path::new("references").join(kind)));
        }
        for folder in folders.iter().map(|folder| self.out.join(folder)).filter(|folder| folder.is_dir()) {
            std::fs::remove_dir_all(&folder)
                .with_context(|| format!("{} cannot be removed", folder.display()))?;
        }
        Ok(())
    }

    /// Stages that are answered, and stages in all, of what is asked for. A joint training has one.
    pub fn stages(&self) -> (usize, usize) {
        let tasks = self.results.tasks.len();
        let answered = |cell: &CellResult| {
            let of_scorer = cell.scorers.iter().find(|(name, _)| !is_measure(name));
            let rows = of_scorer.map_or(&[][..], |(_, scorer)| &scorer.matrix.rows);
            rows.iter().filter(|row| row.iter().any(Option::is_some)).count()
        };
        let of_cells: usize = self.asked().map(answered).sum();
        let first = self.scored_references().next();
        let references = &self.plan.references;
        let is_there = |(name, seed): &&(String, u64)| {
            let runs =
                first.map(|first| if name.starts_with("joint") { &first.joint } else { &first.single });
            let run = runs.and_then(|runs| runs.iter().find(|run| run.seed == *seed));
            run.is_some_and(|run| run.scores.iter().all(Option::is_some))
        };
        let trained = references.iter().filter(is_there);
        (of_cells + trained.count(), self.plan.cells.len() * tasks + references.len())
    }

    /// The references of every scorer; what else is measured can be computed again from the kept answers.
    fn scored_references(&self) -> impl Iterator<Item = &References> {
        self.results.references.iter().filter(|(name, _)| !is_measure(name)).map(|(_, reference)| reference)
    }

    /// The results of the cells that are asked for.
    fn asked(&self) -> impl Iterator<Item = &CellResult> {
        self.results.cells.iter().filter(|result| self.plan.cells.iter().any(|cell| cell.is(result)))
    }

    /// Whether a piece of work is done.
    pub fn has(&self, work: &Work) -> bool {
        let there = |is_there: &dyn Fn(&References) -> bool| {
            self.scored_references().next().is_some() && self.scored_references().all(is_there)
        };
        match work {
            Work::Cell { cell } => {
                let known = self.results.cells.iter().find(|known| cell.is(known));
                known.is_some_and(|known| known.status != Status::Pending)
            }
            Work::Joint { seed, .. } => {
                there(&|reference| reference.joint.iter().any(|joint| joint.seed == *seed))
            }
            Work::Single { seed, task, .. } => {
                let place = self.results.tasks.iter().position(|known| known == task);
                let score = |single: &Joint| single.scores.get(place?).copied().flatten();
                there(&|reference| {
                    reference.single.iter().any(|single| single.seed == *seed && score(single).is_some())
                })
            }
            // A run of an earlier host did not keep its questions.
            Work::ZeroShot => {
                there(&|reference| !reference.zero_shot.is_empty())
                    && self.results.tasks.iter().all(|task| questions::path(&self.out, task).is_file())
            }
        }
    }

    fn known(&mut self, cell: &Cell) -> Result<&mut CellResult> {
        let known = self.results.cells.iter_mut().find(|known| cell.is(known));
        known.with_context(|| format!("no cell is named {cell}"))
    }

    /// A cell has begun, or answered another stage.
    pub fn measured(&mut self, cell: &Cell, result: CellResult) -> Result<()> {
        *self.known(cell)? = result;
        self.results.settle();
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
                    (known.scorers, known.flips, known.cost) = (before.scorers, before.flips, before.cost);
                }
            }
            _ if result.status == Status::Failed => {
                self.failures.push((work.name(), result.error.unwrap_or_default()));
            }
            Work::Single { seed, task, .. } => {
                let tasks = &self.results.tasks;
                let place = tasks.iter().position(|known| known == task);
                for (scorer, scores) in result.scorers {
                    let single = &mut self.results.references.entry(scorer).or_default().single;
                    let score = scores.matrix.rows.last().and_then(|row| row.first().copied().flatten());
                    Joint::put(single, *seed, place, score, tasks.len());
                }
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
        self.results.settle();
        self.write()
    }

    /// Zero-shot answers and blind baselines are there.
    pub fn zero_shot(&mut self, references: Vec<(String, References)>) -> Result<()> {
        for (scorer, found) in references {
            let known = self.results.references.entry(scorer).or_default();
            known.blind = found.blind;
            known.zero_shot = found.zero_shot;
        }
        self.results.settle();
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

    fn write(&self) -> Result<()> {
        self.results.write(&self.out.join(FILE_NAME))?;
        Ok(())
    }

    /// The end of a run: the page is written, the outcome counted.
    pub fn finish(self) -> Result<Outcome> {
        let page = self.out.join("report.html");
        files::replace(&page, html::page(&self.results).as_bytes())
            .with_context(|| format!("{} cannot be written", page.display()))?;
        let count = |status: Status| self.asked().filter(|cell| cell.status == status).count();
        Ok(Outcome {
            results: self.out.join(FILE_NAME),
            report: page,
            finished: count(Status::Done),
            failed: count(Status::Failed) + self.failures.len(),
            failures: self.failures,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{self, Request};
    use crate::eval::matrix::Matrix;
    use crate::report::results::{Cost, Flips, Metrics, ScorerResult};

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
            tasks,
            scorers: BTreeMap::from([(String::from("official"), ScorerResult { matrix, metrics })]),
            flips: Some(Flips { compared: 4, flipped: 1 }),
            cost: Cost { train_seconds: 3.0, ..Cost::default() },
            ..CellResult::begun(&cell.method, &cell.order, cell.seed, Status::Running)
        };
        (cell, result)
    }

    #[test]
    fn a_running_cell_is_written_with_its_rows_and_is_pending_when_the_run_goes_on() {
        let (folder, config) = (tempfile::tempdir().unwrap(), quickstart());
        let (cell, result) = measured(&config);
        let mut gathered = Gathered::begin(folder.path(), &config, &config, &[], &[]).unwrap();
        gathered.measured(&cell, result.clone()).unwrap();
        let written = Results::read(folder.path()).unwrap();
        assert_eq!(written.cells[0], result);
        assert!(written.cells[1..].iter().all(|cell| cell.status == Status::Pending));

        let again = Gathered::begin(folder.path(), &config, &config, &[], &[]).unwrap();
        assert!(!again.has(&Work::Cell { cell }), "it goes on");
        let expected = CellResult { status: Status::Pending, ..result };
        assert_eq!(Results::read(folder.path()).unwrap().cells[0], expected);
    }

    #[test]
    fn a_part_is_shown_and_the_rest_is_kept() {
        let (folder, whole) = (tempfile::tempdir().unwrap(), quickstart());
        let (cell, result) = measured(&whole);
        let done = CellResult { status: Status::Done, ..result };
        let mut gathered = Gathered::begin(folder.path(), &whole, &whole, &[], &[]).unwrap();
        assert_eq!(gathered.stages(), (0, 4 * 8 + 1));
        gathered.measured(&cell, done.clone()).unwrap();
        assert_eq!(gathered.stages(), (1, 4 * 8 + 1));

        let part = RunConfig { methods: whole.methods[1..2].to_vec(), seeds: vec![0, 1], ..whole.clone() };
        let grown = whole.grown(&part).unwrap();
        let gathered = Gathered::begin(folder.path(), &grown, &part, &[], &[]).unwrap();
        assert_eq!(gathered.stages(), (0, 2 * 8 + 2));
        let written = Results::read(folder.path()).unwrap();
        assert_eq!((written.cells.len(), &written.cells[0]), (4 + 1, &done));
        let shown = Plan::new(&part).part(written);
        let shown: Vec<_> = shown.cells.iter().map(|cell| (cell.method.as_str(), cell.seed)).collect();
        assert_eq!(shown, [("moelora", 0), ("moelora", 1)]);
    }

    #[test]
    fn of_a_method_that_is_done_again_nothing_is_left() {
        let (folder, config) = (tempfile::tempdir().unwrap(), quickstart());
        let (cell, result) = measured(&config);
        let done = CellResult { status: Status::Done, ..result };
        let joint = |gathered: &mut Gathered| {
            let references = References {
                joint: vec![Joint { seed: 0, scores: vec![Some(1.0); 8] }],
                ..References::default()
            };
            gathered.results.references = BTreeMap::from([(String::from("official"), references)]);
        };
        for (redo, cells, references) in [("lora", false, false), ("moelora", true, true), (ALL, true, false)]
        {
            let mut gathered = Gathered::begin(folder.path(), &config, &config, &[], &[]).unwrap();
            joint(&mut gathered);
            gathered.measured(&cell, done.clone()).unwrap();
            for path in ["cells/lora/coin/0", "cells/moelora/coin/0", "references/joint/0"] {
                std::fs::create_dir_all(folder.path().join(path)).unwrap();
            }
            let redo = [String::from(redo)];
            let gathered = Gathered::begin(folder.path(), &config, &config, &[], &redo).unwrap();
            assert_eq!(gathered.has(&Work::Cell { cell: cell.clone() }), cells, "{redo:?}");
            assert_eq!(folder.path().join("cells/lora").is_dir(), cells, "{redo:?}");
            assert_eq!(folder.path().join("references/joint").is_dir(), references, "{redo:?}");
            assert_eq!(gathered.has(&Work::Joint { reference: 0, seed: 0 }), references, "{redo:?}");
        }
    }

    #[test]
    fn a_cell_that_fails_keeps_the_rows_it_measured() {
        let (folder, config) = (tempfile::tempdir().unwrap(), quickstart());
        let (cell, result) = measured(&config);
        let work = Work::Cell { cell: cell.clone() };
        let failed =
            CellResult { status: Status::Failed, error: Some(String::from("it crashed")), ..result.clone() };
        let reply =
            CellResult { scorers: BTreeMap::new(), flips: None, cost: Cost::default(), ..failed.clone() };
        for crashed in [false, true] {
            let mut gathered = Gathered::begin(folder.path(), &config, &config, &[], &[]).unwrap();
            gathered.measured(&cell, result.clone()).unwrap();
            match crashed {
                false => gathered.cell(&work, reply.clone()).unwrap(),
                true => gathered.failed(&work, "it crashed").unwrap(),
            }
            assert_eq!(Results::read(folder.path()).unwrap().cells[0], failed);
        }
    }
}
