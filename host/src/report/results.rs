//! `results.json`, the primary artifact of a run: every table, page and plot is derived from it. All scores are percentages.
//! The format is described in `docs/results-format.md`; a change that old readers would misread gets a new schema number.

mod environment;
mod file;
mod handover;
mod judged;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::eval::matrix::Matrix;
use crate::eval::measure::{self, FORMAT_FAILURE, is_measure};
pub use crate::eval::metrics::Metrics;
use crate::eval::metrics::intransigence;
pub use environment::Environment;
pub use file::ResultsError;
pub use handover::Handover;
pub use judged::JudgeRecord;

/// The schema number this host writes and reads.
pub const SCHEMA: u32 = 1;

/// The file's name inside a run folder.
pub const FILE_NAME: &str = "results.json";

/// Everything a finished or running comparison has measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The run's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The tasks in the order of the configuration: what `references` count by.
    pub tasks: Vec<String>,
    /// One entry per method, order and seed.
    pub cells: Vec<CellResult>,
    /// By scorer name: what methods are compared with.
    #[serde(default)]
    pub references: BTreeMap<String, References>,
    /// The resolved configuration.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub config: serde_json::Value,
    /// What the last comparison in this folder ran on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// Who gave the verdicts behind `gk-judge`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<JudgeRecord>,
}

/// One method on one order of tasks with one seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellResult {
    /// The method's name in the configuration.
    pub method: String,
    /// The order's name.
    pub order: String,
    /// The root seed.
    pub seed: u64,
    /// How far it came.
    pub status: Status,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The tasks in the order of training: rows and columns of this cell's matrices count by it. Empty = [`Results::tasks`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<String>,
    /// By scorer name.
    #[serde(default)]
    pub scorers: BTreeMap<String, ScorerResult>,
    /// Answers that batches and folded weights changed; none where nobody asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flips: Option<Flips>,
    /// What it cost; zero until measured.
    #[serde(default)]
    pub cost: Cost,
    /// How often each plugin used what it was granted: by plugin and capability, calls.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub granted: BTreeMap<String, BTreeMap<String, u64>>,
    /// What each stage after the first began with, where each had a process of its own (`protocol.strict`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handovers: Vec<Handover>,
    /// The method's stack, in order.
    #[serde(default)]
    pub plugins: Vec<PluginUse>,
}

impl CellResult {
    /// A cell of which nothing is known yet.
    pub fn begun(method: &str, order: &str, seed: u64, status: Status) -> CellResult {
        CellResult {
            method: method.to_string(),
            order: order.to_string(),
            seed,
            status,
            error: None,
            tasks: Vec::new(),
            scorers: BTreeMap::new(),
            flips: None,
            cost: Cost::default(),
            granted: BTreeMap::new(),
            handovers: Vec::new(),
            plugins: Vec::new(),
        }
    }
}

/// How far a cell came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Not started.
    Pending,
    /// Being trained or evaluated; its matrix may be partial.
    Running,
    /// Finished.
    Done,
    /// Stopped by an error.
    Failed,
}

/// The accuracy matrix under one scorer and what follows from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScorerResult {
    /// `zero_shot`, `matrix` and `items`.
    #[serde(flatten)]
    pub matrix: Matrix,
    /// `null` where a formula lacks cells.
    #[serde(default)]
    pub metrics: Metrics,
}

/// Answers held against those that were given one at a time from unfolded weights, over all stages and tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flips {
    /// Items that were answered both ways; 0 where all are answered strictly.
    pub compared: u64,
    /// Those whose texts differ.
    pub flipped: u64,
}

/// What a cell cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cost {
    /// Parameters that are trained in at least one stage.
    pub trainable_parameters: u64,
    /// Size of everything carried from stage to stage: registered tensors, plugin state, replay buffer.
    pub stored_bytes: u64,
    /// Wall time spent in training, `picture_seconds` apart.
    pub train_seconds: f64,
    /// Wall time spent in answering and scoring, `picture_seconds` apart.
    pub eval_seconds: f64,
    /// Wall time spent on reading pictures and on their frozen vision features, which a cell before may have left behind.
    pub picture_seconds: f64,
    /// Peak memory of the cell.
    pub peak_memory_bytes: u64,
    /// The replay buffer's part of `stored_bytes`.
    pub replay_bytes: u64,
    /// Forward or backward passes beyond one per training row, in rows.
    pub extra_rows: u64,
    /// Training rows that were not replayed.
    pub fresh_rows: u64,
}

/// One plugin of a stack and where it came from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PluginUse {
    /// The plugin's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the library that was loaded.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sha256: String,
    /// The commit it was built from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// How it was accepted: `locked`, `signed`, `unverified`, `dev`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trust: String,
    /// The version of the border it was built with.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api: String,
    /// Fingerprint of the key that signed its package.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// What it asked for and was granted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
}

/// What methods are compared with, under one scorer; task j is `Results::tasks[j]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct References {
    /// The blind baseline of each task, `[T]`.
    pub blind: Vec<Option<f64>>,
    /// The backbone before any training, `[T]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub zero_shot: Vec<Option<f64>>,
    /// Joint training on all tasks at once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub joint: Vec<Joint>,
    /// Training on each task alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub single: Vec<Joint>,
}

/// One joint training, or one training for each task alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Joint {
    /// The root seed.
    pub seed: u64,
    /// `[T]`.
    pub scores: Vec<Option<f64>>,
}

impl Joint {
    /// Notes the score of one task with one seed.
    pub fn put(runs: &mut Vec<Joint>, seed: u64, task: Option<usize>, score: Option<f64>, tasks: usize) {
        if !runs.iter().any(|run| run.seed == seed) {
            runs.push(Joint { seed, scores: vec![None; tasks] });
            runs.sort_by_key(|run| run.seed);
        }
        let run = runs.iter_mut().find(|run| run.seed == seed);
        if let Some(known) = run.and_then(|run| run.scores.get_mut(task?)) {
            *known = score;
        }
    }
}

impl Results {
    /// Results without any cell.
    pub fn new(name: &str, tasks: Vec<String>) -> Self {
        Results {
            schema: SCHEMA,
            name: name.to_owned(),
            tasks,
            cells: Vec::new(),
            references: BTreeMap::new(),
            config: serde_json::Value::Null,
            environment: None,
            judge: None,
        }
    }

    /// The tasks of a cell in the order of its training.
    pub fn tasks_of<'a>(&'a self, cell: &'a CellResult) -> &'a [String] {
        if cell.tasks.is_empty() { &self.tasks } else { &cell.tasks }
    }

    /// Method names, in order of first appearance.
    pub fn methods(&self) -> Vec<&str> {
        distinct(self.cells.iter().map(|cell| cell.method.as_str()))
    }

    /// Scorer names of cells and references, sorted, `official` first.
    pub fn scorers(&self) -> Vec<&str> {
        let mut names = self.names();
        names.retain(|name| !is_measure(name));
        names.sort_by_key(|name| (*name != "official", *name));
        names
    }

    /// What else was measured: names of [`measure::ALL`], in its order.
    pub fn measures(&self) -> Vec<&'static str> {
        let there = self.names();
        measure::ALL.into_iter().filter(|name| there.contains(name)).collect()
    }

    fn names(&self) -> Vec<&str> {
        let of_cells = self.cells.iter().flat_map(|cell| cell.scorers.keys());
        distinct(of_cells.chain(self.references.keys()).map(String::as_str))
    }

    /// Carries references into the cells: the zero-shot row, and the metrics that need it or joint training.
    pub fn settle(&mut self) {
        let (tasks, references) = (&self.tasks, &self.references);
        for cell in &mut self.cells {
            let own = if cell.tasks.is_empty() { tasks } else { &cell.tasks };
            let places: Vec<Option<usize>> =
                own.iter().map(|task| tasks.iter().position(|known| known == task)).collect();
            let in_order = |scores: &[Option<f64>]| -> Vec<Option<f64>> {
                places.iter().map(|place| scores.get((*place)?).copied().flatten()).collect()
            };
            for (scorer, result) in &mut cell.scorers {
                let Some(reference) = references.get(scorer) else { continue };
                if !reference.zero_shot.is_empty() {
                    result.matrix.zero_shot = in_order(&reference.zero_shot);
                }
                let of_seed = |runs: &[Joint]| {
                    let run = runs.iter().find(|run| run.seed == cell.seed);
                    run.map(|run| in_order(&run.scores))
                };
                result.metrics = Metrics::of(&result.matrix, of_seed(&reference.joint).as_deref());
                let single = of_seed(&reference.single);
                result.metrics.intransigence_single =
                    single.and_then(|single| intransigence(&result.matrix, &single));
                if scorer == FORMAT_FAILURE {
                    // Fewer failures are better: what is measured from the best score would be measured from the worst.
                    result.metrics.forgetting = None;
                    result.metrics.intransigence = None;
                    result.metrics.intransigence_single = None;
                }
            }
        }
    }
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    pub(super) fn results() -> Results {
        let mut matrix = Matrix::new(2);
        matrix.set(0, 0, 61.5).expect("a percentage");
        let metrics = Metrics::of(&matrix, None);
        let cell = CellResult {
            method: "lora".to_owned(),
            order: "coin".to_owned(),
            seed: 3,
            status: Status::Running,
            error: None,
            tasks: vec!["gqa".to_owned(), "scienceqa".to_owned()],
            scorers: BTreeMap::from([("official".to_owned(), ScorerResult { matrix, metrics })]),
            flips: None,
            cost: Cost::default(),
            granted: BTreeMap::new(),
            handovers: Vec::new(),
            plugins: vec![PluginUse {
                name: "lora".to_owned(),
                version: "1.0.0".to_owned(),
                ..PluginUse::default()
            }],
        };
        let mut results = Results::new("quickstart", vec!["scienceqa".to_owned(), "gqa".to_owned()]);
        results.cells.push(cell);
        results.references.insert(
            "official".to_owned(),
            References {
                blind: vec![Some(25.0), None],
                joint: vec![Joint { seed: 0, scores: vec![Some(90.0), Some(80.0)] }],
                ..References::default()
            },
        );
        results
    }

    #[test]
    fn the_file_has_the_documented_shape() {
        let value = serde_json::to_value(results()).expect("serialises");
        let cell = &value["cells"][0];
        assert_eq!(value["schema"], 1);
        assert_eq!(cell["status"], "running");
        assert_eq!(cell["scorers"]["official"]["matrix"][0][0], 61.5);
        assert!(cell["scorers"]["official"]["metrics"]["bwt_t1"].is_null());
        assert_eq!(cell["cost"]["trainable_parameters"], 0);
        assert_eq!(value["references"]["official"]["joint"][0]["scores"][1], 80.0);
    }

    #[test]
    fn the_documented_example_is_read_and_its_metrics_are_right() {
        let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/results-format.md"))
            .expect("the page");
        let (_, rest) = page.split_once("```json\n").expect("an example");
        let (example, _) = rest.split_once("```").expect("its end");
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(FILE_NAME), example).expect("written");
        let results = Results::read(folder.path()).expect("a valid file");
        let result = &results.cells[0].scorers["official"];
        let joint = &results.references["official"].joint[0].scores;
        assert_eq!(result.metrics, Metrics::of(&result.matrix, Some(joint)));
    }
}
