//! Results as a file: read whole and checked, written in one move.

use std::fs;
use std::path::{Path, PathBuf};

use super::{FILE_NAME, Results, SCHEMA};
use crate::files;

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

    /// Writes `results.json` so that a reader sees the old file or the new one, never a part.
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
        files::replace(path, text.as_bytes()).map_err(failed)
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
            let joint = joint.chain(references.single.iter().map(|single| ("single", &single.scores)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::results::Status;
    use crate::report::results::tests::results;

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
