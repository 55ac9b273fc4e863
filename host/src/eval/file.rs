//! Scores a predictions file that any tool wrote in CoIN's format, with the annotation files under their original names.

use std::path::{Path, PathBuf};

use super::scorer::input::{self, Document, Fault, Predictions};
use super::scorer::{Metric, Scorer, Tally, UnknownName, coin, judge, official};

/// A task of the benchmark, with the files that its scripts read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BenchmarkTask {
    ScienceQa,
    TextVqa,
    ImageNet,
    Gqa,
    VizWiz,
    Grounding,
    VqaV2,
    OcrVqa,
    /// The replies of a judge to any task's answers.
    GeneralKnowledge,
}

use BenchmarkTask::{GeneralKnowledge, Gqa, Grounding, ImageNet, OcrVqa, ScienceQa, TextVqa, VizWiz, VqaV2};

impl BenchmarkTask {
    /// Every task, in the order of the benchmark.
    pub const ALL: [BenchmarkTask; 9] =
        [ScienceQa, TextVqa, ImageNet, Gqa, VizWiz, Grounding, VqaV2, OcrVqa, GeneralKnowledge];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            ScienceQa => "scienceqa",
            TextVqa => "textvqa",
            ImageNet => "imagenet",
            Gqa => "gqa",
            VizWiz => "vizwiz",
            Grounding => "grounding",
            VqaV2 => "vqav2",
            OcrVqa => "ocrvqa",
            GeneralKnowledge => "general-knowledge",
        }
    }

    /// The annotation files that a scorer reads, by their original names.
    pub fn annotations(self, scorer: Scorer) -> &'static [&'static str] {
        match (self, scorer) {
            (ScienceQa, _) => &["pid_splits.json", "problems.json"],
            (TextVqa, _) => &["TextVQA_0.5.1_val.json"],
            (ImageNet | Grounding | OcrVqa, _) => &["test.json"],
            (Gqa, _) => &["testdev_balanced_questions.json"],
            (VizWiz | VqaV2, Scorer::Coin) => &["val.json"],
            (VizWiz, Scorer::Official) => &["vizwiz_val_annotations.json"],
            (VqaV2, Scorer::Official) => &["v2_mscoco_val2014_annotations.json"],
            (GeneralKnowledge, _) => &[],
        }
    }

    /// CoIN's script.
    fn script(self) -> &'static str {
        match self {
            ScienceQa => "eval_science_qa.py",
            TextVqa => "eval_textvqa.py",
            ImageNet => "eval_ImagetNet.py",
            Gqa => "eval_gqa.py",
            VizWiz => "eval_vizwiz.py",
            Grounding => "eval_grounding.py",
            VqaV2 => "eval_vqav2.py",
            OcrVqa => "eval_ocrvqa.py",
            GeneralKnowledge => "evaluate_score.py",
        }
    }
}

impl std::str::FromStr for BenchmarkTask {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let known = BenchmarkTask::ALL.map(BenchmarkTask::name).join(", ");
        let task = BenchmarkTask::ALL.into_iter().find(|task| task.name() == name);
        task.ok_or_else(|| UnknownName::new("task", name, known))
    }
}

/// Why a file has no score.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is nothing to read.
    #[error("{} cannot be read: {source}\nhint: {hint}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error, hint: String },
    /// The task needs annotations, and no folder was named.
    #[error(
        "the task {task} is scored against annotations\nhint: name their folder with --annotations; it holds {files}"
    )]
    NoAnnotations { task: &'static str, files: String },
    /// The official scorer does not score such data.
    #[error(
        "{0}\nhint: correct the file; each line of predictions is an object with `question_id` and `text`"
    )]
    Refused(Fault),
    /// The original gives no figure either.
    #[error(
        "{fault}: the original crashes there (CoIN's {script}, {})\nhint: correct the file; `--scorer official` is not bound to the \
         original's crashes, and says what it cannot read",
        fault.exception
    )]
    OriginalCrashes { fault: Fault, script: &'static str },
}

impl FileError {
    /// 1 where the original crashes, 2 for what is wrong with the call or the data.
    pub fn exit_code(&self) -> u8 {
        if matches!(self, FileError::OriginalCrashes { .. }) { 1 } else { 2 }
    }
}

/// Scores a predictions file. `annotations` is the folder of the task's annotation files; judges' replies need none.
///
/// # Errors
/// See [`FileError`].
pub fn score(
    task: BenchmarkTask,
    scorer: Scorer,
    annotations: Option<&Path>,
    predictions: &Path,
) -> Result<Tally, FileError> {
    let fault = |fault| match scorer {
        Scorer::Coin => FileError::OriginalCrashes { fault, script: task.script() },
        Scorer::Official => FileError::Refused(fault),
    };
    let mut documents = Vec::new();
    let names = task.annotations(scorer);
    for name in names {
        let folder = annotations
            .ok_or_else(|| FileError::NoAnnotations { task: task.name(), files: names.join(" and ") })?;
        let hint = format!("the scorer {scorer} of {} reads {}", task.name(), names.join(" and "));
        let path = folder.join(name);
        documents.push(input::document(&path.display().to_string(), &read(&path, hint)?).map_err(fault)?);
    }
    let hint = "name a predictions file, one JSON object a line".to_owned();
    let bytes = read(predictions, hint)?;
    let predictions = input::predictions(&predictions.display().to_string(), &bytes).map_err(fault)?;
    match scorer {
        Scorer::Coin => as_the_original(task, &documents, &predictions),
        Scorer::Official => as_official(task, &documents, &predictions),
    }
    .map_err(fault)
}

fn read(path: &Path, hint: String) -> Result<Vec<u8>, FileError> {
    std::fs::read(path).map_err(|source| FileError::Unreadable { path: path.to_path_buf(), source, hint })
}

fn as_the_original(
    task: BenchmarkTask,
    documents: &[Document],
    predictions: &Predictions,
) -> Result<Tally, Fault> {
    match (task, documents) {
        (ScienceQa, [splits, problems]) => coin::scienceqa::file(splits, problems, predictions),
        (TextVqa, [annotations]) => coin::textvqa::file(annotations, predictions),
        (ImageNet, [annotations]) => coin::imagenet::file(annotations, predictions),
        (Gqa, [questions]) => coin::gqa::file(questions, predictions),
        (VizWiz, [annotations]) => coin::vizwiz::file(annotations, predictions),
        (Grounding, [annotations]) => coin::grounding::file(annotations, predictions),
        (VqaV2, [annotations]) => coin::vqav2::file(annotations, predictions),
        (OcrVqa, [annotations]) => coin::ocrvqa::file(annotations, predictions),
        _ => coin::judge::file(predictions),
    }
}

fn as_official(
    task: BenchmarkTask,
    documents: &[Document],
    predictions: &Predictions,
) -> Result<Tally, Fault> {
    let (metric, items) = match (task, documents) {
        (ScienceQa, [splits, problems]) => (Metric::MultipleChoice, official::scienceqa(splits, problems)),
        (TextVqa, [annotations]) => (Metric::TextVqa, official::textvqa(annotations)),
        (ImageNet, [annotations]) => (Metric::Classification, official::single_answers(annotations)),
        (Gqa, [questions]) => (Metric::Gqa, official::gqa(questions)),
        (VizWiz, [annotations]) => (Metric::VizWiz, official::vizwiz(annotations)),
        (Grounding, [annotations]) => (Metric::Grounding, official::grounding(annotations)),
        (VqaV2, [annotations]) => (Metric::VqaSoft, official::vqav2(annotations)),
        (OcrVqa, [annotations]) => (Metric::OcrVqa, official::single_answers(annotations)),
        _ => return judge::file(predictions),
    };
    let name = documents.last().map_or("", |document| document.name.as_str());
    official::file(metric, name, &items?, predictions)
}
