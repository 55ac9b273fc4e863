//! `results.json`, the primary artifact of a run: every table, page and plot is derived from it. All scores are percentages.
//! The format is described in `docs/results-format.md`; a change that old readers would misread gets a new schema number.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::eval::matrix::Matrix;
pub use crate::eval::metrics::Metrics;

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
    /// What it cost; zero until measured.
    #[serde(default)]
    pub cost: Cost,
    /// The method's stack, in order.
    #[serde(default)]
    pub plugins: Vec<PluginUse>,
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

/// What a cell cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cost {
    /// Parameters that are trained in at least one stage.
    pub trainable_parameters: u64,
    /// Size of everything carried from stage to stage: registered tensors, plugin state, replay buffer.
    pub stored_bytes: u64,
    /// Wall time spent in training.
    pub train_seconds: f64,
    /// Wall time spent in answering and scoring.
    pub eval_seconds: f64,
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
    /// How it was accepted: `locked`, `signed`, `any`, `dev`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trust: String,
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
}

/// One joint training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Joint {
    /// The root seed.
    pub seed: u64,
    /// `[T]`.
    pub scores: Vec<Option<f64>>,
}

/// Why results cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The file cannot be read or written.
    #[error("cannot {action} {path}: {source}\nhint: {hint}")]
    File {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// Written in a format this host does not know.
    #[error(
        "{path}: results schema {found} is unknown, this host reads schema {SCHEMA}\nhint: use the host version that wrote it"
    )]
    Schema {
        /// The file.
        path: PathBuf,
        /// Its schema number.
        found: String,
    },
    /// Not a results file.
    #[error("{path}: not a valid results file: {reason}\nhint: point at the {FILE_NAME} of a run folder")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
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
        let of_cells = self.cells.iter().flat_map(|cell| cell.scorers.keys());
        let mut names = distinct(of_cells.chain(self.references.keys()).map(String::as_str));
        names.sort_by_key(|name| (*name != "official", *name));
        names
    }

    /// Reads a results file, or the one in a run folder.
    pub fn read(path: &Path) -> Result<Self, ResultsError> {
        let path = if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() };
        let text = fs::read_to_string(&path).map_err(|source| ResultsError::File {
            action: "read",
            path: path.clone(),
            source,
            hint: "give the run folder or its results.json",
        })?;
        let invalid = |reason: String| ResultsError::Invalid { path: path.clone(), reason };
        let value: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| invalid(error.to_string()))?;
        match value.get("schema") {
            Some(schema) if schema.as_u64() == Some(u64::from(SCHEMA)) => {}
            Some(found) => return Err(ResultsError::Schema { path: path.clone(), found: found.to_string() }),
            None => return Err(invalid("it has no `schema`".to_owned())),
        }
        let results: Results = serde_json::from_value(value).map_err(|error| invalid(error.to_string()))?;
        results.validate().map_err(invalid)?;
        Ok(results)
    }

    /// Writes `results.json` so that a reader sees the old file or the new one, never a part: a temporary file beside it is
    /// written, flushed to disk and renamed.
    pub fn write(&self, path: &Path) -> Result<(), ResultsError> {
        let failed = |source: std::io::Error| ResultsError::File {
            action: "write",
            path: path.to_owned(),
            source,
            hint: "check that the folder exists, is writable and has space left",
        };
        self.validate()
            .map_err(|reason| failed(std::io::Error::new(std::io::ErrorKind::InvalidData, reason)))?;
        let mut text = serde_json::to_string_pretty(self).map_err(|error| failed(error.into()))?;
        text.push('\n');
        let temporary = path.with_extension(format!("json.{}.part", std::process::id()));
        let written = File::create(&temporary)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&temporary, path));
        written.map_err(|source| {
            // Nothing more can be done about a leftover part; the first error is the one to report.
            let _ = fs::remove_file(&temporary);
            failed(source)
        })
    }

    /// Whether all parts have the shapes that `tasks` implies.
    fn validate(&self) -> Result<(), String> {
        for cell in &self.cells {
            let place = format!("cell {}/{}/{}", cell.method, cell.order, cell.seed);
            let tasks = self.tasks_of(cell);
            if let Some(unknown) = tasks.iter().find(|task| !self.tasks.contains(task)) {
                return Err(format!("{place}: task `{unknown}` is not one of the run's tasks"));
            }
            for (scorer, result) in &cell.scorers {
                result.matrix.validate().map_err(|error| format!("{place}, scorer {scorer}: {error}"))?;
                if result.matrix.tasks() != tasks.len() {
                    return Err(format!(
                        "{place}, scorer {scorer}: a matrix of {} tasks for {} tasks",
                        result.matrix.tasks(),
                        tasks.len()
                    ));
                }
            }
        }
        for (scorer, references) in &self.references {
            let joint = references.joint.iter().map(|joint| ("joint", &joint.scores));
            for (name, scores) in
                joint.chain([("blind", &references.blind), ("zero_shot", &references.zero_shot)])
            {
                if !scores.is_empty() && scores.len() != self.tasks.len() {
                    return Err(format!(
                        "references, scorer {scorer}: {} {name} scores for {} tasks",
                        scores.len(),
                        self.tasks.len()
                    ));
                }
            }
        }
        Ok(())
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
    use super::*;

    fn results() -> Results {
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
            cost: Cost::default(),
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
    fn what_is_written_is_read_back_and_leaves_no_part_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(FILE_NAME);
        let mut results = results();
        results.write(&path).expect("written");
        results.cells[0].status = Status::Done;
        results.write(&path).expect("replaced");
        assert_eq!(Results::read(folder.path()).expect("read"), results);
        let names: Vec<_> =
            fs::read_dir(folder.path()).expect("listed").flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(names, [FILE_NAME]);
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

    #[test]
    fn an_unknown_schema_and_a_wrong_shape_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(FILE_NAME);
        let error = |text: &str| {
            fs::write(&path, text).expect("written");
            Results::read(&path).expect_err("refused").to_string()
        };
        assert!(
            error(r#"{"schema": 2, "cells": "new"}"#)
                .contains("schema 2 is unknown, this host reads schema 1")
        );
        assert!(error(r#"{"tasks": []}"#).contains("no `schema`"));
        assert!(error("[").contains("not a valid results file"));
        let mut wrong = results();
        wrong.cells[0].tasks.pop();
        assert!(
            error(&serde_json::to_string(&wrong).expect("serialises"))
                .contains("a matrix of 2 tasks for 1 tasks")
        );
        assert!(wrong.write(&path).is_err());
        assert!(
            Results::read(&folder.path().join("none.json"))
                .expect_err("absent")
                .to_string()
                .contains("hint:")
        );
    }
}
