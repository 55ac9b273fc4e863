//! Datasets: records of a task, read from a lab's own files.

use std::path::PathBuf;

use crate::error::Result;

/// A part of a dataset. Where the source has no validation part, the dataset sets a fixed part of train aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Split {
    /// For training.
    Train,
    /// For choosing.
    Val,
    /// For scores.
    Test,
}

impl Split {
    /// Its name: `train`, `val`, `test`.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Val => "val",
            Split::Test => "test",
        }
    }
}

/// Stands in [`Record::question`] behind each earlier turn of a conversation (ASCII's record separator): question, answer, question, ..
/// up to the question that [`Record::answers`] answers.
pub const TURN: char = '\u{1e}';

/// One question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Unique in its split.
    pub id: String,
    /// Path of the picture, relative to the task's root folder; none for text-only questions.
    pub image: Option<String>,
    /// The question, without the instruction line. Options of a multiple choice question stand in it as the files have them, earlier turns
    /// of its conversation before it ([`TURN`]).
    pub question: String,
    /// The instruction line as it stands in the files.
    pub instruction: Option<String>,
    /// Options of a multiple choice question, once more as a list for scorers.
    pub options: Vec<String>,
    /// Accepted answers; the first is the training target.
    pub answers: Vec<String>,
    /// The one answer that the benchmark's own script compares with, where it is none of `answers`.
    pub target: Option<String>,
    /// Box `x1, y1, x2, y2` in `0..1` of the picture.
    pub bbox: Option<[f64; 4]>,
    /// Width and height of the picture in pixels.
    pub size: Option<[u32; 2]>,
}

/// What a dataset says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatasetDescription {
    /// What kind of task, for a person.
    pub task_type: String,
    /// The host's metric for it, for example `vqa-soft`; `docs/metrics.md` lists them.
    pub metric: String,
    /// What form answers have, for a person.
    pub answer_form: String,
}

/// Reads the records of one task. Called from several threads at once.
pub trait Dataset: Send + Sync + 'static {
    /// What it is.
    fn describe(&self) -> DatasetDescription;

    /// Number of records in a split.
    fn len(&self, split: Split) -> Result<usize>;

    /// Records `start..end` of a split, in the order of the files.
    fn records(&self, split: Split, start: usize, end: usize) -> Result<Vec<Record>>;

    /// The files that records are read from, below the task's root folder or absolute. A run notes their content, so that a changed one
    /// is found without reading its records; where none are named, it reads them all.
    fn files(&self) -> Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    /// What is wrong with the data beyond what reading the records shows, one line each. Who checks data reads every record and looks at
    /// every picture besides.
    fn verify(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// A score in `0..=1`, where no metric of the host fits.
    fn score(&self, prediction: &str, record: &Record) -> Result<Option<f64>> {
        let _unused = (prediction, record);
        Ok(None)
    }
}
